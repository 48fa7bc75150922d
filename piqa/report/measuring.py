"""Measure the images of a report in worker processes, each of which keeps what it has measured on the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from piqa.errors import FileAccessError, InputError
from piqa.factors.measure import FactorMeasurer
from piqa.report.facts import Facts, facts_of, pictures_of
from piqa.report.names import PLACE, without_paths
from piqa.report.parts import Parts
from piqa.scoring.image_batches import NO_STAMP, stamp_of
from piqa.system.device import core_count, pick_device
from piqa.system.progress import Advance
from piqa.system.worker_pool import map_in_workers

PER_WORKER = 6  # images that justify starting one more process, which takes seconds
MOST_WORKERS = 16  # half a gigabyte each


@dataclass(frozen=True)
class Measuring:
    """Measures an image and keeps what was found; a bad image costs itself alone.

    Args:
        parts: Where it is kept.
        measure: Measures an image.
    """

    parts: Parts
    measure: FactorMeasurer

    def __call__(self, file: str) -> bool:
        """Measure an image; return whether that went well."""
        stamp = stamp_of(file)
        try:
            found = self.measure(file)
            facts, pictures = facts_of(found, stamp or NO_STAMP), pictures_of(found)
        except FileAccessError as error:
            facts, pictures = Facts(None, without_paths(str(error), file)), None
        except InputError as error:
            facts, pictures = Facts(stamp or NO_STAMP, without_paths(str(error), file)), None
        # Whatever a hostile image does to a library, the other images are not at fault.
        except Exception as error:
            reason = f"{PLACE} could not be measured ({type(error).__name__}: {without_paths(str(error), file)})"
            facts, pictures = Facts(stamp or NO_STAMP, reason), None
        self.parts.write(file, facts, pictures)
        return facts.error is None


def make_measuring(parts: Parts, device: str) -> Measuring:
    """Return what measures images in one process."""
    return Measuring(parts, FactorMeasurer(device=pick_device(device)))


def measure_images(
    files: Sequence[str], parts: Parts, advance: Advance, workers: int | None = None, device: str = "cpu"
) -> None:
    """Measure images and keep what was found.

    Args:
        files: The images.
        parts: Where it is kept.
        advance: Told of each image.
        workers: Number of processes; 0 does it in this one; by default as many as the images are worth.
        device: Where faces are found where there are no workers; these use the CPU.

    Raises:
        InputError: If what was found cannot be written, or a worker is killed.
    """
    if workers is None:
        workers = min(core_count(), len(files) // PER_WORKER, MOST_WORKERS)
    make: Callable[[], Measuring] = partial(make_measuring, parts, "cpu" if workers else device)
    for _ in map_in_workers(make, files, workers):
        advance(1)
