"""Tables of scored images, and the way from their rows to batches.

Tables are imported at once. `PortraitData` and its option classes are imported when they are first asked for, as they
need Lightning, which takes seconds to import; and so is `TableDataset`, as it needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from piqa.data.tables.ava import AVA
from piqa.data.tables.bid import BID
from piqa.data.tables.clive import CLIVE
from piqa.data.tables.csiq import CSIQ
from piqa.data.tables.csv_table import CSVTable
from piqa.data.tables.flickr_aes import FlickrAES
from piqa.data.tables.gfiqa import GFIQA
from piqa.data.tables.kadid import KADID
from piqa.data.tables.koniq import KonIQ
from piqa.data.tables.live import LIVE
from piqa.data.tables.lsvq import LSVQ
from piqa.data.tables.mix import Mix
from piqa.data.tables.piq23 import PIQ23
from piqa.data.tables.tad66k import TAD66K

if TYPE_CHECKING:
    from piqa.data.datamodule import PortraitData
    from piqa.data.options import InputOptions, LoadingOptions, SamplingOptions, StoreOptions
    from piqa.data.table_dataset import TableDataset

__all__ = [
    "AVA",
    "BID",
    "CLIVE",
    "CSIQ",
    "GFIQA",
    "KADID",
    "LIVE",
    "LSVQ",
    "PIQ23",
    "TAD66K",
    "CSVTable",
    "FlickrAES",
    "InputOptions",
    "KonIQ",
    "LoadingOptions",
    "Mix",
    "PortraitData",
    "SamplingOptions",
    "StoreOptions",
    "TableDataset",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "table_dataset" if name == "TableDataset" else "datamodule"  # which imports the option classes too
    return getattr(import_module(f"piqa.data.{home}"), name)
