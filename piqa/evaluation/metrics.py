"""How well predictions follow the experts' scores: measures of every scene, and the two ways to sum up scenes.

Scores such as JODs are centred in each scene and cannot be compared across scenes, so everything here is computed
within scenes first. A measure that is not defined is NaN, never a plausible number.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit

from piqa.errors import InputError
from piqa.evaluation import measures
from piqa.evaluation.measures import Array

Summary = dict[str, Any]  # as JSON has it: numbers, texts, lists and tables of these

LOGISTIC_PARAMETERS = 4
MAX_EVALUATIONS = 10_000  # the published 1e8 can take hours; a fit that converges needs a few hundred


def srocc(score: ArrayLike, prediction: ArrayLike) -> float:
    """Return Spearman's rank correlation of one scene; tied images have their mean rank.

    Args:
        score: The experts' scores, shape (images,).
        prediction: The predicted scores, shape (images,), on any scale.

    Returns:
        A number in [-1, 1]; NaN where `measures` says that no correlation is defined.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> round(srocc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
        0.8
        >>> srocc([1, 2, 3, 4], [5, 5, 5, 5])
        nan
    """
    return float(measures.srocc(*_vectors(score, prediction)))


def krocc(score: ArrayLike, prediction: ArrayLike) -> float:
    """Return Kendall's rank correlation, tau-b; arguments, result and errors as for `srocc`.

    Examples:
        >>> round(krocc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
        0.6667
    """
    return float(measures.krocc(*_vectors(score, prediction)))


def plcc(score: ArrayLike, prediction: ArrayLike) -> float:
    """Return Pearson's linear correlation; arguments, result and errors as for `srocc`.

    Examples:
        >>> round(plcc([1, 2, 3], [10, 20, 40]), 4)
        0.982
    """
    return float(measures.plcc(*_vectors(score, prediction)))


def mae(score: ArrayLike, prediction: ArrayLike) -> float:
    """Return the mean absolute error in units of the score; NaN without images. Raises ValueError as `srocc`.

    Examples:
        >>> mae([1, 2, 3], [2, 2, 5])
        1.0
    """
    return float(measures.mae(*_vectors(score, prediction)))


def rmse(score: ArrayLike, prediction: ArrayLike) -> float:
    """Return the root of the mean squared error in units of the score; NaN without images. Raises as `srocc`.

    Examples:
        >>> rmse([1, 2, 3], [1, 2, 6])
        1.7320508075688772
    """
    return float(measures.rmse(*_vectors(score, prediction)))


def fit_logistic(prediction: ArrayLike, score: ArrayLike) -> Array | None:
    """Map predictions of one scene to the scale of its scores by the DN-PIQA authors' four-parameter logistic.

    f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)), least squares from b1 = max(score), b2 = min(score),
    b3 = mean(prediction), b4 = 0.5. The start is the published one and suits predictions that span a few units; on
    another scale the fit can end in a step function. The curve is fitted to the labels that it is then evaluated on, so
    the measures are optimistic. Unlike in the published code, the derivatives are exact: the steps of numeric ones are
    proportional to the parameter, so b3 would never leave a mean that is zero but for rounding.

    Args:
        prediction: The predicted scores, shape (images,).
        score: The experts' scores, shape (images,).

    Returns:
        The mapped predictions, shape (images,), or None where the fit fails: fewer than four images, a constant side,
        no convergence within a fixed number of steps, or a flat curve.

    Raises:
        ValueError: If the shapes differ.

    Reference: Sun et al., Dual-Branch Network for Portrait Image Quality Assessment, CVPRW 2024, published code.
    """
    x, y = _vectors(prediction, score)
    if x.size < LOGISTIC_PARAMETERS or measures.is_constant(x) or measures.is_constant(y):
        return None
    start = (y.max(), y.min(), x.mean(), 0.5)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # about the covariance, which is not used
        try:
            parameters, _ = curve_fit(_logistic, x, y, p0=start, jac=_logistic_slopes, maxfev=MAX_EVALUATIONS)
        except RuntimeError:  # no convergence
            return None
        mapped = _logistic(x, *parameters)
    return None if measures.is_constant(mapped) or not np.isfinite(mapped).all() else mapped


def per_scene(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return all measures of every scene.

    Args:
        predictions: One row an image with columns `scene`, `score` and `prediction`; `image`, where it is there, must
            not repeat.

    Returns:
        One row a scene, indexed by `scene` in sorted order: `images`; `srocc`, `krocc`, `plcc`, `mae`, `rmse` of the
        raw predictions; `fitted_plcc`, `fitted_mae`, `fitted_rmse` after `fit_logistic`, which are NaN where
        `fit_converged` is false.

    Raises:
        InputError: If a column is missing, there is no row, an image repeats or a value is not finite.

    Examples:
        >>> rows = {"scene": ["hall"] * 3 + ["lake"] * 3, "score": [1, 2, 3, 1, 2, 3], "prediction": [1, 3, 2, 4, 5, 6]}
        >>> per_scene(pd.DataFrame(rows))["srocc"].to_dict()
        {'hall': 0.5, 'lake': 1.0}
    """
    check_table(predictions)
    scenes = predictions.groupby("scene", sort=True)
    rows = {scene: _measures(*rows[["score", "prediction"]].to_numpy(np.float64).T) for scene, rows in scenes}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("scene")


