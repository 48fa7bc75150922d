"""Sides of images that networks take, known without importing them."""

SMALLEST = 32  # px, the stride of CLIP-IQA's network: a smaller image has no feature left to pool
