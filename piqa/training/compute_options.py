"""How a training step is computed; the result is the same up to rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from piqa.models import Backbone


@dataclass
class ComputeOptions:
    """Ways to compute the same training step faster or in less memory, beside `trainer.precision`.

    Args:
        compile: Compile the network with `torch.compile`; the first steps take minutes, and a C++ compiler is needed.
        channels_last: Keep the images and weights of convolutions with the channels as the innermost dimension.
        activation_checkpointing: Compute the backbones' activations twice instead of keeping them: less memory, about a
            third more work.
    """

    compile: bool = False
    channels_last: bool = False
    activation_checkpointing: bool = False

    def apply(self, network: nn.Module) -> None:
        """Set a network up in place. Names of weights do not change, so that checkpoints fit any other setting.

        Raises:
            InputError: If a backbone cannot checkpoint its activations.
        """
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.activation_checkpointing:
            for module in network.modules():
                if isinstance(module, Backbone):
                    module.checkpoint_activations()
        if self.compile and network._compiled_call_impl is None:
            network.compile()

    def arrange(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a network's inputs in the memory layout that these options need."""
        if self.channels_last:
            inputs = {
                name: values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
                for name, values in inputs.items()
            }
        if self.compile:
            for values in inputs.values():
                torch._dynamo.maybe_mark_dynamic(values, 0)  # groups differ in size; each would be compiled anew
        return inputs
