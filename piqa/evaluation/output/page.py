"""The leaderboard as one HTML file that needs no network: tables that sort, plots, and the images of its failures.

`page.html` is its frame, filled in by Jinja with everything escaped; `page.css` and `page.js` go into it whole. A
content security policy lets no other script run and nothing be fetched, whatever a model or a scene is called.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from piqa.errors import InputError
from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER, Leaderboard
from piqa.evaluation.output import text
from piqa.evaluation.output.text import MEASURES
from piqa.system.files import replacing
from piqa.system.json_text import plain

HERE = Path(__file__).parent
DIGITS = 4  # of measures in the plots; an image shows no more
SPREAD_DIGITS = 4  # of scores and predictions, counted from the first digit of their spread
PAIRS_SHOWN = 12  # failures of a model
THUMBNAIL_SIDE = 360  # long side of an image, px
THUMBNAIL_QUALITY = 80
THUMBNAIL_BYTES = 1_800_000  # all images together, encoded, so that the page can be sent by mail
FACT_NAMES = {
    "samples": "bootstrap samples",
    "levels": "bootstrap of scenes, images or both",
    "draws": "draws of the noise ceiling",
    "max_missing": "share of images that may be missing",
    "clear": "clear pairs: scores apart by more than",
    "near": "near ties: scores apart by less than",
}
NAMES_LISTED = 200  # missing images of a line


def write_page(board: Leaderboard, path: str | Path) -> Path:
    """Writes the leaderboard as one self-contained HTML file.

    Images of the failures are scaled down and put into the page where their files can be read; of all others only the
    names are shown. No path of the machine gets into the page, other than those in the board's facts and sources.

    Args:
        board: The leaderboard.
        path: The file, replaced if it is there.

    Returns:
        The file.

    Raises:
        InputError: If it cannot be written.
    """
    path = Path(path)
    text = render(board)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # a file in the command may be no text
    return path


def render(board: Leaderboard) -> str:
    """The page as HTML text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"number": text.number, "p": text.p_value, "first_upper": _first_upper}
    environment.filters["breakable"] = _breakable
    script = (HERE / "page.js").read_text(encoding="utf-8")
    gallery, thumbnails = _gallery(board)
    return environment.from_string((HERE / "page.html").read_text(encoding="utf-8")).render(
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        heading=text.heading(board),
        kinds=text.KIND_NAMES,
        measures=MEASURES,
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
        models=_shown(board),
        gallery=gallery,
        facts=_facts(board),
        strangers=_strangers(board),
        data=plain(_plot_data(board)) | {"thumbnails": thumbnails.encoded},
        thumbnails_left_out=thumbnails.left_out,
    )


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _breakable(name: str) -> Markup:
    """A file's name, escaped, that may go on in a new line after each underscore."""
    return Markup("_<wbr>").join(str(name).split("_"))


def _decimals(values: pd.Series[float]) -> int:
    """How many decimals tell these values apart, whatever their scale: a model's predictions may span 60 or 0.001."""
    spread = float(values.max() - values.min())
    return min(max(SPREAD_DIGITS - 1 - math.floor(math.log10(spread)), 0), 12) if spread > 0 else SPREAD_DIGITS


