"""Training in which the backbone has a learning rate of its own, and rests while that is 0."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from piqa.tasks.base import ScoringTask


class TwoGroupTask(ScoringTask):
    """A task whose optimiser gets two groups of parameters, named `head` (all but the backbone) and `backbone`."""

    def parameters_to_train(self) -> Iterable[object]:
        """Return the two groups `head` and `backbone`, without an empty one."""
        backbone = list(self._backbones().parameters())
        ids = {id(parameter) for parameter in backbone}
        head = [p for p in self.network.parameters() if id(p) not in ids and p.requires_grad]
        groups = [{"params": head, "name": "head"}, {"params": backbone, "name": "backbone"}]
        return [group for group in groups if group["params"]]

    def _backbones(self) -> nn.Module:
        backbones: nn.Module = getattr(self.network, "backbones", nn.ModuleDict())
        return backbones

    def on_train_epoch_start(self) -> None:
        """Freeze the backbone while its learning rate is 0.

        The rate is read from the optimiser, so that a resumed run is in the stage in which it was left. With several
        processes the gradients are still computed: DistributedDataParallel waits for every one it knew at the start.
        """
        super().on_train_epoch_start()
        groups = {group.get("name"): group["lr"] for group in self.trainer.optimizers[0].param_groups}
        learns = groups.get("backbone") != 0
        self._backbones().requires_grad_(learns or self.trainer.world_size > 1)
        self._backbones().train(learns)  # else its batch normalisation would go on learning