def summarise(scenes: pd.DataFrame) -> Summary:
    """Sum up the measures of `per_scene` by the two protocols in use, which cannot be converted into each other.

    `official` is the PIQ23 board's: the median over scenes of each measure of the raw predictions. `authors` is that of
    the DN-PIQA code: the mean over scenes, SROCC and KROCC of the raw predictions, PLCC, MAE and RMSE after the
    per-scene logistic fit.

    A scene with undefined correlations or a failed fit is left out of the aggregates for which it has no number (the
    authors' own mean would become NaN), counted and named, because leaving it out can flatter a model.

    Returns:
        Plain numbers, texts and lists: `images`, `scenes`, `official`, `authors` (each with its `protocol` in words and
        the number of scenes behind its correlations and fits), `srocc_quantiles` over scenes, and `undefined` and
        `failed_fits` with `count` and `scenes`.

    Examples:
        >>> rows = {"scene": ["hall"] * 3 + ["lake"] * 3, "score": [1, 2, 3, 1, 2, 3], "prediction": [1, 3, 2, 4, 5, 6]}
        >>> summary = summarise(per_scene(pd.DataFrame(rows)))
        >>> summary["official"]["srocc"], summary["scenes"]
        (0.75, 2)
    """
    undefined, failed = scenes["srocc"].isna(), ~scenes["fit_converged"]
    measures = ["srocc", "krocc", "plcc", "mae", "rmse"]
    quantiles = {"min": 0.0, "lower_quartile": 0.25, "upper_quartile": 0.75, "max": 1.0}
    return {
        "images": int(scenes["images"].sum()),
        "scenes": len(scenes),
        "official": {
            "protocol": "median over scenes, raw predictions",
            "correlated_scenes": int((~undefined).sum()),
            **{name: float(scenes[name].quantile(0.5)) for name in measures},  # as median(), but NaN without a warning
        },
        "authors": {
            "protocol": "mean over scenes; PLCC, MAE and RMSE after a logistic fit in each scene",
            "correlated_scenes": int((~undefined).sum()),
            "fitted_scenes": int((~failed).sum()),
            **{name: float(scenes[name].mean()) for name in ("srocc", "krocc")},
            **{name: float(scenes[f"fitted_{name}"].mean()) for name in ("plcc", "mae", "rmse")},
        },
        "srocc_quantiles": {name: float(scenes["srocc"].quantile(level)) for name, level in quantiles.items()},
        "undefined": {"count": int(undefined.sum()), "scenes": [str(scene) for scene in scenes.index[undefined]]},
        "failed_fits": {"count": int(failed.sum()), "scenes": [str(scene) for scene in scenes.index[failed]]},
    }


def pair_accuracy(predictions: pd.DataFrame) -> float:
    """Return the fraction of all pairs within scenes that the predictions put in the experts' order.

    Pairs with equal scores are not counted, equal predictions count half; NaN if no scene has two different scores.
    Argument and errors as for `per_scene`.

    Examples:
        >>> rows = {"scene": ["hall"] * 3, "score": [1, 2, 3], "prediction": [1, 3, 2]}
        >>> round(pair_accuracy(pd.DataFrame(rows)), 4)
        0.6667
    """
    check_table(predictions)
    scenes = (rows[["score", "prediction"]].to_numpy(np.float64).T for _, rows in predictions.groupby("scene"))
    counted = [measures.concordance(score, prediction) for score, prediction in scenes]
    difference, pairs = np.sum(counted, axis=0)
    return float(measures.pair_accuracy(difference, pairs))


def _measures(score: Array, prediction: Array) -> dict[str, float | int | bool]:
    mapped = fit_logistic(prediction, score)
    judged = np.full(len(score), np.nan) if mapped is None else mapped
    raw = {name: getattr(measures, name)(score, prediction) for name in ("srocc", "krocc", "plcc", "mae", "rmse")}
    fitted = {f"fitted_{name}": getattr(measures, name)(score, judged) for name in ("plcc", "mae", "rmse")}
    numbers = {name: float(value) for name, value in (raw | fitted).items()}
    return {"images": len(score), **numbers, "fit_converged": mapped is not None}


def _logistic(x: Array, b1: float, b2: float, b3: float, b4: float) -> Array:
    return np.asarray(b2 + (b1 - b2) * expit((x - b3) / np.abs(b4)), dtype=np.float64)


def _logistic_slopes(x: Array, b1: float, b2: float, b3: float, b4: float) -> Array:
    """Return the derivatives of the logistic by its parameters, shape (images, 4)."""
    z = (x - b3) / np.abs(b4)
    rise = expit(z)
    bend = (b1 - b2) * rise * (1 - rise)
    return np.stack([rise, 1 - rise, -bend / np.abs(b4), -bend * z / b4], axis=1)


def _vectors(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"expected two vectors of one length, found shapes {x.shape} and {y.shape}")
    return x, y


def check_table(predictions: pd.DataFrame) -> None:
    """Make sure that a table can be measured; raise an InputError as `per_scene` does."""
    missing = [name for name in ("scene", "score", "prediction") if name not in predictions]
    if missing:
        found = ", ".join(map(str, predictions.columns))
        raise InputError(f"the predictions have no column {', '.join(missing)} (found: {found}); add or rename it")
    if predictions.empty:
        raise InputError("no predictions to evaluate; check that the split has images")
    if predictions["scene"].isna().any():
        raise InputError(f"{predictions['scene'].isna().sum()} predictions have no scene; name one for every image")
    for column in ("score", "prediction"):
        wrong = ~np.isfinite(predictions[column].to_numpy(np.float64))
        if wrong.any():
            first = predictions["image"][wrong].iloc[0] if "image" in predictions else f"row {wrong.argmax()}"
            raise InputError(
                f"{wrong.sum()} of {len(wrong)} values of `{column}` are not finite (first: {first}); "
                "check the training run or the file they come from"
            )
    if "image" in predictions and predictions["image"].duplicated().any():
        repeated = predictions["image"][predictions["image"].duplicated()]
        raise InputError(f"{len(repeated)} rows repeat an image (first: {repeated.iloc[0]}); keep one row an image")
