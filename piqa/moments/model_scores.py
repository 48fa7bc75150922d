"""The scores that a model gives the images of a folder, kept beside the table of picks as those of `piqa predict`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from piqa.errors import InputError
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.preparation.image_file import Pixels
from piqa.scoring.devices import ScoringDevices
from piqa.scoring.options import ModelOptions
from piqa.scoring.precision import tell_precision
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.score_output import ScoreOutput
from piqa.scoring.scorer import Row, Scorer
from piqa.scoring.stated_std import STD
from piqa.system.device import core_count
from piqa.system.progress import told_if_slow
from piqa.weights.licences import licence_of
from piqa.weights.model_file import find_model


@dataclass(frozen=True)
class ModelScores:
    """What a model says of images.

    Attributes:
        scores: By file.
        faults: Why a file has none.
        passing: How many could not be read because of the machine.
        stds: Standard deviations of the scores, by file, where the model states them.
    """

    scores: dict[str, float]
    faults: dict[str, str]
    passing: int
    stds: dict[str, float] = field(default_factory=dict)


class LoadedModel:
    """A model that is ready to score.

    Args:
        options: Which one, and how.

    Attributes:
        preference: How a difference of its scores becomes a probability; None where its card does not say.
        uncertainty: What its card says of the errors of its scores; None where it says nothing.
        licence: What is said of the use of its weights; None where nothing is.

    Raises:
        InputError: If it cannot be loaded, or its card holds no preference that can be read.
    """

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._devices = ScoringDevices(options.device, 1, 1, options.batch_size, options.workers)
        with told_if_slow("loading the model"):
            self._scorer = Scorer.load(
                options.ckpt_path,
                liqe=options.liqe,
                device=self._devices.loading_device,
                precision=options.precision,
                try_turns=True,
                trust=options.trust,
            )
        tell_precision(self._scorer.card, options.precision, options.ckpt_path)
        self.preference = Preference.from_dict(self._scorer.card.preference)
        self.uncertainty = ScoreUncertainty.from_dict(self._scorer.card.uncertainty)
        self.licence = licence_of(self._scorer.card)
        self.settings = self._scorer.settings(find_model(options.ckpt_path)) | {"crops": options.test_crops}

    def score(self, files: Sequence[str], output: ScoreOutput) -> ModelScores:
        """Score the images that have no score yet, and return all; errors as of `piqa predict`."""
        parts = ScoreParts(output, self._scorer.columns, self.settings)
        with told_if_slow("looking up what is scored already"):
            left = parts.left(files)
        if done := len(files) - len(left):
            print(f"going on after {done} images that were scored before")
        self._devices.score(self._scorer, left, len(files), parts, self._options.test_crops)
        kept, scores, faults, stds = parts.kept(files), {}, {}, {}
        for file in files:
            row = kept[file]
            if row is not None and row["error"] is None and isinstance(row["score"], float | int):
                scores[file] = float(row["score"])
                if isinstance(row.get(STD), float | int):
                    stds[file] = float(row[STD])
            else:
                faults[file] = str((row or {}).get("error") or "it has no score")
        return ModelScores(scores, faults, kept.passing, stds)

    def rows(self, images: Iterable[Pixels]) -> Iterator[Row]:
        """Yield the row of each image in memory, in order; they are taken a few batches ahead.

        Nothing of them is kept on the disk.
        """
        options = self._options
        batches = self._scorer.batches(
            iter(images),
            test_crops=options.test_crops,
            batch_size=options.batch_size or 4,
            workers=core_count() // 2 if options.workers is None else options.workers,
        )
        with closing(batches):
            for batch in batches:
                yield from self._scorer.rows(batch)

    @property
    def looks_for_faces(self) -> bool:
        """Whether faces are looked for."""
        return self._scorer.preparation.face_rule != "none"


def model_name(ckpt_path: str) -> str:
    """Return what a model is called: its file, or the folder of its run."""
    path = Path(ckpt_path)
    return path.parent.name if path.stem == "model" and path.parent.name else path.name


def require_preference(model: LoadedModel, ckpt_path: str) -> Preference:
    """Return a model's preference; InputError, with what makes it, where its card holds none."""
    if model.preference is None:
        raise InputError(f"the card of {ckpt_path} does not say how sure its scores are; {how_to_fit(ckpt_path)}")
    return model.preference


def how_to_fit(model: str) -> str:
    """Return what makes the probabilities of a model known; the model by its path, or by its name on a page."""
    return f"`piqa evaluate --ckpt_path {quote(model)}` fits that, where the model is a run of piqa's"
