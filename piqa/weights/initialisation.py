"""Build networks whose weights are read from a file next, without drawing random numbers for them first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

RANDOM = {Tensor.normal_, Tensor.uniform_, Tensor.erfinv_}  # what initialisations of weights are made of


class WithoutInitialisation(TorchFunctionMode):
    """Leave tensors as they are where an initialisation would fill them; for Swin-B it takes seconds.

    Use it only where every weight is read from a file afterwards: the memory holds anything until then.

    Examples:
        >>> from torch import nn
        >>> with WithoutInitialisation():
        ...     layer = nn.Linear(2, 3)
        >>> layer.weight.shape
        torch.Size([3, 2])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return the tensor that `func` would fill, or else what `func` returns; called by torch."""
        if func in RANDOM or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
