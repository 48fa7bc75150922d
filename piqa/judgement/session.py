"""What a rater of a study sees next, from the images, all answers so far and the settings; nothing is kept here.

A study in the mode "pairs" asks which of two images of a scene is better, in the mode "ratings" how good one image is.
Answers are tables of `piqa.judgement.answers` or `piqa.judgement.ratings`, in the order in which they were given.
A step is a draw from the seed, the rater and the number of the rater's answers. It may change when others answer
meanwhile, so a caller that shows a step keeps it until it is answered.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from piqa.judgement.answered import Answered, AnswerTable
from piqa.judgement.answers import SIDES
from piqa.judgement.choice import next_pairs
from piqa.judgement.study import KnownPair, KnownRating, StudySettings

Scenes = Mapping[str, Sequence[str]]
Shown = Collection[tuple[str, str, str]]
REPEAT_DISTANCE = 10  # questions at least between a question and its repeat
SPARE = 8  # pairs that are drawn beside the one that is shown, as some are on other raters' screens


@dataclass(frozen=True)
class PairStep:
    """A pair to be judged.

    Attributes:
        scene, image_a, image_b: The pair.
        left: Which of the two is shown on the left, "a" or "b".
        kind: As in the table of answers; a rater sees only whether it is "training".
        answered: The rater's answers so far, without training.
        of: How many there will be, or at most.
        expected: The known answer of "gold" and "training", else "".
        words: Why, to be shown after the answer of a training example.
    """

    scene: str
    image_a: str
    image_b: str
    left: str
    kind: str
    answered: int
    of: int
    expected: str = ""
    words: str = ""


@dataclass(frozen=True)
class RatingStep:
    """An image to be rated; attributes as of `PairStep`, `expected` the known rating of a training example."""

    scene: str
    image: str
    kind: str
    answered: int
    of: int
    expected: float | None = None
    words: str = ""


@dataclass(frozen=True)
class BreakStep:
    """A break is due."""

    answered: int
    of: int


@dataclass(frozen=True)
class EndStep:
    """The rater is done."""

    answered: int
    of: int


Step = PairStep | RatingStep | BreakStep | EndStep


@dataclass(frozen=True)
class Feedback:
    """What a rater is told after a training example: whether the answer is the known one, which that is, and why."""

    right: bool
    expected: str
    words: str


def next_step(
    settings: StudySettings,
    scenes: Scenes,
    answers: pd.DataFrame | Answered,
    rater: str,
    breaks: int = 0,
    shown: Shown = (),
) -> Step:
    """Return what a rater sees next.

    Args:
        settings: Of the study.
        scenes: The images of each scene.
        answers: All answers of all raters, as of `answers_table`, or in a study of ratings `ratings_table`; or what
            keeps them otherwise.
        rater: The rater.
        breaks: How many breaks the rater has ended.
        shown: Pairs (scene, image, image) that other raters see now; others are preferred.
    """
    given = AnswerTable(answers) if isinstance(answers, pd.DataFrame) else answers
    own = given.own(rater)
    trained = int((own["kind"] == "training").sum())
    own = own[(own["kind"] != "training").to_numpy(bool)]
    answered, of = len(own), _most(settings, scenes)
    if trained < len(settings.training):
        return _training(settings, trained, answered, of, rater)
    if settings.answers_per_rater is not None and answered >= settings.answers_per_rater:
        return EndStep(answered, answered)
    rng = _draws(settings.seed, rater, answered)
    step: Step
    if settings.mode == "ratings":
        step = _next_rating(settings, scenes, given, own, of, rng)
    else:
        step = _next_pair(settings, scenes, given, own, of, set(shown), rng)
    due = answered // settings.break_every if settings.break_every else 0
    if due > breaks and not isinstance(step, EndStep):
        return BreakStep(answered, of)
    return step


def feedback(step: PairStep | RatingStep, answer: str | float) -> Feedback:
    """Return what is told after a training example: a pair's winner is as known, a rating is at most 1 away."""
    if isinstance(step, PairStep):
        return Feedback(answer == step.expected, step.expected, step.words)
    expected = float("nan") if step.expected is None else step.expected
    return Feedback(abs(float(answer) - expected) <= 1, f"{expected:g}", step.words)


