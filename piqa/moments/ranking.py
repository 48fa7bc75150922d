"""The order of the shots of a moment, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from piqa.evaluation.statistics.pair_probability import PairProbability
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.moments.aspects import A_STEP, factor_scores
from piqa.moments.measuring import Measured
from piqa.moments.moment import Moment, Shot
from piqa.moments.pick import PickedMoment, RankedShot
from piqa.moments.reasons import BRACKET, ONLY_READ, SINGLE, first_reason, later_reason
from piqa.system.phrases import Phrase

CLOSE = Phrase("too close to call")


@dataclass(frozen=True)
class Ranker:
    """Ranks the shots of moments, by a model's scores or by factors alone.

    Args:
        measured: Returns what was measured of a file.
        scores: A model's scores by file; None to rank by factors alone.
        faults: Why a file has no score, by file.
        preference: How a difference of the model's scores becomes a probability; None where that is not known.
        too_close: The probability below which the first two are too close to call. Of factors, which know no
            probabilities, those are too close that lie less than a step apart.
        stds: Standard deviations of the model's scores by file, where it states them.
        uncertainty: How they become probabilities; None where that is not known, so that `preference` counts.
    """

    measured: Callable[[str], Measured]
    scores: Mapping[str, float] | None = None
    faults: Mapping[str, str] | None = None
    preference: Preference | None = None
    too_close: float = 0.6
    stds: Mapping[str, float] | None = None
    uncertainty: ScoreUncertainty | None = None

    def rank(self, moment: Moment) -> PickedMoment:
        """Return a moment with its shots in order; nothing is picked yet but what has no rival."""
        measured = {shot.file: self._measured(shot) for shot in moment.shots}
        scores = self._scores(moment, measured)
        ranked = [shot for shot in moment.shots if shot.file in scores]
        failed = [self._failed(shot, measured[shot.file]) for shot in moment.shots if shot.file not in scores]
        known = [scores[shot.file] for shot in ranked]
        mean, std = (float(np.mean(known)), float(np.std(known))) if known else (None, None)
        if moment.kind == "bracket":
            whole = [RankedShot(one, None, True, scores[one.file], None, None, BRACKET) for one in ranked]
            return PickedMoment(moment, (*whole, *failed), None, False, mean, std)
        if len(ranked) < 2:
            reason = SINGLE if len(moment.shots) == 1 else ONLY_READ
            alone = [RankedShot(one, 1, True, scores[one.file], None, None, reason) for one in ranked]
            return PickedMoment(moment, (*alone, *failed), None, False, mean, std)
        ranked = sorted(ranked, key=lambda shot: _key(shot, scores))
        return self._with_rivals(moment, ranked, failed, scores, measured)

    def _with_rivals(
        self,
        moment: Moment,
        ranked: Sequence[Shot],
        failed: Sequence[RankedShot],
        scores: Mapping[str, float],
        measured: Mapping[str, Measured],
    ) -> PickedMoment:
        values = np.array([scores[shot.file] for shot in ranked])
        stds = np.array([(self.stds or {}).get(shot.file, np.nan) for shot in ranked])
        ahead = self._ahead(values[:1], values, stds[:1], stds)
        next_one = self._ahead(values[:-1], values[1:], stds[:-1], stds[1:])
        first, second = (measured[shot.file] for shot in ranked[:2])
        close = self._close_to_first(values, ahead)
        shots = []
        for at, shot in enumerate(ranked):
            said = self._close_words(max(at, 1), ahead) if close[max(at, 1)] else ""
            reason = (
                first_reason(first, second, said, self.scores is not None, bool(values[0] == values[1]))
                if at == 0
                else later_reason(measured[shot.file], first, said)
            )
            probability = float(next_one[at]) if next_one is not None and at < len(next_one) else None
            percentile = round(100 * _share_below(values, at), 4)
            behind = float(ahead[at]) if ahead is not None and at else None
            shots.append(
                RankedShot(shot, at + 1, False, float(values[at]), probability, percentile, reason, behind_first=behind)
            )
        probability = None if ahead is None else float(ahead[1])
        mean, std = float(values.mean()), float(values.std())
        return PickedMoment(moment, (*shots, *failed), probability, bool(close[1]), mean, std)

    def _measured(self, shot: Shot) -> Measured:
        return Measured(error=shot.fault) if shot.fault else self.measured(shot.file)

    def _scores(self, moment: Moment, measured: Mapping[str, Measured]) -> dict[str, float]:
        """Return the scores of the shots that could be read."""
        files = [shot.file for shot in moment.shots]
        if self.scores is not None:
            return {file: self.scores[file] for file in files if file in self.scores}
        read = [file for file in files if measured[file].error is None]
        return dict(zip(read, factor_scores([measured[file] for file in read]), strict=True)) if read else {}

    def _ahead(self, a: np.ndarray, b: np.ndarray, std_a: np.ndarray, std_b: np.ndarray) -> np.ndarray | None:
        """Return P(A better); None where no probability is known."""
        if self.scores is None:
            return None
        found = PairProbability(self.preference, self.uncertainty)(a, b, std_a, std_b)
        return None if np.isnan(found).any() else found

    def _close_to_first(self, values: np.ndarray, ahead: np.ndarray | None) -> np.ndarray:
        """Return which shots are too close to the first to call; the first is."""
        if ahead is not None:
            return np.asarray(ahead < self.too_close)
        # Of a model whose probabilities are not known, only equal scores are.
        return np.asarray(values[0] - values < A_STEP if self.scores is None else values == values[0])

    @staticmethod
    def _close_words(at: int, ahead: np.ndarray | None) -> str:
        if ahead is None:
            return CLOSE
        return Phrase("too close to call (P {p:.2f} that the first is better)", p=float(ahead[at]))

    def _failed(self, shot: Shot, measured: Measured) -> RankedShot:
        reason = (self.faults or {}).get(shot.file) or shot.fault or measured.error or Phrase("it has no score")
        return RankedShot(shot, None, False, None, None, None, reason)


def _key(shot: Shot, scores: Mapping[str, float]) -> tuple[object, ...]:
    """Return by what shots are ordered: equal ones by the camera's own choice, then by time and name."""
    return -scores[shot.file], not shot.cover, shot.seconds or 0.0, shot.file


def _share_below(values: np.ndarray, at: int) -> float:
    """Return the share of the other shots with a lower score, equal ones counted half."""
    others = np.delete(values, at)
    return float(((others < values[at]) + 0.5 * (others == values[at])).mean())
