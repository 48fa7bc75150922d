"""How many processes prepare images for a model where its network runs on the same cores: as both are measured to cost.

Threads of one process prepare and score in turn, so that cores are idle while one image is decoded. Processes for the
preparation use them, but leave fewer cores to the products of matrices of a large network.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.preparation.image_file import Pixels
from piqa.scoring.image_batches import BatchPreparer
from piqa.scoring.scorer import Scorer
from piqa.system.threads import thread_count, use_threads

SIZE = (866, 1154)  # of the image that is prepared: 1 MP
Result = TypeVar("Result")
MOST = 8  # processes: each takes some hundred MB
LARGE = 30_000_000  # parameters: a network that costs more than preparation on any image, and is not measured


def chosen_workers(scorer: Scorer, test_crops: Crops, cores: int) -> int | None:
    """Return how many processes are to prepare images; None for a large network, or one that cannot be measured.

    Args:
        scorer: A model of PyTorch's on the CPU.
        test_crops: As of `Scorer.score`.
        cores: Those that preparation and network share.
    """
    if cores < 2:
        return 0
    if scorer.preparation.liqe is not None or sum(one.numel() for one in scorer.network.parameters()) > LARGE:
        return None
    before = thread_count()
    use_threads(1)
    try:
        found = _costs(scorer, test_crops)
    except (InputError, RuntimeError):  # what is wrong with the model, its first image tells
        return None
    finally:
        use_threads(before)
    return None if found is None else workers_for(*found, cores)


def workers_for(preparing: float, scoring: float, cores: int) -> int:
    """Return how many processes prepare images that take so many CPU seconds to prepare and to score.

    The network gets its share of the cores. Where that is one of them, there are as many processes as cores, so that
    none is idle while the network waits for images; where it is all of them, there is no process.

    Examples:
        >>> [workers_for(0.15, scoring, cores=2) for scoring in (0.02, 0.15, 0.6)]
        [2, 2, 0]
    """
    threads = max(1, round(cores * scoring / (preparing + scoring)))
    return min(MOST, cores if threads == 1 else cores - threads)


def _costs(scorer: Scorer, test_crops: Crops) -> tuple[float, float] | None:
    """Return CPU seconds of one thread to prepare an image of noise, and to score it; None if it cannot be prepared."""
    settings = replace(scorer.preparation, try_turns=False)  # most images show a face, and are not looked at turned
    seen = (scorer.crop_size, test_crops, set(scorer.engine.inputs), None, scorer.view)
    prepare = BatchPreparer(settings, *seen, faces=scorer.engine.faces)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "noise.jpg")
        pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
        Image.fromarray(pixels).save(file)
        preparing, batch = _timed(lambda: prepare([file]))
    crops: dict[str, Pixels | list[Pixels]] = {name: np.asarray(values)[:, :1] for name, values in batch.crops.items()}
    if not crops:
        return None
    one = replace(batch, crops=crops)
    scoring, _ = _timed(lambda: scorer.rows(one))
    return preparing, scoring * np.asarray(batch.crops["whole"]).shape[1]


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return CPU seconds of this thread for a piece of work, the second time that it is done, and its result."""
    work()
    start = time.thread_time()
    result = work()
    return time.thread_time() - start, result
