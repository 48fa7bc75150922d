"""What a comparison says: better, worse, equivalent, not decided; and whether a gate passes.

A verdict follows from the primary test alone. On fewer than six scenes there is none, and scenes that are all tied
decide nothing: they say that nothing was told apart, not that there is no difference.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf, log10
from typing import Literal

from piqa.comparison.pair import FEWEST, PairResult
from piqa.comparison.shots import DeviceNames, normalised
from piqa.errors import InputError
from piqa.evaluation.statistics.significance import holm
from piqa.system.phrases import Phrase, as_phrase, joined
from piqa.web.text import number

Verdict = Literal["better", "worse", "equivalent", "not decided", "no verdict"]
GateState = Literal["passed", "failed", "not decided"]
CLAIM = re.compile(r"(?P<a>.+?)\s+worse\s+than\s+(?P<b>.+)", re.IGNORECASE)


def verdict_of(pair: PairResult) -> Verdict:
    """Return what the primary test says of A against B, with Holm's correction where there are several pairs."""
    if not pair.enough:
        return "no verdict"
    if pair.all_tied:
        return "not decided"
    settings = pair.settings
    if pair.p_adjusted <= 2 * settings.alpha:
        return "better" if pair.estimate > settings.neutral else "worse"
    if settings.margin and pair.p_equivalent(settings.margin) <= settings.alpha:
        return "equivalent"
    return "not decided"


def _against_margin(pair: PairResult) -> str:
    """Return whether a difference is shown to be `less` or `more` than the margin; "" where neither is."""
    margin, alpha = pair.settings.margin, pair.settings.alpha
    if pair.p_equivalent(margin) <= alpha:
        return "less"
    return "more" if min(pair.p_within(-margin), pair.p_worse(margin)) <= alpha else ""


def in_words(pair: PairResult, names: DeviceNames) -> str:
    """Return the verdict as a sentence, with the test, the scenes, the estimate and the margin."""
    n, settings = len(pair.scenes), pair.settings
    two = {"a": names.title(pair.a), "b": names.title(pair.b)}
    if not pair.enough:
        said = _under(Phrase("No verdict on {a} and {b}", **two), pair)
        if n == 1:
            one = "{verdict}: {scenes} shared scene, and at least {fewest} are needed"
            return Phrase(one, verdict=said, scenes=n, fewest=FEWEST)
        shared = "{verdict}: {scenes} shared scenes, and at least {fewest} are needed"
        return Phrase(shared, verdict=said, scenes=n, fewest=FEWEST)
    if pair.all_tied:
        tied = "{verdict}: {a} and {b} are tied in all {scenes} scenes, so that nothing tells them apart"
        return Phrase(tied, verdict=_under(Phrase("Not decided"), pair), scenes=n, **two)
    p = f"p = {pair.p_adjusted:.3g}" if pair.p_adjusted >= 0.0001 else "p < 0.0001"
    return Phrase(
        "{verdict}: {estimate} over {scenes} scenes; {test} test, {p}",
        verdict=_under(_verdict(pair, two), pair),
        estimate=estimate_words(pair, two["a"]),
        scenes=n,
        test=Phrase(settings.test),
        p=p,
    )


def _under(verdict: Phrase, pair: PairResult) -> Phrase:
    """Return a verdict with the condition that it is on, if any."""
    if not pair.condition:
        return verdict
    return Phrase("{verdict} under {condition}", verdict=verdict, condition=pair.condition)


def _verdict(pair: PairResult, two: Mapping[str, str]) -> Phrase:
    """Return what the primary test says of two devices; where one is better, also by less or more than the margin."""
    verdict, margin = verdict_of(pair), margin_words(pair, two["a"])
    if verdict == "equivalent":
        return Phrase("{a} and {b} are equivalent within {margin}", **two, margin=margin)
    if verdict == "not decided":
        return Phrase("Not decided between {a} and {b}", **two)
    better, worse = Phrase("{a} is better than {b}", **two), Phrase("{a} is worse than {b}", **two)
    said = better if verdict == "better" else worse
    against = _against_margin(pair) if pair.settings.margin else ""
    if against == "less":
        return Phrase("{verdict}, by less than {margin}", verdict=said, margin=margin)
    return Phrase("{verdict}, by more than {margin}", verdict=said, margin=margin) if against else said


def answers_in_words(pair: PairResult, names: DeviceNames) -> str | None:
    """Return in how many scenes each device is better with the stated error rate; None where none is asked for."""
    rate = pair.settings.error_rate
    if rate is None:
        return None
    counts = Counter(one.answer for one in pair.scenes)
    a, b = names.title(pair.a), names.title(pair.b)
    repeats = any(one.shots_a > 1 or one.shots_b > 1 for one in pair.scenes)
    said = Phrase(
        "scene by scene, with an error rate of {rate:g}: {a} is better in {of_a} scenes, {b} in {of_b}, and {neither} "
        "cannot be told",
        rate=rate,
        a=a,
        of_a=counts["A"],
        b=b,
        of_b=counts["B"],
        neither=counts["cannot tell"],
    )
    note = Phrase("scenes with repeats are told by their mean P, for which that is not proved")
    return joined([said, note]) if repeats else said


def estimate_words(pair: PairResult, a: str) -> str:
    """Return the primary measure with its 95 % interval; `a` is what A is called."""
    if pair.settings.measure == "win rate":
        rate, ends = number(pair.estimate, 3), _ends(pair.win_interval.ends, 3)
        return Phrase("win rate {rate} ({interval})", rate=rate, interval=ends)
    found = pair.interval()
    if pair.settings.measure == "preference":
        p, ends = number(pair.estimate, 3), _ends(found.ends, 3)
        return Phrase("P({a} better) {p} ({interval})", a=a, p=p, interval=ends)
    digits = digits_for(found.high - found.low)
    return Phrase(
        "difference {difference} ({interval}) {unit}",
        difference=number(pair.estimate, digits, sign=True),
        interval=_ends(found.ends, digits),
        unit=as_phrase(pair.settings.unit),
    )


