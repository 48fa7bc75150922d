"""The row on the memory of training: measured on a GPU, counted without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from bench_rows.measure import Figures, Row, Settings
from bench_rows.training import BF16, Way, batch_of, defaults, network_of, trained
from piqa.models import DualBranch
from piqa.training.compute_options import ComputeOptions

PORTRAITS = 2 * 6  # in a step of the default batch
GPU_GB = 24.0  # of the GPU that the full model must be trainable on
BLOCKS = re.compile(r"(^|\.)(blocks|layer\d+)$")  # what holds a timm network's blocks, the units of checkpointing


def memory(settings: Settings) -> Row:
    """Measure the memory of training the published model with 12 portraits a step, with and without checkpointing."""
    found = {
        "defaults": defaults(torch.device("cuda")) if torch.cuda.is_available() else BF16,
        "bf16, activation checkpointing": replace(BF16, compute=ComputeOptions(activation_checkpointing=True)),
        "float32, no options": Way(),
    }
    if settings.device.type == "cuda":
        batch = batch_of(2, PORTRAITS // 2, network_of(settings).image_size)
        ways = {name: {"total_gb": trained(settings, way, batch, 2)[2] / 1e3} for name, way in found.items()}
        how = "the peak of what torch allocates"
    else:
        ways = {name: counted(settings, way) for name, way in found.items()}
        how = (
            "counted as a GPU would need it: parameters, gradients, Adam's two moments, what autograd saves of the "
            "forward pass with attention in its plain form, with checkpointing also the largest block, computed again. "
            "Gradients and activations are added up although a step never holds all of both; CUDA itself takes another "
            "0.5 GB"
        )
    return Row(
        row="memory",
        what=f"training the network with {PORTRAITS} portraits a step; {how}",
        ratio=GPU_GB / ways["defaults"]["total_gb"],
        compared=f"{GPU_GB:g} GB : memory of training with the defaults",
        expected="> 1: a GPU of 24 GB trains the full model",
        clock="measured" if settings.device.type == "cuda" else "counted",
        ways=ways,
    )


def counted(settings: Settings, way: Way) -> Figures:
    """Return the memory of training by kind, in GB, without computing anything."""

    def empty() -> DualBranch:
        with torch.device("meta"):
            return network_of(settings).train()

    mixed = way.precision != "32-true"
    parameters = 4 * sum(parameter.numel() for parameter in empty().parameters())
    parts = {"parameters": parameters, "gradients": parameters, "adam": 2 * parameters, "computed_again": 0}
    network = empty()
    if way.compute.activation_checkpointing:
        parts["computed_again"] = saved_bytes(empty(), PORTRAITS, "cuda", mixed)[1]
        way.compute.apply(network)
    parts["activations"] = saved_bytes(network, PORTRAITS, "cuda", mixed)[0]
    return {f"{name}_gb": value / 1e9 for name, value in parts.items()} | {"total_gb": sum(parts.values()) / 1e9}


def saved_bytes(network: DualBranch, portraits: int, device: str, mixed: bool) -> tuple[int, int]:
    """Return the bytes that a forward pass keeps for the backward pass, and those of the block that keeps most.

    The pass is played through with tensors that have a shape but no content, so that a GPU's can be had without one.

    Args:
        network: Without content: made under `torch.device("meta")`, and of no use after this.
        portraits: In the batch.
        device: Whose rules of mixed precision are followed.
        mixed: Whether in bf16-mixed; else in float32.
    """
    storages: dict[int, int] = {}
    largest = 0

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:  # what is saved lives to the end, so that no address comes twice
            storages[storage._cdata] = storage.nbytes()
        return value

    def enter(module: torch.nn.Module, _: object) -> None:
        entered[module] = sum(storages.values())

    def leave(module: torch.nn.Module, *_: object) -> None:
        nonlocal largest
        largest = max(largest, sum(storages.values()) - entered[module])

    entered: dict[torch.nn.Module, int] = {}
    blocks = [block for name, held in network.named_modules() if BLOCKS.search(name) for block in held.children()]
    hooks = [
        handle
        for block in blocks
        for handle in (block.register_forward_pre_hook(enter), block.register_forward_hook(leave))
    ]
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), saved_tensors_hooks(keep, lambda value: value):
            network.to_empty(device=device)
            own = {value.untyped_storage()._cdata for value in (*network.parameters(), *network.buffers())}
            batch = batch_of(1, portraits, network.image_size)
            with half_precision(device, mixed):
                outputs = network(**{name: batch[name].to(device) for name in network.inputs})
            del outputs
    finally:
        for handle in hooks:
            handle.remove()
    return sum(storages.values()), largest


@contextmanager
def half_precision(device: str, enabled: bool) -> Iterator[None]:
    """Return `torch.autocast` in bfloat16, also for an absent GPU, which torch's own refuses."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, enabled)
    torch.set_autocast_dtype(device, torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])
        torch.clear_autocast_cache()
