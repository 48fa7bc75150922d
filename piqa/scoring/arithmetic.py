"""How much arithmetic the score of one portrait takes, and the limits that a light network keeps."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from piqa.data.cuts import Crops, View, portrait_seen, together
from piqa.errors import InputError
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.models.liqe import LIQE_LOGITS
from piqa.preparation.portrait import Portrait, Preparation

Unit = Literal["flop", "mac"]
Exceeded = Literal["refuse", "warn"]


@dataclass(frozen=True)
class Arithmetic:
    """What the networks do for the score of one portrait; face detector and LIQE's image tower do not count.

    Attributes:
        flop: Floating-point operations of all crops and all branches; a multiply-add counts as two.
        parameters: Numbers that the network holds as parameters.
        crops: Crops of the whole image, each with one of the face, whose scores are averaged.
    """

    flop: int
    parameters: int
    crops: int

    @property
    def mac(self) -> float:
        """Multiply-adds, half of `flop`."""
        return self.flop / 2

    def __str__(self) -> str:
        seen = "one crop" if self.crops == 1 else f"{self.crops} crops"
        return (
            f"{self.flop / 1e9:.4g} GFLOP ({self.mac / 1e9:.4g} G multiply-adds) a portrait of {seen}, all branches; "
            f"{self.parameters / 1e6:.4g} M parameters"
        )


@dataclass(frozen=True)
class Limits:
    """What a light network may take; by default what the challenge VQualA 2025 (face image quality) allowed.

    The challenge wrote "GFLOPs". Values of its table fit multiply-adds, the half of floating-point operations; the
    default reads it strictly, so that what keeps the limit keeps it in either sense.

    Args:
        gflop: Most billions of operations of a portrait's score, as `predict` gives it: whole image and face, and all
            test crops.
        mparameters: Most millions of parameters.
        unit: What `gflop` counts: `flop`, in which a multiply-add is two operations, or `mac`, in which it is one.
        exceeded: What becomes of a network that exceeds them: `refuse` it, or `warn`.

    Raises:
        InputError: If a limit is not above 0, or a choice is unknown.
    """

    gflop: float = 0.5
    mparameters: float = 5.0
    unit: Unit = "flop"
    exceeded: Exceeded = "refuse"

    def __post_init__(self) -> None:
        if not (self.gflop > 0 and self.mparameters > 0):
            raise InputError(f"limits of {self.gflop} G and {self.mparameters} M make no sense; they must be above 0")
        for name, kind in (("unit", Unit), ("exceeded", Exceeded)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise InputError(f"`limits.{name}` is {value!r}; choose one of {', '.join(get_args(kind))}")

    def __str__(self) -> str:
        counted = "GFLOP" if self.unit == "flop" else "G multiply-adds"
        return f"{self.gflop:g} {counted} and {self.mparameters:g} M parameters"

    def fault(self, found: Arithmetic) -> str | None:
        """Return what of a network exceeds the limits, with the numbers; None if nothing does."""
        operations = (found.flop if self.unit == "flop" else found.mac) / 1e9
        if operations <= self.gflop and found.parameters <= self.mparameters * 1e6:
            return None
        return f"the network takes {found}, more than the limits of {self}"


def score_arithmetic(
    network: nn.Module, preparation: Preparation, crop_size: int, view: View = "crops", test_crops: Crops = "five"
) -> Arithmetic:
    """Count the arithmetic of one portrait's score, with torch's flop counter; no number is computed.

    Args:
        network: A scoring network; not changed.
        preparation: How images are prepared: of images that are stretched to the crop's size, all crops are one.
        crop_size: Side in pixels of the square crops.
        view: How the network sees a portrait.
        test_crops: The crops whose scores are averaged.

    Examples:
        >>> from piqa.models import LightStudent
        >>> stretched = Preparation(short_side=32, resize="stretch")
        >>> found = score_arithmetic(LightStudent("test_resnet", 32), stretched, 32)
        >>> found.crops, found.flop > 0
        (1, True)
    """
    side = preparation.short_side if preparation.resize != "keep" else crop_size
    shape = (side, side, 3) if preparation.resize == "stretch" else (side * 4 // 3, side, 3)
    blank = np.zeros(shape, np.uint8)
    own = as_scoring_network(network)
    logits = np.zeros(LIQE_LOGITS, np.float32) if "liqe_logits" in own.inputs else None
    seen = together([portrait_seen(Portrait(blank, blank, None, logits), crop_size, test_crops, view)])
    batch = {name: torch.from_numpy(np.asarray(values)) for name, values in seen.items()}
    sketch = as_scoring_network(deepcopy(own).cpu().eval())
    counter = FlopCounterMode(display=False)
    # The counter does not know every fused kernel of attention; in its plain form it consists of products.
    with sdpa_kernel(SDPBackend.MATH), FakeTensorMode(allow_non_fake_inputs=True), counter, torch.no_grad():
        network_outputs(sketch, batch)
    parameters = sum(weights.numel() for weights in own.parameters())
    return Arithmetic(counter.get_total_flops(), parameters, batch["whole"].shape[1])
