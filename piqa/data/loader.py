"""Loads training steps, and goes on in the middle of an epoch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from typing import TypedDict

import torch
from torch.utils.data import DataLoader

from piqa.data.dataset import Batch, TrainingPortraits
from piqa.data.sampler import EpochSampler
from piqa.errors import InputError

RENAMED = {  # settings of the identity in checkpoints of version 0.1.0, and what they are called today
    "data.pairs": "data.sampling.pairs",
    "data.groups": "data.sampling.groups_per_step",
    "data.group_size": "data.sampling.images_per_group",
    "data.pictures": "data.sampling.images_per_database",
    "data.steps": "data.sampling.steps_per_epoch",
}


class LoaderState(TypedDict):
    """Where in the training a run stands; every checkpoint holds it.

    Attributes:
        epoch: The epoch.
        steps: Its steps that are done.
        parts: Batches whose gradients were accumulated in a step.
        identity: As of `StepLoader`.
    """

    epoch: int
    steps: int
    parts: int
    identity: dict[str, object]


class WorkerArguments(TypedDict):
    """What a DataLoader is told of its worker processes."""

    num_workers: int
    persistent_workers: bool
    pin_memory: bool
    worker_init_fn: Callable[[int], None]


class StepLoader(DataLoader[Batch]):
    """Loads the steps of an epoch and knows how many are done.

    Lightning keeps its state in every checkpoint, and hands it back when a run is resumed in the middle of an epoch.

    Args:
        dataset: Draws a step.
        sampler: The steps.
        identity: What the sequence of steps follows from, by the names of the settings.
        workers: Worker processes; 0 loads in this one.
    """

    sampler: EpochSampler

    def __init__(
        self, dataset: TrainingPortraits, sampler: EpochSampler, identity: Mapping[str, object], workers: int
    ) -> None:
        super().__init__(dataset, batch_size=None, sampler=sampler, **worker_arguments(workers))
        self._identity = dict(identity)
        self._taken = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # A generator, so that workers draw nothing before Lightning has told the sampler which epoch it is.
        self._taken = self.sampler.first * self.sampler.share.accumulation_steps
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> LoaderState:
        """Return where in the training the run stands."""
        accumulation_steps = self.sampler.share.accumulation_steps
        return {
            "epoch": self.sampler.epoch,
            "steps": self._taken // accumulation_steps,
            "parts": accumulation_steps,
            "identity": self._identity,
        }

    def load_state_dict(self, state: LoaderState) -> None:
        """Go on where another run stood.

        Raises:
            InputError: If that run drew other steps, so that images would come twice and others not at all.
        """
        then = {RENAMED.get(name, name): was for name, was in state["identity"].items()}
        changed = [
            f"`{name}` ({was} -> {self._identity.get(name)})"
            for name, was in then.items()
            if was != self._identity.get(name)
        ]
        if changed:
            raise InputError(
                f"the checkpoint stands in the middle of an epoch whose steps were drawn with other settings: "
                f"{', '.join(changed)}; go on with those, or from a checkpoint of an epoch's end"
            )
        self.sampler.skip(state["epoch"], state["steps"])


def worker_arguments(workers: int) -> WorkerArguments:
    """Return the arguments of a DataLoader with so many worker processes."""
    return {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "worker_init_fn": ignore_signals,
    }


def ignore_signals(_: int) -> None:
    """Ignore SIGTERM and SIGINT in a worker: the training process has a step to finish before it ends its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
