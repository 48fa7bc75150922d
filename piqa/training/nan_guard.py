"""Stops a run whose loss or gradient is no number, and names the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Trainer
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.training.signals import leave_together

NAMED = 12  # images in the message, at most


@dataclass(frozen=True)
class Share:
    """What one process computed of a training step, or of an accumulated part of it.

    Attributes:
        index: Rows of the training table, (images,).
        score: Their subjective scores, float32, (images,).
        predicted: Their predicted scores, float32, (images,).
        loss: Scalar; the mean over all shares of a step is the step's loss.
    """

    index: Tensor
    score: Tensor
    predicted: Tensor
    loss: Tensor


def stop_unless_finite(trainer: Trainer, loss: Tensor, network: nn.Module, shares: list[Share]) -> None:
    """Ends the run, in all processes, before a step would spoil the weights.

    Args:
        trainer: With its datamodule, which knows the images' names.
        loss: The step's, the same in all processes.
        network: With the step's gradients, the same in all processes.
        shares: What this process computed of the step.

    Raises:
        InputError: If the loss or the norm of all gradients is not finite. It names the images whose score, given or
            predicted, is not; or all of the step where the scores are.
    """
    finite = loss.isfinite()
    if getattr(trainer.precision_plugin, "scaler", None) is None:  # float16's scaler skips infinite gradients itself
        finite &= torch.nn.utils.get_total_norm(
            [values.grad for values in network.parameters() if values.grad is not None]
        ).isfinite()
    if finite:  # the one moment where the host waits for the device
        return
    spoilt, others = _images(trainer, shares)
    names = spoilt or others
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    what = "score" if spoilt else "loss or gradient"
    last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
    error = InputError(
        f"training stopped before step {trainer.global_step + 1} (epoch {trainer.current_epoch}) as the {what} of "
        f"these images is not finite: {', '.join(names[:NAMED])}{more}. Look at them and their scores; then "
        + (f"go on from the last good checkpoint with `--ckpt_path {last}`, or " if last.is_file() else "")
        + "start again, with a lower learning rate or `--trainer.precision 32-true`"
    )
    leave_together(trainer, error)


def _images(trainer: Trainer, shares: list[Share]) -> tuple[list[str], list[str]]:
    """Names of the step's images over all processes, those whose score is not finite apart from the others."""
    images = trainer.datamodule.splits["train"]["image"].tolist()  # type: ignore[attr-defined]
    own: tuple[list[str], list[str]] = ([], [])
    for share in shares:
        finite = share.predicted.isfinite() & share.score.isfinite()
        for row, good in zip(share.index.tolist(), finite.tolist(), strict=True):
            own[good].append(images[row])
    everyone = [own]
    if trainer.world_size > 1:
        everyone = [own] * trainer.world_size
        torch.distributed.all_gather_object(everyone, own)
    return [name for part in everyone for name in part[0]], [name for part in everyone for name in part[1]]
