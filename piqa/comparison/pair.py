"""Two devices on the scenes that both have: what A is against B in every scene, over all of them, and how sure that is.

Per scene: the difference d, the mean over all pairs of a shot of A and one of B of score(A) - score(B); the mean
P(A better) of these pairs, where the model states one; and the outcome 1, 0.5 or 0 by the sign of d. Repeats are
averaged here, and the scene is the unit of all that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from piqa.comparison.intervals import Array, Interval, bootstrap_interval, t_interval, wilson_interval
from piqa.comparison.scene_tests import Outcomes, PrimaryTest, bounds, outcomes, p_above, two_sided_p
from piqa.comparison.shots import Scenes
from piqa.evaluation.statistics.conformal import Answer
from piqa.evaluation.statistics.pair_probability import PairProbability
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.system.phrases import Phrase

Measure = Literal["preference", "difference", "win rate"]
TESTS: tuple[PrimaryTest, ...] = ("t", "sign", "flip")
FEWEST = 6  # scenes below which no verdict is given: with five, a sign test cannot reach 0.05


@dataclass(frozen=True)
class Settings:
    """How pairs of devices are compared; stated before the data are seen.

    Attributes:
        test: The primary test; the others are shown, and decide nothing.
        margin: Within which a difference does not matter, in the unit of the measure; 0 for none.
        alpha: One-sided; statements of a difference use it on both sides.
        preference: How differences become probabilities; None where no model says.
        unit: Of the scores, in words.
        seed: Of everything that is drawn.
        uncertainty: What the model says of the standard deviations of its scores; None where it says nothing.
        error_rate: With which single scenes are told apart; None where that is not asked for.
    """

    test: PrimaryTest = "t"
    margin: float = 0.0
    alpha: float = 0.025
    preference: Preference | None = None
    unit: str = Phrase("units of the score")
    seed: int = 0
    uncertainty: ScoreUncertainty | None = None
    error_rate: float | None = None

    @property
    def pair(self) -> PairProbability:
        """How sure the order of two shots is."""
        return PairProbability(self.preference, self.uncertainty)

    @cached_property
    def least(self) -> float | None:
        """The probability that a scene's order must exceed to be told; None where no error rate is asked for."""
        return None if self.error_rate is None else self.pair.least(self.error_rate)

    @property
    def measure(self) -> Measure:
        """What the primary test looks at: `sign` at win rates, the others at preferences, where there are any."""
        if self.test == "sign":
            return "win rate"
        return "preference" if self.preference is not None else "difference"

    @property
    def neutral(self) -> float:
        """The value of the measure where there is no difference."""
        return 0.0 if self.measure == "difference" else 0.5


@dataclass(frozen=True)
class SceneResult:
    """A against B in one scene.

    Attributes:
        scene, condition: Its name, and under which condition it was taken.
        shots_a, shots_b: Numbers of shots.
        score_a, score_b: Their mean scores.
        difference: Score of A less that of B.
        preference: P(A better); NaN where it is not known.
        answer: Which is better with the stated error rate; None where none is asked for.
    """

    scene: str
    condition: str
    shots_a: int
    shots_b: int
    score_a: float
    score_b: float
    difference: float
    preference: float
    answer: Answer | None = None

    @property
    def outcome(self) -> float:
        """1 where A is better, 0 where B is, 0.5 of a tie."""
        return 0.5 + 0.5 * float(np.sign(self.difference))


@dataclass(frozen=True)
class Repeats:
    """What repeats of the same scene tell.

    Attributes:
        deviation: Standard deviation of single shots of one device in one scene; None without repeats.
        correlation: Of two outcomes of one scene, rho; None without repeats.
    """

    deviation: float | None = None
    correlation: float | None = None


