"""What scores the images of a command: one device, or several of one or more machines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.scoring.image_batches import until_the_disk_is_gone
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.scorer import Scorer
from piqa.system.device import core_count, pick_device
from piqa.system.memory import keep_freed_memory
from piqa.system.progress import progress
from piqa.system.threads import thread_count, use_threads

PER_WORKER = 8  # images that justify starting one more process, which takes seconds
CORES_PER_WORKER = 4  # on a CPU: the published network takes several times what it takes to prepare an image for it
MOST_WORKERS = 32  # half a gigabyte each


class ScoringDevices:
    """Scores images on the devices that a command asks for.

    Args:
        device: As of `predict`, like all others.
        devices: Of each machine.
        nodes: Machines.
        batch_size: None for what suits the device.
        workers: Likewise.
        exported: Whether the model is an exported one, whose runtime picks the device when it is loaded.

    Raises:
        InputError: If a number is too small, or there is no such device.
    """

    def __init__(
        self,
        device: str,
        devices: int,
        nodes: int,
        batch_size: int | None,
        workers: int | None,
        exported: bool = False,
    ) -> None:
        if (batch_size is not None and batch_size < 1) or (workers is not None and workers < 0):
            raise InputError(f"`batch_size` {batch_size} and `workers` {workers}: at least 1 and 0 are needed")
        if devices < 1 or nodes < 1:
            raise InputError(f"`devices` {devices} and `nodes` {nodes}: at least 1 is needed")
        self.devices, self.nodes, self._batch_size, self._workers = devices, nodes, batch_size, workers
        self.several = devices * nodes > 1
        self.loading_device = device
        self._exported = exported
        if exported:
            if self.several:
                raise InputError("an exported model scores on one device; share the images out by `--list`")
            self.kind = "cpu"  # until the model is loaded
        elif self.several:
            from piqa.scoring import distributed  # Lightning takes seconds to import

            self._distributed = distributed
            self.kind, self.loading_device = distributed.accelerator_of(device, devices), "cpu"  # then each its own
        else:
            self.kind = pick_device(device).type

    def is_first_process(self) -> bool:
        """Whether this process is the one that talks and writes the table."""
        return not self.several or self._distributed.is_first_process()

    def share_cores(self, images: int) -> None:
        """Leave cores to the workers that will prepare so many images; before an exported model is loaded."""
        if self._exported:
            workers = _workers(self.kind, images, self.devices) if self._workers is None else self._workers
            use_threads(max(1, min(thread_count(), core_count() - workers)))

    def score(
        self,
        scorer: Scorer,
        left: Sequence[str] | None,
        total: int,
        parts: ScoreParts,
        test_crops: Crops,
        factors: bool = False,
    ) -> None:
        """Score the images that are left of all, and append their rows to the parts; `left` is the first process's."""
        if self._exported:
            self.kind = scorer.device.type
        images = total if left is None else len(left)
        workers = _workers(self.kind, images, self.devices) if self._workers is None else self._workers
        batch_size = self._batch_size or (16 if self.kind == "cuda" else 4)
        if self.kind == "cpu":
            keep_freed_memory()
            cores = core_count() // self.devices - workers  # the workers have cores of their own
            if not self._exported:  # whose runtime has its threads already
                use_threads(max(1, min(thread_count(), cores)))
        if self.several:
            module = self._distributed.ScoringModule(scorer, left, parts, test_crops, batch_size, workers, factors)
            # None: this is another process than the first, which waits for it. By torchrun, say, all meet in any case.
            if left is None or left or self._distributed.is_launched():
                self._distributed.score_on_devices(module, self.kind, self.devices, self.nodes)
        elif left:
            batches = scorer.batches(
                left, test_crops=test_crops, batch_size=batch_size, workers=workers, factors=factors
            )
            with (
                parts.writing(),
                progress(total, total - len(left)) as advance,
                closing(until_the_disk_is_gone(batches)) as readable,
            ):
                for batch in readable:
                    parts.append(scorer.rows(batch), batch.stamps)
                    advance(len(batch.files))


def _workers(kind: str, images: int, devices: int) -> int:
    """Return the number of preparing processes of each device."""
    cores = core_count() // devices
    wanted = cores // CORES_PER_WORKER if kind == "cpu" else min(cores, MOST_WORKERS)
    return min(wanted, images // devices // PER_WORKER)
