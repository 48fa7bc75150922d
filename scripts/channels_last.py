"""Measure what channels last does to a training step: CPU seconds with and without it, in turn, in one thread.

    python scripts/channels_last.py    # a few minutes

`piqa.training.compute_options` chooses by the kind of the network; this is what the choice rests on.
"""

from __future__ import annotations

import argparse
import statistics
import time
from copy import deepcopy

import torch
from torch import Tensor, nn

from piqa.models import Backbone
from piqa.training.compute_options import ComputeOptions

# The side and the number of images of a step, by the network: the first is that of the demo.
STEPS = {
    "test_byobnet": (160, 32),
    "resnet18": (160, 8),
    "resnet50": (160, 4),
    "efficientnet_b0": (160, 8),
    "mobilenetv3_small_050": (160, 16),
    "inception_resnet_v2": (160, 1),
    "convnext_atto": (160, 8),
    "edgenext_xx_small": (160, 8),
    "swin_tiny_patch4_window7_224": (224, 2),
}
REPEATS = 5


def step_of(network: nn.Module, channels_last: bool, images: Tensor, bfloat16: bool) -> tuple[float, Tensor]:
    """Take a step on a copy of a network; return its CPU seconds, and the gradients in one vector, both of the last."""
    network, options = deepcopy(network), ComputeOptions(channels_last=channels_last)
    options.apply(network)
    seconds = []
    for _ in range(REPEATS + 1):
        network.zero_grad()
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            features = network(options.arrange({"whole": images})["whole"])
        features.float().pow(2).mean().backward()
        seconds.append(time.process_time() - start)
    gradient = torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
    return statistics.median(seconds[1:]), gradient


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(
        "| network | chosen | float32: s a step, without and with | ratio | bf16 | ratio | gradients differ, float32 |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (side, count) in STEPS.items():
        torch.manual_seed(0)
        network = Backbone(name, side).eval()  # without dropout, so that gradients can be compared
        images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
        cells = []
        for bfloat16 in (False, True):
            (plain, before), (last, after) = (step_of(network, way, images, bfloat16) for way in (False, True))
            cells += [f"{plain:.3f}, {last:.3f}", f"{last / plain:.2f}"]
            cells += [] if bfloat16 else [f"{((after - before).norm() / before.norm()).item():.0e}"]
        cells = [*cells[:2], *cells[3:], cells[2]]
        chosen = "yes" if ComputeOptions().decide(network)["channels_last"] else "no"
        print(f"| {name} | {chosen} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
