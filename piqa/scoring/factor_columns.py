"""The factors of images that are scored: measured where these are prepared, as columns beside their scores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from PIL import Image

from piqa.errors import InputError
from piqa.factors.families import FACTORS, VERSION
from piqa.factors.measure import PREPARATION, factors_of
from piqa.preparation.faces import Face, Found
from piqa.preparation.file_facts import FileFacts
from piqa.preparation.portrait import Portrait, Preparation, Preparer
from piqa.preparation.runtime_faces import RuntimeFaces

FAULT = "factors_error"  # the column that says why an image could not be measured
FACTOR_COLUMNS = [*FACTORS, FAULT]


def factor_settings() -> dict[str, object]:
    """Return what the values of factors depend on, apart from images and the preparation."""
    return {"version": VERSION, "names": list(FACTORS)}


@dataclass(frozen=True)
class MeasuredFactors:
    """What was measured of one image.

    Attributes:
        values: By factor; None where it cannot be measured, as of a face where there is none.
        fault: Why nothing could be measured; None otherwise.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    fault: str | None = None

    def cells(self) -> dict[str, float | str | None]:
        """Return the image's cells, by column."""
        return {**dict.fromkeys(FACTOR_COLUMNS), **self.values, FAULT: self.fault}


class PortraitMeasurer:
    """Measures images whose portraits are prepared already, with the faces that were found then.

    Args:
        preparation: How portraits are prepared. Where it looks for no faces, or its detector knows no points of them,
            faces are found for the factors alone.
        faces: MTCNN's networks where a runtime finds the faces.
    """

    def __init__(self, preparation: Preparation, faces: RuntimeFaces | None = None) -> None:
        self._looks = preparation.face_rule != "none"
        self._settings = replace(PREPARATION, try_turns=preparation.try_turns)
        self._faces = faces
        self._finder: Preparer | None = None

    def __call__(self, image: Image.Image, portrait: Portrait, file: FileFacts | None, name: str) -> MeasuredFactors:
        """Measure an upright image in sRGB; whatever fails costs its factors alone, never its score."""
        try:
            return MeasuredFactors(factors_of(image, self._found(image, portrait), file, name).values)
        except InputError as error:
            return MeasuredFactors(fault=str(error))
        except Exception as error:
            return MeasuredFactors(fault=f"{name} could not be measured ({type(error).__name__}: {error})")

    def _found(self, image: Image.Image, portrait: Portrait) -> Found:
        if self._looks and portrait.face_box is None:
            return Found(None, 0, 0)
        if portrait.face_box is not None and portrait.face_points is not None:
            face = Face(portrait.face_box, 1.0, portrait.face_points)
            return Found(face, portrait.turned, portrait.other_faces)
        if self._finder is None:
            self._finder = Preparer(self._settings, faces=self._faces)
        return self._finder.find_face(image)
