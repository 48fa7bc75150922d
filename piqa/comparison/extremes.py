"""The scenes that speak most against A, and most for it: both images side by side, and what tells them apart."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from piqa.comparison.pair import PairResult, SceneResult
from piqa.comparison.shots import Scenes, Shot
from piqa.errors import InputError
from piqa.explanation.difference import compare_factors, difference_lines
from piqa.factors.measure import FactorMeasurer, PortraitFactors
from piqa.web.text import printable

SIDE, QUALITY = 900, 80  # long side in pixels of an image on the page: about 120 kB


@dataclass(frozen=True)
class Extreme:
    """A scene that speaks for or against A.

    Attributes:
        result: What it says.
        a, b: The shots in the middle of each device's repeats.
        images: Both, as the page's viewer takes them; empty where the files are not there.
        lines: What tells them apart, the most telling first.
    """

    result: SceneResult
    a: Shot
    b: Shot
    images: Sequence[dict[str, Any]] = ()
    lines: Sequence[str] = field(default_factory=list)


class ExtremeScenes:
    """Finds, measures and shows such scenes, with one face detector; an image is measured once.

    Args:
        scenes: All scores.
        count: How many for, and how many against A.
    """

    def __init__(self, scenes: Scenes, count: int) -> None:
        self._scenes, self._count = scenes, count
        self._measure: FactorMeasurer | None = None
        self._measured: dict[str, PortraitFactors | None] = {}

    def of(self, pair: PairResult, names: tuple[str, str]) -> tuple[list[Extreme], list[Extreme]]:
        """Return the scenes that A loses most, the worst first, and those that it wins most, the best first.

        Args:
            pair: The comparison of two devices.
            names: What its A and its B are called.
        """
        ordered = sorted(pair.scenes, key=lambda one: one.difference)
        lost = [one for one in ordered if one.difference < 0][: self._count]
        won = [one for one in reversed(ordered) if one.difference > 0][: self._count]
        return [self._shown(one, pair, names) for one in lost], [self._shown(one, pair, names) for one in won]

    def _shown(self, result: SceneResult, pair: PairResult, names: tuple[str, str]) -> Extreme:
        a, b = (self._scenes.typical(result.scene, device) for device in (pair.a, pair.b))
        found_a, found_b = self._factors(a), self._factors(b)
        if found_a is None or found_b is None:
            return Extreme(result, a, b)
        lines = difference_lines(*names, compare_factors(found_a, found_b), most=4, called=names)[2:]
        images = [_image(names[0], a, found_a), _image(names[1], b, found_b)]
        return Extreme(result, a, b, images, [line.strip() for line in lines])

    def _factors(self, shot: Shot) -> PortraitFactors | None:
        """Return what is measured of a shot; None where its file is not there or cannot be measured."""
        if not shot.file or not Path(shot.file).is_file():
            return None
        if shot.file not in self._measured:
            self._measure = self._measure or FactorMeasurer()
            try:
                self._measured[shot.file] = self._measure(shot.file)
            except (InputError, MemoryError):
                self._measured[shot.file] = None
        return self._measured[shot.file]


def _image(device: str, shot: Shot, found: PortraitFactors) -> dict[str, Any]:
    name = printable(shot.image)
    return {
        "src": _data_uri(found.copy(SIDE)),
        "alt": f"{device}: {name}",
        "title": f"{device}: {name}",
        "width": found.width,
        "height": found.height,
        "box": None if found.face_box is None else [round(float(edge), 1) for edge in found.face_box],
    }


def _data_uri(image: Image.Image) -> str:
    """Return an image as a data URI, without metadata."""
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
