"""What is measured of each image of a folder before the moments are ranked: factors, and a thumbnail.

An image is measured once: what was found is kept beside the table of picks, row by row, for the next run.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from piqa.errors import FileAccessError, InputError
from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS, VERSION
from piqa.factors.measure import PREPARATION, FactorMeasurer, PortraitFactors
from piqa.preparation.portrait import PREPARATION_VERSION
from piqa.scoring.image_batches import NO_STAMP, Stamp, stamp_of
from piqa.scoring.resumable_csv import ScoreParts
from piqa.system.device import core_count
from piqa.system.ownership import new_mark
from piqa.system.progress import Advance
from piqa.system.worker_pool import map_in_workers

COLUMNS = ["file", "error", "width", "height", "face_box", "face_points", "other_faces", "readings", "thumbnail"]
THUMBNAIL_SIDE, THUMBNAIL_QUALITY = 240, 76  # long side in pixels; about 8 kB
FORMAT = 1  # to be raised where a row changes within a version
PER_WORKER = 6  # images that justify starting one more process, which takes seconds
MOST_WORKERS = 16  # half a gigabyte each


@dataclass(frozen=True)
class Measured:
    """What was measured of one image, or why it could not be.

    Attributes:
        error: Why there is nothing else; None where there is.
        width, height: Of the upright image, in pixels.
        face_box: x1, y1, x2, y2 of the face, in these pixels; None without a face.
        face_points: Eyes, nose and corners of the mouth, likewise.
        other_faces: How many other faces were found.
        readings: Value and note of each factor, by name.
        looked: Whether a face was looked for.
    """

    error: str | None = None
    width: int = 0
    height: int = 0
    face_box: list[float] | None = None
    face_points: list[list[float]] | None = None
    other_faces: int = 0
    readings: Mapping[str, Reading] = field(default_factory=dict)
    looked: bool = True

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | None) -> Measured:
        """Read what `Measuring` returned; an image without a row was not measured."""
        if row is None:
            return cls(error="it was not measured")
        if row["error"] is not None:
            return cls(error=str(row["error"]))
        readings = {
            name: Reading(FACTORS[name], None if value is None else float(value), str(note))
            for name, (value, note) in row["readings"].items()
        }
        return cls(None, row["width"], row["height"], row["face_box"], row["face_points"], row["other_faces"], readings)


def settings() -> dict[str, object]:
    """Return all that what is kept depends on, apart from the image."""
    preparation = asdict(PREPARATION) | {"version": PREPARATION_VERSION}
    measures = {"factors": list(FACTORS), "factors_version": VERSION, "thumbnail": [THUMBNAIL_SIDE, THUMBNAIL_QUALITY]}
    return {"format": FORMAT, "version": new_mark("")["version"], **measures, "preparation": preparation}


class Measuring:
    """Measures images one by one; a bad image costs itself alone."""

    def __init__(self) -> None:
        self._measure = FactorMeasurer()

    def __call__(self, file: str) -> tuple[dict[str, Any], Stamp | None]:
        """Return an image's row, and its stamp when it was read: None where the machine refused it."""
        stamp = stamp_of(file)
        row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "file": file}
        try:
            row |= _row_of(self._measure(file))
            return row, stamp or stamp_of(file) or NO_STAMP
        except FileAccessError as error:
            return {**row, "error": str(error)}, None
        except InputError as error:
            return {**row, "error": str(error)}, stamp or NO_STAMP
        # Whatever a hostile image does to a library, the other images are not at fault.
        except Exception as error:
            reason = f"{file} could not be measured ({type(error).__name__}: {error})"
            return {**row, "error": reason}, stamp or NO_STAMP


def measure_all(left: Sequence[str], parts: ScoreParts, advance: Advance, workers: int | None = None) -> None:
    """Measure images, and keep what was found.

    Args:
        left: The images.
        parts: Where it is kept, with the columns `COLUMNS`.
        advance: Told of each image.
        workers: Processes; 0 does it in this one; by default as many as the images are worth.

    Raises:
        InputError: If what was found cannot be written, or a worker is killed.
    """
    if not left:
        return
    if workers is None:
        workers = min(core_count(), len(left) // PER_WORKER, MOST_WORKERS)
    with parts.writing():
        for row, stamp in map_in_workers(Measuring, left, workers):
            parts.append([row], [stamp])
            advance(1)


def thumbnail_of(row: Mapping[str, Any] | None) -> bytes:
    """Return the JPEG in an image's row; empty where there is none."""
    text = (row or {}).get("thumbnail")
    return base64.b64decode(text) if isinstance(text, str) else b""


def measured_from(found: PortraitFactors) -> Measured:
    """Return what was measured of an image in memory."""
    return Measured.from_row({"error": None, **_row_of(found)})


def _row_of(found: PortraitFactors) -> dict[str, Any]:
    return {
        "width": found.width,
        "height": found.height,
        "face_box": None if found.face_box is None else [round(float(edge), 1) for edge in found.face_box],
        "face_points": None if found.face_points is None else [[float(x), float(y)] for x, y in found.face_points],
        "other_faces": found.other_faces,
        "readings": {name: [one.value, one.note] for name, one in found.readings.items()},
        "thumbnail": base64.b64encode(thumbnail(found.copy(THUMBNAIL_SIDE))).decode("ascii"),
    }


def thumbnail(image: Image.Image) -> bytes:
    """Return an image as a small JPEG without metadata."""
    buffer = io.BytesIO()
    image = image.copy()
    image.info.clear()
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    image.save(buffer, format="JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return buffer.getvalue()