def last_answer(answers: pd.DataFrame, rater: str) -> Any | None:
    """Return the index label of the rater's last answer, which undo removes; None where there is none."""
    own = answers.index[(answers["rater"] == rater).to_numpy(bool)]
    return own[-1] if len(own) else None


def step_again(
    settings: StudySettings, scenes: Scenes, answers: pd.DataFrame | Answered, removed: Mapping[str, Any]
) -> PairStep | RatingStep:
    """Return the step of an answer that was undone, so that the same question is shown the same way.

    Args:
        settings: Of the study.
        scenes: The images of each scene.
        answers: What is left, as of `next_step`.
        removed: The row that was removed.
    """
    given = AnswerTable(answers) if isinstance(answers, pd.DataFrame) else answers
    own = given.own(str(removed["rater"]))
    trained = int((own["kind"] == "training").sum())
    answered, of = len(own) - trained, _most(settings, scenes)
    if removed["kind"] == "training":
        return _training(settings, trained, answered, of, str(removed["rater"]))
    if settings.mode == "ratings":
        return RatingStep(str(removed["scene"]), str(removed["image"]), str(removed["kind"]), answered, of)
    scene, image_a, image_b, left, kind = (
        str(removed[name]) for name in ("scene", "image_a", "image_b", "left", "kind")
    )
    return PairStep(scene, image_a, image_b, left, kind, answered, of, str(removed["expected"]))


