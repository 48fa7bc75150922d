"""Recompute a leaderboard from its `predictions.csv` alone, by other code than piqa's, and compare.

    python scripts/recompute_leaderboard.py runs/demo/evaluation

Reads `leaderboard.json` for what is claimed and how it was computed (seed, resamples, draws), and the predictions of
every model. Resamples are written out image by image and measured with scipy's ranks and plain sums over all pairs.
Nothing of piqa is imported. Recomputed are, for every model: the values of the official and of the authors' protocol
with their intervals, the accuracy of pairs with its interval, differences between models with intervals and p-values,
Holm's correction, and the noise ceiling. Not recomputed, as `predictions.csv` does not hold what they need: naive and
published entries, and the calibrated protocol, which needs predictions of training images.

The resampling scheme is part of the contract, so that the same seed must give the same numbers:

- scenes, and images in each, are in order of their names;
- `SeedSequence(seed)` has one child to choose scenes, `integers(scenes, size=(resamples, scenes))`, then one for each
  scene, which draws `multinomial(images, 1/images)` each time that the scene stands in a slot, row by row;
- patterns of swaps are all 2^scenes, or `default_rng(seed).choice([-1, 1], size=(permutations, scenes))`;
- noise is `default_rng(seed).standard_normal((draws, images))`, scene by scene.

Where images of the table have no prediction, the scheme cannot be repeated from the predictions, and intervals are
compared within a Monte-Carlo tolerance. Prints the largest difference of each kind, and ends with status 1 if any is
beyond its tolerance.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit
from scipy.stats import rankdata

EXACT, FITTED, MONTE_CARLO = 1e-9, 1e-5, 0.03  # largest differences; of fits, whose last digits depend on the order
RAW, ERRORS = ("srocc", "krocc", "plcc", "mae", "rmse"), ("plcc", "mae", "rmse")
ROUNDING = 8 * float(np.finfo(np.float32).eps)  # a range that is no more, relative to its values, is no range
PAIRS_AT_ONCE = 4_000_000

Measured = dict[str, np.ndarray]
Difference = tuple[str, str, float, float]  # kind, what, how far, tolerance


def main() -> None:
    """Recompute the board of a folder, print the differences, and end with status 1 if one is beyond its tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of an evaluation")
    sys.exit(recompute(parser.parse_args().folder))


def recompute(folder: Path) -> int:
    """Compare the board of a folder with its predictions; print a table; return the exit status."""
    try:
        board = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
        names = [entry["model"] for entry in board["entries"] if entry["kind"] == "model"]
        tables = {name: _predictions(folder, name, len(names)) for name in names}
    except (OSError, ValueError, KeyError, RecursionError) as error:
        print(f"{folder} holds no leaderboard with predictions that can be read: {error}", file=sys.stderr)
        return 2
    differences = _differences(board, tables)
    frame = pd.DataFrame(differences, columns=["kind", "what", "difference", "tolerance"])
    frame["beyond"] = ~(frame["difference"] <= frame["tolerance"])
    by_kind = frame.groupby("kind", sort=False)
    table = by_kind.agg(
        compared=("what", "size"),
        largest=("difference", "max"),
        tolerance=("tolerance", "max"),
        beyond=("beyond", "sum"),
    )
    print(table.to_string())
    for row in frame[frame["beyond"]].itertuples():
        print(f"BEYOND {row.kind}: {row.what} differs by {row.difference:g} (tolerance {row.tolerance:g})")
    print("agrees" if not frame["beyond"].any() else f"{frame['beyond'].sum()} of {len(frame)} numbers do not agree")
    return int(frame["beyond"].any() or frame.empty)


def _predictions(folder: Path, name: str, models: int) -> pd.DataFrame:
    own = folder if models == 1 else folder / re.sub(r"[^\w-]", "_", name)
    frame = pd.read_csv(
        own / "predictions.csv", dtype={"image": str, "scene": str}, keep_default_na=False, na_values=""
    )
    frame = frame.astype({"scene": str}).sort_values(["scene", "image"]).reset_index(drop=True)
    return frame.astype({"score": float, "prediction": float})


