"""piqa judges the quality of portrait photographs: `Scorer.load("model").score(["a.jpg", "b.jpg"])`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from piqa.errors import InputError
    from piqa.models.dual_branch import DualBranch
    from piqa.scoring.scorer import Scorer

__all__ = ["DualBranch", "InputError", "Scorer"]

_HOME = {"DualBranch": "piqa.models.dual_branch", "InputError": "piqa.errors", "Scorer": "piqa.scoring.scorer"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for, so that `piqa --help` need not wait for torch."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'piqa' has no attribute '{name}'")
