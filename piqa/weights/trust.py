"""What a card may name: a model file may come from a stranger, and building what it names runs code.

A card names classes by their import paths. Importing a module runs it, so the name is judged before anything is
imported: piqa's own networks and tables, by the names listed here, and the packages that the user trusts. Arguments of
piqa's own classes must fit the annotations of their constructors and lie in a sane range.
"""

from __future__ import annotations

import inspect
import math
import reprlib
import types
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from piqa.errors import InputError

if TYPE_CHECKING:  # a card is read without PyTorch
    from piqa.models.contract import Arguments

Trust = str | Sequence[str] | None  # as users name the packages that they trust

NETWORKS = (
    *("CLIPIQA", "CLIPIQAPlus", "ColourNet", "DualBranch", "LIQE", "MultiScaleNet", "NIMA", "NoiseNet", "Regressor"),
    *("CompositionNet", "ExposureMap", "Focus", "LightStudent", "TANet"),
)
TABLES = (
    *("AVA", "BID", "CADB", "CLIVE", "CSIQ", "GFIQA", "KADID", "LIVE", "LSVQ", "PIQ23", "SPAQ", "TAD66K", "TID2013"),
    *("CSVTable", "FiveK", "FlickrAES", "KonIQ", "Mix", "Pictures"),
)
# Where each class that a card may name is public. A card may name another module of piqa's, as those of 0.1.0 do.
PUBLIC = dict.fromkeys(NETWORKS, "piqa.models") | dict.fromkeys(TABLES, "piqa.data")

# Names of constructors' arguments in cards of version 0.1.0.
FORMER_ARGUMENTS = {"test_share": "test_fraction", "val_share": "val_fraction", "pairs": "prompts"}

LONGEST_TEXT = 4096  # letters
MOST_ITEMS = 1000  # of a list or a table
LARGEST_SIDE = 4096  # px of what a network sees
RANGES: dict[str, tuple[float, float]] = {  # of the arguments that decide how much memory something takes
    "image_size": (1, 2048),
    "hidden": (1, 16384),
    "levels": (1, 8),
    "motion": (0, 16384),
    "context": (1, 75),
    "dropout": (0, 1),
    "bins": (2, 64),
    "hues": (3, 64),
    "width": (1, 1024),
    "patch": (32, 512),
    "patches": (1, 4096),
    "short_side": (1, LARGEST_SIDE),
    "detection_side": (1, 2 * LARGEST_SIDE),
    "face_margin": (0, LARGEST_SIDE),
    "face_threshold": (0, 1),
}
LARGEST_NUMBER = 2**63  # of any other argument

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlevel = 3


def shown(value: object) -> str:
    """Return a value as a message shows it: cut off, however long or deep it is.

    Examples:
        >>> shown("many " * 1000)
        "'many many many many many many many ma...ny many many many many many many many '"
    """
    return _short.repr(value)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number that a float can hold; `True` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def trusted_packages(trust: Trust) -> tuple[str, ...]:
    """Return the packages and modules that the user trusts; InputError if one is no name of a module."""
    packages = (trust,) if isinstance(trust, str) else tuple(trust or ())
    for one in packages:
        if not isinstance(one, str) or not all(part.isidentifier() for part in one.split(".")):
            raise InputError(f"`trust` names {shown(one)}; the name of a package is needed, such as `my_models`")
    return packages


def find_class(class_path: str, kind: type, source: str, trust: Sequence[str] = ()) -> type:
    """Return the class that a card names.

    Args:
        class_path: Its import path.
        kind: The class, or a base class of it.
        source: Where the name stands, for the error's message.
        trust: Packages and modules besides piqa that may be imported.

    Raises:
        InputError: If it is no such class of piqa's or of the trusted packages. Nothing else is imported.
    """
    module, _, name = class_path.rpartition(".")
    shown_path = class_path if class_path.isprintable() and len(class_path) < 100 else shown(class_path)
    if module.split(".")[0] == "piqa":
        found = getattr(import_module(PUBLIC[name]), name) if name in PUBLIC else None
    elif any(f"{class_path}.".startswith(f"{package}.") for package in trust) and module:
        try:
            found = getattr(import_module(module), name, None)
        except Exception as error:  # whatever the module does when it is imported
            reason = f"{type(error).__name__}: {shown(str(error))}"
            raise InputError(f"{source} names {shown_path}, which cannot be imported here ({reason})") from error
    else:
        package = class_path.split(".")[0]
        named = f"{source} names {shown_path}, which is no {kind.__name__} of piqa's"
        advice = f"if you know and trust its code, allow it by `--trust {package}`, in Python by `trust=[{package!r}]`"
        raise InputError(named + (f"; {advice}" if module and package.isidentifier() else ""))
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise InputError(f"{source} names {shown_path}, which is no {kind.__name__}")
    return found


def current_arguments(named: type, init_args: Arguments) -> Arguments:
    """Rename arguments of version 0.1.0, where the class takes the new name in place of the old one."""
    known = inspect.signature(named).parameters
    return {
        new if old not in known and (new := FORMER_ARGUMENTS.get(old, old)) in known else old: value
        for old, value in init_args.items()
    }


def check_arguments(called: type, arguments: Arguments, source: str) -> None:
    """Check arguments from a card against what a constructor's annotations and `RANGES` allow.

    Raises:
        InputError: If one is unknown, missing, of another type or out of range.
    """
    parameters = inspect.signature(called).parameters
    hints = get_type_hints(called.__init__)  # type: ignore[misc]  # of this very class
    for name, value in arguments.items():
        if name not in parameters:
            raise InputError(f"{source} has no argument {shown(name)}; it takes {', '.join(parameters)}")
        if not _fits(value, hints.get(name, Any)):
            needed = parameters[name].annotation
            needed = needed.__name__ if isinstance(needed, type) else needed
            raise InputError(f"{source}: `{name}` is {shown(value)}; needed is {needed}")
        low, high = RANGES.get(name, (-LARGEST_NUMBER, LARGEST_NUMBER))
        if isinstance(value, int | float) and not low <= value <= high:  # false for NaN too
            raise InputError(f"{source}: `{name}` is {shown(value)}; it must lie between {low:g} and {high:g}")
    needed_ones = [one.name for one in parameters.values() if one.default is one.empty and one.kind <= 1]
    if missing := [name for name in needed_ones if name not in arguments]:
        raise InputError(f"{source} lacks the argument `{missing[0]}`")


def _fits(value: object, needed: Any) -> bool:
    """Return whether a value is what an annotation says, as JSON can hold it."""
    origin, inside = get_origin(needed), get_args(needed)
    if needed is Any:
        return True
    if origin is Union or origin is types.UnionType:
        return any(_fits(value, one) for one in inside)
    if origin is Literal:
        return isinstance(value, str | int) and value in inside
    if needed is None or needed is type(None):
        return value is None
    if needed in (int, float):
        number = isinstance(value, int if needed is int else int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)  # type: ignore[arg-type]
    if needed in (str, Path):
        return isinstance(value, str | Path) and len(str(value)) <= LONGEST_TEXT
    base = origin or needed
    if not isinstance(base, type):
        return False
    if issubclass(base, Mapping):
        key, item = inside or (Any, Any)
        table = isinstance(value, Mapping) and len(value) <= MOST_ITEMS
        return table and all(_fits(one, key) and _fits(other, item) for one, other in value.items())  # type: ignore[attr-defined]
    if issubclass(base, Sequence):
        item = inside[0] if inside else Any
        return isinstance(value, list | tuple) and len(value) <= MOST_ITEMS and all(_fits(one, item) for one in value)
    return isinstance(value, base)
