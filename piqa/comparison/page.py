"""The page of a comparison: the verdict in words, a dot a scene, conditions, what could have been found, and scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from piqa.comparison.compare_all import Comparison
from piqa.comparison.extremes import Extreme, ExtremeScenes
from piqa.comparison.factor_table import FactorResult
from piqa.comparison.pair import PairResult, SceneResult
from piqa.comparison.plan import plan_for, plan_lines
from piqa.comparison.shots import Account, DeviceNames
from piqa.comparison.verdict import Gate, answers_in_words, digits_for, in_words, verdict_of
from piqa.web.page import render_page
from piqa.web.text import number, printable

MOST_PAIRS = 3  # that are shown one by one; all stand in the table
MOST_ROWS = 1_000  # of a table of scenes or pairs: a browser holds them; the CSV has all


def comparison_page(
    found: Comparison,
    account: Account,
    gate: Gate | None,
    about: Mapping[str, object],
    extremes: ExtremeScenes | None,
    detect: Sequence[float] = (),
    factors: Sequence[FactorResult] = (),
) -> str:
    """Return the page as HTML that needs no network.

    Args:
        found: The comparison.
        account: What was left out.
        gate: The answer of a gate, if one was asked.
        about: What the page says of model and data: words by name.
        extremes: Shows scenes side by side; None leaves them out.
        detect: Differences of interest.
        factors: Of the devices, where there is no model.
    """
    names = account.devices
    first = [] if gate is None else [found.pair(gate.a, gate.b)]
    others = [pair for pair in found.pairs if gate is None or {pair.a, pair.b} != {gate.a, gate.b}]
    shown = [*(_with_p(pair, found) for pair in first), *others][:MOST_PAIRS]
    return render_page(
        "comparison/comparison.html",
        title=" against ".join(printable(names.title(key)) for key in found.scenes.devices[:2])
        if len(found.scenes.devices) == 2
        else f"{len(found.scenes.devices)} devices",
        gate=None if gate is None else _gate(gate),
        pairs=[_pair(pair, names, extremes, detect) for pair in shown],
        rows=[_row(pair, names) for pair in found.pairs[:MOST_ROWS]] if len(found.pairs) > 1 else [],
        conditions=[_row(pair, names) for pair in found.by_condition[:MOST_ROWS]],
        tests=len(found.pairs),
        condition_tests=len(found.by_condition),
        ranking=_ranking(found, names),
        note=found.ranking.note if found.ranking is not None else "",
        lines=[printable(line) for line in account.lines()],
        about={name: printable(str(value)) for name, value in about.items()},
        settings=found.settings,
        factors=[{**_row(one.pair, names), "title": one.factor.title} for one in factors],
    )


def _with_p(pair: PairResult, found: Comparison) -> PairResult:
    """Return a pair in the gate's order with the p-value that it has among all pairs."""
    same = next((one for one in found.pairs if {one.a, one.b} == {pair.a, pair.b}), None)
    return pair if same is None else replace(pair, p_adjusted=same.p_adjusted)


def _gate(gate: Gate) -> dict[str, object]:
    cases = [
        {"name": printable(case.name), "state": case.state, "critical": case.critical, "message": case.message}
        for case in gate.cases
    ]
    return {"claim": printable(gate.claim), "state": gate.state, "alpha": gate.alpha, "cases": cases}


def _row(pair: PairResult, names: DeviceNames) -> dict[str, object]:
    interval = pair.win_interval if pair.settings.measure == "win rate" else pair.interval()
    return {
        "a": printable(names.title(pair.a)),
        "b": printable(names.title(pair.b)),
        "condition": printable(pair.condition),
        "scenes": len(pair.scenes),
        "digits": digits_for(interval.high - interval.low),
        "estimate": pair.estimate,
        "low": interval.low,
        "high": interval.high,
        "win_rate": pair.outcomes.rate,
        "win_ends": pair.win_interval.ends,
        "p": pair.p_adjusted,
        "p_words": _p_words(pair.p_adjusted),
        "verdict": verdict_of(pair),
    }


def _pair(
    pair: PairResult, names: DeviceNames, extremes: ExtremeScenes | None, detect: Sequence[float]
) -> dict[str, object]:
    plan = plan_for(pair, detect)
    a, b = (printable(names.title(key)) for key in (pair.a, pair.b))
    unit = {"preference": f"in P({a} better)", "difference": pair.settings.unit, "win rate": pair.settings.unit}
    lost, won = extremes.of(pair, (a, b)) if extremes is not None else ([], [])
    measured = pair.settings.measure == "preference"
    return {
        **_row(pair, names),
        "words": printable("; ".join(filter(None, [in_words(pair, names), answers_in_words(pair, names)]))),
        "outcomes": pair.outcomes,
        "bootstrap": pair.interval(True) if pair.settings.measure != "win rate" else None,
        "dots": [(printable(one.scene), one.preference if measured else one.difference) for one in pair.scenes],
        "dot_title": f"P({a} better) of every scene" if measured else f"Difference of every scene, {a} less {b}",
        "neutral": 0.5 if measured else 0.0,
        "plan": [] if plan is None else plan_lines(plan, unit[pair.settings.measure]),
        "repeats": pair.repeats,
        "tests": {
            "t": _p_words(pair.p_of("t")),
            "sign": _p_words(pair.p_of("sign")),
            "flip": _p_words(pair.p_of("flip")),
        },
        "lost": [_extreme(one) for one in lost],
        "won": [_extreme(one) for one in won],
        "scene_rows": [_scene(one) for one in sorted(pair.scenes, key=lambda one: one.difference)[:MOST_ROWS]],
    }


def _scene(one: SceneResult) -> dict[str, object]:
    return {
        "scene": printable(one.scene),
        "condition": printable(one.condition),
        "shots": f"{one.shots_a} / {one.shots_b}",
        "shots_a": one.shots_a,
        "shots_b": one.shots_b,
        "score_a": one.score_a,
        "score_b": one.score_b,
        "difference": one.difference,
        "preference": one.preference,
    }


def _p_words(p: float) -> str:
    """Return a p-value for the page; one that would round to 0 is never 0."""
    return "< 0.0001" if p < 0.0001 else number(p, 4)


def _extreme(one: Extreme) -> dict[str, object]:
    return {
        **_scene(one.result),
        "a": printable(one.a.image),
        "b": printable(one.b.image),
        "images": list(one.images),
        "lines": [printable(line) for line in one.lines],
    }


def _ranking(found: Comparison, names: DeviceNames) -> list[dict[str, object]]:
    ranking = found.ranking
    if ranking is None or not np.isfinite(ranking.strength).all():
        return []
    return [
        {
            "name": printable(names.title(found.scenes.devices[place])),
            "rank": int(ranking.rank[place]),
            "words": rank_words(int(ranking.rank_low[place]), int(ranking.rank_high[place])),
            "strength": float(ranking.strength[place]),
            "low": float(ranking.low[place]),
            "high": float(ranking.high[place]),
            "effect": float(found.effects[place]),
        }
        for place in np.argsort(-ranking.strength, kind="stable").tolist()
    ]


def rank_words(best: int, worst: int) -> str:
    """Return where a device stands in words.

    Examples:
        >>> rank_words(2, 4), rank_words(1, 1), rank_words(11, 12)
        ('between 2nd and 4th', '1st', 'between 11th and 12th')
    """
    return _ordinal(best) if best == worst else f"between {_ordinal(best)} and {_ordinal(worst)}"


def _ordinal(rank: int) -> str:
    ending = "th" if 10 < rank % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"
