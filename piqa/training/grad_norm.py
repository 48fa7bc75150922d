"""GradNorm: weights of the losses of several tasks, so that all of them train the shared layers at like rates.

Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML 2018
(arXiv 1711.02257). With L_i the loss of task i, W the last shared layer and w_i the weights:

    G_i = |d(w_i L_i) / dW|, Gbar = mean G_i, r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0))
    L_grad = sum |G_i - Gbar r_i^alpha|, where Gbar r_i^alpha is held constant

A step of Adam on L_grad changes the weights, which are then scaled to sum to the number of tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from piqa.errors import InputError


def summed(losses: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the losses of several tasks: all weights are 1."""
    total: Tensor = torch.stack(list(losses.values())).sum()
    return total


@runtime_checkable
class BalancedTask(Protocol):
    """A LightningModule whose loss is that of several tasks, which `GradNorm` can balance.

    Attributes:
        combine_losses: Called once a training batch with the loss of each task, by its name; what it returns is
            minimised. `GradNorm` puts its own into its place for a training.
    """

    combine_losses: Callable[[Mapping[str, Tensor]], Tensor]

    def shared_weights(self) -> Sequence[nn.Parameter]:
        """Return the parameters of the last layer that all tasks share."""
        ...


class GradNorm(Callback):
    """Balances the losses of a task with several losses; name it in `trainer.callbacks`.

    Logs `loss_weight/<task>`, `grad_norm/<task>` (G_i, with the weights that the step was taken with) and
    `task_loss/<task>` of every tenth step (`trainer.log_every_n_steps`). The norm is that of the gradient of the whole
    step, so that weights do not depend on how a step is divided among processes and accumulated batches. Weights and
    Adam's state are kept in checkpoints.

    Args:
        alpha: How strongly a task that learns slowly is pulled; 0 makes all norms alike, 1.5 as in the paper for NYUv2.
        lr: Learning rate of the weights, the paper's.
        initial_steps: Optimiser steps whose mean losses are L_i(0); weights are 1 until the last of them. The paper's
            is 1. Take more where the loss of the first step says little, as that of a head that was trained already.
        smallest: What a weight is raised to, where the step makes it smaller, before they are scaled.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> GradNorm(alpha=0.12).state_dict()
        {}
    """

    def __init__(self, alpha: float = 1.5, lr: float = 0.025, initial_steps: int = 1, smallest: float = 0.01) -> None:
        if alpha < 0 or lr <= 0 or initial_steps < 1 or not 0 < smallest < 1:
            raise InputError(
                f"GradNorm: alpha ({alpha}) must be at least 0, lr ({lr}) above 0, initial_steps ({initial_steps}) at "
                f"least 1, smallest ({smallest}) between 0 and 1"
            )
        self.alpha, self.lr, self.initial_steps, self.smallest = alpha, lr, initial_steps, smallest
        self._task: BalancedTask | None = None
        self._names: tuple[str, ...] = ()  # of the tasks; known at the first batch
        self._restored: dict[str, Any] = {}  # from a checkpoint, until the first batch
        self._steps = 0
        self._seen: list[tuple[Tensor, Tensor]] = []  # gradients and losses of the batches of the current step

    @property
    def weights(self) -> dict[str, float]:
        """The weights by task; empty before the first batch."""
        return dict(zip(self._names, self._weights.tolist(), strict=True)) if self._names else {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the place of what combines the task's losses.

        Raises:
            InputError: If the task has a single loss, or the network is compiled.
        """
        if stage != "fit":
            return
        if not isinstance(pl_module, BalancedTask):
            raise InputError(
                f"GradNorm balances the losses of several tasks, but {type(pl_module).__name__} has one; leave "
                "GradNorm out of `trainer.callbacks`, or take piqa.tasks.FactorTask"
            )
        if getattr(getattr(pl_module, "compute_options", None), "compile", False):
            raise InputError(
                "GradNorm needs gradients inside a step, which a compiled network does not keep; leave "
                "`model.compute.compile` off"
            )
        self._task, self._former = pl_module, pl_module.combine_losses
        pl_module.combine_losses = self.combined

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the task combine its losses itself again."""
        if self._task is not None:
            self._task.combine_losses = self._former
            self._task = None

    def combined(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses of a batch, and note their gradients.

        Raises:
            InputError: If the tasks are not those that the checkpoint was trained on.
        """
        values = torch.stack(list(losses.values()))
        if not self._names:
            self._start(tuple(losses), values.device)
        if self._names != tuple(losses):
            raise InputError(
                f"the losses to balance are {', '.join(losses)}, but GradNorm has weights for {', '.join(self._names)}"
                "; resume with the same tasks"
            )
        if values.requires_grad:
            self._seen.append((self._gradients(losses), values.detach().float()))
        return (self._weights.detach().clone() * values).sum()

    def _start(self, names: tuple[str, ...], device: torch.device) -> None:
        state, self._restored = self._restored, {}
        self._names = tuple(state.get("names", names))
        count = len(self._names)
        self._steps = state.get("steps", 0)
        self._initial = state.get("initial", torch.zeros(count)).to(device)
        self._weights = nn.Parameter(state.get("weights", torch.ones(count)).to(device, copy=True))
        self._adam = torch.optim.Adam([self._weights], lr=self.lr)
        if state:
            self._adam.load_state_dict(state["adam"])

    def _gradients(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the gradients of the losses by the shared weights, one row each."""
        assert self._task is not None
        shared = [weight for weight in self._task.shared_weights() if weight.requires_grad]
        rows = []
        for loss in losses.values():
            # A task that no image of the batch has a label for does not reach them.
            reached = loss.requires_grad and bool(shared)
            found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True) if reached else ()
            parts = [torch.zeros_like(weight) if part is None else part for part, weight in zip(found, shared)]  # noqa: B905
            rows.append(torch.cat([part.flatten().float() for part in parts or map(torch.zeros_like, shared)]))
        return torch.stack(rows)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Change the weights for the next step, and log."""
        if not self._seen:
            return
        gradients, losses = (torch.stack(values).mean(dim=0) for values in zip(*self._seen, strict=True))
        self._seen.clear()
        together = torch.cat([gradients, losses[:, None]], dim=1)
        together = cast(Tensor, trainer.strategy.reduce(together, reduce_op="mean"))  # of vectors, then their norms
        norms, losses = together[:, :-1].norm(dim=1), together[:, -1]
        weighted = self._weights.detach() * norms
        self._update(norms, losses)
        for kind, values in (("loss_weight", self._weights), ("grad_norm", weighted), ("task_loss", losses)):
            named = {f"{kind}/{name}": value for name, value in zip(self._names, values.detach(), strict=True)}
            pl_module.log_dict(named, on_step=True, on_epoch=False)

    def _update(self, norms: Tensor, losses: Tensor) -> None:
        """Take a step of Adam on the weights.

        Args:
            norms: Of the gradients of the losses without weights, (tasks,).
            losses: The losses of the step, (tasks,).
        """
        # Not by a step without a gradient for every task: one had no labels in it. What is not finite ends the run.
        if not bool(((norms > 0) & norms.isfinite() & losses.isfinite()).all()):
            return
        self._steps += 1
        if self._steps <= self.initial_steps:
            self._initial += losses / self.initial_steps
            if self._steps < self.initial_steps:
                return
        weighted = self._weights.detach() * norms
        progress = losses.clamp_min(0) / self._initial.clamp_min(torch.finfo(losses.dtype).tiny)
        rates = progress / progress.mean().clamp_min(torch.finfo(losses.dtype).tiny)
        target = weighted.mean() * rates**self.alpha
        self._weights.grad = torch.sign(weighted - target) * norms
        self._adam.step()
        with torch.no_grad():
            self._weights.clamp_(min=self.smallest)
            self._weights.mul_(len(self._names) / self._weights.sum())

    def state_dict(self) -> dict[str, Any]:
        """Return weights, initial losses and Adam's state, for a checkpoint; empty before the first batch."""
        if not self._names:
            return self._restored
        return {
            "names": list(self._names),
            "weights": self._weights.detach().cpu().clone(),
            "initial": self._initial.cpu().clone(),
            "steps": self._steps,
            "adam": self._adam.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; it is used at the next batch."""
        self._restored, self._names = dict(state_dict), ()
