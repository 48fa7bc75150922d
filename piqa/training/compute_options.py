"""How a training step is computed; the result is the same up to rounding."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from piqa.models import Backbone
from piqa.models.clip import PromptedCLIP

CONVOLUTIONS = 0.5  # the share of an image network's weights from which its steps are faster with channels last


@dataclass
class ComputeOptions:
    """Ways to compute the same training step faster or in less memory, beside `trainer.precision`.

    Args:
        compile: Compile the network with `torch.compile`; the first steps take minutes, and a C++ compiler is needed.
        channels_last: Keep the images and weights of convolutions with the channels as the innermost dimension. By
            default that is done in networks of convolutions, whose steps take 0.6 to 0.9 of the time then, and not in
            transformers, which it does nothing for; the choice depends on the network alone.
        activation_checkpointing: Compute the backbones' activations twice instead of keeping them: less memory, about a
            third more work.
    """

    compile: bool = False
    channels_last: bool | None = None
    activation_checkpointing: bool = False

    _channels_last = False  # what was decided for the network that was set up

    def decide(self, network: nn.Module) -> dict[str, bool]:
        """Return the options as they are for a network, by name: the same in every process, and in a resumed run."""
        if (channels_last := self.channels_last) is None:
            channels_last = consists_of_convolutions(network)
        return asdict(self) | {"channels_last": channels_last}

    def apply(self, network: nn.Module) -> None:
        """Set a network up in place. Names of weights do not change, so that checkpoints fit any other setting.

        Raises:
            InputError: If a backbone cannot checkpoint its activations.
        """
        self._channels_last = self.decide(network)["channels_last"]
        if self._channels_last:
            network.to(memory_format=torch.channels_last)
        if self.activation_checkpointing:
            for module in network.modules():
                if isinstance(module, Backbone):
                    module.checkpoint_activations()
        if self.compile and network._compiled_call_impl is None:
            network.compile()

    def arrange(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a network's inputs in the memory layout that these options need."""
        if self._channels_last:
            inputs = {
                name: values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
                for name, values in inputs.items()
            }
        if self.compile:
            for values in inputs.values():
                torch._dynamo.maybe_mark_dynamic(values, 0)  # groups differ in size; each would be compiled anew
        return inputs


def consists_of_convolutions(network: nn.Module) -> bool:
    """Whether most weights of what looks at images are those of convolutions: in a ResNet they are, in a Swin not.

    Examples:
        >>> consists_of_convolutions(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Linear(16, 1)))
        True
    """
    parts = [_image_network(module) for module in network.modules() if isinstance(module, Backbone | PromptedCLIP)]
    weights = [weight.numel() for part in parts or [network] for weight in part.parameters()]
    inside = (module for part in parts or [network] for module in part.modules() if isinstance(module, nn.Conv2d))
    return sum(module.weight.numel() for module in inside) > CONVOLUTIONS * sum(weights)


def _image_network(module: Backbone | PromptedCLIP) -> nn.Module:
    return module.clip.visual if isinstance(module, PromptedCLIP) else module
