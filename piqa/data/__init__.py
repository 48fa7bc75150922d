"""Tables of scored images, and the way from their rows to batches.

All are imported when they are first asked for: tables need pandas, `TableDataset` needs torch, `PortraitData` and its
option classes need Lightning, and scoring images needs none of these.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piqa.data.datamodule import PortraitData
    from piqa.data.options import InputOptions, LoadingOptions, SamplingOptions, StoreOptions
    from piqa.data.table_dataset import TableDataset
    from piqa.data.tables import (
        AVA,
        BID,
        CADB,
        CLIVE,
        CSIQ,
        GFIQA,
        KADID,
        LIVE,
        LSVQ,
        PIQ23,
        SPAQ,
        TAD66K,
        TID2013,
        CSVTable,
        FiveK,
        FlickrAES,
        KonIQ,
        Mix,
        Pictures,
    )

__all__ = [
    "AVA",
    "BID",
    "CADB",
    "CLIVE",
    "CSIQ",
    "GFIQA",
    "KADID",
    "LIVE",
    "LSVQ",
    "PIQ23",
    "SPAQ",
    "TAD66K",
    "TID2013",
    "CSVTable",
    "FiveK",
    "FlickrAES",
    "InputOptions",
    "KonIQ",
    "LoadingOptions",
    "Mix",
    "Pictures",
    "PortraitData",
    "SamplingOptions",
    "StoreOptions",
    "TableDataset",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    tables = import_module("piqa.data.tables")
    if name in tables.__all__:
        return getattr(tables, name)
    home = "table_dataset" if name == "TableDataset" else "datamodule"  # which imports the option classes too
    return getattr(import_module(f"piqa.data.{home}"), name)
