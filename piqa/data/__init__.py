"""Tables of scored portraits, and the way from their rows to batches."""

from piqa.data.ava import AVA
from piqa.data.bid import BID
from piqa.data.clive import CLIVE
from piqa.data.csiq import CSIQ
from piqa.data.csv_table import CSVTable
from piqa.data.flickr_aes import FlickrAES
from piqa.data.gfiqa import GFIQA
from piqa.data.kadid import KADID
from piqa.data.koniq import KonIQ
from piqa.data.live import LIVE
from piqa.data.lsvq import LSVQ
from piqa.data.mix import Mix
from piqa.data.piq23 import PIQ23
from piqa.data.tad66k import TAD66K

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
