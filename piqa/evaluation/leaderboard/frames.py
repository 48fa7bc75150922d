"""The frames of a `Leaderboard`, from its measured entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from piqa.evaluation.leaderboard.entries import MeasuredEntry
from piqa.evaluation.leaderboard.entry_measures import BOARD_VALUES, BoardValue, EntryMeasures, measure_predictions
from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER
from piqa.evaluation.leaderboard.published import NOTE, PUBLISHED_MEASURES
from piqa.evaluation.pairs import GROUP_COLUMNS, PairBands, by_group, preferences
from piqa.evaluation.statistics.bootstrap import Resamples, interval
from piqa.evaluation.statistics.significance import adjust, permutation_p

SIGNIFICANT = 0.05
CEILING = "noise ceiling"
COMPARED = ["model_a", "model_b", "protocol", "measure", "images", "difference", "low", "high", "p"]


def entries(
    truth: pd.DataFrame, measured: Sequence[MeasuredEntry], published: pd.DataFrame, ceiling: pd.DataFrame | None
) -> pd.DataFrame:
    """Return `Leaderboard.entries`."""
    rows = [_entry(entry) for entry in measured]
    for _, row in published.iterrows():
        own = {name: row[name] for name in ("model", "selected_on", "source")}
        rows.append(own | {"kind": "published", "protocol_note": NOTE})
    if ceiling is not None:
        own = {"model": CEILING, "selected_on": None, "source": "score + N(0, score_std), drawn many times"}
        rows.append(own | {"kind": "ceiling", "protocol_note": "", "images": len(truth)})
    return pd.DataFrame(rows)


def measures(
    measured: Sequence[MeasuredEntry], published: pd.DataFrame, ceiling: pd.DataFrame | None, compared: pd.DataFrame
) -> pd.DataFrame:
    """Return `Leaderboard.measures`."""
    rows: list[tuple[object, ...]] = []
    for entry in measured:
        for one in _board_values(entry):
            value, (low, high) = entry.measured.value(one), interval(entry.measured.resampled(one))
            low, high = (low, high) if np.isfinite(value) else (np.nan, np.nan)
            rows.append((entry.name, one.protocol, one.measure, value, low, high, entry.candidate.kind))
    for _, row in published.iterrows():
        for name in PUBLISHED_MEASURES:
            rows.append((row["model"], "official", name, row[name], np.nan, np.nan, "published"))
    if ceiling is not None:
        limits = ceiling[["value", "low", "high"]].itertuples()
        rows += [(CEILING, "official", name, *numbers, "ceiling") for name, *numbers in limits]
    table = pd.DataFrame(rows, columns=["model", "protocol", "measure", "value", "low", "high", "kind"])
    table["best"] = _best(table)
    table["significant"] = [
        kind == "model" and _beats_all(model, protocol, measure, compared)
        for model, protocol, measure, kind in table[["model", "protocol", "measure", "kind"]].to_numpy()
    ]
    return table.drop(columns="kind")


def comparisons(
    truth: pd.DataFrame,
    measured: Sequence[MeasuredEntry],
    drawn: Resamples,
    bands: PairBands,
    permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Compare every model with every other model and every naive entry; return `Leaderboard.comparisons`.

    All comparisons use the images that all entries predict, so that no entry gains by leaving images out.
    """
    common = np.all([entry.frame["prediction"].notna() for entry in measured], axis=0)
    on_common = {entry.name: _restricted(truth, entry, common, drawn, bands) for entry in measured}
    rows = []
    for a, b in combinations(measured, 2):
        if a.candidate.kind == b.candidate.kind == "naive":
            continue
        if a.candidate.kind == "naive":
            a, b = b, a
        shared = [one for one in _board_values(a) if one in _board_values(b)]
        for one in shared if common.any() else []:
            row = _comparison(on_common[a.name], on_common[b.name], one, permutations, seed)
            if row is not None:
                rows.append({"model_a": a.name, "model_b": b.name, "images": int(common.sum()), **row})
    return adjust(pd.DataFrame(rows, columns=[*COMPARED, "bootstrap_samples"]).astype({"p": "float64"}))


def stack(measured: Sequence[MeasuredEntry], frame_of: Callable[[MeasuredEntry], pd.DataFrame]) -> pd.DataFrame:
    """Return one frame of all entries with the column `model` in front."""
    stacked = [frame_of(entry).assign(model=entry.name) for entry in measured]
    table = pd.concat([frame for frame in stacked if len(frame)] or stacked or [pd.DataFrame({"model": []})])
    return table[["model", *table.columns.drop("model")]].reset_index(drop=True)


