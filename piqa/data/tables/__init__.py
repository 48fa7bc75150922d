"""One file per dataset: which images, with which scores."""

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
    "KonIQ",
    "Mix",
]
