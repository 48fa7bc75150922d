"""Published weights by name: what they are, where they lie, and what their licences say.

`registry.toml` beside this module holds the entries. Nothing is downloaded here; see `piqa.weights.download`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from piqa.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same reader, before it was Python's own
    import tomli as tomllib

FILE = Path(__file__).with_name("registry.toml")
Use = Literal["model", "start", "part", "none"]
Host = Literal["hf", "gdrive", "github", "http"]
Commercial = Literal["yes", "no", "unknown"]
HUB = "hf:"  # how the name of a repository of piqa's own models begins, as in `hf:owner/name@revision`


@dataclass(frozen=True)
class Source:
    """Where a file lies.

    Args:
        host: `hf`, the Hugging Face Hub; `gdrive`, Google Drive; `github` or `http`, a plain address.
        file: Name of the file, on the Hub its path in the repository.
        repo: Repository, on the Hub.
        revision: Its commit, 40 hexadecimal digits; None where none is pinned.
        id: Of the file, on Google Drive.
        url: Address, of `github` and `http`.
        sha256: Of the file, where a public text states it.
        bytes: Its size, likewise.
        megabytes: Its size, about.
    """

    host: Host
    file: str
    repo: str | None = None
    revision: str | None = None
    id: str | None = None
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    megabytes: float | None = None

    def __post_init__(self) -> None:
        _check_word("host", self.host, Host)
        needed = {"hf": "repo", "gdrive": "id"}.get(self.host, "url")
        if not getattr(self, needed):
            raise InputError(f"a source on {self.host} needs `{needed}`")
        for name, digits in (("sha256", 64), ("revision", 40)):
            value = getattr(self, name)
            if value is not None and (len(value) != digits or set(value) - set("0123456789abcdef")):
                raise InputError(f"`{name}` is {value!r}; {digits} hexadecimal digits are needed")

    @property
    def page(self) -> str:
        """Where a browser gets the file."""
        if self.host == "hf":
            return f"https://huggingface.co/{self.repo}/resolve/{self.revision or 'main'}/{self.file}"
        return f"https://drive.google.com/file/d/{self.id}/view" if self.host == "gdrive" else str(self.url)

    @property
    def size(self) -> str:
        """The size in words: `0.23 MB`, `about 696 MB`, or `size not known`."""
        if self.bytes is not None:
            return f"{self.bytes / 1e6:.3g} MB"
        return "size not known" if self.megabytes is None else f"about {self.megabytes:g} MB"


@dataclass(frozen=True)
class Licence:
    """What is said about the use of a model: of its code, its weights and the data it was trained on.

    `commercial` is `yes` only where a licence says so; where nothing is said, it is `unknown`.
    """

    code: str
    weights: str
    data: str
    commercial: Commercial

    def __post_init__(self) -> None:
        _check_word("commercial", self.commercial, Commercial)

    def to_dict(self) -> dict[str, str]:
        """Return it as a card holds it."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Figure:
    """A result that others have published: correlations `on` a database, and the `source` that states them."""

    on: str
    source: str
    srocc: float | None = None
    plcc: float | None = None


@dataclass(frozen=True)
class Entry:
    """A file of weights that has a name; the fields are explained in `registry.toml`."""

    name: str
    what: str
    use: Use
    layout: str
    source: Source
    licence: Licence
    citation: str
    network: Mapping[str, Any] = field(default_factory=dict)
    preparation: Mapping[str, Any] = field(default_factory=dict)
    view: str = "crops"
    crop_size: int = 384
    needs: Mapping[str, str] = field(default_factory=dict)
    published: Sequence[Figure] = ()
    note: str = ""
    why_not: str = ""

    def __post_init__(self) -> None:
        _check_word("use", self.use, Use)
        if (self.use == "model") != bool(self.network):
            raise InputError("an entry names a `network` if its use is `model`, and only then")
        if (self.use == "none") != bool(self.why_not):
            raise InputError("an entry says `why_not` if its use is `none`, and only then")
        if empty := [name for name in ("what", "layout", "citation") if not getattr(self, name)]:
            raise InputError(f"the entry lacks `{empty[0]}`")

    @classmethod
    def from_dict(cls, name: str, table: Mapping[str, Any]) -> Entry:
        """Read an entry; InputError, with its name, if it is incomplete or says something impossible."""
        try:
            content = dict(table) | {"name": name, "source": Source(**table["source"])}
            content |= {"licence": Licence(**table["licence"])}
            content["published"] = tuple(Figure(**figure) for figure in table.get("published", ()))
            return cls(**content)
        except (InputError, TypeError, KeyError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise InputError(f"the entry {name} of {FILE.name}: {reason}") from error

    @property
    def all_needed(self) -> list[Entry]:
        """The entry itself, and the files that it is built with."""
        return [self, *(entries()[name] for name in self.needs.values())]

    @property
    def commercial(self) -> Commercial:
        """Whether licences allow commercial use of it and of all that it is built with: the least of their words."""
        said = {one.licence.commercial for one in self.all_needed}
        return "no" if "no" in said else "unknown" if "unknown" in said else "yes"

    @property
    def licence_line(self) -> str:
        """What the licences say, in one line."""
        parts = [f"{one.name}: code {one.licence.code}; weights {one.licence.weights}" for one in self.all_needed]
        data = f"data {self.licence.data}"
        return f"{'; '.join(parts)}; {data}; commercial use: {self.commercial}"


def _check_word(name: str, value: object, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise InputError(f"`{name}` is {value!r}; it must be one of {', '.join(get_args(allowed))}")


@cache
def entries() -> dict[str, Entry]:
    """Return all entries by name, in the order of the file; InputError if one is incomplete."""
    with FILE.open("rb") as file:
        return {name: Entry.from_dict(name, table) for name, table in tomllib.load(file).items()}


def is_hub(given: object) -> bool:
    """Whether this names a repository, as `hf:owner/name` does, and no path that exists."""
    return isinstance(given, str) and given.startswith(HUB) and not _is_there(given)


def _is_there(given: object) -> bool:
    try:
        return Path(str(given)).exists()
    except OSError:  # a folder that may not be entered, or a name of 300 letters
        return False


def may_be_name(given: object) -> bool:
    """Whether this is a text that could be a name: a single word, not a path or a file."""
    return isinstance(given, str) and bool(given) and not set(given) & set("/\\\n") and given not in (".", "..")


def entry_named(given: object) -> Entry | None:
    """Return the entry of a name; None if there is none, or if a file or a folder of this name is there.

    Examples:
        >>> entry_named("clip-rn50").source.host
        'hf'
        >>> entry_named("a.jpg") is None
        True
    """
    if not may_be_name(given) or _is_there(given):  # before the file of names is read
        return None
    return entries().get(str(given))


def is_name(given: object) -> bool:
    """Whether this is the name of an entry or of a repository, and no path that exists."""
    return entry_named(given) is not None or is_hub(given)


def advice_on(given: object) -> str:
    """Return the words of a message about a model that is not found: the nearest names, and where all are listed."""
    close = get_close_matches(str(given).lower(), entries(), n=3, cutoff=0.5) if may_be_name(given) else []
    near = f", of which {' or '.join(close)} is near" if close else ""
    return f"or a name that `piqa models` lists{near}"


def get_entry(name: str) -> Entry:
    """Return the entry of a name; InputError, with the nearest names, if there is none."""
    if name not in entries():
        close = get_close_matches(name.lower(), entries(), n=3, cutoff=0.5)
        near = f"did you mean {' or '.join(close)}? " if close else ""
        raise InputError(f"there is no model called '{name}'; {near}`piqa models` lists all names")
    return entries()[name]
