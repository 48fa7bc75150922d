"""The files of an evaluation: the predictions, the measures of every scene, their summary as JSON, and a plot.

Every value is named with its protocol, and the report says which set the checkpoint was chosen on, because a model
chosen on the test set looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from piqa.errors import InputError
from piqa.evaluation.attributes import attribute_table
from piqa.evaluation.leaderboard.facts import Subject
from piqa.evaluation.metrics import Summary, pair_accuracy, per_scene, summarise
from piqa.evaluation.output.doubt import doubt_lines, doubt_table
from piqa.evaluation.output.preference import preference_lines, reliability_table
from piqa.evaluation.output.text import LISTED, some
from piqa.evaluation.statistics.doubt import Doubt, measure_doubt
from piqa.evaluation.statistics.reliability import Calibration, calibrate
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.system.csv_text import write_csv
from piqa.system.files import replacing
from piqa.system.json_text import write_json
from piqa.system.shown_paths import shown_command, shown_path

Found = TypeVar("Found")
BLUE, ORANGE = "#0072B2", "#D55E00"  # two of Okabe and Ito's colours, told apart with any colour vision
FILES = ("predictions.csv", "per_scene.csv", "metrics.json", "scatter.png")
BY_ATTRIBUTE = "by_attribute"  # folder of the reports of attributes, beside that of the score
MAX_PANELS = 60  # more cannot be read on one page
LONGEST_NAME = 24  # characters of a scene's name above its panel
SELECTED = {
    "test": "checkpoint CHOSEN ON THE TEST SET, which flatters its values",
    "val": "checkpoint chosen on held-out validation scenes",
    None: "what the checkpoint was chosen on is not known",
}


@dataclass(frozen=True, kw_only=True)
class ReportFacts(Subject):
    """What was evaluated, as far as it is known.

    Args:
        checkpoint: The model's file, if a model was evaluated.
        predictions: The CSV, if predictions were evaluated.
        selected_on: The set that the checkpoint was chosen on.
        more: Other facts by name, which are only written.
    """

    checkpoint: str | Path | None = None
    predictions: str | None = None
    selected_on: str | None = None
    more: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, facts: Mapping[str, object]) -> ReportFacts:
        """Take the facts that have a field of their own, and all others as `more`.

        Raises:
            ValueError: If one that has a field is not a text or a path.
        """
        own = {one.name: facts[one.name] for one in fields(cls) if one.name in facts and one.name != "more"}
        for name, value in own.items():
            if not isinstance(value, str | Path | None):
                raise ValueError(f"`{name}` is {value!r}; a text is needed")
        more = {name: value for name, value in facts.items() if name not in own}
        return cls(**own, more=more)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """Return the facts by name, without those that are not known; an unknown `selected_on` is told as None.

        Files are named as `shown_path` does, as what is written is passed on.
        """
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "more"}
        own |= {name: shown_path(own[name]) for name in ("checkpoint", "predictions") if own[name] is not None}
        own["command"] = None if self.command is None else shown_command(self.command)
        known = {name: value for name, value in own.items() if value is not None or name == "selected_on"}
        return {**known, **self.more}


@dataclass(frozen=True)
class Report:
    """An evaluation: the files that `write_report` writes, and what is in them.

    Attributes:
        predictions_csv: The predictions, one row an image.
        per_scene_csv: The measures of every scene.
        metrics_json: The summary and the facts.
        scatter_png: The plot of predicted against true scores.
        scenes: The measures of every scene, as from `metrics.per_scene`.
        summary: Both aggregates and the counts, as from `metrics.summarise`, and `pair_accuracy`.
        facts: What was evaluated.
        calibration: How differences of predictions become probabilities; None where no pair tells, or not asked for.
        doubt: How sure the predictions themselves are; None where that cannot be fitted, or is not asked for.
    """

    predictions_csv: Path
    per_scene_csv: Path
    metrics_json: Path
    scatter_png: Path
    scenes: pd.DataFrame
    summary: Summary
    facts: ReportFacts
    calibration: Calibration | None = None
    doubt: Doubt | None = None


def write_report(
    predictions: pd.DataFrame,
    folder: str | Path,
    facts: ReportFacts,
    *,
    spreadsheet_safe: bool = False,
    preference: bool = True,
) -> Report:
    """Measure predictions and write `predictions.csv`, `per_scene.csv`, `metrics.json` and `scatter.png`.

    Args:
        predictions: One row an image with columns `image`, `scene`, `score` and `prediction`; others are written along.
            What `read_predictions` leaves in its `attrs` is counted in the summary, and `failed`, the images that
            have no prediction because they are broken. `prediction_std`, what the network states of its predictions,
            is judged, and so is `uncertainty` in `attrs`, what the model's card says of them. Where `std_of_ratings`
            in `attrs` is true, `score_std` is not taken for the noise of the scores, which are means of ratings.
        folder: Where to write; created if it does not exist. Earlier reports in it are replaced.
        facts: What was evaluated.
        spreadsheet_safe: As for `write_csv`.
        preference: Whether to fit how differences of predictions become probabilities.

    Raises:
        InputError: If the predictions cannot be measured or the folder cannot be written to.
    """
    folder = Path(folder)
    scenes = per_scene(predictions)
    attrs = predictions.attrs
    counts: Summary = {name: len(attrs[name]) for name in ("missing", "unmatched", "failed") if name in attrs}
    summary = {**summarise(scenes), "pair_accuracy": pair_accuracy(predictions), **counts}
    calibration = _calibrated(calibrate, predictions, facts) if preference else None
    if calibration is not None:
        summary["preference"] = calibration.to_dict()
    doubt = None
    if preference:
        noise_known = not attrs.get("std_of_ratings")
        doubt = _calibrated(_measure_doubt(predictions), predictions, facts, noise_known)
    if doubt is not None:
        summary["uncertainty"] = doubt.to_dict()
    table, measured, numbers, plotted = (folder / name for name in FILES)
    report = Report(table, measured, numbers, plotted, scenes, summary, facts, calibration, doubt)
    plot = draw_scatter(predictions, scenes, _heading(report))
    write_csv(predictions, report.predictions_csv, spreadsheet_safe=spreadsheet_safe)
    write_csv(scenes.reset_index(), report.per_scene_csv, spreadsheet_safe=spreadsheet_safe)
    write_json({**report.summary, "facts": facts.to_dict()}, report.metrics_json)
    with replacing(report.scatter_png) as path:
        plot.savefig(path, format="png", dpi=110)
    return report


def write_attribute_reports(
    predictions: pd.DataFrame, attributes: Sequence[str], folder: Path, facts: ReportFacts
) -> dict[str, Report]:
    """Write the report of each attribute that images have scores and predictions of, below `by_attribute`.

    Args:
        predictions: As for `write_report`, with `score.<attribute>` and `prediction.<attribute>`.
        attributes: The attributes.
        folder: That of the score's report.
        facts: What was evaluated.
    """
    reports = {}
    for attribute in attributes:
        if f"score.{attribute}" in predictions and len(own := attribute_table(predictions, attribute)):
            place, about = folder / BY_ATTRIBUTE / attribute, replace(facts, attribute=attribute)
            reports[attribute] = write_report(own, place, about)
    return reports


def _calibrated(
    fit: Callable[..., Found], predictions: pd.DataFrame, facts: ReportFacts, noise_known: bool = True
) -> Found:
    """Return what `fit` finds in the images with a prediction and a score, and with `score_std` where it is told."""
    known = predictions[_usable(predictions)]
    std = known["score_std"] if "score_std" in known and noise_known else None
    source = ", ".join(filter(None, [facts.table, facts.split and f"split {facts.split}", facts.attribute]))
    scenes = known["scene"].astype(str)
    return fit(known["prediction"], known["score"], scenes, score_std=std, source=source)


def _measure_doubt(predictions: pd.DataFrame) -> Callable[..., Doubt | None]:
    stated = predictions.loc[_usable(predictions), "prediction_std"] if "prediction_std" in predictions else None
    if stated is not None and (stated < 0).any():
        image = predictions.loc[stated.index[stated < 0][0], "image"]
        raise InputError(f"`prediction_std` of {image} is negative; give standard deviations, or leave the column out")
    kept = ScoreUncertainty.from_dict(predictions.attrs.get("uncertainty"))
    return partial(measure_doubt, prediction_std=stated, kept=kept)


def _usable(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    usable = np.isfinite(predictions["prediction"].to_numpy()) & np.isfinite(predictions["score"].to_numpy())
    if "prediction_std" in predictions:
        usable &= np.isfinite(predictions["prediction_std"].to_numpy())
    return np.asarray(usable)


def print_report(report: Report, console: Console) -> None:
    """Print one line a scene, both aggregates by name, and all warnings."""
    console.print(_table(report))
    for name in ("official", "authors"):
        console.print(f"{name}: {report.summary[name]['protocol']}", highlight=False)
    console.print(f"pairs in the right order: {_number(report.summary['pair_accuracy'])}", highlight=False)
    for line in [] if report.calibration is None else preference_lines(report.calibration):
        console.print(line, markup=False, highlight=False)
    if report.calibration is not None and (table := reliability_table(report.calibration)) is not None:
        console.print(table)
    if report.doubt is not None:
        for line in doubt_lines(report.doubt):
            console.print(line, markup=False, highlight=False)
        if report.doubt.ways:
            console.print(doubt_table(report.doubt))
    if report.facts.checkpoint is not None:
        console.print(f"checkpoint: {report.facts.checkpoint}", markup=False, highlight=False)
    for warning in _warnings(report):
        console.print(warning, style="bold red", markup=False, highlight=False)
    console.print(f"Written to {report.metrics_json.parent}", markup=False, highlight=False)


def draw_scatter(predictions: pd.DataFrame, scenes: pd.DataFrame, title: str) -> Figure:
    """Draw predicted against true score, one panel a scene with its SROCC, all on the same axes.

    `scenes` is the result of `per_scene` for the predictions. Of more than 60 scenes, 60 are shown, evenly from worst
    to best. The plot is not tied to pyplot or to a screen.
    """
    shown = scenes
    if len(scenes) > MAX_PANELS:
        evenly = np.linspace(0, len(scenes) - 1, MAX_PANELS).round().astype(int)
        shown = scenes.sort_values("srocc").iloc[evenly].sort_index()
        title += f"\n{MAX_PANELS} of {len(scenes)} scenes, evenly from the lowest to the highest SROCC"
    columns = min(len(shown), math.ceil(math.sqrt(1.4 * len(shown))))
    rows = math.ceil(len(shown) / columns)
    side = 1.9 if len(shown) > 6 else 3.2  # inches
    plot = Figure(figsize=(max(side * columns, 5.0) + 0.5, side * rows + 1.0), layout="constrained")
    panels = plot.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    points = predictions.groupby("scene")
    for panel, (scene, row) in zip(panels, shown.iterrows(), strict=False):
        _draw_scene(panel, points.get_group(scene), str(scene), row["srocc"])
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for panel in panels[max(len(shown) - columns, 0) : len(shown)]:
        panel.xaxis.set_tick_params(labelbottom=True)  # also above a gap in the last row
    plot.supxlabel("true score", fontsize=11)
    plot.supylabel("predicted score", fontsize=11)
    plot.suptitle(title, fontsize=11, parse_math=False)
    return plot


def _draw_scene(panel: Axes, points: pd.DataFrame, scene: str, srocc: float) -> None:
    name = scene if len(scene) <= LONGEST_NAME else scene[: LONGEST_NAME - 1] + "…"
    colour = ORANGE if math.isnan(srocc) else BLUE
    size = 24 if len(points) < 40 else 9  # square points; a hundred large ones would hide each other
    panel.scatter(points["score"], points["prediction"], s=size, alpha=0.6, color=colour, linewidths=0)
    verdict = "SROCC undefined" if math.isnan(srocc) else f"SROCC {srocc:.3f}"
    panel.set_title(f"{name}\n{verdict}", fontsize=8, parse_math=False)
    panel.tick_params(labelsize=7)
    panel.grid(alpha=0.25, linewidth=0.5)


def _table(report: Report) -> Table:
    raw, fitted = ["srocc", "krocc", "plcc", "mae", "rmse"], ["fitted_plcc", "fitted_mae", "fitted_rmse"]
    table = Table(title=escape(_heading(report)), box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("scene", overflow="fold")
    for name in ("images", *(name.upper() for name in raw), "fitted\nPLCC", "fitted\nMAE", "fitted\nRMSE"):
        table.add_column(name, justify="right", no_wrap=True)
    for scene, row in report.scenes.iterrows():
        table.add_row(escape(str(scene)), str(row["images"]), *(_number(row[name]) for name in raw + fitted))
    table.add_row()
    images, official, authors = str(report.summary["images"]), report.summary["official"], report.summary["authors"]
    table.add_row("official (median)", images, *(_number(official[name]) for name in raw), "", "", "", style="bold")
    ranks, mapped = (_number(authors[name]) for name in raw[:2]), (_number(authors[name]) for name in raw[2:])
    table.add_row("authors (mean)", images, *ranks, "", "", "", *mapped, style="bold")
    return table


def _heading(report: Report) -> str:
    """Return what was evaluated, and what the checkpoint was chosen on."""
    facts = report.facts
    named = [facts.table, facts.split and f"split {facts.split}", facts.attribute and f"attribute {facts.attribute}"]
    chosen = SELECTED.get(facts.selected_on, f"checkpoint chosen on: {facts.selected_on}")
    return "\n".join(filter(None, [" · ".join(filter(None, named)), chosen]))


def _warnings(report: Report) -> list[str]:
    """Return what limits the values, one line each."""
    summary, found = report.summary, []
    for key, trouble, loss in (
        ("undefined", "No correlation is defined (too few images, or all equal)", "medians and means"),
        ("failed_fits", "No logistic could be fitted", "the authors' PLCC, MAE and RMSE"),
    ):
        if summary[key]["count"]:
            scenes = f"{summary[key]['count']} of {summary['scenes']} scenes"
            more = ", all in metrics.json" if summary[key]["count"] > LISTED else ""
            found.append(f"{trouble} in {scenes}, left out of {loss}: {some(summary[key]['scenes'])}{more}")
    if summary.get("failed"):
        found.append(f"{summary['failed']} images are broken and are not in these values")
    if summary.get("missing"):
        found.append(f"{summary['missing']} images of the table have no prediction and are not in these values")
    if summary.get("unmatched"):
        found.append(f"{summary['unmatched']} predictions are for images that are not in the table and were left out")
    if report.facts.selected_on == "test":
        found.append("The checkpoint was chosen on the test set: compare only with results chosen in the same way")
    return found


def _number(value: float) -> str:
    return f"{value:.3f}"
