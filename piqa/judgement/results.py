"""All that a study's judgements give: the table of scores, raters, agreement and notes, as a document and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from piqa.errors import InputError
from piqa.judgement.agreement import (
    SPLITS,
    SplitHalf,
    icc,
    krippendorff_alpha,
    pair_units,
    split_half_of_pairs,
    split_half_of_ratings,
)
from piqa.judgement.raters import judge_raters
from piqa.judgement.ratings import scale_ratings, votes_matrix
from piqa.judgement.scaling import ScalingOptions, scale_pairs
from piqa.system.csv_text import listed

OUTLIERS = "outliers"  # stands for all raters that are outliers
VERSION = 1  # of the document
TABLE = ("image", "score", "scene", "score_std")


@dataclass(frozen=True)
class Results:
    """Scores and what belongs to them.

    Attributes:
        mode: "pairs" or "ratings".
        scores: As of `Scaling` or `RatingScaling`.
        scenes: As of `Scaling`; of ratings `scene`, `images`, `answers`.
        raters: As of `judge_raters` or `RatingScaling`, with the column `left_out`.
        agreement: Values by name.
        notes: What a reader must know, each one sentence.
        settings: Of the scale, by name, for the record.
    """

    mode: str
    scores: pd.DataFrame
    scenes: pd.DataFrame
    raters: pd.DataFrame
    agreement: Mapping[str, float]
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return the table that `piqa.CSVTable` reads: `image, score, scene, score_std`.

        Parts of a scene that no answer connects are scenes of their own, as their scores are not comparable.
        """
        return parts_as_scenes(self.scores)[list(TABLE)].reset_index(drop=True)

    def document(self) -> dict[str, Any]:
        """Return everything in JSON's types, the same keys in the same order."""
        return {
            "schema": VERSION,
            "mode": self.mode,
            "unit": "JOD" if self.mode == "pairs" else "MOS",
            "scenes": self.scenes.to_dict("records"),
            "scores": self.scores.to_dict("records"),
            "raters": self.raters.to_dict("records"),
            "agreement": dict(self.agreement),
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }

    def lines(self) -> list[str]:
        """Return a short report, a line a fact."""
        answers, images = int(self.scenes["answers"].sum()), int(self.scenes["images"].sum())
        what = "answers to pairs" if self.mode == "pairs" else "ratings"
        raters = self.raters[~self.raters["left_out"]]
        lines = [f"{answers} {what} by {len(raters)} raters, {images} images in {len(self.scenes)} scenes"]
        unit = "JOD" if self.mode == "pairs" else "MOS"
        std = self.scores["score_std"].median()
        known_std = "not known" if math.isnan(std) else f"{std:.2f} {unit}"
        spread = self.scores.groupby("scene")["score"].std().median()
        known_spread = "not known of one image" if math.isnan(spread) else f"{spread:.2f} {unit}"
        lines.append(f"median standard error {known_std}, median sd of the scores of a scene {known_spread}")
        named = {
            "split_half_srocc": "SROCC of split halves",
            "full_panel_srocc": "of the whole panel",
            "alpha": "Krippendorff's alpha",
            "icc_2_1": "ICC(2,1)",
        }
        known = [f"{title} {self.agreement[name]:.3f}" for name, title in named.items()
                 if not math.isnan(self.agreement.get(name, math.nan))]  # fmt: skip
        lines.append("agreement: " + (", ".join(known) if known else "not known of one rater"))
        for row in self.raters[self.raters["outlier"]].to_dict("records"):
            left = " (left out)" if row["left_out"] else ""
            lines.append(f"rater {row['rater']}{left}: {row['why']}")
        return lines + [f"note: {note}" for note in self.notes]


def parts_as_scenes(scores: pd.DataFrame) -> pd.DataFrame:
    """Return scores with parts of a scene that no answer connects as scenes of their own: `hall (part 2)`."""
    if "component" not in scores:
        return scores
    several = scores.groupby("scene")["component"].transform("max") > 1
    keys = list(zip(scores["scene"], scores["component"], several, strict=True))
    taken, names = {*scores["scene"]}, {}
    for key in dict.fromkeys(keys):
        scene, part, is_part = key
        while is_part and scene in taken:  # a scene may be called so already, and its scores are not comparable
            scene = f"{scene} (part {part})"
        names[key] = scene
        taken.add(scene)
    return scores.assign(scene=[names[key] for key in keys])


