"""How images are scored: the settings that commands take together, with their validation."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

from piqa.data.cuts import Crops
from piqa.engines.graph import Engine, check_engine
from piqa.errors import InputError
from piqa.weights.trust import Trust

Precision = Literal["32", "bf16", "16"]


def check_scoring(test_crops: str = "five", batch_size: int = 1, precision: str = "32", *, workers: int = 0) -> None:
    """Raise an InputError if a setting of scoring is not possible."""
    for name, value, known in (("test_crops", test_crops, Crops), ("precision", precision, Precision)):
        if value not in get_args(known):
            raise InputError(f"`{name}` is {value!r}; choose one of {', '.join(get_args(known))}")
    for name, number, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
        if not isinstance(number, Integral) or isinstance(number, bool) or int(number) < least:
            raise InputError(f"`{name}` is {number!r}; at least {least} is needed")


def check_inside(path: object, **given: object) -> None:
    """Raise an InputError if something is asked for that an exported model has inside."""
    for name in (name for name, value in given.items() if value is not None):
        raise InputError(f"`{name}` is not for {path}: what an exported model has is inside; export it again")


@dataclass(frozen=True)
class ScoringOptions:
    """How the images of a table are scored.

    Args:
        store: Folder of the prepared store.
        test_crops: `five` crops whose scores are averaged, or `one` from the centre, which is five times faster.
            Ignored by models that see whole images or windows.
        batch_size: Images in one pass through the network.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: `32`; or `bf16`, faster where the hardware multiplies matrices in bfloat16; or `16` for older GPUs.
        liqe: Path of LIQE's checkpoint; default: the one in the model card.
        engine: What runs the network: `torch`, `onnxruntime` or `openvino`; by default what the model's file is for.

    Raises:
        InputError: If a setting is not possible.
    """

    store: str = "data/prepared"
    test_crops: Crops = "five"
    batch_size: int = 4
    device: str = "auto"
    precision: Precision = "32"
    liqe: str | None = None
    engine: Engine | None = None

    def __post_init__(self) -> None:
        check_scoring(self.test_crops, self.batch_size, self.precision)
        check_engine(self.engine or "torch")


@dataclass(frozen=True)
class ModelOptions:
    """Which model scores image files, and how: as of `piqa predict`."""

    ckpt_path: str
    test_crops: Crops = "five"
    batch_size: int | None = None
    device: str = "auto"
    precision: Precision = "32"
    workers: int | None = None
    liqe: str | None = None
    trust: Trust = None