def _most(settings: StudySettings, scenes: Scenes) -> int:
    """Return how many answers a rater gives at most, without training."""
    if settings.mode == "pairs":
        every = sum(len(images) * (len(images) - 1) // 2 for images in scenes.values())
    else:
        every = sum(map(len, scenes.values()))
    if settings.answers_per_rater is None:
        return every
    return settings.answers_per_rater


def _draws(seed: int, rater: str, number: int) -> np.random.Generator:
    """Return the draws of one step; a name's checksum does not change between processes, as its hash does."""
    return np.random.default_rng([seed, zlib.crc32(rater.encode("utf-8", "surrogatepass")), number])


def _training(settings: StudySettings, trained: int, answered: int, of: int, rater: str) -> PairStep | RatingStep:
    known = settings.training[trained]
    if isinstance(known, KnownRating):
        return RatingStep(known.scene, known.image, "training", answered, of, known.rating, known.words)
    left = SIDES[int(_draws(settings.seed, f"training of {rater}", trained).integers(2))]
    return PairStep(
        known.scene, known.image_a, known.image_b, left, "training", answered, of, known.winner, known.words
    )


def _next_pair(
    settings: StudySettings,
    scenes: Scenes,
    given: Answered,
    own: pd.DataFrame,
    of: int,
    shown: set[tuple[str, str, str]],
    rng: np.random.Generator,
) -> PairStep | EndStep:
    number = len(own) + 1
    if _is_due(number, settings.repeat_fraction) and (again := _to_repeat(own, ("scene", "image_a", "image_b"), rng)):
        row = own.iloc[again[0]]
        left = "a" if row["left"] == "b" else "b"
        return PairStep(row["scene"], row["image_a"], row["image_b"], left, "repeat", len(own), of)
    left = SIDES[int(rng.integers(2))]
    asked = _seen(own[["scene", "image_a", "image_b"]].to_numpy().tolist())
    if _is_due(number, settings.gold_fraction, shift=True):
        for known in settings.gold:
            if known.image_b not in asked.get(known.scene, {}).get(known.image_a, ()):
                pair = known.scene, known.image_a, known.image_b
                return PairStep(*pair, left, "gold", len(own), of, known.winner)
    for scene, others in _seen(_reserved(settings)).items():  # their answers are told, or known
        for image, more in others.items():
            asked.setdefault(scene, {}).setdefault(image, set()).update(more)
    for scene in _scenes_in_turn(scenes, given.in_scenes(), rng):
        images = list(scenes[scene])
        allowed = _allowed(images, asked.get(scene, {}))
        if not allowed.any():
            continue
        pairs = next_pairs(given.wins(scene, images), SPARE, rng, settings.choice, allowed)
        free = [
            pair
            for pair in pairs
            if not {(scene, images[pair[0]], images[pair[1]]), (scene, images[pair[1]], images[pair[0]])} & shown
        ]
        first, second = (free or pairs)[0]
        if rng.integers(2):
            first, second = second, first
        return PairStep(scene, images[first], images[second], left, "new", len(own), of)
    return EndStep(len(own), len(own))


def _next_rating(
    settings: StudySettings,
    scenes: Scenes,
    given: Answered,
    own: pd.DataFrame,
    of: int,
    rng: np.random.Generator,
) -> RatingStep | EndStep:
    number = len(own) + 1
    if _is_due(number, settings.repeat_fraction) and (again := _to_repeat(own, ("scene", "image"), rng)):
        row = own.iloc[again[0]]
        return RatingStep(row["scene"], row["image"], "repeat", len(own), of)
    done = set(zip(own["scene"], own["image"], strict=True))
    counts = given.of_images()
    open_images = [(scene, image) for scene, images in scenes.items() for image in images if (scene, image) not in done]
    if not open_images:
        return EndStep(len(own), len(own))
    fewest = min(counts.get(one, 0) for one in open_images)
    least = [one for one in open_images if counts.get(one, 0) == fewest]
    scene, image = least[int(rng.integers(len(least)))]
    return RatingStep(scene, image, "new", len(own), of)


def _is_due(number: int, fraction: float, shift: bool = False) -> bool:
    """Whether the question of this number, from 1, is one of the hidden share; `shift` keeps two shares apart."""
    if not fraction:
        return False
    period = max(round(1 / fraction), 2)
    return number % period == (period // 2 if shift else 0)


def _to_repeat(own: pd.DataFrame, key: tuple[str, ...], rng: np.random.Generator) -> list[int]:
    """Return the place of an own answer to be asked again, as a list of one, or none: not lately, and only once."""
    repeated = {tuple(row) for row in own.loc[own["kind"] == "repeat", list(key)].to_numpy()}
    rows = zip(own["kind"], own[list(key)].to_numpy(), strict=True)
    places = [place for place, (kind, row) in enumerate(rows) if kind == "new" and tuple(row) not in repeated]
    places = [place for place in places if len(own) - place >= REPEAT_DISTANCE]
    return [places[int(rng.integers(len(places)))]] if places else []


def _seen(pairs: Iterable[Sequence[str]]) -> dict[str, dict[str, set[str]]]:
    """Return by scene and image with which others it stands in a pair (scene, image, image)."""
    seen: dict[str, dict[str, set[str]]] = {}
    for scene, one, other in pairs:
        of_scene = seen.setdefault(scene, {})
        of_scene.setdefault(one, set()).add(other)
        of_scene.setdefault(other, set()).add(one)
    return seen


def _reserved(settings: StudySettings) -> list[tuple[str, str, str]]:
    """Return the pairs that are not asked as new ones."""
    known = [one for one in settings.training if isinstance(one, KnownPair)]
    known += settings.gold if settings.gold_fraction else ()
    return [(one.scene, one.image_a, one.image_b) for one in known]


def _allowed(images: Sequence[str], asked: Mapping[str, Collection[str]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which pairs of a scene the rater has not seen yet."""
    place = {image: number for number, image in enumerate(images)}
    allowed = ~np.eye(len(images), dtype=bool)
    for one, others in asked.items():
        for other in others:
            if one in place and other in place:
                allowed[place[one], place[other]] = False
    return allowed


def _scenes_in_turn(scenes: Scenes, counts: Mapping[str, int], rng: np.random.Generator) -> Iterator[str]:
    """Yield scenes of two images and more, those with the fewest answers an image first, equal ones at random."""
    names = [scene for scene, images in scenes.items() if len(images) > 1]
    order = rng.permutation(len(names))
    yield from sorted(
        (names[at] for at in order), key=lambda scene: counts.get(scene, 0) // max(len(scenes[scene]) - 1, 1)
    )


__all__ = [
    "BreakStep",
    "EndStep",
    "Feedback",
    "KnownPair",
    "KnownRating",
    "PairStep",
    "RatingStep",
    "Step",
    "StudySettings",
    "feedback",
    "last_answer",
    "next_step",
    "step_again",
]