@dataclass(frozen=True, eq=False)
class PairResult:
    """Two devices over scenes.

    Attributes:
        a, b: Keys of the devices.
        condition: Of the scenes; "" for all.
        scenes: What each says.
        settings: How they are compared.
        repeats: What their repeats tell.
        p_adjusted: The primary test's two-sided p-value after Holm's correction; as `p` where there is one pair.
    """

    a: str
    b: str
    condition: str
    scenes: Sequence[SceneResult]
    settings: Settings
    repeats: Repeats = field(default_factory=Repeats)
    p_adjusted: float = float("nan")

    @cached_property
    def differences(self) -> Array:
        """Of every scene."""
        return np.array([one.difference for one in self.scenes], np.float64)

    @cached_property
    def preferences(self) -> Array:
        """P(A better) of every scene, NaN where it is not known."""
        return np.array([one.preference for one in self.scenes], np.float64)

    @property
    def values(self) -> Array:
        """What the primary test looks at, 0 for no difference."""
        return self.preferences - 0.5 if self.settings.measure == "preference" else self.differences

    @property
    def outcomes(self) -> Outcomes:
        """Wins, losses and ties of A."""
        return outcomes(self.differences)

    @property
    def estimate(self) -> float:
        """The measure's value; NaN without a scene."""
        if not self.scenes:
            return float("nan")
        if self.settings.measure == "win rate":
            return self.outcomes.rate
        return float(self.values.mean()) + self.settings.neutral

    @property
    def win_interval(self) -> Interval:
        """Wilson's 95 % interval of the win rate."""
        return wilson_interval(self.outcomes.rate * len(self.scenes), len(self.scenes))

    def interval(self, bootstrap: bool = False) -> Interval:
        """Return the 95 % interval of the mean preference or difference over scenes."""
        values, neutral = self.values, 0.5 if self.settings.measure == "preference" else 0.0
        found = bootstrap_interval(values, seed=self.settings.seed) if bootstrap else t_interval(values)
        low, high = found.low + neutral, found.high + neutral
        if self.settings.measure == "preference":
            low, high = max(low, 0.0), min(high, 1.0)
        return replace(found, low=low, high=high)

    @property
    def bounds(self) -> tuple[float, float]:
        """Both one-sided bounds of the measure at alpha, by the primary test."""
        low, high = bounds(self.values, self.settings.test, self.settings.alpha)
        return low + self.settings.neutral, high + self.settings.neutral

    @property
    def deviation(self) -> float:
        """Standard deviation of the values over scenes; NaN for fewer than two."""
        return float(self.values.std(ddof=1)) if len(self.scenes) > 1 else float("nan")

    @cached_property
    def p(self) -> float:
        """The primary test's two-sided p-value."""
        return self.p_of(self.settings.test)

    def p_of(self, test: PrimaryTest) -> float:
        """Return a test's two-sided p-value; NaN where there are too few scenes for it."""
        return two_sided_p(self.values, test, self.settings.seed) if len(self.scenes) > 1 else float("nan")

    def p_within(self, margin: float) -> float:
        """Return the one-sided p-value for "A is not worse than B by the margin"."""
        return p_above(self.values, margin, self.settings.test, self.settings.seed)

    def p_worse(self, margin: float) -> float:
        """Return the one-sided p-value for "A is worse than B by more than the margin"."""
        return p_above(-self.values, -margin, self.settings.test, self.settings.seed)

    def p_equivalent(self, margin: float) -> float:
        """Return the p-value of TOST for "A and B differ by less than the margin"."""
        other = p_above(-self.values, margin, self.settings.test, self.settings.seed)
        return max(self.p_within(margin), other)

    @property
    def all_tied(self) -> bool:
        """Whether no scene tells the devices apart."""
        return not self.outcomes.wins + self.outcomes.losses

    @property
    def enough(self) -> bool:
        """Whether there are scenes enough for a verdict."""
        return len(self.scenes) >= FEWEST


def compare_pair(scenes: Scenes, a: str, b: str, settings: Settings, condition: str = "") -> PairResult:
    """Compare two devices on the scenes that both have, or on those of a condition."""
    results, variances = [], []
    for name in scenes.shared(a, b):
        if condition and scenes.condition(name) != condition:
            continue
        score_a, score_b = scenes.scores(name, a), scenes.scores(name, b)
        preferred = preferred_in(scenes, name, a, b, settings.pair)
        difference = float(score_a.mean() - score_b.mean())
        about = name, scenes.condition(name), len(score_a), len(score_b)
        means = float(score_a.mean()), float(score_b.mean())
        results.append(SceneResult(*about, *means, difference, preferred, _answer(preferred, settings.least)))
        variances += [(float(x.var(ddof=1)), len(x) - 1) for x in (score_a, score_b) if len(x) > 1]
    return PairResult(a, b, condition, results, settings, _repeats(results, variances))


def preferred_in(scenes: Scenes, name: str, a: str, b: str, pair: PairProbability) -> float:
    """Return the mean P(A better) over all pairs of a shot of A and one of B in a scene; NaN where it is not known."""
    (first, second), (std_a, std_b) = ([get(name, device) for device in (a, b)] for get in (scenes.scores, scenes.stds))
    return float(pair(first[:, None], second[None, :], std_a[:, None], std_b[None, :]).mean())


def _answer(preferred: float, least: float | None) -> Answer | None:
    """Return the answer to a scene; of repeats by their mean probability, of which no error rate is proved."""
    if least is None:
        return None
    return "A" if preferred > least else "B" if 1 - preferred > least else "cannot tell"


def _repeats(results: Sequence[SceneResult], variances: Sequence[tuple[float, int]]) -> Repeats:
    """Return the spread of repeats, pooled, and from it the correlation of two outcomes of one scene.

    A difference of two single shots varies by that of the scene and twice that of a shot; rho is the scene's part.
    """
    freedom = sum(count for _, count in variances)
    if not freedom or len(results) < 2:
        return Repeats()
    single = sum(variance * count for variance, count in variances) / freedom
    within = float(np.mean([single / one.shots_a + single / one.shots_b for one in results]))
    between = max(float(np.var([one.difference for one in results], ddof=1)) - within, 0.0)
    total = between + 2 * single
    return Repeats(float(np.sqrt(single)), between / total if total else None)
