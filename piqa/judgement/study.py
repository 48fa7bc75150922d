"""The settings of a study: its question, its training examples, and how many answers it asks of a rater."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from piqa.errors import InputError
from piqa.judgement.choice import Choice

Mode = Literal["pairs", "ratings"]


@dataclass(frozen=True)
class KnownPair:
    """A pair whose answer is known, for training or as a hidden check.

    Attributes:
        scene, image_a, image_b: The pair.
        winner: "a", "b" or "same".
        words: Why, which training shows after the answer.
    """

    scene: str
    image_a: str
    image_b: str
    winner: str
    words: str = ""


@dataclass(frozen=True)
class KnownRating:
    """An image whose rating is known, for training; `words` say why."""

    scene: str
    image: str
    rating: float
    words: str = ""


@dataclass(frozen=True)
class StudySettings:
    """What a study asks, and how.

    Attributes:
        question: In one's own words.
        mode: "pairs" or "ratings".
        same_allowed: Whether "same" is an answer to a pair.
        training: Shown first, in this order, with feedback; `KnownPair` or `KnownRating`, as the mode asks.
        gold: Pairs with known answers, which are asked like all others, once to each rater.
        repeat_fraction: Share of the questions that repeat one of the rater's own, mirrored.
        gold_fraction: Share of the questions that are gold, as long as there are some.
        break_every: Answers between two breaks; 0 for none.
        answers_per_rater: After how many answers a rater is done, without training; None: after all pairs or images.
        choice: Which pair is next: "active" or "random".
        rating_low, rating_high: Ends of the scale of ratings.
        seed: Of all draws.

    Raises:
        InputError: If a setting cannot be used.
    """

    question: str = "Which portrait is better?"
    mode: Mode = "pairs"
    same_allowed: bool = False
    training: tuple[KnownPair | KnownRating, ...] = ()
    gold: tuple[KnownPair, ...] = ()
    repeat_fraction: float = 0.05
    gold_fraction: float = 0.05
    break_every: int = 50
    answers_per_rater: int | None = None
    choice: Choice = "active"
    rating_low: int = 1
    rating_high: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise InputError("a study needs a question, such as `Which portrait is better?`")
        for name, allowed in (("mode", ("pairs", "ratings")), ("choice", ("active", "random"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"`{name}` must be {' or '.join(allowed)}, not {getattr(self, name)!r}")
        for name in ("repeat_fraction", "gold_fraction"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise InputError(f"`{name}` must lie between 0 and 0.5, not {getattr(self, name):g}")
        if self.break_every < 0:
            raise InputError(f"`break_every` must be 0 or more answers, not {self.break_every}")
        if self.answers_per_rater is not None and self.answers_per_rater < 1:
            raise InputError(f"`answers_per_rater` must be 1 or more, not {self.answers_per_rater}")
        if not self.rating_low < self.rating_high:
            raise InputError(f"ratings from {self.rating_low} to {self.rating_high} are no scale; give two ends")
        wanted = KnownPair if self.mode == "pairs" else KnownRating
        if not all(isinstance(one, wanted) for one in self.training):
            raise InputError(f"the training of a study of {self.mode} needs known {self.mode}")
        if self.mode == "ratings" and self.gold:
            raise InputError("a study of ratings has no gold pairs; leave them out")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings in JSON's types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudySettings:
        """Return settings as `to_dict` gave them; raise InputError where one is unknown or cannot be used."""
        given = dict(values)
        known = KnownPair if given.get("mode", "pairs") == "pairs" else KnownRating
        try:
            given["training"] = tuple(known(**one) for one in given.get("training", ()))
            given["gold"] = tuple(KnownPair(**one) for one in given.get("gold", ()))
            return cls(**given)
        except TypeError as error:
            raise InputError(f"the settings of the study cannot be read: {error}") from error
