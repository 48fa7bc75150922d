"""The histogram of an image, as a page shows it."""

from __future__ import annotations

import numpy as np

from piqa.factors.measured_image import LINEAR, MeasuredImage

BINS = 64


def histogram(image: MeasuredImage) -> dict[str, tuple[int, ...]]:
    """Return the pixels in 64 bins of `red`, `green`, `blue` and `luminance`, from dark to light, as encoded values.

    Luminance is that of linear light, encoded again, so that a grey pixel lies in the same bin of all four.
    """
    counts = image.counts.reshape(3, BINS, -1).sum(axis=2)
    edges = LINEAR[:: len(LINEAR) // BINS]
    in_bins, _ = np.histogram(image.luminance, bins=np.append(edges - 1e-5, 2))
    channels = {name: tuple(counts[at].tolist()) for at, name in enumerate(("red", "green", "blue"))}
    return channels | {"luminance": tuple(in_bins.tolist())}
