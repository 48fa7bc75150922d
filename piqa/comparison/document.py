"""The comparison as JSON: a schema version, keys always in the same order, and null for what is no number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from piqa.comparison.compare_all import Comparison
from piqa.comparison.intervals import Interval
from piqa.comparison.pair import FEWEST, TESTS, PairResult
from piqa.comparison.plan import Plan, plan_for
from piqa.comparison.shots import Account, DeviceNames
from piqa.comparison.verdict import Gate, answers_in_words, in_words, verdict_of

SCHEMA = 1  # raised where a key changes its meaning or goes
MOST_RESAMPLED = 300  # pairs for which all is resampled that the verdict does not hang on
Content = dict[str, object]


def document(
    found: Comparison, account: Account, gate: Gate | None, about: Mapping[str, object], detect: Sequence[float] = ()
) -> Content:
    """Return all that is known of a comparison, in the types of JSON.

    Args:
        found: The comparison.
        account: What was left out.
        gate: The answer of a gate, if one was asked.
        about: Model, data, command and versions.
        detect: Differences of interest, for the plans.
    """
    names, settings = account.devices, found.settings
    resample = len(found.pairs) + len(found.by_condition) <= MOST_RESAMPLED
    return {
        "schema": SCHEMA,
        "about": dict(about),
        "settings": {
            "primary_test": settings.test,
            "measure": settings.measure,
            "unit": settings.unit,
            "margin": settings.margin,
            "alpha_one_sided": settings.alpha,
            "level": 0.95,
            "fewest_scenes": FEWEST,
            "preference": None if settings.preference is None else settings.preference.to_dict(),
            "uncertainty": None if settings.uncertainty is None else settings.uncertainty.to_dict(),
            "error_rate": settings.error_rate,
            "seed": settings.seed,
        },
        "devices": [{"key": key, "name": names.title(key)} for key in found.scenes.devices],
        "gate": None if gate is None else _gate(gate),
        "pairs": [
            _pair(pair, names, plan_for(pair, detect) if resample or pair.enough else None, resample)
            for pair in found.pairs
        ],
        "conditions": [_pair(pair, names, None, resample) for pair in found.by_condition],
        "ranking": _ranking(found, names),
        "left_out": {
            "scenes": account.scenes,
            "images": account.shots,
            "matched_by": account.matched_by or None,
            "unpaired_scenes": account.unpaired,
            "unreadable": account.unreadable,
            "copies": account.repeated,
            "same_content": [list(two) for two in account.same_content],
            "spellings": names.merged(),
            "notes": account.notes,
        },
        "scenes": [_scenes(pair) for pair in found.pairs],
    }


def _gate(gate: Gate) -> Content:
    return {
        "claim": gate.claim,
        "state": gate.state,
        "alpha_one_sided": gate.alpha,
        "cases": [
            {
                "name": case.name,
                "state": case.state,
                "critical": case.critical,
                "message": case.message,
                "scenes": len(case.pair.scenes),
                "estimate": case.pair.estimate,
                "bounds": list(case.pair.bounds) if case.pair.scenes else [None, None],
                "limit": case.pair.settings.neutral - case.pair.settings.margin,
                "p_worse": case.p_worse,
                "p_within": case.p_within,
            }
            for case in gate.cases
        ],
    }


def _pair(pair: PairResult, names: DeviceNames, plan: Plan | None, resample: bool) -> Content:
    settings, won = pair.settings, pair.outcomes
    mean = float(np.mean(pair.differences)) if pair.scenes else None
    preferred = float(np.mean(pair.preferences)) if pair.scenes else None
    nothing = Interval(float("nan"), float("nan"), "left out, as there are many pairs")
    resampled = pair.interval(True) if resample else nothing
    tests = {test: pair.p_of(test) for test in TESTS if resample or test != "flip" or settings.test == "flip"}
    return {
        "a": pair.a,
        "b": pair.b,
        "condition": pair.condition or None,
        "scenes": len(pair.scenes),
        "shots": [sum(one.shots_a for one in pair.scenes), sum(one.shots_b for one in pair.scenes)],
        "verdict": verdict_of(pair),
        "words": in_words(pair, names),
        "answers": answers_in_words(pair, names),
        "estimate": pair.estimate,
        "interval": list(pair.win_interval.ends if settings.measure == "win rate" else pair.interval().ends),
        "bootstrap": {"method": resampled.method, "interval": list(resampled.ends)},
        "bounds_at_alpha": list(pair.bounds) if pair.scenes else [None, None],
        "mean_difference": mean,
        "mean_preference": preferred,
        "win_rate": won.rate,
        "win_rate_interval": list(pair.win_interval.ends),
        "wins": won.wins,
        "losses": won.losses,
        "ties": won.ties,
        "p": pair.p,
        "p_holm": pair.p_adjusted,
        "p_by_test": {test: tests.get(test) for test in TESTS},
        "p_equivalent": pair.p_equivalent(settings.margin) if settings.margin and pair.enough else None,
        "p_not_inferior": pair.p_within(settings.margin) if settings.margin and pair.enough else None,
        "deviation": pair.deviation,
        "repeats": asdict(pair.repeats),
        "plan": None if plan is None else asdict(plan),
    }


def _ranking(found: Comparison, names: DeviceNames) -> Content | None:
    ranking = found.ranking
    if ranking is None:
        return None
    effects = found.effects if len(found.effects) else np.full(len(found.scenes.devices), np.nan)
    order = np.argsort(-ranking.strength, kind="stable")
    rows = [
        {
            "rank": int(ranking.rank[place]),
            "rank_interval": [int(ranking.rank_low[place]), int(ranking.rank_high[place])],
            "device": found.scenes.devices[place],
            "name": names.title(found.scenes.devices[place]),
            "strength": float(ranking.strength[place]),
            "interval": [float(ranking.low[place]), float(ranking.high[place])],
            "two_way_effect": float(effects[place]),
        }
        for place in order.tolist()
    ]
    return {
        "method": "Bradley-Terry, scenes as blocks, sandwich covariance",
        "scenes": ranking.scenes,
        "note": ranking.note or None,
        "devices": rows,
    }


def _scenes(pair: PairResult) -> Content:
    names = ("scene", "condition", "shots_a", "shots_b", "score_a", "score_b", "difference", "preference", "outcome")
    rows = [{name: getattr(one, name) for name in (*names, "answer")} for one in pair.scenes]
    return {"a": pair.a, "b": pair.b, "scenes": rows}
