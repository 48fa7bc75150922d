"""Stops a run whose loss or gradient is not finite, and names the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import torch
from lightning import Trainer
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.training.signals import leave_together

NAMED = 12  # images in the message, at most


@dataclass(frozen=True)
class BatchResult:
    """What one process computed on one batch of a training step; several batches accumulate to a step."""

    index: Tensor  # rows of the training table, (images,)
    score: Tensor  # subjective scores of these images, float32, (images,)
    predicted: Tensor  # their predicted scores, float32, (images,)
    loss: Tensor  # scalar; the loss of a step is the mean over its batches in all processes


def stop_unless_finite(trainer: Trainer, loss: Tensor, network: nn.Module, results: list[BatchResult]) -> None:
    """End the run in all processes before a training step would spoil the weights.

    Args:
        trainer: Its datamodule knows the names of the images.
        loss: Loss of the step, the same in all processes.
        network: Holds the gradients of the step, the same in all processes.
        results: What this process computed in the step.

    Raises:
        InputError: If the loss or the norm of all gradients is not finite. The message names the images whose score,
            given or predicted, is not finite; all images of the step where every score is.
    """
    finite = loss.isfinite()
    if getattr(trainer.precision_plugin, "scaler", None) is None:  # float16's scaler skips infinite gradients itself
        finite &= torch.nn.utils.get_total_norm(
            [values.grad for values in network.parameters() if values.grad is not None]
        ).isfinite()
    if finite:  # the only moment of a step at which the host waits for the device
        return
    spoilt, others = _images(trainer, results)
    names = spoilt or others
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    what = "score" if spoilt else "loss or gradient"
    last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
    error = InputError(
        f"training stopped before step {trainer.global_step + 1} (epoch {trainer.current_epoch}) as the {what} of "
        f"these images is not finite: {', '.join(names[:NAMED])}{more}. Look at them and their scores; then "
        + (f"resume from the last checkpoint with `--ckpt_path {quote(str(last))}`, or " if last.is_file() else "")
        + "start again, with a lower learning rate or `--trainer.precision 32-true`"
    )
    leave_together(trainer, error)


def _images(trainer: Trainer, results: list[BatchResult]) -> tuple[list[str], list[str]]:
    """Return the names of the step's images in all processes: those whose score is not finite, and the others."""
    images = trainer.datamodule.splits["train"]["image"].tolist()  # type: ignore[attr-defined]
    own: tuple[list[str], list[str]] = ([], [])
    for result in results:
        finite = result.predicted.isfinite() & result.score.isfinite()
        for row, good in zip(result.index.tolist(), finite.tolist(), strict=True):
            own[good].append(images[row])
    processes = [own]
    if trainer.world_size > 1:
        processes = [own] * trainer.world_size
        torch.distributed.all_gather_object(processes, own)
    return [name for names in processes for name in names[0]], [name for names in processes for name in names[1]]
