"""What learned factor models say of the images of a report: scores, classes and maps, beside what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from piqa.errors import InputError
from piqa.factors.factor import Factor, Family, Reading
from piqa.factors.maps import ImageMap
from piqa.factors.percentiles import percentiles
from piqa.report.facts import Facts, MapPicture, map_picture
from piqa.report.names import without_paths
from piqa.report.parts import Parts, map_from
from piqa.web.text import number

if TYPE_CHECKING:
    from piqa.report.portraits import Portraits
    from piqa.scoring.image_batches import ImageBatch
    from piqa.scoring.scorer import Scorer  # networks are slow to import
    from piqa.system.progress import Advance

FAMILIES: tuple[Family, ...] = get_args(Family)
FORMAT = 1  # to be raised where what is kept changes under the same settings
BATCH = 4  # images in one pass
MOST_NUMBERS = 4  # further outputs that are told in words; those of more are probabilities of classes
STOPS = 4.0  # at the ends of the colours of a map of exposure
EXPOSURE_LEGEND = (
    (-STOPS, "too dark by 4 stops or more"),
    (-STOPS / 2, "too dark by 2 stops"),
    (0.0, "as it should be"),
    (STOPS / 2, "too bright by 2 stops"),
    (STOPS, "too bright by 4 stops or more"),
)


@dataclass(frozen=True)
class LearnedSaid:
    """What a factor model says of an image.

    Attributes:
        score: Higher is better.
        numbers: Its other outputs that are numbers, as far as they are known.
        classes: Names of classes, by output.
        maps: What it shows over the image.
    """

    score: float
    numbers: dict[str, float] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    maps: list[MapPicture] = field(default_factory=list)


@dataclass(frozen=True)
class LearnedReading:
    """The same, with its place among the other images of the scene."""

    reading: Reading
    classes: dict[str, str]
    maps: list[MapPicture]


def check_families(models: Mapping[str, str]) -> None:
    """Raise an InputError if a learned model is given for no family of factors."""
    for family in models:
        if family not in FAMILIES:
            raise InputError(f"`learned` names {family}, which is no family of factors; choose {', '.join(FAMILIES)}")


class FactorModel:
    """Scores the images of a report by one factor model, and keeps what it says.

    Args:
        family: The family of factors that it stands beside.
        name: What the model is called.
        scorer: The model.
        settings: What its scores depend on, as `Scorer.settings` tells.
        parts: Where all is kept.
        licence: What is said of the use of its weights; None where nothing is.
    """

    def __init__(
        self,
        family: str,
        name: str,
        scorer: Scorer,
        settings: Mapping[str, object],
        parts: Parts,
        licence: str | None = None,
    ) -> None:
        self.family, self.name, self.licence = family, name, licence
        self.outputs = list(scorer.engine.classes)  # that are classes
        self.errors: dict[str, str] = {}  # by file
        self.factor = _factor(family, name)
        self._parts = parts
        self._made_with = {"format": FORMAT, "model": dict(settings)}

    def score_all(self, scorer: Scorer, portraits: Portraits, advance: Advance) -> None:
        """Score all images that were measured and have no current score of this model.

        Raises:
            InputError: If what the model says cannot be written.
        """
        files = [portraits.files[position] for position in portraits.measured()]
        left = [file for file in files if self.said(file) is None]
        advance(len(files) - len(left))
        for batch in scorer.batches(left, batch_size=BATCH):
            maps, failed = _maps_of(scorer, batch), _failed(batch)
            for file, row in zip(batch.files, scorer.rows(batch), strict=True):
                values = None if file in failed else next(maps, None)
                if row["error"] is None:
                    self._keep(file, row, values)
                else:
                    self.errors[file] = without_paths(str(row["error"]), file)
                advance(1)

    def said(self, file: str) -> LearnedSaid | None:
        """Return what the model says of an image; None where it has said nothing."""
        kept = self._parts.said(file, self._kind, self._settings_of(file))
        try:
            return None if kept is None else LearnedSaid(**{**kept, "maps": [map_from(one) for one in kept["maps"]]})
        except (TypeError, KeyError):
            return None

    def _keep(self, file: str, row: Mapping[str, Any], values: NDArray[np.float32] | None) -> None:
        more = {name: value for name, value in row.items() if name not in NOT_OUTPUTS and value is not None}
        numbers = {name: float(value) for name, value in more.items() if isinstance(value, float | int)}
        classes = {name: str(value) for name, value in more.items() if isinstance(value, str)}
        facts = self._parts.facts(file) or Facts(None)
        maps = [] if values is None else [asdict(_map_picture(values, facts, int(row["turned"] or 0)))]
        said = {"score": float(row["score"]), "numbers": numbers, "classes": classes, "maps": maps}
        self._parts.write_said(file, self._kind, said, self._settings_of(file))

    @property
    def _kind(self) -> str:
        return f"learned_{self.family}"

    def _settings_of(self, file: str) -> dict[str, object]:
        facts = self._parts.facts(file)
        return {**self._made_with, "stamp": None if facts is None else facts.stamp}


NOT_OUTPUTS = ("file", "score", "face_found", "face_x1", "face_y1", "face_x2", "face_y2", "turned", "error")


class Learned:
    """What all factor models say of the images of a report, with percentiles inside each scene.

    Args:
        models: The models.
        portraits: The images, scored before.
    """

    def __init__(self, models: Sequence[FactorModel] = (), portraits: Portraits | None = None) -> None:
        self.models = list(models)
        self._places: dict[str, dict[int, tuple[float | None, int, int]]] = {}
        for model in self.models if portraits is not None else []:
            places = self._places.setdefault(model.family, {})
            for members in portraits.scenes.members.values():  # type: ignore[union-attr]
                said = [model.said(portraits.files[position]) for position in members]  # type: ignore[union-attr]
                scores = [None if one is None else one.score for one in said]
                known = sum(score is not None for score in scores)
                found = zip(members, percentiles(scores), scores, strict=True)
                places |= {at: (percentile, known, scores.count(score) - 1) for at, percentile, score in found}

    def readings(self, position: int, file: str) -> dict[str, LearnedReading]:
        """Return what the models say of an image, by family; without those that could say nothing."""
        found = {}
        for model in self.models:
            if (said := model.said(file)) is not None:
                place = self._places.get(model.family, {}).get(position, (None, 0, 0))
                reading = Reading(model.factor, said.score, detail=in_words(said)).among(*place)
                found[model.family] = LearnedReading(reading, said.classes, said.maps)
        return found

    def of_family(self, family: str) -> list[FactorModel]:
        """Return the models that stand beside a family's factors."""
        return [model for model in self.models if model.family == family]


