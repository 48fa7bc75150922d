"""Tables of scored portraits, and the way from their rows to batches."""

from piqa.data.csv_table import CSVTable
from piqa.data.gfiqa import GFIQA
from piqa.data.lsvq import LSVQ
from piqa.data.piq23 import PIQ23

__all__ = ["GFIQA", "LSVQ", "PIQ23", "CSVTable"]
