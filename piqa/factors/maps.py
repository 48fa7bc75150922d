"""Maps of an image: a value for every place, with the colours that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from piqa.factors.measured_image import Values

Palette = Literal["sequential", "diverging"]


@dataclass(frozen=True, eq=False)
class ImageMap:
    """A value for every place of an image.

    Attributes:
        name: Such as `exposure`.
        title: What it shows, in words.
        unit: Of the values.
        values: float32, (rows, columns), over the whole upright image, at any resolution; NaN where there is none.
        palette: `sequential` for values of one sign, `diverging` for values about 0.
        limits: Values at the ends of the colours; of a diverging map symmetric about 0.
        legend: What values mean, in words, from the lowest to the highest.
    """

    name: str
    title: str
    unit: str
    values: Values
    palette: Palette
    limits: tuple[float, float]
    legend: tuple[tuple[float, str], ...] = ()
