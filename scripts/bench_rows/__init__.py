"""The rows of `scripts/bench.py`, by subject."""
