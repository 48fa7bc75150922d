"""The frames of a `Leaderboard`, from its measured lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from piqa.evaluation.leaderboard.entries import Line
from piqa.evaluation.leaderboard.entry_measures import FIGURES, Figure, Measured, measure
from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER
from piqa.evaluation.leaderboard.published import MEASURES, NOTE
from piqa.evaluation.pairs import Bands, by_group, preferences
from piqa.evaluation.statistics.bootstrap import Resamples, interval
from piqa.evaluation.statistics.significance import adjust, permutation_p

SIGNIFICANT = 0.05
CEILING = "noise ceiling"
CEILING_SOURCE = "score + N(0, score_std), drawn many times"
COMPARED = ["model_a", "model_b", "protocol", "measure", "images", "difference", "low", "high", "p", "samples"]


def entries(
    truth: pd.DataFrame, lines: Sequence[Line], published: pd.DataFrame, ceiling: pd.DataFrame | None
) -> pd.DataFrame:
    """The lines of the board in its order, as `Leaderboard.entries`."""
    ours = [_entry(line) for line in lines]
    others = [
        {"model": row["model"], "kind": "published", "protocol_note": NOTE}
        | {"selected_on": row["selected_on"], "source": row["source"]}
        for _, row in published.iterrows()
    ]
    last: list[dict[str, Any]] = []
    if ceiling is not None:
        last = [{"model": CEILING, "kind": "ceiling", "protocol_note": "", "selected_on": None}]
        last[0] |= {"source": CEILING_SOURCE, "images": len(truth)}
    columns = ["model", "kind", "protocol_note", "selected_on", "source", "images", "missing", "unmatched"]
    columns += ["undefined_scenes", "failed_fits", "predicted_fraction"]
    return pd.DataFrame([*ours, *others, *last], columns=columns)


def measures(
    lines: Sequence[Line], published: pd.DataFrame, ceiling: pd.DataFrame | None, comparisons: pd.DataFrame
) -> pd.DataFrame:
    """All figures, as `Leaderboard.measures`."""
    rows: list[tuple[Any, ...]] = []
    for line in lines:
        for figure in _figures(line):
            value, (low, high) = line.measured.value(figure), interval(line.measured.resampled(figure))
            low, high = (low, high) if np.isfinite(value) else (np.nan, np.nan)
            rows.append((line.name, figure.protocol, figure.measure, value, low, high, line.contestant.kind))
    for _, row in published.iterrows():
        rows += [(row["model"], "official", name, row[name], np.nan, np.nan, "published") for name in MEASURES]
    if ceiling is not None:
        limits = ceiling[["value", "low", "high"]].itertuples()
        rows += [(CEILING, "official", name, *numbers, "ceiling") for name, *numbers in limits]
    columns = ["model", "protocol", "measure", "value", "low", "high", "kind"]
    table = pd.DataFrame(rows, columns=columns)
    table["best"] = _best(table)
    table["significant"] = [
        kind == "model" and _beats_all(model, protocol, measure, comparisons)
        for model, protocol, measure, kind in table[["model", "protocol", "measure", "kind"]].to_numpy()
    ]
    return table.drop(columns="kind")


def compared(
    truth: pd.DataFrame, lines: Sequence[Line], drawn: Resamples, bands: Bands, permutations: int, seed: int
) -> pd.DataFrame:
    """Every model against every other and against the naive lines, as `Leaderboard.comparisons`.

    All stand on the images that all lines predict, so that no line gains by what it leaves out.
    """
    common = np.all([line.frame["prediction"].notna() for line in lines], axis=0)
    on_common = {line.name: _restricted(truth, line, common, drawn, bands) for line in lines}
    rows = []
    for a, b in combinations(lines, 2):
        if a.contestant.kind == b.contestant.kind == "naive":
            continue
        if a.contestant.kind == "naive":
            a, b = b, a
        shared = [figure for figure in _figures(a) if figure in _figures(b)]
        for figure in shared if common.any() else []:
            row = _comparison(on_common[a.name], on_common[b.name], figure, permutations, seed)
            if row is not None:
                rows.append({"model_a": a.name, "model_b": b.name, "images": int(common.sum()), **row})
    return adjust(pd.DataFrame(rows, columns=COMPARED).astype({"p": "float64"}))


def stack(lines: Sequence[Line], frame_of: Callable[[Line], pd.DataFrame]) -> pd.DataFrame:
    """One frame of all lines with the column `model` in front."""
    frames = [frame_of(line) for line in lines]
    stacked = [frame.assign(model=line.name) for line, frame in zip(lines, frames, strict=True)]
    table = pd.concat([frame for frame in stacked if len(frame)] or stacked or [pd.DataFrame({"model": []})])
    return table[["model", *table.columns.drop("model")]].reset_index(drop=True)


def scenes(line: Line) -> pd.DataFrame:
    """A line scene by scene, as `Leaderboard.scenes`."""
    table = line.measured.scenes.query("images > 0")
    table = table[[name for name in table if not str(name).endswith(("_concordance", "_pairs"))]]
    conditions = pd.Series(None, index=table.index, dtype=object)
    if "condition" in line.frame:
        conditions = line.frame.groupby("scene")["condition"].agg(lambda rows: " and ".join(sorted(set(rows))))
    table.insert(0, "condition", conditions.reindex(table.index))
    return table.rename_axis("scene").reset_index()


def groups(line: Line) -> pd.DataFrame:
    """A line by condition and device, where the table knows them, as `Leaderboard.groups`."""
    known = [by for by in ("condition", "device") if by in line.frame]
    columns = ["by", "group", "images", "pairs", "pair_accuracy", "srocc"]
    return pd.concat([by_group(line.known, by) for by in known]) if known else pd.DataFrame(columns=columns)


def pairs(line: Line, bands: Bands) -> pd.DataFrame:
    """A line's pairs, as `Leaderboard.pairs`."""
    table = preferences(line.known, bands)
    limits = [interval(line.measured.accuracy(kind)[1]) for kind in table["kind"]]
    table.insert(3, "low", [low for low, _ in limits])
    table.insert(4, "high", [high for _, high in limits])
    return table


