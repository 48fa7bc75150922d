"""How well predictions follow the experts' scores: measures of one scene, and the two ways of summing up scenes.

Scores such as JODs are centred in each scene and mean nothing across scenes, so everything here is computed inside
scenes first. A measure that is not defined is NaN, never a plausible number.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit

from piqa.errors import InputError

Vector = NDArray[np.float64]

# A network that answers the same for every image still differs in the last digits of float32, by batch and by device.
ROUNDING = 8 * float(np.finfo(np.float32).eps)
LOGISTIC_PARAMETERS = 4
MAX_EVALUATIONS = 10_000  # the published 1e8 can take hours; a fit that converges needs a few hundred


def srocc(score: ArrayLike, prediction: ArrayLike) -> float:
    """Spearman's rank correlation, ties given their mean rank.

    Args:
        score: The experts' scores, shape (images,).
        prediction: The predicted scores, shape (images,), on any scale.

    Returns:
        A number in [-1, 1]; NaN for fewer than two images, for a value that is not finite, and where either side is
        constant, which here includes a spread that is no more than the rounding of float32.

    Raises:
        ValueError: If the shapes differ.
    """
    x, y = _vectors(score, prediction)
    return float("nan") if _is_constant(x) or _is_constant(y) else float(stats.spearmanr(x, y).statistic)


def krocc(score: ArrayLike, prediction: ArrayLike) -> float:
    """Kendall's rank correlation, tau-b; arguments, result and errors as for `srocc`."""
    x, y = _vectors(score, prediction)
    return float("nan") if _is_constant(x) or _is_constant(y) else float(stats.kendalltau(x, y).statistic)


def plcc(score: ArrayLike, prediction: ArrayLike) -> float:
    """Pearson's linear correlation; arguments, result and errors as for `srocc`."""
    x, y = _vectors(score, prediction)
    return float("nan") if _is_constant(x) or _is_constant(y) else float(stats.pearsonr(x, y).statistic)


def mae(score: ArrayLike, prediction: ArrayLike) -> float:
    """Mean absolute error in units of the score; NaN without images. Raises ValueError if the shapes differ."""
    x, y = _vectors(score, prediction)
    return float(np.abs(x - y).mean()) if x.size else float("nan")


def rmse(score: ArrayLike, prediction: ArrayLike) -> float:
    """Root of the mean squared error in units of the score; NaN without images. Raises ValueError as `mae`."""
    x, y = _vectors(score, prediction)
    return float(np.sqrt(np.square(x - y).mean())) if x.size else float("nan")


def fit_logistic(prediction: ArrayLike, score: ArrayLike) -> Vector | None:
    """Predictions of one scene mapped to the scale of its scores by the DN-PIQA authors' four-parameter logistic.

    f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)), least squares from b1 = max(score), b2 = min(score),
    b3 = mean(prediction), b4 = 0.5. The start is the published one and suits predictions that span a few units; on
    another scale the fit can end in a step function. It is fitted on the labels it is then judged with, so the measures
    that follow are optimistic.

    Unlike the published code, the derivatives are exact. Numeric ones take steps in proportion to the parameter, so b3
    never leaves a mean that is zero but for rounding, which is what scores centred per scene have.

    Args:
        prediction: The predicted scores, shape (images,).
        score: The experts' scores, shape (images,).

    Returns:
        The mapped predictions, shape (images,), or None where there is no sound fit: fewer than four images, a constant
        side, no convergence in a bounded number of steps, or a curve that came out flat.

    Raises:
        ValueError: If the shapes differ.

    Reference: Sun et al., Dual-Branch Network for Portrait Image Quality Assessment, CVPRW 2024, published code.
    """
    x, y = _vectors(prediction, score)
    if x.size < LOGISTIC_PARAMETERS or _is_constant(x) or _is_constant(y):
        return None
    start = (y.max(), y.min(), x.mean(), 0.5)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # about the covariance, which is not used
        try:
            parameters, _ = curve_fit(_logistic, x, y, p0=start, jac=_logistic_slopes, maxfev=MAX_EVALUATIONS)
        except RuntimeError:  # no convergence
            return None
        mapped = _logistic(x, *parameters)
    return None if _is_constant(mapped) or not np.isfinite(mapped).all() else mapped


def per_scene(predictions: pd.DataFrame) -> pd.DataFrame:
    """All measures of every scene.

    Args:
        predictions: One row an image with columns `scene`, `score` and `prediction`; `image`, where it is there, must
            not repeat.

    Returns:
        One row a scene, indexed by `scene` in sorted order: `images`; `srocc`, `krocc`, `plcc`, `mae`, `rmse` of the
        raw predictions; `fitted_plcc`, `fitted_mae`, `fitted_rmse` after `fit_logistic`, which are NaN where
        `fit_converged` is false.

    Raises:
        InputError: If a column is missing, there is no row, an image repeats or a value is not finite.
    """
    check_table(predictions)
    scenes = predictions.groupby("scene", sort=True)
    rows = {scene: _measures(rows["score"].to_numpy(), rows["prediction"].to_numpy()) for scene, rows in scenes}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("scene")


