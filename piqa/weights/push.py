"""`piqa models push RUN hf:owner/name`: publish the model of a run on the Hugging Face Hub.

The repository gets the weights, their card without paths of this machine, and a page that says what the model was
trained on, how good it is, under which licence it may be used, and how. `Scorer.load("hf:owner/name")` loads it.
With `--dry_run true` the same files are written into a folder, to be looked at first. A token is needed that may write:
`HF_TOKEN`, or `hf auth login`.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from piqa.errors import FileAccessError, InputError, one_line_errors
from piqa.models.contract import Arguments
from piqa.system.command_line import Parser
from piqa.system.files import digest_of, replacing
from piqa.system.json_text import json_text
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import told_if_slow
from piqa.system.shown_paths import shown_command, shown_path
from piqa.weights.hosts import hugging_face
from piqa.weights.hosts.refusal import HostRefusal, check_reachable
from piqa.weights.hub_page import model_page, read_figures
from piqa.weights.model_card import ModelCard
from piqa.weights.model_file import find_model, read_card
from piqa.weights.registry import HUB, is_name

WEIGHTS, CARD, PAGE = "model.safetensors", "model.json", "README.md"
WHAT = "model for the Hub"  # what the marker of a dry run's folder says


@dataclass(frozen=True)
class Publication:
    """What is published: the file of the weights, and the texts beside it."""

    weights: Path
    card: str
    page: str


def main(args: list[str] | None = None) -> None:
    """Publish, from the command line or from a list of its arguments."""
    parser = Parser(prog="piqa models push", description=__doc__)
    parser.add_argument("run", type=str, help="The folder of a run, or its `model.safetensors`.")
    parser.add_argument("repository", type=str, help="`hf:owner/name`.")
    parser.add_function_arguments(push, skip={"run", "repository"})
    parsed = parser.parse_args(sys.argv[1:] if args is None else args)
    with one_line_errors():
        push(**parser.instantiate(parsed).as_dict())


def push(
    run: str,
    repository: str,
    private: bool = False,
    overwrite: bool = False,
    licence: str | None = None,
    dry_run: bool = False,
    out: str | None = None,
) -> str:
    """Publish the model of a run; return the address of its page, or the folder of a dry run.

    Args:
        run: The folder of a run, or its `model.safetensors`.
        repository: `hf:owner/name`.
        private: Whether only its owner may see a new repository.
        overwrite: Whether a repository that is there already gets a new version; the former ones stay in its history.
        licence: Of the weights, such as `cc-by-4.0`; by default what the model's card says.
        dry_run: Write the files into a folder instead, and ask nothing of the Hub.
        out: The folder of a dry run, new, empty or of an earlier one; by default `hub` in the run's folder.

    Raises:
        InputError: If there is no run, its files are not of one run, the name is none, or the Hub refuses.
        FileAccessError: If another try may succeed.
    """
    name = _checked_name(repository)
    made = publication(run, name, licence)
    if dry_run:
        folder = Path(out) if out else made.weights.parent / "hub"
        _write(made, folder)
        print(f"what would be pushed to {repository} lies in {folder}")
        return str(folder)
    try:
        check_reachable(hugging_face.address())
        files: dict[str, Path | bytes] = {WEIGHTS: made.weights, CARD: made.card.encode(), PAGE: made.page.encode()}
        with told_if_slow(f"{repository}: sending {made.weights.stat().st_size / 1e6:.0f} MB"):
            address = hugging_face.publish(name, files, private=private, overwrite=overwrite)
    except HostRefusal as error:
        kind = FileAccessError if error.passing else InputError
        raise kind(f"{repository}: {error.reason}") from error
    print(f"{made.weights} is published: {address}")
    return address


def publication(run: str, name: str, licence: str | None = None) -> Publication:
    """Return what is published of a run as `owner/name`; errors as of `push`."""
    if is_name(run):
        raise InputError(f"{run} is published already; give the folder of a run of yours")
    path = find_model(run)
    card = read_card(path) if path.suffix == ".safetensors" else None
    if card is None:
        raise InputError(f"{path} is no model file of piqa's with a card beside it; give the folder of a finished run")
    if card.weights_digest is not None and card.weights_digest != digest_of(path):
        raise InputError(f"{path} and the card beside it are not of one run; train again, or copy both again")
    card = _without_paths(card)
    if licence is not None:
        card = replace(card, licence={**card.licence, "weights": licence})
    figures = read_figures(path.parent)
    if figures is None:
        told = "its page will say so; `piqa evaluate --ckpt_path` measures it"
        print(f"piqa: warning: {path} has not been evaluated: {told}", file=sys.stderr)
    content = card.to_dict() | {"weights_digest": digest_of(path)}
    return Publication(path, json_text(content), model_page(name, card, _record(path.parent), figures))


def _checked_name(repository: str) -> str:
    """Return `owner/name` of `hf:owner/name`; InputError if it is no name that the Hub takes."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = repository.removeprefix(HUB)
    try:
        validate_repo_id(name)
        usable = repository.startswith(HUB) and name.count("/") == 1
    except HFValidationError:
        usable = False
    if not usable:
        letters = "letters, digits and -_. only, 96 at most"
        raise InputError(f"{repository!r} is no name of a repository; write it as {HUB}owner/name ({letters})")
    return name


def _without_paths(card: ModelCard) -> ModelCard:
    """Return a card that names files as `shown_path` does, as it is passed on."""
    preparation = None if card.preparation is None else _shown(card.preparation)
    return replace(card, preparation=preparation, trained_on=_shown(card.trained_on), personal=_shown(card.personal))


def _shown(table: Arguments) -> Arguments:
    return {name: _shown_value(name, value) for name, value in table.items()}


def _shown_value(name: str, value: object) -> object:
    if isinstance(value, dict):
        return _shown(value)
    if isinstance(value, list):
        return [_shown_value(name, one) for one in value]
    if isinstance(value, str):
        return shown_command(value) if name == "command" else shown_path(value)
    return value


def _record(folder: Path) -> Arguments:
    """Return the record of a run; empty where it has none."""
    try:
        content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(made: Publication, folder: Path) -> None:
    """Write what would be published into a folder of piqa's own."""
    claim_folder(folder, WHAT)
    with locked(folder, folder=True):
        with replacing(folder / WEIGHTS) as temporary:
            shutil.copyfile(made.weights, temporary)
        for name, text in ((CARD, made.card), (PAGE, made.page)):
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