def results_of_pairs(
    answers: pd.DataFrame,
    options: ScalingOptions | None = None,
    leave_out: Sequence[str] = (),
    splits: int = SPLITS,
) -> Results:
    """Scale answers to pairs, and say what the raters are like.

    Args:
        answers: As of `piqa.judgement.answers.answers_table`.
        options: How they are scaled.
        leave_out: Raters that do not count for the scores; "outliers" stands for all that `judge_raters` shows.
        splits: Of the raters, for the agreement.

    Raises:
        InputError: If a rater is unknown, no answers are left, or they cannot be scaled.
    """
    options = options or ScalingOptions()
    raters = judge_raters(answers, options)
    raters["left_out"] = _left_out(raters, leave_out)
    out = raters.loc[raters["left_out"], "rater"]
    kept = answers[(~answers["rater"].isin(out)).to_numpy(bool)]
    scaling = scale_pairs(kept, options)
    several = kept["rater"].nunique() > 1
    half = split_half_of_pairs(kept, options, splits, options.seed) if several and splits else None
    units = pair_units(kept)
    agreement = _halves(half) | {"alpha": krippendorff_alpha(units, "nominal" if _two(units) else "interval")}
    notes = (*scaling.notes, *_notes(scaling.scores, out.tolist()))
    settings = asdict(options) | {"leave_out": list(leave_out), "splits": splits}
    return Results("pairs", scaling.scores, scaling.scenes, raters, agreement, notes, settings)


def results_of_ratings(
    ratings: pd.DataFrame,
    level: float = 0.95,
    ends: tuple[float, float] = (1, 5),
    leave_out: Sequence[str] = (),
    splits: int = SPLITS,
    seed: int = 0,
) -> Results:
    """Scale ratings, and say what the raters are like; arguments as of `scale_ratings` and `results_of_pairs`."""
    first = scale_ratings(ratings, level, ends)
    raters = first.raters
    raters["left_out"] = _left_out(raters, leave_out)
    out = raters.loc[raters["left_out"], "rater"]
    kept = ratings[(~ratings["rater"].isin(out)).to_numpy(bool)]
    scaling = scale_ratings(kept, level, ends) if len(out) else first
    votes = votes_matrix(kept)
    several = votes.shape[1] > 1 and splits
    half = split_half_of_ratings(votes, scaling.scores["scene"], splits, seed) if several else None
    found = icc(votes)
    agreement = _halves(half) | {
        "alpha": krippendorff_alpha(votes),
        "alpha_ordinal": krippendorff_alpha(votes, "ordinal"),
        "icc_2_1": found.single,
        "icc_2_k": found.mean,
        "icc_images": float(found.images),
        "sos": scaling.sos,
    }
    grouped = scaling.scores.groupby("scene", sort=False)["answers"].agg(["size", "sum"]).reset_index()
    scenes = grouped.set_axis(["scene", "images", "answers"], axis=1)
    notes = (*scaling.notes, *_notes(scaling.scores, out.tolist()))
    settings = {"level": level, "ends": list(ends), "leave_out": list(leave_out), "splits": splits, "seed": seed}
    return Results("ratings", scaling.scores, scenes, raters, agreement, notes, settings)


def _left_out(raters: pd.DataFrame, leave_out: Sequence[str]) -> pd.Series[bool]:
    names = set(leave_out) - {OUTLIERS}
    if unknown := sorted(names - set(raters["rater"])):
        raise InputError(f"`leave_out` names {listed(unknown)}, who judged nothing; correct it")
    out = raters["rater"].isin(names)
    if OUTLIERS in leave_out:
        out |= raters["outlier"].astype(bool)
    if out.all():
        raise InputError("all raters are left out; name fewer in `leave_out`")
    return out


def _halves(half: SplitHalf | None) -> dict[str, float]:
    if half is None:
        return {"split_half_srocc": math.nan, "full_panel_srocc": math.nan}
    return {"split_half_srocc": half.srocc, "full_panel_srocc": half.full}


def _two(units: Any) -> bool:
    """Whether no answer was "same": there are two values, and their difference is the only one."""
    return not (units == 0.5).any()


def _notes(scores: pd.DataFrame, out: Sequence[str]) -> list[str]:
    notes = [f"left out: the raters {', '.join(out)}"] if out else []
    if count := int(scores.duplicated("image").sum()):
        notes.append(f"{count} images stand in more than one scene, which `piqa fit` refuses")
    return notes
