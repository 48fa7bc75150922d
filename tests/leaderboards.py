"""Leaderboards of made-up predictions, for what shows them: measured with the real measures, intervals rough."""

import numpy as np
import pandas as pd
from scipy.special import ndtr

from piqa.evaluation.leaderboard.facts import LeaderboardFacts
from piqa.evaluation.leaderboard.leaderboard import Leaderboard
from piqa.evaluation.metrics import pair_accuracy, per_scene

RAW = ["srocc", "plcc", "krocc", "mae", "rmse"]
FACTS = {
    "table": "PIQ23 overall, scene split",
    "split": "test",
    "attribute": "overall",
    "official_split": "scene",
    "seed": 0,
    "bootstrap_samples": 2000,
    "levels": "both",
    "permutations": 10_000,
    "draws": 1000,
    "max_missing": 0.0,
    "clear": 1.0,
    "near": 0.25,
    "unavailable": {"calibrated": {"peer": "no predictions of training images"}},
    "missing": {},
    "unmatched": {},
    "command": "piqa evaluate --predictions ours=a.csv peer=b.csv",
}
UNCALIBRATED = ("constant", "peer", "noise ceiling")
PUBLISHED = {"MUSIQ": (0.736, 0.74, 0.54, 0.95), "FULL-HyperIQA": (0.78, 0.78, 0.59, 1.12)}


def labels(scenes=3, images=8, seed=0):
    """A table of labels: `image, scene, condition, device, score`."""
    rng = np.random.default_rng(seed)
    names = [f"Scene_{i}" for i in range(scenes)]
    return pd.DataFrame(
        {
            "image": [f"{i}_{scene}.jpg" for scene in names for i in range(images)],
            "scene": np.repeat(names, images),
            "condition": np.repeat(["Indoor", "Night"] * scenes, images)[: scenes * images],
            "device": np.tile([f"phone {i}" for i in range(images)], scenes),
            "score": rng.normal(size=scenes * images),
        }
    )


def noisy(table, spread, seed):
    return table["score"] + np.random.default_rng(seed).normal(0, spread, len(table))


def leaderboard(table=None, /, models=None, ceiling=None, paths=None, selected_on=None, **facts):
    """A board of a constant, the models (name to predictions), two published entries and a ceiling.

    `paths` gives the files of images by name, `selected_on` what chose each model, `facts` replaces some of FACTS.
    """
    table = labels() if table is None else table
    if models is None:
        models = {"ours": noisy(table, 0.5, 1), "peer": noisy(table, 1.0, 2)}
    ceiling = noisy(table, 0.3, 3) if ceiling is None else ceiling
    selected_on = selected_on or dict.fromkeys(models, "val")
    lines = {"constant": np.zeros(len(table)), **models}
    frames = {name: table.assign(prediction=prediction) for name, prediction in lines.items()}
    scenes = {name: _scenes(frame) for name, frame in frames.items()}
    measured = [_measures(name, scenes[name]) for name in lines]
    published = [_published(name, values) for name, values in PUBLISHED.items()]
    top = _measures("noise ceiling", _scenes(table.assign(prediction=ceiling)))
    measures = pd.concat([*measured, *published, top[top["protocol"] == "official"]], ignore_index=True)
    entries = [_entry("constant", "naive", scenes, source="the same value for every image")]
    entries += [_entry(name, "model", scenes, selected_on[name], source=f"{name}.csv") for name in models]
    entries += [
        _entry(name, "published", {}, "test", "any mapping is not stated", "PIQ23 README") for name in PUBLISHED
    ]
    entries += [_entry("noise ceiling", "ceiling", {}, source="scores + N(0, their standard deviation)")]
    return Leaderboard(
        facts=LeaderboardFacts(**FACTS | {"images": len(table), "scenes": table["scene"].nunique()} | facts),
        entries=pd.DataFrame(entries),
        measures=_marked(measures, list(models)),
        scenes=pd.concat([s.assign(model=name).reset_index() for name, s in scenes.items()], ignore_index=True),
        groups=pd.concat([_groups(name, frame) for name, frame in frames.items()], ignore_index=True),
        comparisons=_comparisons(measures, list(models)),
        pairs=pd.concat([_pairs(name, frame) for name, frame in frames.items()], ignore_index=True),
        reliability=pd.concat([_reliability(name, frames[name]) for name in models], ignore_index=True),
        failures=pd.concat([_failures(name, frames[name], paths) for name in models], ignore_index=True),
        predictions=pd.concat(
            [f.assign(model=name)[["model", "image", "scene", "score", "prediction"]] for name, f in frames.items()],
            ignore_index=True,
        ),
    )


def _scenes(frame):
    scenes = per_scene(frame)
    groups = frame.groupby("scene")
    scenes["condition"] = groups["condition"].first()
    scenes["pair_accuracy"] = [pair_accuracy(rows) for _, rows in groups]
    return scenes


def _measures(model, scenes):
    rng, rows = np.random.default_rng(0), []
    samples = rng.integers(0, len(scenes), (200, len(scenes)))
    for protocol, columns in {
        "official": {name: name for name in [*RAW, "pair_accuracy"]},
        "authors": {n: n if n in ("srocc", "krocc") else f"fitted_{n}" for n in RAW},
        "calibrated": {"mae": "fitted_mae", "rmse": "fitted_rmse"} if model not in UNCALIBRATED else {},
    }.items():
        for measure, column in columns.items():
            values = scenes[column].to_numpy(float)
            total = np.mean if protocol == "authors" else np.median
            value, resampled = total(values), np.sort(total(values[samples], axis=1))
            low, high = (resampled[5], resampled[194]) if np.isfinite(value) else (np.nan, np.nan)
            rows.append([model, protocol, measure, value, low, high])
    return pd.DataFrame(rows, columns=["model", "protocol", "measure", "value", "low", "high"])


