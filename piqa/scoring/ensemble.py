"""Scores of several models of one kind, trained with other seeds: their mean, and how far they disagree.

Each ranking model has a scale and a zero of its own. The cards of runs that `piqa evaluate` has seen tell both: how
many units of the measured score one unit of the model's is (`gain`), and the mean score of the evaluated images
(`centre`).
That holds for models that were evaluated on the same images only. All scores are put on the scale of the first model,

    f'_m = centre_1 + (f_m - centre_m) gain_m / gain_1

and likewise the standard deviations s_m that they state, after calibration. Then the score is the mean of f'_m, and its
variance the mean of s'_m^2 plus the variance of f'_m over the models.

Reference: Lakshminarayanan, Pritzel and Blundell, Simple and Scalable Predictive Uncertainty Estimation Using Deep
Ensembles, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piqa.data.cuts import View
from piqa.errors import InputError
from piqa.evaluation.measures import Array
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.preparation.portrait import Preparation
from piqa.preparation.runtime_faces import RuntimeFaces
from piqa.scoring.engine import Device, ScoringEngine, Seen, Values
from piqa.scoring.scorer import Scorer
from piqa.scoring.stated_std import MODEL_STD, STD
from piqa.weights.model_card import ModelCard
from piqa.weights.model_places import find_model


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes:
        engine: Runs it.
        slope, shift: Make of its score one on the scale of the first.
        std_factor: Makes of what it states a standard deviation in the unit of its own score.
        settings: What its rows would depend on.
    """

    engine: ScoringEngine
    slope: float
    shift: float
    std_factor: float
    settings: Mapping[str, object]


def load_ensemble(paths: Sequence[str | Path], load: Callable[..., Scorer] = Scorer.load, **how: Any) -> Scorer:
    """Load several models as one scorer, which answers `score`, `score_std` and `model_std`.

    `model_std` is the standard deviation between the models. Their other outputs have no common scale and are left out.

    Args:
        paths: The models, two or more; the scores are on the scale of the first.
        load: Loads one of them.
        how: What it is given besides the path, as of `Scorer.load`.

    Raises:
        InputError: If a model cannot be loaded, its card does not tell its scale, or two models are prepared for
            otherwise, were evaluated on other images, or are the same one; or if some state `score_std` and others not.
    """
    if len(paths) < 2:
        raise InputError("an ensemble needs two models or more, such as runs of the same config with other seeds")
    scorers = [load(path, **how) for path in paths]
    scales = [_scale_of(scorer.card, path) for scorer, path in zip(scorers, paths, strict=True)]
    settings = [scorer.settings(find_model(path)) for scorer, path in zip(scorers, paths, strict=True)]
    _check_alike(scorers, paths)
    _check_scales(scales, paths)
    if len({str(one["model"]) for one in settings}) < len(paths):
        raise InputError("an ensemble has a model twice; name runs with other seeds")
    members = []
    for scorer, scale, own in zip(scorers, scales, settings, strict=True):
        slope = scale.gain / scales[0].gain
        shift = scales[0].centre - slope * scale.centre
        members.append(Member(scorer.engine, slope, shift, scorer.std_factor, own))
    return scorers[0].with_engine(EnsembleEngine(members))


def combined(scores: Array, stds: Array) -> tuple[Array, Array, Array]:
    """Return mean score, its standard deviation, and that between the models, each of shape (images,).

    Args:
        scores: On one scale, shape (models, images).
        stds: What the models state, likewise; 0 where they state nothing.

    Examples:
        >>> [one.tolist() for one in combined(np.array([[1.0], [3.0]]), np.array([[0.0], [0.0]]))]
        [[2.0], [1.0], [1.0]]
    """
    between = scores.var(axis=0)
    return scores.mean(axis=0), np.sqrt((stds**2).mean(axis=0) + between), np.sqrt(between)


