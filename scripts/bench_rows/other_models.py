"""The row on LIQE and CLIP-IQA: many images at once against one at a time, and against pyiqa where it is installed.

Where the settings are the same, so are the scores, and the row tells by how much they differ. As published the two
programs differ in three settings, which are made equal here:

- CLIP-IQA's prompts. Published is one pair, "Good photo." and "Bad photo."; pyiqa takes the mean over five of its own.
- LIQE's windows in large images. Published is a distance of 48 px where a side has 1024 px or more; pyiqa keeps 32.
- LIQE's resizing. Published is a short side of 768 px at most; pyiqa leaves images as they are.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from bench_rows.measure import Figures, Row, Settings, in_child, in_turn, portrait, resident_mb, write_jpegs
from bench_rows.peer import Peer, peer
from piqa import Scorer
from piqa.data.transforms import View
from piqa.models import LIQE
from piqa.models.clip_iqa import CLIPIQA
from piqa.preparation.portrait import Preparation
from piqa.scoring.options import Precision
from piqa.system.memory import keep_freed_memory

BATCH = 8
MODELS = ("liqe", "clip-iqa")
PYIQA_PAIRS = {
    "image": ["Good image", "bad image"],
    "sharp": ["Sharp image", "blurry image"],
    "edges": ["sharp edges", "blurry edges"],
    "resolution": ["High resolution image", "low resolution image"],
    "noise": ["Noise-free image", "noisy image"],
}
_TEXT = {"layers": 1, "width": 64, "heads": 1}
SMALL: dict[str, dict[str, Any]] = {  # for the smoke version; as pyiqa reads weights, a head is 64 wide
    "liqe": {"embed_dim": 64, "vision_cfg": {"layers": 1, "width": 64, "head_width": 64}, "text_cfg": _TEXT},
    "clip-iqa": {"embed_dim": 64, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8}, "text_cfg": _TEXT},
}


def other_models(settings: Settings) -> Row:
    """Time LIQE and CLIP-IQA on a folder of mixed sizes, and measure their memory over many images."""
    megapixels, of_each = ((0.08, 0.12), 2) if settings.smoke else ((0.1, 0.3, 0.5, 0.75), 2)
    images = settings.images or (16 if settings.smoke else 2000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = mixed_sizes(folder, megapixels, of_each)
        networks = {model: random_network(model, settings) for model in MODELS}
        for model, network in networks.items():
            torch.save(network.clip.state_dict(), folder / f"{model}.pt")
        ways: dict[str, Figures] = {}
        with peer(folder, settings) as other:
            for network in networks.values():
                ways |= rates(network, other, files, settings)
            version = other.version if other else "not at hand"
    against = "one at a time" if other is None else "pyiqa"
    for model, figures in in_child(memory_growth, images, settings, fresh=not settings.smoke).items():
        ways[f"{model}, {images} small images"] = figures
    return Row(
        row="other-models",
        what=f"{len(files)} JPEGs of {', '.join(map(str, megapixels))} MP in turn, from file to score, random weights, "
        "float32 where bf16 is not named; LIQE with at most 15 windows of an image, CLIP-IQA at full resolution with "
        f"{len(PYIQA_PAIRS)} pairs of prompts; batches of {BATCH}. Memory over images of 200 to 256 px a side, "
        "at the end against the second quarter",
        ratio=min(
            ways[f"{model}, {against}"]["median_s"] / ways[f"{model}, batched, bf16"]["median_s"] for model in MODELS
        ),
        compared=f"images/s batched with bf16 weights : {against} in float32, the lesser of the two models",
        expected=">= 2 against pyiqa (with bf16 instructions), memory growth < 50 MB",
        clock="wall",
        ways=ways,
        facts={"pyiqa": version},
    )


def rates(network: LIQE | CLIPIQA, other: Peer | None, files: list[Path], settings: Settings) -> dict[str, Figures]:
    """Time a model's ways in turn, each with how much faster batches are and how far its scores differ from theirs."""
    model = "liqe" if isinstance(network, LIQE) else "clip-iqa"
    single, half = scorer(network, settings, "32"), scorer(network, settings, "bf16")
    calls: dict[str, Callable[[], np.ndarray]] = {
        "batched": partial(scored, single, files, BATCH),
        "batched, bf16": partial(scored, half, files, BATCH),
        "one at a time": partial(scored, single, files, 1),
    }
    if other is not None:
        calls["pyiqa"] = partial(other.score, model, files)
    answers = {way: call() for way, call in calls.items()}
    ways = in_turn(calls, settings.times(3), "wall", settings.device, warm_up=0)  # they are warm by their answers
    for way, figures in ways.items():
        figures["images_per_s"] = len(files) / figures["median_s"]
        if way != "batched":
            figures["batched_is_faster"] = figures["median_s"] / ways["batched"]["median_s"]
            figures["scores_differ"] = float(np.abs(answers[way] - answers["batched"]).max())
    ways["batched"]["spread_of_scores"] = float(answers["batched"].std())
    return {f"{model}, {way}": figures for way, figures in ways.items()}