def _published(model, values):
    rows = [[model, "official", name, value, np.nan, np.nan] for name, value in zip(RAW, values, strict=False)]
    return pd.DataFrame(rows, columns=["model", "protocol", "measure", "value", "low", "high"])


def _marked(measures, models):
    rivals = measures[measures["model"].isin([*models, *PUBLISHED])]
    sign = np.where(rivals["measure"].isin(["mae", "rmse"]), -1, 1)
    good = (sign * rivals["value"]).groupby([rivals["protocol"], rivals["measure"]])
    best = good.transform("max") == sign * rivals["value"]
    measures["best"] = best.reindex(measures.index, fill_value=False)
    measures["significant"] = measures["best"] & (measures["model"] == "ours") & (measures["measure"] == "srocc")
    return measures


def _entry(model, kind, scenes, selected_on=None, note="", source=""):
    own = scenes.get(model)
    counts = {"images": np.nan, "missing": np.nan, "unmatched": np.nan, "undefined_scenes": np.nan}
    if own is not None:
        undefined, failed = own["srocc"].isna().sum(), (~own["fit_converged"]).sum()
        counts = {"images": own["images"].sum(), "missing": 0, "unmatched": 0, "undefined_scenes": undefined}
        counts |= {"failed_fits": failed, "predicted_fraction": 1.0}
    named = {"model": model, "kind": kind, "protocol_note": note, "selected_on": selected_on, "source": source}
    return {"failed_fits": np.nan, "predicted_fraction": np.nan, **named, **counts}


def _comparisons(measures, models):
    official = measures[measures["protocol"] == "official"].set_index(["model", "measure"])["value"]
    rows = []
    for measure in ("srocc", "plcc"):
        for i, a in enumerate(models):
            for b in models[i + 1 :]:
                d = official[a, measure] - official[b, measure]
                ends = (d - 0.04, d + 0.05)
                rows.append([a, b, "official", measure, 24, d, *ends, 0.0004, 0.004, 2000])
    columns = ["model_a", "model_b", "protocol", "measure", "images", "difference", "low", "high", "p", "p_adjusted"]
    return pd.DataFrame(rows, columns=[*columns, "bootstrap_samples"])


def all_pairs(frame):
    """All pairs inside a scene, the one that experts prefer first."""
    pairs = frame.merge(frame, on="scene", suffixes=("_a", "_b"))
    return pairs[pairs["score_a"] > pairs["score_b"]]


def _pairs(model, frame):
    pairs = all_pairs(frame)
    gap, margin = pairs["score_a"] - pairs["score_b"], pairs["prediction_a"] - pairs["prediction_b"]
    right = (np.sign(margin) + 1) / 2
    rows = []
    for kind, chosen in {"all": gap > 0, "clear": gap > 1, "near": gap < 0.25}.items():
        share = right[chosen].mean()
        brier = np.square(1 - ndtr(margin[chosen])).mean()
        rows.append([model, kind, chosen.sum(), share, share - 0.01, share + 0.01, brier])
    return pd.DataFrame(rows, columns=["model", "kind", "pairs", "accuracy", "low", "high", "brier"])


def _reliability(model, frame):
    pairs = all_pairs(frame)
    margin = (pairs["prediction_a"] - pairs["prediction_b"]).to_numpy()
    predicted, agree = ndtr(np.abs(margin)), margin > 0
    bins = np.minimum(((predicted - 0.5) * 20).astype(int), 9)
    grouped = pd.DataFrame({"bin": bins, "predicted": predicted, "observed": agree}).groupby("bin")
    means = grouped[["predicted", "observed"]].mean().assign(pairs=grouped.size()).reset_index()
    return means.assign(model=model)


def _groups(model, frame):
    rows, every = [], all_pairs(frame)
    for by in ("condition", "device"):
        for group, own in frame.groupby(by):
            pairs = every[(every[f"{by}_a"] == group) | (every[f"{by}_b"] == group)]
            right = ((np.sign(pairs["prediction_a"] - pairs["prediction_b"]) + 1) / 2).mean()
            srocc = per_scene(own)["srocc"].mean() if by == "condition" else np.nan
            rows.append([model, by, group, len(own), len(pairs), right, srocc])
    return pd.DataFrame(rows, columns=["model", "by", "group", "images", "pairs", "pair_accuracy", "srocc"])


def _failures(model, frame, paths, shown=12):
    pairs = all_pairs(frame)
    pairs = pairs[pairs["prediction_a"] < pairs["prediction_b"]]
    worst = pairs.assign(gap=pairs["score_a"] - pairs["score_b"]).nlargest(shown, "gap")
    for side in ("a", "b"):
        worst[f"path_{side}"] = [None if paths is None else paths.get(name) for name in worst[f"image_{side}"]]
    sides = [f"{name}_{side}" for name in ("image", "score", "prediction", "path") for side in ("a", "b")]
    return worst.assign(model=model)[["model", "scene", *sides]]
