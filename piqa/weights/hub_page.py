"""The page of a model on the Hugging Face Hub: what a reader must know before using it, from the files of its run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from piqa.models.contract import Arguments
from piqa.system.shown_paths import shown_command
from piqa.weights.licences import licence_of
from piqa.weights.model_card import ModelCard

TAGS = ["image-quality-assessment", "portrait", "piqa"]
BOARD, TEST = Path("evaluation/leaderboard.json"), Path("test/metrics.json")  # of a run
NAMES = {"srocc": "SROCC", "krocc": "KROCC", "plcc": "PLCC", "mae": "MAE", "rmse": "RMSE"}
NAMES |= {"pair_accuracy": "pair accuracy"}
LICENCES = {"mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "openrail", "gpl-3.0"}  # the Hub's names for the usual ones
LICENCES |= {"cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"}
CODE = re.compile(r"[`\s]+")


@dataclass(frozen=True)
class Figure:
    """A measure of the model on a table: its value, and its 95 % interval where one was computed."""

    protocol: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Figures:
    """What an evaluation found, and how.

    Attributes:
        values: The measures.
        table: The images' table and split.
        protocols: What each protocol does, by name.
        command: The command of the evaluation.
        images: How many images were scored; None where it is not told.
    """

    values: list[Figure]
    table: str
    protocols: Mapping[str, str]
    command: str | None
    images: int | None


def read_figures(folder: Path) -> Figures | None:
    """Return the figures of a run's evaluation, or of its own test; None where there are none of these weights.

    An evaluation that is older than the weights is of others.
    """
    weights = folder / "model.safetensors"
    for name, read in ((BOARD, _of_board), (TEST, _of_test)):
        path = folder / name
        try:
            if name == BOARD and path.stat().st_mtime < weights.stat().st_mtime:
                continue
            found = read(json.loads(path.read_text(encoding="utf-8")), folder.resolve().name)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # not there, or of another program
        if found.values:
            return found
    return None


def _of_board(board: Arguments, run: str) -> Figures:
    """Return the figures of the one model of a leaderboard, or of that which is called as its run."""
    models = [entry["model"] for entry in board["entries"] if entry["kind"] == "model"]
    name = models[0] if len(models) == 1 else run
    rows = [row for row in board["measures"] if row["model"] == name and row["value"] is not None]
    values = [Figure(row["protocol"], row["measure"], row["value"], row["low"], row["high"]) for row in rows]
    facts = board["facts"]
    return Figures(values, _table(facts), facts["protocols"], facts.get("command"), facts.get("images"))


def _of_test(metrics: Arguments, run: str) -> Figures:
    protocols = {name: metrics[name]["protocol"] for name in ("official", "authors")}
    values = [
        Figure(protocol, measure, metrics[protocol][measure])
        for protocol in protocols
        for measure in NAMES
        if isinstance(metrics[protocol].get(measure), float)
    ]
    facts = metrics["facts"]
    return Figures(values, _table(facts), protocols, facts.get("command"), metrics.get("images"))


def _table(facts: Arguments) -> str:
    parts = [facts["table"], facts.get("attribute"), f"split {facts['split']}" if facts.get("split") else None]
    return ", ".join(str(part) for part in parts if part)


def model_page(repository: str, card: ModelCard, record: Arguments, figures: Figures | None) -> str:
    """Return the page, in Markdown with a head in YAML.

    Args:
        repository: Its name on the Hub, `owner/name`.
        card: As it is published: without paths of a machine.
        record: What `record.json` of the run holds; empty where there is none.
        figures: What an evaluation found.
    """
    parts = [*_use(repository, card), *_training(card, record), *_figures_told(figures), *_precision(card)]
    parts += _licence(card, record)
    return f"---\n{_head(repository, card, figures)}---\n\n" + "\n".join(parts) + "\n"


def _head(repository: str, card: ModelCard, figures: Figures | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    found = figures or Figures([], "", {}, None, None)
    results = [
        EvalResult(
            task_type="image-quality-assessment",
            task_name="portrait quality within scenes",
            dataset_type="portraits",
            dataset_name=found.table,
            metric_type=one.measure,
            metric_name=f"{NAMES.get(one.measure, one.measure)} ({one.protocol})",
            metric_value=round(one.value, 6),
        )
        for one in found.values
    ]
    named = str(card.licence.get("weights")).lower()
    licence: Arguments = {"license": named} if named in LICENCES else {"license": "other", "license_name": "see-below"}
    name = repository.partition("/")[2]
    more: Arguments = {"model_name": name, "eval_results": results} if results else {}
    data = ModelCardData(library_name="piqa", tags=TAGS, **licence, **more)
    return str(data.to_yaml()).rstrip("\n") + "\n"


def _use(repository: str, card: ModelCard) -> Iterator[str]:
    kind = card.network.class_path
    yield f"# {_text(repository.partition('/')[2])}"
    yield "\nA model of piqa that scores portrait photographs: a higher score is a better portrait, among images of one"
    yield "scene. Where it was trained to rank, its scores have no absolute scale."
    yield "\n## Use\n\n```bash\npip install dn-piqa"
    yield f"piqa predict photos/ --ckpt_path hf:{repository} --out scores.csv\n```\n\n```python"
    trust = "" if kind.startswith("piqa.") else f', trust=["{kind.partition(".")[0]}"]'
    yield "from piqa import Scorer\n"
    yield f'scorer = Scorer.load("hf:{repository}"{trust})'
    yield 'print(scorer.score(["a.jpg", "b.jpg"]))\n```'
    if (card.preparation or {}).get("liqe"):
        yield "\nIt needs LIQE's checkpoint, which is not part of this repository: name by `--liqe` the one that it was"
        yield "trained with (`dn-piqa-liqe` fetches DN-PIQA's); another one is refused."
    yield f"\nNetwork: {_code(kind)} with {_code(json.dumps(dict(card.network.init_args)))}. It sees {card.view}"
    yield f"of {card.crop_size} px. `model.json` holds these facts and the preparation of the images."


def _training(card: ModelCard, record: Arguments) -> Iterator[str]:
    facts = card.trained_on
    yield "\n## Training\n"
    told = {"table": facts.get("table"), "attribute": facts.get("attribute"), "weights from": facts.get("what")}
    for name, split in record.get("data", {}).items() if isinstance(record.get("data"), Mapping) else ():
        if isinstance(split, Mapping):
            told[f"{name} images"] = f"{split.get('images')} of {split.get('scenes')} scenes"
    told["checkpoint chosen on"] = facts.get("selected_on")
    told["command"] = facts.get("command")
    known = [f"- {name}: {_code(str(value))}" for name, value in told.items() if value is not None]
    yield from known or ["Nothing is known of how it was trained."]


def _figures_told(figures: Figures | None) -> Iterator[str]:
    yield "\n## Figures\n"
    if figures is None:
        yield "It has not been evaluated."
        return
    images = "" if figures.images is None else f", {figures.images} images"
    yield f"On {_code(figures.table)}{images}; intervals are of 95 %, by bootstrap.\n"
    yield "| protocol | measure | value | interval |"
    yield "|---|---|---|---|"
    for one in figures.values:
        interval = "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
        yield f"| {_text(one.protocol)} | {NAMES.get(one.measure, _text(one.measure))} | {one.value:.3f} | {interval} |"
    yield ""
    told = {one.protocol for one in figures.values}
    yield from (f"- {_text(name)}: {_text(what)}" for name, what in figures.protocols.items() if name in told)
    if figures.command:
        yield f"- command: {_code(shown_command(figures.command))}"


def _precision(card: ModelCard) -> Iterator[str]:
    checks = {name: check for name, check in card.checks.items() if isinstance(check, Mapping)}
    if checks:
        yield "\n## Other precisions and engines, against float32\n"
    for name, check in checks.items():
        facts = ", ".join(f"{key} {_rounded(value)}" for key, value in check.items())
        yield f"- {_text(name)}: {_code(facts)}"


def _licence(card: ModelCard, record: Arguments) -> Iterator[str]:
    yield "\n## Licence\n"
    yield f"{_text(licence_of(card) or 'Nothing is said of the licence of these weights: ask their owner')}."
    lines = record.get("licences")
    if isinstance(lines, Mapping) and lines:
        yield "Training started from:\n"
        yield from (f"- {_text(str(name))}: {_text(str(line))}" for name, line in lines.items())


def _rounded(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _code(text: str) -> str:
    """Return a text in backticks, in which nothing is formatted."""
    return f"`{CODE.sub(' ', text).strip()}`"


def _text(text: str) -> str:
    """Return a text on one line, in which a page makes neither tags nor links nor cells."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