def summarise(scenes: pd.DataFrame) -> dict[str, Any]:
    """The measures of all scenes summed up by the two protocols in use; neither maps onto the other.

    `official` is the PIQ23 board's: the median over scenes of each measure of the raw predictions. `authors` is that of
    the DN-PIQA code: the mean over scenes, SROCC and KROCC of the raw predictions, PLCC, MAE and RMSE after the
    per-scene logistic fit.

    A scene whose correlations are undefined, or whose fit failed, cannot enter the aggregate it has no number for, and
    the authors' own mean would become NaN with it. It is left out there, and both are counted and named in the result,
    because leaving scenes out can flatter a model.

    Args:
        scenes: The result of `per_scene`.

    Returns:
        Plain numbers, texts and lists: `images`, `scenes`, `official`, `authors` (each with its `protocol` in words and
        the number of scenes behind its correlations and fits), `srocc_quantiles` over scenes, and `undefined` and
        `failed_fits` with `count` and `scenes`.
    """
    undefined, failed = scenes["srocc"].isna(), ~scenes["fit_converged"]
    measures = ["srocc", "krocc", "plcc", "mae", "rmse"]
    spread = {"min": 0.0, "lower_quartile": 0.25, "upper_quartile": 0.75, "max": 1.0}
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
        "srocc_quantiles": {name: float(scenes["srocc"].quantile(share)) for name, share in spread.items()},
        "undefined": {"count": int(undefined.sum()), "scenes": [str(scene) for scene in scenes.index[undefined]]},
        "failed_fits": {"count": int(failed.sum()), "scenes": [str(scene) for scene in scenes.index[failed]]},
    }


def pair_accuracy(predictions: pd.DataFrame) -> float:
    """Share of all pairs inside a scene that the predictions put in the right order.

    Pairs with equal scores are not counted, equal predictions count half. With C right and D wrong pairs the share is
    (1 + (C - D) / pairs) / 2, and C - D is the numerator of Kendall's tau-b, which takes n log n steps rather than n².

    Args:
        predictions: As for `per_scene`.

    Returns:
        A number in [0, 1], 0.5 for constant predictions; NaN if no scene has two different scores.

    Raises:
        InputError: As `per_scene`.
    """
    check_table(predictions)
    surplus, pairs = 0, 0
    for _, rows in predictions.groupby("scene"):
        score, prediction = rows["score"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64)
        in_scene, tau = _untied_pairs(score), krocc(score, prediction)
        pairs += in_scene
        if not np.isnan(tau):
            surplus += round(tau * np.sqrt(float(in_scene)) * np.sqrt(float(_untied_pairs(prediction))))
    return (1 + surplus / pairs) / 2 if pairs else float("nan")


def _measures(score: Vector, prediction: Vector) -> dict[str, float | int | bool]:
    mapped = fit_logistic(prediction, score)
    judged = np.full(len(score), np.nan) if mapped is None else mapped
    return {
        "images": len(score),
        "srocc": srocc(score, prediction),
        "krocc": krocc(score, prediction),
        "plcc": plcc(score, prediction),
        "mae": mae(score, prediction),
        "rmse": rmse(score, prediction),
        "fitted_plcc": plcc(score, judged),
        "fitted_mae": mae(score, judged),
        "fitted_rmse": rmse(score, judged),
        "fit_converged": mapped is not None,
    }


def _logistic(x: Vector, b1: float, b2: float, b3: float, b4: float) -> Vector:
    return np.asarray(b2 + (b1 - b2) * expit((x - b3) / np.abs(b4)), dtype=np.float64)


def _logistic_slopes(x: Vector, b1: float, b2: float, b3: float, b4: float) -> Vector:
    """Derivatives of the logistic by its parameters, shape (images, 4)."""
    z = (x - b3) / np.abs(b4)
    rise = expit(z)
    bend = (b1 - b2) * rise * (1 - rise)
    return np.stack([rise, 1 - rise, -bend / np.abs(b4), -bend * z / b4], axis=1)


def _vectors(first: ArrayLike, second: ArrayLike) -> tuple[Vector, Vector]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"Expected two vectors of one length, found shapes {x.shape} and {y.shape}")
    return x, y


def _is_constant(values: Vector) -> bool:
    """Whether no correlation with these values is defined."""
    if values.size < 2 or not np.isfinite(values).all():
        return True
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def _untied_pairs(values: Vector) -> int:
    counts = np.unique(values, return_counts=True)[1]
    return int((len(values) * (len(values) - 1) - (counts * (counts - 1)).sum()) // 2)


def check_table(predictions: pd.DataFrame) -> None:
    """Refuses a table that cannot be measured, with an InputError; as `per_scene` says."""
    missing = [name for name in ("scene", "score", "prediction") if name not in predictions]
    if missing:
        found = ", ".join(map(str, predictions.columns))
        raise InputError(f"The predictions have no column {', '.join(missing)} (found: {found}); add or rename it")
    if predictions.empty:
        raise InputError("There are no predictions to evaluate; check that the split holds images")
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
