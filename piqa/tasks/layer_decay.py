"""Learning rates that fall from a backbone's last layers to its first, which need to change least."""

from __future__ import annotations

from typing import Any

from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import nn
from torch.optim import Optimizer

from piqa.models.backbone import Backbone

SCALE = "lr_scale"  # what a group's learning rate is multiplied by
Group = dict[str, Any]


def layer_groups(network: nn.Module, decay: float) -> list[Group]:
    """Return groups of the trainable parameters, each with the factor of its learning rate.

    The layers of each backbone are those that timm names for it; the last has the factor `decay`, each one before it
    `decay` times that of the next. All that is in no backbone, such as a head, has 1.

    Args:
        network: Any; backbones are its `piqa.models.Backbone`s.
        decay: Factor between two layers, in (0, 1).

    Reference: Clark et al. 2020 (ELECTRA); Bao et al. 2022 (BEiT).
    """
    groups: list[Group] = []
    inside: set[int] = set()
    for module in network.modules():
        if isinstance(module, Backbone):
            inside |= {id(weights) for weights in module.parameters()}
            # As the network has no head here, timm's last group would be at 1, as a head is.
            for group in param_groups_layer_decay(module.net, 0.0, layer_decay=decay):
                groups.append({"params": list(group["params"]), SCALE: decay * float(group[SCALE])})
    others = [weights for weights in network.parameters() if weights.requires_grad and id(weights) not in inside]
    return [group for group in [{"params": others, SCALE: 1.0}, *groups] if group["params"]]


def scale_rates(optimizer: Optimizer) -> None:
    """Multiply the learning rate of each group by its factor, where it has one; before a schedule is made."""
    for group in optimizer.param_groups:
        if (scale := group.pop(SCALE, None)) is not None:
            group["lr"] = group["lr"] * scale
