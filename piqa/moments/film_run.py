"""One run of `piqa pick` on a film: its frames are looked at while it is decoded, and only the picks are written."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from piqa.errors import InputError
from piqa.factors.measure import FactorMeasurer
from piqa.moments.frames import SHORT_SIDE, Frame, read_frames, write_frames
from piqa.moments.links import Placed, place_picks
from piqa.moments.looks import Looks
from piqa.moments.measuring import Measured, measured_from, thumbnail
from piqa.moments.moment import Shot
from piqa.moments.pick_run import Names, PickRun
from piqa.preparation.image_file import Pixels
from piqa.scoring.stated_std import STD

if TYPE_CHECKING:
    from piqa.scoring.options import ModelOptions
    from piqa.scoring.scorer import Row

FRAMES = "frames"  # the folder of the picks, in that of the results
NOT_MEASURED = "Of the frames of a film a model gives the scores alone: no factor is measured, and few reasons are told"


class FilmRun(PickRun):
    """Picks the best frames of a film.

    One frame is in memory at a time, but for those that a model is about to see. Nothing is kept of an interrupted run.

    Args:
        film: The film.
        every: Seconds from one frame to the next.
        out: The folder of the results, claimed before.
        model: The model that ranks; None to rank by factors, which take about a second a frame.
        needs_probability: Whether a model must know probabilities.

    Raises:
        InputError: As `PickRun`.
    """

    preview_size = 0  # frames that are no picks are nowhere

    def __init__(
        self, film: str, every: float, out: Path, model: ModelOptions | None, needs_probability: bool = False
    ) -> None:
        names = Names(str, lambda text, file: text)
        super().__init__([], out, names, model, needs_probability)
        self.film, self.every = film, every
        self.looks = Looks()
        self._found: list[Shot] = []
        self._sizes: list[tuple[int, int]] = []
        self._measured: dict[str, Measured] = {}
        self._thumbnails: dict[str, bytes] = {}

    def measure(self, workers: int | None) -> None:
        """Look at the frames, and let the model score them."""
        side = None if self._model is None else SHORT_SIDE  # factors depend on the size
        frames = read_frames(self.film, self.every, short_side=side, tell=_tell)
        if self._model is None:
            measure = FactorMeasurer()
            for pixels in self._seen(frames):
                self._measured[self._found[-1].file] = self._by_factors(measure, pixels)
        else:
            from piqa.moments.model_scores import ModelScores

            scores, faults, stds = {}, {}, {}
            for at, row in enumerate(self._model.rows(self._seen(frames))):
                file = self._found[at].file
                self._measured[file] = self._by_model(row, self._sizes[at])
                if row["error"] is None and isinstance(row["score"], float | int):
                    scores[file] = float(row["score"])
                    if isinstance(std := row.get(STD), float | int):
                        stds[file] = float(std)
                else:
                    faults[file] = str(row["error"] or "it has no score")
            self._scores = ModelScores(scores, faults, 0, stds)
        self.shots = self._found
        self.files = [shot.file for shot in self._found]

    def _seen(self, frames: Iterator[Frame]) -> Iterator[Pixels]:
        """Yield the pixels of each frame, of which only the look and a small copy stay."""
        for frame in frames:
            image = Image.fromarray(frame.pixels)
            self._found.append(frame.shot)
            self._sizes.append(image.size)
            self.looks.add(frame.name, image)
            self._thumbnails[frame.name] = thumbnail(image)
            yield frame.pixels

    @staticmethod
    def _by_factors(measure: FactorMeasurer, pixels: Pixels) -> Measured:
        try:
            return measured_from(measure(pixels))
        except InputError as error:
            return Measured(error=str(error))

    def _by_model(self, row: Row, size: tuple[int, int]) -> Measured:
        box = [row[f"face_{edge}"] for edge in ("x1", "y1", "x2", "y2")]
        known = [float(edge) for edge in box if isinstance(edge, float | int)]
        looked = self._model is not None and self._model.looks_for_faces
        return Measured(None, *size, known if len(known) == 4 else None, looked=looked)

    def measured(self, file: str) -> Measured:
        """Return what was measured of a frame."""
        return self._measured[file]

    def thumbnail(self, file: str) -> bytes:
        """Return a frame as a small JPEG."""
        return self._thumbnails[file]

    @property
    def passing(self) -> int:
        """None: the frames come from memory."""
        return 0

    @property
    def notes(self) -> list[str]:
        """As of images, and that no factors were measured."""
        more = [] if self._model is None else [NOT_MEASURED]
        return [*super().notes, f"Frames of {Path(self.film).name}, one each {self.every:g} s", *more]

    def write_picks(self) -> Placed:
        """Write the frames that are picked as PNG, and take back those of an earlier run."""
        seconds = [
            shot.shot.seconds
            for moment in self.picked
            for shot in moment.ranked
            if shot.pick and shot.shot.seconds is not None
        ]
        with tempfile.TemporaryDirectory(prefix=".frames-", dir=self.out) as folder:
            written = write_frames(self.film, seconds, Path(folder))
            return place_picks([str(file) for file in written], self.out / FRAMES, copy=True)

    def link(self, folder: str, copy: bool) -> Placed:
        """Put links to the picked frames, or copies, into a folder."""
        picks = [shot.shot.file for moment in self.picked for shot in moment.ranked if shot.pick]
        return place_picks([str(self.out / FRAMES / name) for name in picks], folder, copy)


def _tell(line: str) -> None:
    print(f"piqa: warning: {line}", file=sys.stderr)
