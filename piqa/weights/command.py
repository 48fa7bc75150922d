"""`piqa models`: list published models by name; `piqa models get NAME` fetches, `piqa models show NAME` tells more.

A name does wherever a model or a file of weights is asked for: `--ckpt_path NAME`, `Scorer.load("NAME")`, and the
starts of training. Files are kept in `PIQA_HOME`, by default among the user's caches; those of the Hugging Face Hub in
its own cache (`HF_HOME`).

`piqa models check MODEL --precision bf16` measures what a precision does to ranks, and `piqa models push RUN
hf:owner/name` publishes a model; each has a `--help` of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from piqa.errors import InputError, one_line_errors
from piqa.system.command_line import Parser
from piqa.weights.cache import cached_file, place_of, read_record
from piqa.weights.download import fetch, hub_model
from piqa.weights.hosts import hugging_face
from piqa.weights.registry import Entry, entries, get_entry, is_hub

ACTIONS = ("list", "get", "show")
PLAIN_WIDTH = 200  # letters of a line where no terminal shows the table
USES = {"model": "--ckpt_path {0}", "start": "--model.init.whole {0} or --model.init.face {0}"}


def main(args: list[str] | None = None) -> None:
    """List, fetch or show, from the command line or from a list of its arguments."""
    parser = Parser(prog="piqa models", description=__doc__)
    help_ = "`list` (the default); `get`: fetch, check, and say where it lies; `show`: tell all that is known"
    parser.add_argument("action", type=str, nargs="?", default="list", choices=ACTIONS, help=help_)
    parser.add_argument("names", type=str, nargs="*", help="Names, for `get` and `show`; `show` alone tells of all.")
    parsed = parser.parse_args(sys.argv[1:] if args is None else args)
    with one_line_errors():
        models(parsed.action, parsed.names)


def models(action: str = "list", names: Sequence[str] = ()) -> None:
    """List all names, or fetch or show some.

    Args:
        action: `list`, `get` or `show`.
        names: Published names, for `get` and `show`; without any, `show` tells of all. For `get` `hf:owner/name`, too.

    Raises:
        InputError: If there is no such action or name, or a file is not to be had.
    """
    if action not in ACTIONS:
        raise InputError(f"there is no action '{action}'; choose one of {', '.join(ACTIONS)}")
    if action == "list" and names:
        raise InputError("`piqa models list` takes no name; give `get` or `show` before the names")
    if action == "get" and not names:
        raise InputError("`piqa models get` takes at least one name; `piqa models` lists all names")
    hub = [name for name in names if is_hub(name)]
    if hub and action == "show":
        raise InputError(f"`piqa models show` tells of the names that it lists; of {hub[0]} its page on the Hub tells")
    chosen = [get_entry(name) for name in names if name not in hub]
    if action == "list":
        _print_list()
    elif action == "show":
        for entry in chosen or entries().values():
            print("\n".join(_facts(entry)))
    else:
        for entry in chosen:
            _get(entry)
        for name in hub:
            print(f"{name}: {hub_model(name)}")


def _print_list() -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "use", "size", "here", "commercial"):
        table.add_column(heading, no_wrap=True)
    table.add_column("licence of the weights")
    for entry in entries().values():
        use = "not run" if entry.use == "none" else entry.use
        here = "yes" if _lies_here(entry) is not None else "-"
        table.add_row(entry.name, use, entry.source.size, here, entry.commercial, entry.licence.weights)
    console.print(table, highlight=False)


def _lies_here(entry: Entry) -> Path | None:
    """Return the file of an entry, not checked, if it lies on this machine, by whatever program it was fetched."""
    path, source = cached_file(entry), entry.source
    if path is None and source.host == "hf":
        path = hugging_face.cached(str(source.repo), source.file, source.revision)
    return path


def _get(entry: Entry) -> None:
    for one in entry.all_needed:
        path = fetch(one, again=True)
        record = read_record(one)
        known = "" if record is None else f"; sha256 {record.sha256}"
        print(f"{one.name}: {path}{known}")


def _facts(entry: Entry) -> Iterator[str]:
    source, licence, record = entry.source, entry.licence, read_record(entry)
    here = _lies_here(entry)
    known = source.sha256 or (record.sha256 if record is not None else None)
    whose = "published" if source.sha256 or (record is not None and record.published) else "recorded at the first use"
    yield f"{entry.name}: {entry.what}"
    rows = {
        "use": entry.why_not or USES.get(entry.use, "a file that a model is built with: {0} in its place"),
        "file": f"{source.file}, {source.size}, from {source.page}",
        "here": str(here) if here is not None else f"no; put there by hand, it belongs at {place_of(entry)}",
        "sha256": f"{known} ({whose})" if known else "nobody has published it; recorded at the first use",
        "needs": ", ".join(entry.needs.values()),
        "licence": f"code: {licence.code}; weights: {licence.weights}; data: {licence.data}",
        "commercial use": entry.commercial,
        "cite": entry.citation,
        "note": entry.note,
    }
    yield from (f"  {name}: {text.replace('{0}', entry.name)}" for name, text in rows.items() if text)
    for figure in entry.published:
        values = {"SROCC": figure.srocc, "PLCC": figure.plcc}
        told = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
        yield f"  published on {figure.on}: {told} ({figure.source})"


if __name__ == "__main__":
    main()
