"""Rows on the training step: its time with each setting, its arithmetic, its memory."""

from __future__ import annotations

import inspect
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from bench_rows.machine import matrix_rates
from bench_rows.measure import Figures, PeakMemory, Row, Settings, cpu_seconds, forget, in_child, spread, synchronize
from piqa.models import DualBranch
from piqa.models.backbone import SWIN_B_384
from piqa.models.liqe import LIQE_LOGITS
from piqa.system.device import computes_bfloat16
from piqa.system.memory import keep_freed_memory
from piqa.tasks.base import published_adam
from piqa.tasks.ranking import RankingTask
from piqa.training.compute_options import ComputeOptions


@dataclass(frozen=True)
class Way:
    """Settings of a training step. Without arguments all are off: the way that the others are compared with."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    fused: bool = False
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    keep_memory: bool = False


PLAIN, COMPILED = "float32, no options", "bf16, compiled"
BF16 = Way(precision="bf16-mixed", keep_memory=True)
WAYS = {  # memory, once kept, is kept by the process: what goes without comes first
    PLAIN: Way(),
    "defaults": None,
    "float32": Way(keep_memory=True),
    "bf16": BF16,
    "bf16, fused optimiser": replace(BF16, fused=True),
    "bf16, channels last": replace(BF16, compute=ComputeOptions(channels_last=True)),
    COMPILED: replace(BF16, compute=ComputeOptions(compile=True)),
    "bf16, activation checkpointing": replace(BF16, compute=ComputeOptions(activation_checkpointing=True)),
}


def defaults(device: torch.device) -> Way:
    """Return the settings that `piqa.fit` has by default."""
    fused = bool(inspect.signature(published_adam).parameters["fused"].default)
    return Way("bf16-mixed" if computes_bfloat16(device.type) else "32-true", fused, keep_memory=True)


def network_of(settings: Settings) -> DualBranch:
    """Return the published network with random weights, or a tiny one."""
    torch.manual_seed(0)
    if settings.smoke:
        return DualBranch("test_resnet", ("whole", "liqe"), image_size=64)
    return DualBranch(SWIN_B_384)


def task_of(network: DualBranch, way: Way) -> RankingTask:
    """The task with a way's settings."""
    return RankingTask(network, optimizer=partial(published_adam, fused=way.fused), compute=way.compute)


def batch_of(groups: int, size: int, side: int) -> dict[str, Tensor]:
    """Return a step of this many groups of random images."""
    portraits = groups * size
    generator = torch.Generator().manual_seed(0)
    pixels = partial(torch.randint, 0, 256, (portraits, 3, side, side), dtype=torch.uint8, generator=generator)
    return {
        "whole": pixels(),
        "face_crop": pixels(),
        "liqe_logits": torch.randn(portraits, LIQE_LOGITS, generator=generator),
        "score": torch.randn(portraits, generator=generator),
        "index": torch.arange(portraits),
        "group": torch.arange(groups).repeat_interleave(size),
        "groups": torch.tensor(float(groups)),
    }


