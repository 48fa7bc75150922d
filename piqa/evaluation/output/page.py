"""The leaderboard as one HTML file that needs no network: tables that sort, plots, and the images of its failures.

`page.html` extends the pages of `piqa/web/`, whose tables it uses; `page.js` draws its plots.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path

import pandas as pd

from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER, Leaderboard
from piqa.evaluation.output import text
from piqa.evaluation.output.plot_data import decimals, natural, plot_data, shown_models
from piqa.evaluation.output.text import MEASURE_NAMES
from piqa.evaluation.output.thumbnails import Thumbnails
from piqa.system.files import replacing
from piqa.system.json_text import plain
from piqa.web.page import render_page

HERE = Path(__file__).parent
PAIRS_SHOWN = 12  # failures of a model
FACT_NAMES = {
    "levels": "bootstrap of scenes, images or both",
    "draws": "draws of the noise ceiling",
    "max_missing": "fraction of images that may be missing",
    "clear": "clear pairs: scores differ by more than",
    "near": "near ties: scores differ by less than",
}
NAMES_LISTED = 200  # missing images of an entry

Record = dict[Hashable, object]


def write_page(board: Leaderboard, path: str | Path) -> Path:
    """Write the leaderboard as one self-contained HTML file.

    Images of the failures are scaled down and embedded if their files can be read; of all others only the names are
    shown. The page holds no path of the machine but those in the board's facts and sources. If it cannot be written,
    an InputError is raised.
    """
    path, page = Path(path), render(board)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # a file name in the command may be no text
    return path


def render(board: Leaderboard) -> str:
    """Return the page as HTML text."""
    gallery, thumbnails = _gallery(board)
    return render_page(
        HERE / "page.html",
        p=text.p_value,
        heading=text.heading(board),
        kinds=text.KIND_NAMES,
        measures=MEASURE_NAMES,
        lower=LOWER_IS_BETTER,
        blocks=text.blocks(board),
        footnotes=text.footnotes(board),
        legend=text.legend(board),
        warnings=text.warnings(board),
        comparisons=_comparisons(board),
        pairs=text.pair_rows(board),
        pairs_title=text.pairs_title(board),
        scenes=_scene_table(board),
        groups=[_group_table(board, by) for by in dict.fromkeys(board.groups["by"])],
        models=shown_models(board),
        gallery=gallery,
        facts=_facts(board),
        strangers=_strangers(board),
        data=plain(plot_data(board)) | {"thumbnails": thumbnails.encoded},
        thumbnails_left_out=thumbnails.left_out,
    )


def _comparisons(board: Leaderboard) -> list[Record]:
    """Return the comparisons as records, those between models first."""
    models = set(board.entries.loc[board.entries["kind"] == "model", "model"])
    frame = board.comparisons
    between = frame["model_a"].isin(models) & frame["model_b"].isin(models)
    return [dict(record) for record in pd.concat([frame[between], frame[~between]]).to_dict("records")]


def _scene_table(board: Leaderboard) -> dict[str, object]:
    """Return the SROCC of every scene and entry; entries without any are left out."""
    wide = board.scenes.pivot(index="scene", columns="model", values="srocc")
    models = [model for model in shown_models(board) if model in wide and wide[model].notna().any()]
    wide = wide.loc[sorted(wide.index, key=natural)]
    known = board.scenes.groupby("scene")[["condition", "images"]].first()
    rows = [
        {"scene": scene, "condition": known["condition"][scene], "images": int(known["images"][scene]), "srocc": values}
        for scene, values in zip(wide.index, wide[models].to_numpy().tolist(), strict=True)
    ]
    return {"models": models, "rows": rows, "conditions": bool(known["condition"].notna().any())}


def _group_table(board: Leaderboard, by: str) -> dict[str, object]:
    """Return the pair accuracy of every condition or device and entry; the first entry's lowest group comes first."""
    groups = board.groups[board.groups["by"] == by]
    wide = groups.pivot(index="group", columns="model", values="pair_accuracy")
    models = [model for model in shown_models(board) if model in wide]
    size = groups.groupby("group")[["images", "pairs"]].max()
    wide = wide[models].sort_values(models[:1])
    rows = [
        {"group": group, "images": int(size["images"][group]), "pairs": int(size["pairs"][group]), "accuracy": values}
        for group, values in zip(wide.index, wide.to_numpy().tolist(), strict=True)
    ]
    return {"by": by, "models": models, "rows": rows}


def _facts(board: Leaderboard) -> list[tuple[str, str]]:
    """Return the facts that are single values, by name, for the section on the method."""
    single = {name: value for name, value in board.facts.to_dict().items() if not isinstance(value, Mapping | None)}
    return [(FACT_NAMES.get(name, name.replace("_", " ")), str(value)) for name, value in single.items()]


def _strangers(board: Leaderboard) -> list[tuple[str, int, list[str]]]:
    """Return images without prediction and predictions without image: a title, how many, and their first names."""
    found = [(f"images without a prediction of {model}", names) for model, names in board.facts.missing.items()]
    found += [(f"predictions of {model} for unknown images", names) for model, names in board.facts.unmatched.items()]
    return [(title, len(names), [str(name) for name in names[:NAMES_LISTED]]) for title, names in found if len(names)]


def _gallery(board: Leaderboard) -> tuple[list[tuple[str, list[Record]]], Thumbnails]:
    """Return every model's failures with the places of their images; the worst failures get their images first."""
    frame, thumbnails = board.failures, Thumbnails()
    rank = frame.groupby("model").cumcount()
    frame = frame[rank < PAIRS_SHOWN].assign(rank=rank)
    digits = {model: decimals(rows) for model, rows in board.predictions.groupby("model")["prediction"]}
    score_digits = decimals(board.predictions["score"])
    by_model: dict[str, list[Record]] = {model: [] for model in shown_models(board) if model in set(frame["model"])}
    for row in frame.sort_values("rank", kind="stable").to_dict("records"):
        model = str(row["model"])
        places: Record = {f"thumbnail_{side}": thumbnails.place(row[f"path_{side}"]) for side in ("a", "b")}
        pair = {**row, **places, "score_digits": score_digits, "digits": digits[model]}
        by_model.setdefault(model, []).append(pair)
    return list(by_model.items()), thumbnails