def _differences(board: dict, tables: dict[str, pd.DataFrame]) -> list[Difference]:
    facts, found = board["facts"], []
    images = len(set().union(*(table["image"] for table in tables.values())))
    same = {tuple(table["image"]) for table in tables.values()}
    exact = len(same) == 1 and images == facts["images"]
    once, resampled = {}, {}
    for name, table in tables.items():
        scenes = [_scene(rows, facts) for _, rows in table.groupby("scene", sort=True)]
        once[name] = _stack([scene.measure(np.arange(len(scene.score))[None]) for scene in scenes])
        resampled[name] = _resampled(scenes, facts)
        found += _of_model(board, name, once[name], resampled[name], exact)
    if len(same) == 1:  # else comparisons are of the images that all entries predict
        for a, b in combinations(tables, 2):
            found += _of_pair(board, a, b, once, resampled, exact)
    found += _of_holm(board["comparisons"])
    first = next(iter(tables.values()))
    if exact and "score_std" in first:
        found += _of_ceiling(board, first, facts)
    return found


class _Scene:
    """Scores and predictions of a scene, with the authors' logistic fitted to them."""

    def __init__(self, score: np.ndarray, prediction: np.ndarray, bands: dict[str, tuple[float, float]]) -> None:
        self.score, self.prediction, self.bands = score, prediction, bands
        self.fitted = _fitted(prediction, score)

    def measure(self, drawn: np.ndarray) -> Measured:
        """Return all measures of resamples, written out as positions of images, shape (resamples, images)."""
        found = _measures(self.score[drawn], self.prediction[drawn], self.bands)
        nothing = dict.fromkeys(ERRORS, np.full(len(drawn), np.nan))
        fitted = nothing if self.fitted is None else _errors(self.score[drawn], self.fitted[drawn])
        return found | {f"fitted_{name}": fitted[name] for name in ERRORS}


