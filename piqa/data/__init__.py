"""Tables of scored portraits, and the way from their rows to batches."""

from piqa.data.csv_table import CSVTable
from piqa.data.piq23 import PIQ23

__all__ = ["PIQ23", "CSVTable"]