def margin_words(pair: PairResult, a: str) -> str:
    """Return the margin with its unit; `a` is what A is called."""
    margin = pair.settings.margin
    if pair.settings.measure == "win rate":
        return Phrase("{margin:g} in win rate", margin=margin)
    if pair.settings.measure == "preference":
        return Phrase("{margin:g} in P({a} better)", margin=margin, a=a)
    return Phrase("{margin:g} {unit}", margin=margin, unit=as_phrase(pair.settings.unit))


def digits_for(width: float) -> int:
    """Return the decimal places that an interval of this width needs, as scores of a model have any scale."""
    return min(max(3, 2 - floor(log10(width))), 12) if 0 < width < inf else 3


def _ends(ends: tuple[float, float], digits: int) -> str:
    return Phrase("{low} to {high}", low=number(ends[0], digits), high=number(ends[1], digits))


@dataclass(frozen=True)
class GateCase:
    """One question of a gate.

    Attributes:
        name: `all scenes`, or a condition.
        state: The answer.
        critical: Whether the gate's answer hangs on it.
        message: The answer in words.
        p_worse, p_within: One-sided p-values of failing and of passing; `p_worse` of critical cases after Holm.
        pair: What was compared.
    """

    name: str
    state: GateState
    critical: bool
    message: str
    p_worse: float
    p_within: float
    pair: PairResult


@dataclass(frozen=True)
class Gate:
    """The answer to "A worse than B".

    Attributes:
        claim: As it was asked.
        a, b: Keys of the devices.
        cases: All scenes, then each condition.
        alpha: One-sided, of this look.
    """

    claim: str
    a: str
    b: str
    cases: Sequence[GateCase]
    alpha: float

    @property
    def state(self) -> GateState:
        """Failed where a critical case failed; else as all scenes say."""
        if any(case.state == "failed" for case in self.cases if case.critical):
            return "failed"
        return self.cases[0].state


def parse_claim(claim: str, devices: Sequence[str]) -> tuple[str, str]:
    """Return the keys of both devices in `A worse than B`.

    Raises:
        InputError: If it reads otherwise, or a device is not there.

    Examples:
        >>> parse_claim("Phone B worse than phone a", ["phonea", "phoneb"])
        ('phoneb', 'phonea')
    """
    found = CLAIM.fullmatch(claim.strip())
    if found is None:
        raise InputError(f'`fail_if` {claim!r} is not understood; write it as "A worse than B"')
    keys = normalised(found["a"]), normalised(found["b"])
    for key, name in zip(keys, (found["a"], found["b"]), strict=True):
        if key not in devices:
            raise InputError(f"`fail_if` names {name!r}, which is none of the devices ({', '.join(sorted(devices))})")
    if keys[0] == keys[1]:
        raise InputError(f"`fail_if` {claim!r} compares a device with itself; name two")
    return keys


def decide(claim: str, whole: PairResult, by_condition: Mapping[str, PairResult], critical: Sequence[str]) -> Gate:
    """Return the gate's answer.

    Args:
        claim: As it was asked: A is `whole.a`.
        whole: A against B over all scenes.
        by_condition: The same by condition.
        critical: Conditions that fail the gate, too, where A is worse there. They share alpha with all scenes, by
            Holm's method, so that a gate on equal devices fails with probability alpha at most.

    Raises:
        InputError: If a critical condition is none of `by_condition`.
    """
    if unknown := [name for name in critical if name not in by_condition]:
        known = ", ".join(by_condition) or "none"
        raise InputError(f"`critical` names the condition {unknown[0]!r}; the conditions are: {known}")
    pairs = {"all scenes": whole, **by_condition}
    margin = whole.settings.margin
    raw = {name: pair.p_worse(margin) for name, pair in pairs.items()}
    asked = ["all scenes", *critical]
    usable = [name for name in asked if _usable(pairs[name])]
    adjusted = raw | dict(zip(usable, holm([raw[name] for name in usable]).tolist(), strict=True))
    cases = [_case(name, pair, adjusted[name], name in asked, _first_of(claim)) for name, pair in pairs.items()]
    return Gate(claim, whole.a, whole.b, cases, whole.settings.alpha)


def _usable(pair: PairResult) -> bool:
    return pair.enough and not pair.all_tied


def _first_of(claim: str) -> str:
    """Return the device that a claim says to be worse, as it is written there."""
    found = CLAIM.fullmatch(claim.strip())
    return "A" if found is None else found["a"]


def _case(name: str, pair: PairResult, p_worse: float, critical: bool, device: str) -> GateCase:
    settings, n = pair.settings, len(pair.scenes)
    p_within = pair.p_within(settings.margin) if n else float("nan")
    state: GateState = "not decided"
    if not pair.enough:
        why = f"{n} scenes, and at least {FEWEST} are needed"
    elif pair.all_tied:
        why = f"all {n} scenes are tied"
    else:
        if p_worse <= settings.alpha:
            state = "failed"
        elif p_within <= settings.alpha:
            state = "passed"
        low, high = pair.bounds
        limit = settings.neutral - settings.margin
        digits = digits_for(high - low)
        why = f"{estimate_words(pair, device)}, {n} scenes; "
        why += f"bounds {_ends((low, high), digits)} against the limit {limit:g}"
    return GateCase(name, state, critical, f"{state}: {why}", p_worse, p_within, pair)