class StepTimes(Callback):
    """Records the seconds of every training step: forward, backward, optimiser."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: list[float] = []
        self.cpu: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock."""
        synchronize(self._device)
        self._start, self._cpu_start = time.perf_counter(), cpu_seconds()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop the clock."""
        synchronize(self._device)
        self.seconds.append(time.perf_counter() - self._start)
        self.cpu.append(cpu_seconds() - self._cpu_start)


def trained(
    settings: Settings, way: Way, batch: dict[str, Tensor], steps: int
) -> tuple[list[float], list[float], float]:
    """Train a fresh network by Lightning's loop; return seconds, CPU seconds of each later step, and peak memory in MB.

    The first step starts the optimiser's state, and compiles; on a GPU the next two still choose kernels.
    """
    forget()
    if way.keep_memory and settings.device.type == "cpu":
        keep_freed_memory()
    unmeasured = 3 if settings.device.type == "cuda" else 1
    times = StepTimes(settings.device)
    with PeakMemory(settings.device) as peak:
        task = task_of(network_of(settings), way)
        trainer = Trainer(
            accelerator="gpu" if settings.device.type == "cuda" else "cpu",
            devices=[settings.device.index or 0] if settings.device.type == "cuda" else 1,
            precision=way.precision,
            max_steps=unmeasured + steps,
            callbacks=[times],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, DataLoader([batch] * (unmeasured + steps), batch_size=None))
    return times.seconds[unmeasured:], times.cpu[unmeasured:], peak.mb


def training_step(settings: Settings) -> Row:
    """Time one optimiser step of the same groups: float32 without options, the defaults, and each setting alone."""
    cuda = settings.device.type == "cuda"
    groups, size = (2, 6) if cuda and not settings.smoke else (1, 4)
    with torch.device("meta"):
        network = network_of(settings)
    side = network.image_size
    batch, flops = batch_of(groups, size, side), flops_of(network) * groups * size
    rounds, steps = (1, 1) if settings.smoke else (2, settings.times(10 if cuda else 2))
    measured: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    memory: dict[str, float] = {}
    failed: Figures = {}
    left_out = {COMPILED} if settings.smoke else set()  # which takes longest; tests/test_compute_options.py compiles
    for _ in range(rounds):
        for name, outcome in in_child(
            one_round, settings, batch, steps, left_out | set(failed), fresh=not settings.smoke
        ).items():
            if isinstance(outcome, str):
                failed[name] = outcome
            else:
                measured[name] += outcome[0]
                cpu[name] += outcome[1]
                memory[name] = outcome[2]
    ways = {name: spread(seconds, cpu[name]) for name, seconds in measured.items() if seconds}
    for name, way in ways.items():
        way |= {
            "portraits_per_s": groups * size / way["median_s"],
            "comparisons_per_s": groups * size * (size - 1) / 2 / way["median_s"],
            "tflop_per_s": flops / way["median_s"] / 1e12,
            "peak_memory_gb": memory[name] / 1e3,
            "times_float32": measured_ratio(ways, name),
        }
    rates = matrix_rates(settings.device, settings.smoke)
    return Row(
        row="training-step",
        what=f"an optimiser step of {groups} groups of {size} portraits at {side} px by Lightning's loop, data in "
        "memory; on a CPU all ways but the first keep the memory that they free; peak memory is what the step adds to "
        "the process, network and optimiser included; TFLOP are those of forward and backward pass of the plain "
        "network",
        ratio=measured_ratio(ways, "defaults"),
        compared="steps/s with the defaults : in float32 without options",
        expected=">= 1.7; on a GPU >= 40 % of the bf16 matrix rate",
        clock="wall",
        ways=ways,
        facts={
            "tflop_a_step": flops / 1e12,
            **{f"matrix_rate_{name}_tflop_per_s": rate for name, rate in rates.items()},
            "defaults_share_of_bf16_rate": ways["defaults"]["tflop_per_s"] / rates["bfloat16"],
            **{f"failed: {name}": reason for name, reason in failed.items()},
        },
    )


def one_round(
    settings: Settings, batch: dict[str, Tensor], steps: int, leave_out: set[str]
) -> dict[str, tuple[list[float], list[float], float] | str]:
    """Run every way once, in a fresh process; return its seconds, CPU seconds and peak memory, or why it failed."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # it prints a greeting for each way
    torch.set_float32_matmul_precision("highest" if settings.smoke else "high")  # what `piqa.fit` does
    outcomes: dict[str, tuple[list[float], list[float], float] | str] = {}
    for name, way in WAYS.items():
        if name in leave_out:
            continue
        try:
            outcomes[name] = trained(settings, way or defaults(settings.device), batch, steps)
        except Exception as error:  # one setting that does not run here must not cost the others
            if name in (PLAIN, "defaults"):
                raise
            outcomes[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return outcomes


def measured_ratio(ways: dict[str, Figures], name: str) -> float:
    """Return how many times faster than float32 without options a way is."""
    return float(ways[PLAIN]["median_s"] / ways[name]["median_s"])


def flops_of(network: DualBranch) -> int:
    """Count the floating-point operations of one portrait's forward and backward pass, without computing anything.

    Args:
        network: Without content: made under `torch.device("meta")`.
    """
    # In attention's plain form every matrix product is seen, whatever kernel a device would choose.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FakeTensorMode(allow_non_fake_inputs=True), plain, FlopCounterMode(display=False) as counter:
        network.to_empty(device="cpu")
        batch = batch_of(1, 1, network.image_size)
        network(**{name: batch[name] for name in network.inputs})["score"].sum().backward()
    return int(counter.get_total_flops())