def _measures(score: np.ndarray, prediction: np.ndarray, bands: dict[str, tuple[float, float]]) -> Measured:
    """Return all measures of each row, shape (rows, images), by a look at every pair."""
    step = max(PAIRS_AT_ONCE // score.shape[1] ** 2, 1)
    parts = []
    for start in range(0, len(score), step):
        x, y = score[start : start + step], prediction[start : start + step]
        found = _errors(x, y)
        found["srocc"] = _defined(_pearson(rankdata(x, axis=1), rankdata(y, axis=1)), x, y)
        upper = np.triu_indices(x.shape[1], 1)
        apart, ahead = ((values[:, :, None] - values[:, None, :])[:, upper[0], upper[1]] for values in (x, y))
        agreement = np.sign(apart) * np.sign(ahead)
        for kind, (above, below) in bands.items():
            inside = (np.abs(apart) > above) & (np.abs(apart) < below)
            found[f"{kind}_agreement"] = (agreement * inside).sum(axis=1)
            found[f"{kind}_pairs"] = inside.sum(axis=1).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            norm = np.sqrt((apart != 0).sum(axis=1)) * np.sqrt((ahead != 0).sum(axis=1))
            found["krocc"] = _defined(found["all_agreement"] / norm, x, y)
            found["pair_accuracy"] = (1 + found["all_agreement"] / found["all_pairs"]) / 2
        parts.append(found)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _scene(rows: pd.DataFrame, facts: dict) -> _Scene:
    return _Scene(rows["score"].to_numpy(), rows["prediction"].to_numpy(), _bands(facts))


def _bands(facts: dict) -> dict[str, tuple[float, float]]:
    return {"all": (0.0, np.inf), "clear": (facts["clear"], np.inf), "near": (0.0, facts["near"])}


def _errors(x: np.ndarray, y: np.ndarray) -> Measured:
    error = np.abs(x - y)
    return {"plcc": _defined(_pearson(x, y), x, y), "mae": error.mean(axis=1), "rmse": np.sqrt((error**2).mean(axis=1))}


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx, dy = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (dx * dy).sum(axis=1) / np.sqrt((dx**2).sum(axis=1) * (dy**2).sum(axis=1))


def _defined(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    for side in (x, y):
        varies = np.ptp(side, axis=1) > ROUNDING * np.abs(side).max(axis=1)
        values = np.where(varies, values, np.nan)
    return values


def _fitted(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Return predictions after the authors' logistic, b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)), or None."""

    def curve(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
        return b2 + (b1 - b2) * expit((x - b3) / abs(b4))

    def slopes(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
        share = expit((x - b3) / abs(b4))
        steep = (b1 - b2) * share * (1 - share) / abs(b4)
        return np.column_stack([share, 1 - share, -steep, -steep * (x - b3) / b4])

    if len(x) < 4 or np.isnan(_defined(np.zeros(1), x[None], y[None])).any():
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)
        try:
            found, _ = curve_fit(curve, x, y, p0=(y.max(), y.min(), x.mean(), 0.5), jac=slopes, maxfev=10_000)
        except RuntimeError:
            return None
        mapped = curve(x, *found)
    flat = not np.isfinite(mapped).all() or np.isnan(_defined(np.zeros(1), mapped[None], mapped[None])).any()
    return None if flat else mapped


def _resampled(scenes: list[_Scene], facts: dict) -> Measured:
    """Return all measures of all resamples, each of shape (resamples, scenes)."""
    number, samples = len(scenes), facts["bootstrap_samples"]
    choosing, *drawing = (
        np.random.default_rng(child) for child in np.random.SeedSequence(facts["seed"]).spawn(number + 1)
    )
    slots = np.tile(np.arange(number), (samples, 1))
    if facts["levels"] != "images":
        slots = choosing.integers(number, size=(samples, number))
    found: Measured = {}
    for place, scene in enumerate(scenes):
        rows, columns = np.nonzero(slots == place)
        size = len(scene.score)
        drawn = np.tile(np.arange(size), (len(rows), 1))
        if facts["levels"] != "scenes" and len(rows):
            counts = drawing[place].multinomial(size, np.full(size, 1 / size), size=len(rows))
            drawn = np.stack([np.repeat(np.arange(size), count) for count in counts])
        for name, values in (scene.measure(drawn) if len(rows) else {}).items():
            found.setdefault(name, np.full((samples, number), np.nan))[rows, columns] = values
    return found


def _stack(measured: list[Measured]) -> Measured:
    return {name: np.concatenate([one[name] for one in measured])[None] for name in measured[0]}


def _summed_up(measured: Measured, protocol: str, measure: str) -> np.ndarray:
    name = f"fitted_{measure}" if protocol == "authors" and measure in ERRORS else measure
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rows without any value
        return (np.nanmedian if protocol == "official" else np.nanmean)(measured[name], axis=1)


def _interval(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    return (np.nan, np.nan) if not values.size else tuple(np.quantile(values, [0.025, 0.975]))


def _compared(kind: str, what: str, ours: float, theirs: float | None, tolerance: float) -> Difference:
    claimed = np.nan if theirs is None else theirs
    both = bool(np.isnan(ours) and np.isnan(claimed))
    return kind, f"{what}, {claimed:g} on the board and {ours:g} here", 0.0 if both else abs(ours - claimed), tolerance


def _of_model(board: dict, name: str, once: Measured, resampled: Measured, exact: bool) -> list[Difference]:
    found = []
    chance = EXACT if exact else MONTE_CARLO
    for row in board["measures"]:
        if row["model"] != name or row["protocol"] not in ("official", "authors"):
            continue
        fitted = row["protocol"] == "authors" and row["measure"] in ERRORS
        what = f"{name} {row['protocol']} {row['measure']}"
        value = _summed_up(once, row["protocol"], row["measure"])[0]
        found.append(_compared("values", what, value, row["value"], FITTED if fitted else EXACT))
        ends = (
            _interval(_summed_up(resampled, row["protocol"], row["measure"])) if np.isfinite(value) else (np.nan,) * 2
        )
        for end, ours in zip(("low", "high"), ends, strict=True):
            tolerance = max(chance, FITTED) if fitted else chance
            found.append(_compared("intervals", f"{what} {end}", ours, row[end], tolerance))
    for row in board["pairs"]:
        if row["model"] != name:
            continue
        sums = [
            [np.nansum(m[f"{row['kind']}_{part}"], axis=1) for part in ("agreement", "pairs")]
            for m in (once, resampled)
        ]
        with np.errstate(invalid="ignore", divide="ignore"):
            (value,), many = ((1 + agreement / pairs) / 2 for agreement, pairs in sums)
        found.append(_compared("pairs", f"{name} {row['kind']}", value, row["accuracy"], EXACT))
        for end, ours in zip(("low", "high"), _interval(many), strict=True):
            found.append(_compared("pairs", f"{name} {row['kind']} {end}", ours, row[end], chance))
    return found


def _of_pair(board: dict, a: str, b: str, once: dict, resampled: dict, exact: bool) -> list[Difference]:
    found = []
    chance, facts = EXACT if exact else MONTE_CARLO, board["facts"]
    for row in board["comparisons"]:
        if {row["model_a"], row["model_b"]} != {a, b} or row["protocol"] not in ("official", "authors"):
            continue
        protocol, measure = row["protocol"], row["measure"]
        first, second = row["model_a"], row["model_b"]
        fitted = protocol == "authors" and measure in ERRORS
        what, tolerance = f"{first} - {second} {protocol} {measure}", FITTED if fitted else EXACT
        name = f"fitted_{measure}" if fitted else measure
        value = (_summed_up(once[first], protocol, measure) - _summed_up(once[second], protocol, measure))[0]
        found.append(_compared("differences", what, value, row["difference"], tolerance))
        many = _summed_up(resampled[first], protocol, measure) - _summed_up(resampled[second], protocol, measure)
        for end, ours in zip(("low", "high"), _interval(many), strict=True):
            found.append(_compared("differences", f"{what} {end}", ours, row[end], max(chance, tolerance)))
        by_scene = once[first][name][0] - once[second][name][0]
        p = _p_value(by_scene, facts["seed"], facts["permutations"])
        p = p if np.sign(np.nanmean(by_scene)) == np.sign(value) else 1.0
        found.append(_compared("p-values", what, p, row["p"], EXACT))
    return found


def _p_value(differences: np.ndarray, seed: int, permutations: int) -> float:
    values = differences[~np.isnan(differences)]
    every = values.size < 60 and 2**values.size <= permutations
    if every:
        signs = np.array(list(product((1.0, -1.0), repeat=values.size)))
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(permutations, values.size))
    as_far = np.abs((signs * values).sum(axis=1)) >= abs(values.sum()) - 1e-12 * values.size
    return float(as_far.mean()) if every else float((as_far.sum() + 1) / (permutations + 1))


def _of_holm(comparisons: list[dict]) -> list[Difference]:
    """Adjust the p-values that the board tells, in each protocol and measure."""
    found = []
    for key in {(row["protocol"], row["measure"]) for row in comparisons}:
        rows = [row for row in comparisons if (row["protocol"], row["measure"]) == key and row["p"] is not None]
        least = 0.0
        for place, row in enumerate(sorted(rows, key=lambda row: row["p"])):
            least = max(least, min(1.0, (len(rows) - place) * row["p"]))
            what = f"{row['model_a']} - {row['model_b']} {' '.join(key)}"
            found.append(_compared("Holm", what, least, row["p_adjusted"], EXACT))
    return found


def _of_ceiling(board: dict, table: pd.DataFrame, facts: dict) -> list[Difference]:
    generator, measured = np.random.default_rng(facts["seed"]), []
    for _, rows in table.groupby("scene", sort=True):
        score, std = rows["score"].to_numpy(), rows["score_std"].to_numpy(float)
        noisy = score + std * generator.standard_normal((facts["draws"], len(score)))
        measured.append(_measures(np.tile(score, (facts["draws"], 1)), noisy, _bands(facts)))
    drawn = {name: np.column_stack([one[name] for one in measured]) for name in (*RAW, "pair_accuracy")}
    found = []
    for row in board["measures"]:
        if row["model"] == "noise ceiling":
            values = _summed_up(drawn, "official", row["measure"])
            low, high = _interval(values)
            for end, ours in (("value", values.mean()), ("low", low), ("high", high)):
                found.append(_compared("noise ceiling", f"{row['measure']} {end}", ours, row[end], EXACT))
    return found


if __name__ == "__main__":
    main()