def scenes(entry: MeasuredEntry) -> pd.DataFrame:
    """Return an entry's rows of `Leaderboard.scenes`."""
    table = entry.measured.scenes.query("images > 0")
    table = table[[name for name in table if not str(name).endswith(("_concordance", "_pairs"))]]
    conditions = pd.Series(None, index=table.index, dtype=object)
    if "condition" in entry.frame:
        conditions = entry.frame.groupby("scene")["condition"].agg(lambda rows: " and ".join(sorted(set(rows))))
    table.insert(0, "condition", conditions.reindex(table.index))
    return table.rename_axis("scene").reset_index()


def groups(entry: MeasuredEntry) -> pd.DataFrame:
    """Return an entry's rows of `Leaderboard.groups`, where the table knows conditions or devices."""
    known = [by for by in ("condition", "device") if by in entry.frame]
    return pd.concat([by_group(entry.known, by) for by in known]) if known else pd.DataFrame(columns=GROUP_COLUMNS)


def pairs(entry: MeasuredEntry, bands: PairBands) -> pd.DataFrame:
    """Return an entry's rows of `Leaderboard.pairs`."""
    table = preferences(entry.known, bands)
    limits = [interval(entry.measured.accuracy(kind)[1]) for kind in table["kind"]]
    table.insert(3, "low", [low for low, _ in limits])
    table.insert(4, "high", [high for _, high in limits])
    return table


def _entry(entry: MeasuredEntry) -> dict[str, object]:
    candidate, table = entry.candidate, entry.measured.scenes.query("images > 0")
    return {
        "model": entry.name,
        "kind": candidate.kind,
        "protocol_note": "",
        "selected_on": candidate.selected_on,
        "source": candidate.source,
        "images": len(entry.known),
        "missing": len(entry.missing),
        "unmatched": len(candidate.unmatched),
        "undefined_scenes": int(table["srocc"].isna().sum()),
        "failed_fits": int((~table["fit_converged"]).sum()),
        "predicted_fraction": len(entry.known) / len(entry.frame),
    }


def _board_values(entry: MeasuredEntry) -> list[BoardValue]:
    return [one for one in BOARD_VALUES if one.protocol != "calibrated" or entry.mapping is not None]


def _best(table: pd.DataFrame) -> pd.Series[bool]:
    """Return whether no other model and no published entry is better; naive entries and the ceiling do not count."""
    sign = np.where(table["measure"].isin(LOWER_IS_BETTER), -1, 1)
    standing = (sign * table["value"]).where(table["kind"].isin(["model", "published"]))
    best: pd.Series[bool] = standing == standing.groupby([table["protocol"], table["measure"]]).transform("max")
    return best  # never NaN


def _beats_all(model: str, protocol: str, measure: str, compared: pd.DataFrame) -> bool:
    rows = compared[(compared["protocol"] == protocol) & (compared["measure"] == measure)]
    rows = rows[(rows["model_a"] == model) | (rows["model_b"] == model)]
    ahead = rows["difference"].where(rows["model_a"] == model, -rows["difference"])
    better = ahead < 0 if measure in LOWER_IS_BETTER else ahead > 0
    return bool(len(rows) and (better & (rows["p_adjusted"] < SIGNIFICANT)).all())


def _restricted(
    truth: pd.DataFrame, entry: MeasuredEntry, common: NDArray[np.bool_], drawn: Resamples, bands: PairBands
) -> EntryMeasures:
    """Return the entry's measures on the images that are common to all entries."""
    prediction = entry.frame["prediction"].where(common)
    if prediction.notna().sum() == len(entry.known):
        return entry.measured
    return measure_predictions(truth, prediction.to_numpy(), entry.mapping, drawn, bands)


def _comparison(
    a: EntryMeasures, b: EntryMeasures, value: BoardValue, permutations: int, seed: int
) -> dict[str, object] | None:
    difference = a.value(value) - b.value(value)
    if np.isnan(difference):
        return None
    resampled = a.resampled(value) - b.resampled(value)
    low, high = interval(resampled)
    by_scene = a.scenes[value.column] - b.scenes[value.column]
    p = permutation_p(by_scene, seed, permutations)
    return {
        "protocol": value.protocol,
        "measure": value.measure,
        "difference": difference,
        "low": low,
        "high": high,
        "p": p if np.sign(by_scene.mean()) == np.sign(difference) else 1.0,
        "bootstrap_samples": len(resampled),
    }
