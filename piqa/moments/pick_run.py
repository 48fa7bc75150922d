"""One run of `piqa pick`: what is measured and scored, ranked and chosen, and what is written of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from piqa.errors import InputError
from piqa.evaluation.statistics.pair_probability import PairProbability
from piqa.moments.choosing import Choosing, choose
from piqa.moments.links import Placed, picked_files, place_picks
from piqa.moments.measuring import COLUMNS, Measured, measure_all, settings, thumbnail_of
from piqa.moments.moment import Moment, Shot
from piqa.moments.pick import PickedMoment
from piqa.moments.picks_table import Counts, counts_of, write_rows
from piqa.moments.ranking import Ranker
from piqa.moments.sheet import write_sheet
from piqa.moments.xmp import Marked, MarkOptions, write_marks
from piqa.scoring.resumable_csv import KeptRows, ScoreParts
from piqa.scoring.score_output import ScoreOutput
from piqa.system.files import replacing
from piqa.system.ownership import write_marked
from piqa.system.progress import progress, told_if_slow

if TYPE_CHECKING:
    from piqa.moments.choices import Agreed
    from piqa.moments.model_scores import ModelScores
    from piqa.scoring.options import ModelOptions

WHAT = "picks"
TABLE = "picks.csv"
NO_MODEL = "There is no model: measured factors alone rank the shots, and no probability is known"


@dataclass(frozen=True)
class Names:
    """What files are called in all that is written, which is passed on.

    Attributes:
        name_of: Returns the name of a file, without the places of this machine.
        message_of: Returns a message on a file without such places.
    """

    name_of: Callable[[str], str]
    message_of: Callable[[str, str], str]


class PickRun:
    """Measures, ranks and writes.

    Args:
        shots: All shots.
        out: The folder of the results, claimed before.
        names: What files are called.
        model: The model that ranks, loaded for this; None to rank by factors.
        needs_probability: Whether a model must know probabilities.

    Raises:
        InputError: If what is written there is not piqa's, or the model cannot be loaded or knows no probabilities.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        out: Path,
        names: Names,
        model: ModelOptions | None = None,
        needs_probability: bool = False,
    ) -> None:
        self.shots, self.out, self.names = shots, out, names
        self.files = [shot.file for shot in shots]
        self._output = ScoreOutput(out / TABLE)
        self._output.check()
        self._model = None
        self._model_options = model
        if model is not None:
            from piqa.moments.model_scores import LoadedModel, require_preference  # networks are slow to import

            self._model = LoadedModel(model)
            if needs_probability:
                require_preference(self._model, model.ckpt_path)
        self._parts = ScoreParts(self._output, COLUMNS, settings())
        self._scores: ModelScores | None = None
        self.picked: list[PickedMoment] = []

    preview_size = 1600  # pixels; images that the sheet shows side by side

    @property
    def model_name(self) -> str:
        """What the model is called; empty without one."""
        if self._model_options is None:
            return ""
        from piqa.moments.model_scores import model_name

        return model_name(self._model_options.ckpt_path)

    def measure(self, workers: int | None) -> None:
        """Measure the images that are new or changed, and let the model score them."""
        with told_if_slow("looking up what is measured already"):
            left = self._parts.left(self.files)
        total, done = len(self.files), len(self.files) - len(left)
        if done:
            print(f"going on after {done} images that were measured before")
        with progress(total, done, task="measuring") as advance:
            measure_all(left, self._parts, advance, workers)
        if self._model is not None:
            self._scores = self._model.score(self.files, self._output)

    @cached_property
    def _kept(self) -> KeptRows:
        return self._parts.kept(self.files)

    def measured(self, file: str) -> Measured:
        """Return what was measured of an image."""
        return Measured.from_row(self._kept[file])

    def thumbnail(self, file: str) -> bytes:
        """Return an image as a small JPEG; empty where there is none."""
        return thumbnail_of(self._kept[file])

    def least_probability(self, error_rate: float) -> float:
        """Return the probability that the first must exceed to be told from the second with this rate of errors.

        Raises:
            InputError: If the model's card does not say, or its scenes are too few for the rate.
        """
        assert self._model is not None
        pair = PairProbability(self._model.preference, self._model.uncertainty)
        return pair.least(error_rate, first_two=True)

    def choose(self, moments: Sequence[Moment], choosing: Choosing, too_close: float) -> None:
        """Rank the shots of each moment, and choose the picks."""
        scores, model = self._scores, self._model
        ranker = Ranker(
            self.measured,
            None if scores is None else scores.scores,
            None if scores is None else scores.faults,
            None if model is None else model.preference,
            too_close,
            None if scores is None else scores.stds,
            None if model is None else model.uncertainty,
        )
        with progress(len(moments), task="ranking", unit="moments") as advance:
            ranked = []
            for moment in moments:
                ranked.append(self._without_places(ranker.rank(moment)))
                advance(1)
        self.picked = choose(ranked, choosing, by_model=scores is not None)

    def _without_places(self, picked: PickedMoment) -> PickedMoment:
        shots = (
            shot if shot.score is not None else replace(shot, reason=self.names.message_of(shot.reason, shot.shot.file))
            for shot in picked.ranked
        )
        return replace(picked, ranked=tuple(shots))

    @property
    def notes(self) -> list[str]:
        """What everybody must know who looks at the picks: a sentence each."""
        if self._model is None or self._model_options is None:
            return [NO_MODEL]
        notes = [f"Ranked by the scores of the model {self.model_name}"]
        if self._model.preference is None:
            from piqa.moments.model_scores import how_to_fit

            how = how_to_fit(self.model_name)
            notes.append(f"No probability is known, as the model's card has none: {how}")
        elif self._model.preference.source:
            notes.append(f"Probabilities were fitted on {self._model.preference.source}; other images may differ")
        return notes

    def write(self, about: Mapping[str, object], agreed: Agreed | None, title: str) -> Path:
        """Write the table, the summary and the contact sheet; return the sheet's path."""
        self._output.check()
        with replacing(self._output.table) as temporary:
            with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                write_rows(file, self.picked, self.names.name_of)
            self._output.about_to_write(temporary)
        preference = None if self._model is None else self._model.preference
        uncertainty = None if self._model is None else self._model.uncertainty
        summary = {
            **asdict(self.counts),
            "notes": self.notes,
            "settings": dict(about),
            "model": None if self._model is None else self._model.settings["model"],
            "model_name": self.model_name or None,
            "licence": None if self._model is None else self._model.licence,
            "preference": None if preference is None else preference.to_dict(),
            "uncertainty": None if uncertainty is None else uncertainty.to_dict(),
            "choices": None if agreed is None else agreed.to_dict(),
        }
        write_marked(summary, self._output.summary, WHAT, self._output.table)
        return write_sheet(
            self._with_thumbnails(),
            self.out,
            title=title,
            notes=self.notes,
            name_of=self.names.name_of,
            preview_size=self.preview_size,
        )

    def _with_thumbnails(self) -> Iterator[PickedMoment]:
        for moment in self.picked:
            shots = (replace(shot, thumbnail=self.thumbnail(shot.shot.file)) for shot in moment.ranked)
            yield replace(moment, ranked=tuple(shots))

    def mark(self, options: MarkOptions) -> Marked:
        """Write marks into sidecars."""
        shots = sum(len(moment.ranked) for moment in self.picked)
        with progress(shots, task="marking", unit="shots") as advance:
            return write_marks(self.picked, options, advance)

    def link(self, folder: str, copy: bool) -> Placed:
        """Put links to the picks, or copies, into a folder."""
        return place_picks(picked_files(self.picked), folder, copy)

    def compare(self, choices: Mapping[str, bool], source: str) -> Agreed:
        """Compare a person's choices with the picks."""
        from piqa.moments.choices import compare_choices

        return compare_choices(self.picked, choices, self.names.name_of, source)

    @cached_property
    def counts(self) -> Counts:
        """What the folder holds; after `choose`."""
        return counts_of(self.picked)

    @property
    def passing(self) -> int:
        """How many images could not be read because of the machine."""
        return self._kept.passing if self._scores is None else self._scores.passing


def check_probability(
    probability: float | None, too_close: float, with_model: bool, error_rate: float | None = None
) -> None:
    """Check what is asked of probabilities; InputError where it is not possible."""
    if not 0.5 <= too_close < 1:
        raise InputError(f"`too_close` is {too_close:g}; a probability from 0.5 to below 1 is needed")
    if probability is not None and not with_model:
        raise InputError("`probability` needs a model, as factors alone give no probabilities; name one by `ckpt_path`")
    if error_rate is not None and not with_model:
        raise InputError("`error_rate` needs a model, as factors alone keep none; name one by `ckpt_path`")
