"""Import timm and torchvision without what they import for a decorator, a check or a log that piqa does not use.

They import torch's compiler (`torch._dynamo`), which takes as long as torch itself, and Weights & Biases. Every start
of a program that scores images would wait for both, and so would each of its worker processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

# Module -> its functions that are only bound at import time. Whatever else is asked for brings the module itself.
POSTPONED: dict[str, tuple[str, ...]] = {"torch._dynamo.utils": ("is_compile_supported",), "wandb": ()}


@contextmanager
def quick_imports() -> Iterator[None]:
    """Postpone in a block of imports those modules, until something of them is used.

    Nothing changes for whoever uses them: the stand-ins pass on all that they are asked for, and are known to the block
    alone. A module that is imported already is left as it is.

    Examples:
        >>> with quick_imports():
        ...     import timm
    """
    names = [name for name in POSTPONED if name not in sys.modules and find_spec(name.partition(".")[0]) is not None]
    if "torch._dynamo" in sys.modules:
        names = [name for name in names if not name.startswith("torch.")]
    sys.modules |= {name: _StandIn(name) for name in names}
    # torch's own decorator for the same purpose, which waits for the first call; `torch.compiler.disable` does not
    at_once = torch.compiler.disable
    postponed = getattr(torch, "_disable_dynamo", at_once)
    setattr(torch.compiler, "disable", lambda fn=None, recursive=True, **_: postponed(fn, recursive))  # noqa: B010
    try:
        yield
    finally:
        setattr(torch.compiler, "disable", at_once)  # noqa: B010 -- mypy lets no function be assigned to
        for name in names:
            if isinstance(sys.modules.get(name), _StandIn):
                del sys.modules[name]


class _StandIn(ModuleType):
    """Stands for a module that is imported when something of it is used."""

    def __getattr__(self, attribute: str) -> object:
        """Return something of the module; called where the stand-in itself has no such attribute."""
        if attribute.startswith("__"):  # asked of every module by `inspect`
            raise AttributeError(attribute)
        if attribute in POSTPONED[self.__name__]:
            return self._postponed(attribute)
        return getattr(self._module(), attribute)

    def _postponed(self, function: str) -> Callable[..., object]:
        return lambda *args, **kwargs: getattr(self._module(), function)(*args, **kwargs)

    def _module(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)