def in_words(said: LearnedSaid) -> str:
    """Return what a model says besides its score.

    Examples:
        >>> in_words(LearnedSaid(-1.3, {"stops": -1.25}, {"depth_of_field": "shallow"}))
        'on the whole 1.2 stops too dark; depth of field: shallow'
    """
    words = []
    for name, value in said.numbers.items() if len(said.numbers) <= MOST_NUMBERS else ():
        if name == "stops":
            words.append(f"on the whole {number(abs(value), 1)} stops too {'bright' if value > 0 else 'dark'}")
        else:
            words.append(f"{name.replace('_', ' ')}: {number(value, 3)}")
    words += [f"{name.replace('_', ' ')}: {value.replace('_', ' ')}" for name, value in said.classes.items()]
    return "; ".join(words)


def _factor(family: str, name: str) -> Factor:
    return Factor(
        f"learned_{family}",
        f"learned {family}",
        family,  # type: ignore[arg-type]  # checked before
        "",
        "up",
        "whole",
        step=1.0,
        say=lambda value: (f"the score of the model {name}", ""),
        digits=3,
        caveat="A model's score, learnt from labels of other images: it may be wrong where an image is unlike those.",
    )


def _failed(batch: ImageBatch) -> set[str]:
    return {file for file, error in zip(batch.files, batch.errors, strict=True) if error is not None}


def _maps_of(scorer: Scorer, batch: ImageBatch) -> Iterator[NDArray[np.float32]]:
    """Yield the exposure map of each image that could be prepared, where the model has one over the whole image."""
    from piqa.scoring.runtime_engine import RuntimeEngine

    if scorer.view != "whole" or isinstance(scorer.engine, RuntimeEngine) or not batch.crops:
        return
    make: Any = getattr(scorer.network, "exposure_map", None)
    if make is None:
        return
    import torch

    for image in batch.crops["whole"]:
        with scorer.inference():
            found = make(torch.from_numpy(image).to(scorer.device))
        yield found[0, 0].float().cpu().numpy()


def _map_picture(values: NDArray[np.float32], facts: Facts, turned: int) -> MapPicture:
    """Return a map of exposure as a picture over the image as the report shows it."""
    upright = np.rot90(values, k=-((facts.turned - turned) // 90))  # the report may turn an image for its face
    shown = ImageMap(
        name="learned_exposure",
        title="learned exposure: by how many stops each place is too dark or too bright",
        unit="stops",
        values=np.ascontiguousarray(upright, dtype=np.float32),
        palette="diverging",
        limits=(-STOPS, STOPS),
        legend=EXPOSURE_LEGEND,
    )
    return map_picture(shown, (facts.width, facts.height))
