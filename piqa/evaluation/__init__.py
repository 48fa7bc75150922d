"""Metrics, tables and plots of a table of predictions, wherever it came from."""
