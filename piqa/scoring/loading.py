"""From a model's file, or the config of a network that scores without training, to what a scorer is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote

import yaml

from piqa.data.cuts import check_crop, seen_side
from piqa.errors import InputError
from piqa.models.clip_iqa import CLIPIQA
from piqa.models.contract import Arguments, ScoringModule
from piqa.models.focus import Focus
from piqa.models.liqe import LIQE
from piqa.preparation.portrait import Preparation
from piqa.system.files import digest_of
from piqa.system.renamed import name_today
from piqa.weights import state_dicts
from piqa.weights.download import fetch, named_file
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.model_file import PUBLISHED_PREPARATION, build_network, find_model, load_model
from piqa.weights.registry import Entry, entries, entry_named, is_name
from piqa.weights.text_features import keep_text_features
from piqa.weights.trust import Trust, check_arguments, shown, trusted_packages

CONFIGS = (".yaml", ".yml")
LARGEST_CONFIG = 1_000_000  # bytes
LIQE_FILE = "LIQE.pt"  # of an official checkpoint, which does not say where it lies
LIQE_PLACE = Path("data/weights") / LIQE_FILE


def load_parts(
    path: str | Path,
    liqe: str | Path | None = None,
    prompts: Mapping[str, Sequence[str]] | None = None,
    trust: Trust = None,
) -> tuple[ScoringModule, Preparation, ModelCard]:
    """Load what `Scorer.load` makes a scorer of; arguments and errors as there."""
    packages, entry = trusted_packages(trust), entry_named(path)
    if entry is not None:
        (network, card), path = load_model(path), find_model(path)
    else:
        path = find_model(path)
        network, card = (load_config if path.suffix in CONFIGS else load_model)(path, packages)
    if prompts:
        network = with_prompts(network, prompts)
        card = replace(card, network=ClassSpec.of(network))
    keep_text_features(network)
    return network, _preparation(network, card, path, liqe, entry), card


def _preparation(
    network: ScoringModule, card: ModelCard, path: Path, liqe: str | Path | None, entry: Entry | None
) -> Preparation:
    """Return the preparation that a card names, with LIQE's checkpoint if the network needs its logits."""
    settings = dict(PUBLISHED_PREPARATION if card.preparation is None else card.preparation)
    if "liqe_logits" not in network.inputs:
        settings["liqe"] = None
    elif liqe is not None:
        settings["liqe"] = str(named_file(liqe) or liqe)
    elif "liqe" not in settings:  # an official checkpoint
        settings["liqe"] = str(_published_liqe(path, entry))
    check_arguments(Preparation, settings, f"the preparation in the card of {path}")
    if settings["liqe"] is not None and not Path(settings["liqe"]).is_file():  # where it was in training
        beside = path.with_name(Path(settings["liqe"]).name)
        settings["liqe"] = str(beside) if beside.is_file() else settings["liqe"]
    if settings["liqe"] is not None and card.liqe_digest is not None:
        used = state_dicts.require(settings["liqe"], "liqe")
        if digest_of(used) != card.liqe_digest:
            raise InputError(f"{used} is not the LIQE checkpoint that {path} was trained with; name that by `liqe`")
    preparation = Preparation(**settings)
    check_crop(preparation, card.view, card.crop_size, path)
    return preparation


def _published_liqe(model: Path, entry: Entry | None) -> Path:
    """Return LIQE's checkpoint for an official one: beside it, or where training expects it; by name, that of the name.

    Nothing is fetched for a model that was given as a file.
    """
    if entry is not None:
        return fetch(entries()[entry.needs["liqe"]])
    places = [model.with_name(LIQE_FILE), LIQE_PLACE]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"{model} needs {state_dicts.WHAT_IT_IS['liqe']}; there is none in {' or '.join(map(str, places))}: put it "
        "there, or name it by `liqe` (on the command line `--liqe`): a file, or `dn-piqa-liqe`, which is downloaded"
    )


def load_config(path: str | Path, trust: Sequence[str] = ()) -> tuple[ScoringModule, ModelCard]:
    """Load the network that a training config describes, with its initial weights, and make its card.

    Args:
        path: The config. What counts is `model.network`, `model.init` (or its `clip`), `data.preparation`, and
            `view` and `crop_size` of `data.inputs`.
        trust: As for `load_model`.

    Raises:
        InputError: If the config cannot be read, its network must be trained first, or its weights are not available.
    """
    content = _read(path)
    model, data = content["model"], content["data"]
    former = [f"`data.{key}` is now called `{today}`" for key in data if (today := name_today(f"data.{key}", "fit"))]
    if former:
        raise InputError(f"{path}: {'; '.join(former)}")
    network = build_network(ClassSpec.from_dict(model.get("network"), f"`model.network` of {path}"), path, trust)
    init = model.get("init", "openai")
    source = str(init.get("clip", "openai") if isinstance(init, Mapping) else init)
    if isinstance(network, Focus):
        source = ""  # what it measures needs no weights
    elif not (isinstance(network, CLIPIQA) or (isinstance(network, LIQE) and (Path(source).suffix or is_name(source)))):
        found, how = type(network).__name__, f"`python -m piqa.fit --config {quote(str(path))}`"
        raise InputError(f"{path} describes a {found} that must be trained first: {how}; then give the run's folder")
    else:
        state_dicts.load_clip(network, source)
    settings = _table(data.get("preparation"), "data.preparation", path)
    check_arguments(Preparation, settings, f"`data.preparation` of {path}")
    preparation = Preparation(**settings)
    inputs = _table(data.get("inputs"), "data.inputs", path)
    view, crop_size = inputs.get("view", "crops"), inputs.get("crop_size", 384)
    weights = digest_of(source) if Path(source).is_file() else source or None  # or a name
    side = seen_side(view, preparation, crop_size) or crop_size
    return network.eval(), ModelCard(ClassSpec.of(network), asdict(preparation), view, side, weights=weights)


def _table(value: object, name: str, path: str | Path) -> Arguments:
    if not isinstance(value or {}, Mapping):
        raise InputError(f"`{name}` of {path} is {shown(value)}; a table is needed")
    return dict(value or {})  # type: ignore[call-overload, no-any-return]


def _read(path: str | Path) -> dict[str, Arguments]:
    try:
        if (size := Path(path).stat().st_size) > LARGEST_CONFIG:
            raise InputError(f"{path} is no config: it has {size / 1e6:.0f} MB")
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a config: {' '.join(str(error).split())}") from error
    parts = {name: content.get(name) or {} for name in ("model", "data")} if isinstance(content, dict) else {}
    if not all(isinstance(part, dict) for part in parts.values()) or not parts.get("model"):
        raise InputError(f"{path} is no config of a model: it has no table `model` with a `network`")
    return parts


def with_prompts(network: ScoringModule, prompts: Mapping[str, Sequence[str]]) -> CLIPIQA:
    """Return a CLIP-IQA with the same weights that compares other pairs of prompts, as for `Scorer.load`.

    Raises:
        InputError: If the network is no CLIP-IQA, or a pair is none.
    """
    if not isinstance(network, CLIPIQA):
        raise InputError(f"`prompts` are for CLIP-IQA only; the model is a {type(network).__name__}")
    other = CLIPIQA(prompts=prompts, architecture=network.init_args["architecture"])
    other.load_state_dict(network.state_dict())
    return other.eval()
