"""piqa judges the quality of portrait photographs: `Scorer.load("model").score(["a.jpg", "b.jpg"])`."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piqa.errors import InputError
    from piqa.models.dual_branch import DualBranch
    from piqa.scoring.scorer import Scorer

    __version__: str

if sys.argv[:1] == ["-m"]:  # `python -m piqa.fit` is being started, and imports for seconds
    from piqa.errors import tell_ctrl_c

    tell_ctrl_c()

__all__ = ["DualBranch", "InputError", "Scorer", "__version__"]

_HOME = {"DualBranch": "piqa.models.dual_branch", "InputError": "piqa.errors", "Scorer": "piqa.scoring.scorer"}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `piqa --help` does not wait for torch."""
    if name == "__version__":
        return _version()
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'piqa' has no attribute '{name}'")


def _version() -> str:
    """Return the installed version; "0+unknown" where the sources are used without an installation."""
    metadata = import_module("importlib.metadata")
    try:
        return str(metadata.version("dn-piqa"))
    except metadata.PackageNotFoundError:
        return "0+unknown"