class EnsembleEngine:
    """Runs several networks on the same images, one after another; see `piqa.scoring.engine.ScoringEngine`."""

    classes: Mapping[str, Sequence[str]] = {}

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._first = members[0].engine

    @property
    def device(self) -> Device:
        """Where they run."""
        return self._first.device

    @property
    def threads(self) -> int | None:
        """How many they compute with on a CPU; None for as many as torch's."""
        return self._first.threads

    @property
    def inputs(self) -> Sequence[str]:
        """Names of what each of them is given of an image."""
        return self._first.inputs

    @property
    def faces(self) -> RuntimeFaces | None:
        """MTCNN's networks where a runtime finds the faces."""
        return self._first.faces

    def to(self, device: object) -> None:
        """Move all networks to a device; InputError if there is none, or one is an exported model."""
        for member in self.members:
            move = getattr(member.engine, "to", None)
            if move is None:
                raise InputError("an exported model stays on its device; name the models that were trained")
            move(device)

    def card(self, preparation: Preparation, view: View, crop_size: int) -> ModelCard:
        """Return the card of the first model."""
        return self._first.card(preparation, view, crop_size)

    def output_names(self, crop_size: int, view: View) -> list[str]:
        """Return the names of the outputs."""
        return ["score", STD, MODEL_STD]

    def values(self, seen: Seen, windows: NDArray[Any] | None, window_counts: Sequence[int]) -> dict[str, Values]:
        """Return the outputs on images."""
        scores, stds = [], []
        for one in self.members:
            found = one.engine.values(seen, windows, window_counts)
            score = np.asarray(found["score"], np.float64)
            scores.append(one.shift + one.slope * score)
            stds.append(one.slope * one.std_factor * np.asarray(found.get(STD, np.zeros_like(score)), np.float64))
        score, std, between = combined(np.stack(scores), np.stack(stds))
        return {"score": score.tolist(), STD: std.tolist(), MODEL_STD: between.tolist()}

    def enough_memory(self, images: int) -> AbstractContextManager[None]:
        """Turn an error of too little memory in a block into an InputError."""
        return self._first.enough_memory(images)

    def settings(self, card: ModelCard) -> dict[str, object]:
        """Return what the outputs depend on: every model, and how it is put on the scale of the first."""
        scales = [[one.slope, one.shift, one.std_factor] for one in self.members]
        return {"ensemble": [dict(one.settings) for one in self.members], "scales": scales}


def _scale_of(card: ModelCard, path: str | Path) -> ScoreUncertainty:
    found = ScoreUncertainty.from_dict(card.uncertainty)
    if found is None:
        raise InputError(
            f"the card of {path} does not tell the scale of its scores, which an ensemble needs; `piqa evaluate "
            f"--ckpt_path {path}` finds it, where the model is a run of piqa's"
        )
    return found


def _check_alike(scorers: Sequence[Scorer], paths: Sequence[str | Path]) -> None:
    """Check that all networks see the same of an image."""

    def seen(scorer: Scorer) -> tuple[object, ...]:
        plain = replace(scorer.preparation, liqe=None if scorer.preparation.liqe is None else "")
        return plain, scorer.view, scorer.crop_size, frozenset(scorer.engine.inputs), scorer.card.liqe_digest

    for scorer, path in zip(scorers[1:], paths[1:], strict=True):
        if seen(scorer) != seen(scorers[0]):
            raise InputError(
                f"{path} and {paths[0]} were trained with other preparations, views, crops or inputs; an ensemble "
                "needs models of one kind, such as runs of the same config with other seeds"
            )
        if (STD in scorer.numbers) != (STD in scorers[0].numbers):
            raise InputError(
                f"of {path} and {paths[0]} one states `{STD}` and the other does not; an ensemble needs models of one "
                "kind"
            )


def _check_scales(scales: Sequence[ScoreUncertainty], paths: Sequence[str | Path]) -> None:
    """Check that the scales were found on the same images: else means and units of their scores are not the same."""

    def found_on(scale: ScoreUncertainty) -> tuple[object, ...]:
        return scale.source, scale.scenes, scale.images

    for scale, path in zip(scales[1:], paths[1:], strict=True):
        if found_on(scale) != found_on(scales[0]):
            own, first = (f"{one.images} images of {one.source or 'an unknown table'}" for one in (scale, scales[0]))
            raise InputError(
                f"the scale of {path} was found on {own}, that of {paths[0]} on {first}; let `piqa evaluate` see both "
                "on the same images"
            )
