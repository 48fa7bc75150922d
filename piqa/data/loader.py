"""Loads training steps, and goes on in the middle of an epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from typing import Any

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


class StepLoader(DataLoader[Batch]):
    """Loads the steps of an epoch and knows how many are done.

    Lightning keeps its state in every checkpoint, and hands it back when a run is resumed in the middle of an epoch.

    Args:
        dataset: Draws a step.
        sampler: The steps.
        identity: What the sequence of steps follows from, by the names of the settings.
        arguments: Further arguments of a DataLoader.
    """

    sampler: EpochSampler

    def __init__(
        self, dataset: TrainingPortraits, sampler: EpochSampler, identity: Mapping[str, Any], **arguments: Any
    ) -> None:
        super().__init__(dataset, batch_size=None, sampler=sampler, **arguments)
        self._identity = dict(identity)
        self._taken = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # A generator, so that workers draw nothing before Lightning has told the sampler which epoch it is.
        self._taken = self.sampler.first * self.sampler.accumulation_steps
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where in the training the run stands: the epoch, and its steps that are done."""
        accumulation_steps = self.sampler.accumulation_steps
        return {
            "epoch": self.sampler.epoch,
            "steps": self._taken // accumulation_steps,
            "parts": accumulation_steps,
            "identity": self._identity,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where another run stood.

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


def ignore_signals(_: int) -> None:
    """Lets a loader's worker end with its training process alone, which has a step to finish when a signal comes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
