"""Load training steps, and resume in the middle of an epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import torch
from torch.utils.data import DataLoader

from piqa.data.dataset import Batch, TrainingPortraits
from piqa.data.sampler import EpochSampler
from piqa.errors import InputError
from piqa.system.renamed import DATA_SETTINGS


class LoaderState(TypedDict):
    """How far a run has come; every checkpoint holds it."""

    epoch: int
    steps: int  # of the epoch, that are done
    parts: int  # batches whose gradients were accumulated in a step
    identity: dict[str, object]  # as the argument of `StepLoader`


class StepLoader(DataLoader[Batch]):
    """Load the steps of an epoch, and count those that are done.

    Lightning keeps the state in every checkpoint and loads it when a run is resumed in the middle of an epoch.

    Args:
        dataset: Draws a step.
        sampler: The steps.
        identity: The settings that the sequence of steps depends on, by name.
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
        """Return how far the run has come."""
        parts = self.sampler.share.accumulation_steps
        return LoaderState(epoch=self.sampler.epoch, steps=self._taken // parts, parts=parts, identity=self._identity)

    def load_state_dict(self, state: LoaderState) -> None:
        """Continue where another run stopped.

        Raises:
            InputError: If that run drew other steps: some images would come twice and others not at all.
        """
        # version 0.1.0 wrote the settings' former names
        then = {DATA_SETTINGS.get(name, name): was for name, was in state["identity"].items()}
        now = {name: self._identity.get(name) for name in then}
        changed = [f"`{name}` ({was} -> {now[name]})" for name, was in then.items() if was != now[name]]
        if changed:
            raise InputError(
                f"the checkpoint was written in the middle of an epoch whose steps were drawn with other settings: "
                f"{', '.join(changed)}; use those, or a checkpoint from the end of an epoch"
            )
        self.sampler.skip(state["epoch"], state["steps"])


def worker_arguments(workers: int) -> dict[str, Any]:
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