def _natural(name: object) -> list[str | int]:
    """A key that sorts scene 5 before scene 10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", str(name)))]


# Tables


def _shown(board: Leaderboard) -> list[str]:
    """The lines whose predictions are shown: models, then naive lines that rank at all; the place is the colour."""
    kinds = board.entries.set_index("model")["kind"]
    there, ranking = set(board.predictions["model"]), set(board.scenes.dropna(subset="srocc")["model"])
    models = [model for model in kinds.index[kinds == "model"] if model in there]
    return models + [model for model in kinds.index[kinds == "naive"] if model in there & ranking]


def _comparisons(board: Leaderboard) -> list[dict[str, Any]]:
    """The comparisons as records, models with models first."""
    models = set(board.entries.loc[board.entries["kind"] == "model", "model"])
    frame = board.comparisons
    between = frame["model_a"].isin(models) & frame["model_b"].isin(models)
    return list(pd.concat([frame[between], frame[~between]]).to_dict("records"))  # type: ignore[arg-type]


def _scene_table(board: Leaderboard) -> dict[str, Any]:
    """SROCC of every scene and line; lines without any are left out."""
    wide = board.scenes.pivot(index="scene", columns="model", values="srocc")
    models = [model for model in _shown(board) if model in wide and wide[model].notna().any()]
    wide = wide.loc[sorted(wide.index, key=_natural)]
    facts = board.scenes.groupby("scene")[["condition", "images"]].first()
    rows = [
        {"scene": scene, "condition": facts["condition"][scene], "images": int(facts["images"][scene]), "srocc": values}
        for scene, values in zip(wide.index, wide[models].to_numpy().tolist(), strict=True)
    ]
    return {"models": models, "rows": rows, "conditions": bool(facts["condition"].notna().any())}


def _group_table(board: Leaderboard, by: str) -> dict[str, Any]:
    """Pair accuracy of every condition or device and line; the hardest group for the first line comes first."""
    groups = board.groups[board.groups["by"] == by]
    wide = groups.pivot(index="group", columns="model", values="pair_accuracy")
    models = [model for model in _shown(board) if model in wide]
    size = groups.groupby("group")[["images", "pairs"]].max()
    wide = wide[models].sort_values(models[:1])
    rows = [
        {"group": group, "images": int(size["images"][group]), "pairs": int(size["pairs"][group]), "accuracy": values}
        for group, values in zip(wide.index, wide.to_numpy().tolist(), strict=True)
    ]
    return {"by": by, "models": models, "rows": rows}


def _facts(board: Leaderboard) -> list[tuple[str, str]]:
    """What was measured and how, for the foot of the page."""
    single = {
        name: value for name, value in board.facts.items() if not isinstance(value, Mapping) and value is not None
    }
    return [(FACT_NAMES.get(name, name.replace("_", " ")), str(value)) for name, value in single.items()]


def _strangers(board: Leaderboard) -> list[tuple[str, int, list[str]]]:
    """Images without prediction and predictions without image: a title, how many, and their first names."""
    titles = {"missing": "images without a prediction of {}", "unmatched": "predictions of {} for unknown images"}
    found = []
    for kind, title in titles.items():
        for model, names in (board.facts.get(kind) or {}).items():
            if len(names):
                found.append((title.format(model), len(names), [str(name) for name in names[:NAMES_LISTED]]))
    return found


# Plots


def _plot_data(board: Leaderboard) -> dict[str, Any]:
    """What the plots are drawn from: scores and predictions by scene, the board's numbers, the reliability curve."""
    models = _shown(board)
    labels = board.predictions.drop_duplicates("image").set_index("image")
    wide = board.predictions.pivot(index="image", columns="model", values="prediction")
    digits = {model: _decimals(wide[model]) for model in models}
    score_digits = _decimals(labels["score"])
    wide = wide[models].round({model: places + 2 for model, places in digits.items()})
    scenes = []
    by_scene = labels.groupby("scene")["score"]
    names = sorted(by_scene.groups, key=_natural)
    for scene in names:
        scores = by_scene.get_group(scene)
        own = wide.loc[scores.index]
        scenes.append(
            {
                "name": str(scene),
                "images": [str(name) for name in scores.index],
                "scores": scores.round(score_digits + 2).to_list(),
                "predictions": [own[model].to_list() for model in models],
            }
        )
    srocc = board.scenes.pivot(index="scene", columns="model", values="srocc").reindex(names).round(DIGITS)
    kinds = board.entries.set_index("model")["kind"]
    return {
        "models": [{"name": model, "kind": kinds[model]} for model in models],
        "digits": {"score": score_digits, "prediction": list(digits.values())},
        "scenes": scenes,
        "srocc": [srocc[model].to_list() if model in srocc else [] for model in models],
        "board": [_forest(block) for block in text.blocks(board) if block.lines],
        "reliability": [
            board.reliability[board.reliability["model"] == model]
            .reindex(columns=["predicted", "observed", "pairs"])
            .round(DIGITS)
            for model in models
        ],
    }


def _forest(block: text.Block) -> dict[str, Any]:
    """A block's numbers for the plot of intervals, measure by measure."""
    rows = [
        {
            "name": MEASURES[measure],
            "lower": measure in LOWER_IS_BETTER,
            "lines": [
                {"model": line.model, "kind": line.kind, "value": cell.value, "low": cell.low, "high": cell.high}
                for line in block.lines
                if (cell := line.cells.get(measure)) is not None
            ],
        }
        for measure in block.measures
    ]
    return {"protocol": block.protocol, "measures": rows}


# Images


@dataclass
class Thumbnails:
    """The images in the page, encoded, each file once.

    Attributes:
        encoded: Data URIs.
        left_out: Files for which there was no room.
    """

    encoded: list[str] = field(default_factory=list)
    left_out: int = 0
    _places: dict[str, int | None] = field(default_factory=dict)

    def place(self, path: object) -> int | None:
        """Where the file's image stands in `encoded`; None if it cannot be read or no room is left for it."""
        if not isinstance(path, str | Path) or not str(path):
            return None
        if str(path) not in self._places:
            self._places[str(path)] = self._add(path)
        return self._places[str(path)]

    def _add(self, path: str | Path) -> int | None:
        if sum(map(len, self.encoded)) >= THUMBNAIL_BYTES:
            self.left_out += 1
            return None
        try:
            self.encoded.append(thumbnail(path))
        except InputError:
            return None  # the page then shows its name
        return len(self.encoded) - 1


def thumbnail(path: str | Path) -> str:
    """An image scaled down to `THUMBNAIL_SIDE`, without its metadata, as a data URI.

    Raises:
        InputError: If it is not an image that can be read.
    """
    from piqa.preparation.image_file import open_image  # brings torch, which a board without images does not need

    image = open_image(path)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    image.info.clear()
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _gallery(board: Leaderboard) -> tuple[list[tuple[str, list[dict[str, Any]]]], Thumbnails]:
    """The worst pairs of every line with the places of their images; the worst of all lines get theirs first."""
    frame, thumbnails = board.failures, Thumbnails()
    rank = frame.groupby("model").cumcount()
    frame = frame[rank < PAIRS_SHOWN].assign(rank=rank)
    digits = {model: _decimals(rows) for model, rows in board.predictions.groupby("model")["prediction"]}
    score_digits = _decimals(board.predictions["score"])
    by_model: dict[str, list[dict[str, Any]]] = {model: [] for model in _shown(board) if model in set(frame["model"])}
    for row in frame.sort_values("rank", kind="stable").to_dict("records"):
        places = {f"thumbnail_{side}": thumbnails.place(row[f"path_{side}"]) for side in ("a", "b")}
        pair = {str(name): value for name, value in row.items()}
        pair |= {"score_digits": score_digits, "digits": digits[pair["model"]]}
        by_model.setdefault(pair["model"], []).append(pair | places)
    return list(by_model.items()), thumbnails