def _entry(line: Line) -> dict[str, Any]:
    contestant, table = line.contestant, line.measured.scenes.query("images > 0")
    return {
        "model": line.name,
        "kind": contestant.kind,
        "protocol_note": "",
        "selected_on": contestant.selected_on,
        "source": contestant.source,
        "images": len(line.known),
        "missing": len(line.missing),
        "unmatched": len(contestant.unmatched),
        "undefined_scenes": int(table["srocc"].isna().sum()),
        "failed_fits": int((~table["fit_converged"]).sum()),
        "predicted_fraction": len(line.known) / len(line.frame),
    }


def _figures(line: Line) -> list[Figure]:
    return [figure for figure in FIGURES if figure.protocol != "calibrated" or line.mapping is not None]


def _best(table: pd.DataFrame) -> pd.Series[bool]:
    """Whether no other model and no published line is better; naive lines and the ceiling are no candidates."""
    sign = np.where(table["measure"].isin(LOWER_IS_BETTER), -1, 1)
    standing = (sign * table["value"]).where(table["kind"].isin(["model", "published"]))
    best: pd.Series[bool] = standing.notna() & (
        standing == standing.groupby([table["protocol"], table["measure"]]).transform("max")
    )
    return best


def _beats_all(model: str, protocol: str, measure: str, comparisons: pd.DataFrame) -> bool:
    rows = comparisons[(comparisons["protocol"] == protocol) & (comparisons["measure"] == measure)]
    rows = rows[(rows["model_a"] == model) | (rows["model_b"] == model)]
    ahead = rows["difference"].where(rows["model_a"] == model, -rows["difference"])
    better = ahead < 0 if measure in LOWER_IS_BETTER else ahead > 0
    return bool(len(rows) and (better & (rows["p_adjusted"] < SIGNIFICANT)).all())


def _restricted(truth: pd.DataFrame, line: Line, common: Any, drawn: Resamples, bands: Bands) -> Measured:
    prediction = line.frame["prediction"].where(common)
    if prediction.notna().sum() == len(line.known):
        return line.measured
    return measure(truth, prediction.to_numpy(), line.mapping, drawn, bands)


def _comparison(a: Measured, b: Measured, figure: Figure, permutations: int, seed: int) -> dict[str, Any] | None:
    difference = a.value(figure) - b.value(figure)
    if np.isnan(difference):
        return None
    sampled = a.resampled(figure) - b.resampled(figure)
    low, high = interval(sampled)
    by_scene = a.scenes[figure.column] - b.scenes[figure.column]
    p = permutation_p(by_scene, seed, permutations)
    return {
        "protocol": figure.protocol,
        "measure": figure.measure,
        "difference": difference,
        "low": low,
        "high": high,
        "p": p if np.sign(by_scene.mean()) == np.sign(difference) else 1.0,
        "samples": len(sampled),
    }
