"""A timm network that turns images into pooled features and normalises its own input."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.models.clip import PromptedCLIP
from piqa.models.contract import Arguments
from piqa.models.pixels import normalised
from piqa.system.quick_imports import quick_imports

with quick_imports():
    import timm

SWIN_B_384 = "swin_base_patch4_window12_384.ms_in22k"  # the published backbone: Swin-B/384, ImageNet-22k


class Backbone(nn.Module):
    """A headless timm network with pooled features.

    Args:
        name: A timm model that returns (images, features) for `num_classes=0`.
        image_size: Side in pixels of its square input images.

    Raises:
        InputError: If timm does not know the model or cannot build it for this size.

    Examples:
        >>> backbone = Backbone("resnet10t", image_size=64).eval()
        >>> backbone(torch.rand(2, 3, 64, 64)).shape == (2, backbone.features)
        True
    """

    def __init__(self, name: str = SWIN_B_384, image_size: int = 384) -> None:
        super().__init__()
        if not timm.is_model(name):
            close = ", ".join(get_close_matches(name.split(".")[0], timm.list_models()))
            raise InputError(f"timm has no model '{name}'" + (f"; close to it: {close}" if close else ""))
        self.name, self.image_size = name, image_size
        self.net = self._create(pretrained=False)
        if not hasattr(self.net, "num_features"):
            raise InputError(f"timm model '{name}' has no `num_features`; choose a model that classifies images")
        # timm networks with a conv head pool to head_hidden_size, the others to num_features
        self.features: int = getattr(self.net, "head_hidden_size", self.net.num_features)
        cfg = self.net.pretrained_cfg
        self.register_buffer("mean", torch.tensor(cfg["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(cfg["std"]).view(3, 1, 1), persistent=False)

    net: Any  # an nn.Module with timm's own attributes
    mean: Tensor
    std: Tensor

    def _create(self, pretrained: bool) -> nn.Module:
        arguments: Arguments = {"num_classes": 0, "pretrained": pretrained}
        try:
            default = timm.get_pretrained_cfg(self.name)
            if default is not None and default.fixed_input_size and default.input_size[-1] != self.image_size:
                arguments["img_size"] = self.image_size  # networks with windows or position tables are for one size
            network: nn.Module = timm.create_model(self.name, **arguments)
        except (OSError, RuntimeError, TypeError, ValueError, AssertionError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            if not pretrained:
                raise InputError(f"timm cannot build '{self.name}' for {self.image_size} px: {reason}") from error
            raise InputError(
                f"timm's weights for '{self.name}' are not available ({reason}); connect once so that they are cached, "
                f"name a file, or start from `scratch`"
            ) from error
        return network

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's weights, to which normalised pixels are converted."""
        dtype: torch.dtype = next(self.net.parameters()).dtype
        return dtype

    def leave_out_wide_layers(self) -> None:
        """Pool the last convolution of a VGG, without the two wide layers behind it; InputError if it is no VGG."""
        if not hasattr(self.net, "pre_logits"):
            raise InputError(f"timm model '{self.name}' has no wide layers to leave out; leave `wide_layers` on")
        self.net.pre_logits = nn.Identity()
        self.features = self.net.num_features

    def load_timm_weights(self) -> None:
        """Load timm's own weights, downloaded or from the local cache; InputError if they are not available."""
        self.net.load_state_dict(self._create(pretrained=True).state_dict())

    def checkpoint_activations(self) -> None:
        """Recompute the activations in the backward pass instead of keeping them; InputError if timm cannot."""
        try:
            self.net.set_grad_checkpointing(True)
        except (AttributeError, AssertionError, NotImplementedError) as error:
            raise InputError(
                f"timm model '{self.name}' cannot checkpoint its activations; leave `activation_checkpointing` off"
            ) from error

    def map_channels(self, stages: Sequence[int]) -> list[int]:
        """Return the channels of the maps of features of these stages, as of `feature_maps`.

        Raises:
            InputError: If the network has no such stages.
        """
        channels = [one["num_chs"] for one in getattr(self.net, "feature_info", None) or []]
        if not hasattr(self.net, "forward_intermediates") or not channels:
            raise InputError(f"timm model '{self.name}' gives no maps of features; choose another, such as a MobileNet")
        if unknown := [stage for stage in stages if not -len(channels) <= stage < len(channels)]:
            raise InputError(f"timm model '{self.name}' has {len(channels)} stages from 0 on, and no {unknown[0]}")
        return [channels[stage] for stage in stages]

    def feature_maps(self, images: Tensor, stages: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """Return maps of features of several stages, and the pooled features of the last layer, all float32.

        Args:
            images: As for `forward`.
            stages: Indices of stages, ascending; 0 is the first, -1 the last.

        Returns:
            The maps, each (images, channels, rows, columns), and the features, (images, features).
        """
        pixels = normalised(images, self.mean, self.std).to(self.dtype)
        last, maps = self.net.forward_intermediates(pixels, indices=list(stages))
        pooled: Tensor = self.net.forward_head(last, pre_logits=True)
        return [one.float() for one in maps], pooled.float()

    def forward(self, images: Tensor) -> Tensor:
        """Return pooled features, float32 whatever the weights are, shape (images, features).

        Args:
            images: uint8 or float in [0, 1], (images, 3, image_size, image_size).

        Raises:
            InputError: If floats are out of range, or the network does not pool its features.
        """
        features: Tensor = self.net(normalised(images, self.mean, self.std).to(self.dtype))
        if features.ndim != 2:
            raise InputError(f"timm model '{self.name}' does not pool its features (shape {tuple(features.shape)})")
        return features.float()


def with_bfloat16_backbones(network: nn.Module) -> nn.Module | None:
    """Return a copy of a network for scoring with bfloat16 weights in its backbones; the rest stays in float32.

    The backbone of a CLIP is its image tower. Autocast gives the same numbers, but under `torch.inference_mode` it
    converts every weight again at every call.

    Returns:
        The copy, or None if the network has no backbone.
    """
    if not any(isinstance(module, Backbone | PromptedCLIP) for module in network.modules()):
        return None
    network = deepcopy(network)
    for module in network.modules():
        if isinstance(module, Backbone | PromptedCLIP):
            (module.net if isinstance(module, Backbone) else module.clip.visual).to(torch.bfloat16)
    return network
