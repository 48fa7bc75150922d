"""Predictions of several models, measured on the same images and compared."""