def random_network(model: str, settings: Settings) -> LIQE | CLIPIQA:
    """Return LIQE, or CLIP-IQA with pyiqa's prompts, with random weights that both programs can hold."""
    torch.manual_seed(0)
    small = SMALL[model] if settings.smoke else None
    network = LIQE(architecture=small) if model == "liqe" else CLIPIQA(prompts=PYIQA_PAIRS, architecture=small)
    with torch.no_grad():
        network.clip.logit_scale.fill_(np.log(100))  # as CLIP's training ended; at its start scores hardly differ
        for name, weight in network.clip.named_parameters():
            if name.endswith("bn3.weight"):
                weight.fill_(0.5)  # at 0, as it starts, what a residual block computes would reach no score
            weight.copy_(weight.half().float())  # pyiqa reads weights by way of float16
    return network


def scorer(network: LIQE | CLIPIQA, settings: Settings, precision: Precision = "32") -> Scorer:
    """Return a scorer that sees images as pyiqa does."""
    view: View = "windows" if isinstance(network, LIQE) else "whole"
    preparation = Preparation(resize="keep", face_rule="none")
    if settings.device.type == "cpu":
        keep_freed_memory()  # as the commands do
    return Scorer(network, preparation, 224, str(settings.device), precision, view=view)


def scored(ours: Scorer, files: list[Path], batch_size: int) -> np.ndarray:
    """Return scores as pyiqa does: CLIP-IQA's is the mean over all pairs."""
    table = ours.score(files, batch_size=batch_size)
    columns = list(PYIQA_PAIRS) if isinstance(ours.network, CLIPIQA) else ["score"]
    return table[columns].to_numpy(dtype=float).mean(axis=1)


def mixed_sizes(folder: Path, megapixels: tuple[float, ...], of_each: int) -> list[Path]:
    """Write portraits of several sizes in turn, upright and lying, sharp and blurred; no side has 1024 px."""
    files = []
    for place, size in enumerate(megapixels):
        (folder / f"size-{place}").mkdir()
        for index, file in enumerate(write_jpegs(folder / f"size-{place}", of_each, size)):
            with Image.open(file) as image:
                turned = image.transpose(Image.Transpose.ROTATE_90) if place % 2 else image.copy()
            turned.filter(ImageFilter.GaussianBlur(index)).save(file, quality=92)
            files.append((index, place, file))
    return [file for *_, file in sorted(files)]


def memory_growth(images: int, settings: Settings) -> dict[str, Figures]:
    """Return the resident memory of a fresh process that scores many small images with one model, then the other."""
    growth = {}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        files = [Path(folder, f"{number:03}.jpg") for number in range(100)]
        for file in files:
            width, height = rng.integers(200, 257, 2).tolist()
            portrait(0.1).resize((width, height)).save(file)
        for model in MODELS:
            stream = scorer(random_network(model, settings), settings).stream(
                islice(cycle(files), images), batch_size=BATCH
            )
            held = [resident_mb("VmRSS") for _ in stream]
            part = max(len(held) // 4, 1)  # the first quarter warms up
            late, early = statistics.median(held[-part:]), statistics.median(held[part : 2 * part])
            growth[model] = {"memory_mb": late, "memory_growth_mb": late - early}
    return growth
