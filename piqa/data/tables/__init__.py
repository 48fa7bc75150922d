"""One file per dataset: which images, with which scores."""

from piqa.data.tables.ava import AVA
from piqa.data.tables.bid import BID
from piqa.data.tables.cadb import CADB
from piqa.data.tables.clive import CLIVE
from piqa.data.tables.csiq import CSIQ
from piqa.data.tables.csv_table import CSVTable
from piqa.data.tables.fivek import FiveK
from piqa.data.tables.flickr_aes import FlickrAES
from piqa.data.tables.gfiqa import GFIQA
from piqa.data.tables.kadid import KADID
from piqa.data.tables.koniq import KonIQ
from piqa.data.tables.live import LIVE
from piqa.data.tables.lsvq import LSVQ
from piqa.data.tables.mix import Mix
from piqa.data.tables.pictures import Pictures
from piqa.data.tables.piq23 import PIQ23
from piqa.data.tables.spaq import SPAQ
from piqa.data.tables.tad66k import TAD66K
from piqa.data.tables.tid2013 import TID2013

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
    "KonIQ",
    "Mix",
    "Pictures",
]
