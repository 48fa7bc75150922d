"""Monte Carlo dropout: a network's score with some of its units left out, several times.

Dropout is drawn once for each pass and not anew for each image, so that a score depends neither on the other images of
its batch nor on the order in which images come, and a run that was interrupted goes on with the same numbers. Each pass
is one network out of those that dropout has trained.

Reference: Gal and Ghahramani, Dropout as a Bayesian Approximation, ICML 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.models.contract import Inputs, ScoringModule

SCORES, STDS = "score_passes", "score_std_passes"  # (images, passes)
SEEDS_OF_A_PASS = 10_000  # more than a network has layers
PASSES_OF_A_SEED = 1_000  # so that the second pass of a seed is not the first of the next


class DropoutPasses(ScoringModule):
    """A network that also answers its scores under dropout: `score_passes`, and `score_std_passes` where it has them.

    Its other outputs are the network's own, without dropout. Where the network computes features first and has dropout
    in its heads alone, as `DualBranch` does, the features are computed once.

    Args:
        network: In evaluation mode, in which it stays.
        passes: How many.
        seed: Draws which units are left out.

    Raises:
        InputError: If the network has no dropout layer, or there are fewer than two passes.
    """

    def __init__(self, network: ScoringModule, passes: int = 20, seed: int = 0) -> None:
        super().__init__()
        if passes < 2:
            raise InputError(f"`mc_dropout` is {passes}; at least 2 passes are needed, such as 20")
        self.layers = dropout_layers(network)
        if not self.layers:
            raise InputError(
                f"a {type(network).__name__} has no dropout layer, so that `mc_dropout` tells nothing of it"
            )
        self.network, self.passes, self.seed = network, passes, seed
        self.inputs, self.classes = network.inputs, network.classes
        self.image_size, self.pools_windows = network.image_size, network.pools_windows
        self.init_args = network.init_args
        in_heads = not any(name.startswith("backbones.") for name in self.layers)
        self._by_features = in_heads and all(hasattr(network, one) for one in ("input_features", "outputs_of_features"))

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the network's outputs, and `score_passes`, (images, passes)."""
        if not self._by_features:
            return self._several(self.network, inputs)
        network: Any = self.network
        features = {name: network.input_features(name, inputs[name]) for name in self.inputs}
        return self._several(network.outputs_of_features, {"features": features})

    def _several(self, compute: Any, arguments: Inputs | Mapping[str, Inputs]) -> dict[str, Tensor]:
        outputs = dict(compute(**arguments))
        drawn = []
        for number in range(self.passes):
            with self._left_out(number):
                drawn.append(compute(**arguments))
        outputs[SCORES] = torch.stack([one["score"].float() for one in drawn], dim=1)
        if "score_std" in outputs:
            outputs[STDS] = torch.stack([one["score_std"].float() for one in drawn], dim=1)
        return outputs

    @contextmanager
    def _left_out(self, number: int) -> Iterator[None]:
        """Leave the units of one pass out while a block runs."""
        handles = []
        for at, layer in enumerate(self.layers.values()):
            seed = (self.seed * PASSES_OF_A_SEED + number) * SEEDS_OF_A_PASS + at

            def drop(module: nn.Module, _: object, output: Tensor, rate: float = layer.p, seed: int = seed) -> Tensor:
                generator = torch.Generator().manual_seed(seed)
                kept = torch.rand(output.shape[1:], generator=generator) >= rate
                return output * (kept / (1 - rate)).to(output)

            handles.append(layer.register_forward_hook(drop))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def dropout_layers(network: nn.Module) -> dict[str, nn.Dropout]:
    """Return the dropout layers of a network that leave anything out, by name."""
    layers = {name: one for name, one in network.named_modules() if isinstance(one, nn.Dropout)}
    return {name: one for name, one in layers.items() if 0 < one.p < 1}
