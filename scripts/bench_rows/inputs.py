"""Rows on what goes into training: samples, comparisons, preparation, face detection, clips."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torchvision.transforms import v2

from bench_rows.measure import Row, Settings, cores, in_turn, portrait, threads, write_jpegs
from piqa.data.dataset import TrainingPortraits
from piqa.data.options import InputOptions, SamplingOptions
from piqa.data.sampler import Draw, Step, StepSampler, reference_pairs, scene_groups
from piqa.preparation.portrait import Portrait, Preparation, Preparer
from piqa.preparation.store import PreparedStore
from piqa.preparation.video import Clip, ClipPreparation, decode_clip
from piqa.tasks.losses import pairs_within


def training_input(settings: Settings) -> Row:
    """Time training samples from the store, against decoding the original and finding its face for each."""
    images, megapixels, short_side, crop = (4, 0.5, 112, 96) if settings.smoke else (12, 12, 448, 384)
    preparation = Preparation(short_side=short_side)
    with tempfile.TemporaryDirectory() as folder, threads(1):
        files = write_jpegs(Path(folder), images, megapixels)
        store: PreparedStore[Portrait] = PreparedStore(Path(folder, "store"), preparation)
        store.build(files, device="cpu", workers=0, progress=False)
        table = pd.DataFrame({"path": list(map(str, files)), "score": np.arange(images) / 1, "scene": "one"})
        dataset = TrainingPortraits(table, store, InputOptions(crop_size=crop))
        (step,) = StepSampler(partial(scene_groups, table["scene"].tolist(), images), 1)
        preparer, random_crop = Preparer(preparation), v2.RandomCrop(crop)

        def anew() -> None:
            for file in files:
                made = preparer(file)
                for pixels in (made.whole, made.face_crop):
                    random_crop(torch.from_numpy(pixels).permute(2, 0, 1)).contiguous()

        ways = in_turn(
            {"store": lambda: dataset[step], "original": anew}, settings.times(5), "cpu", torch.device("cpu")
        )
    for way in ways.values():
        way["samples_per_s"] = images / way["median_s"]
    return Row(
        row="training-input",
        what=f"a training step of {images} portraits: whole image and face at {short_side} px, crops of {crop} px; "
        f"from JPEGs of {megapixels} MP; files in the page cache; one thread",
        ratio=ways["original"]["median_s"] / ways["store"]["median_s"],
        compared="samples/s out of the store : decoding, finding the face and cropping anew",
        expected=">= 30",
        clock="cpu",
        ways=ways,
    )


TRAINING_SCENES, TRAINING_PORTRAITS = 35, 3630  # of PIQ23's official scene split


def comparisons(settings: Settings) -> Row:
    """Count comparisons within scenes per portrait that goes through the backbones."""
    portraits = TRAINING_PORTRAITS // 10 if settings.smoke else TRAINING_PORTRAITS
    shares = np.array_split(np.arange(portraits), np.linspace(0, portraits, TRAINING_SCENES + 1)[1:-1].astype(int))
    scenes = [str(number) for number, rows in enumerate(shares) for _ in rows]
    groups, size = SamplingOptions().groups_per_step, SamplingOptions().images_per_group
    samplers = {
        f"groups, {groups} x {size} a step": StepSampler(partial(scene_groups, scenes, size, multiple=groups), groups),
        "published pairs, 6 a step": StepSampler(partial(reference_pairs, scenes), 6, frozen=True),
    }
    ways = {name: counted(sampler) for name, sampler in samplers.items()}
    ours, published = (way["comparisons_per_forward"] for way in ways.values())
    return Row(
        row="comparisons",
        what=f"an epoch of {portraits} portraits in {TRAINING_SCENES} scenes of about the same size, as PIQ23's scene "
        "split has for training; a portrait with itself is no comparison",
        ratio=ours / published,
        compared="comparisons per portrait through the backbones, default batch : published pairs",
        expected=">= 4",
        clock="counted",
        ways=ways,
    )


def counted(sampler: StepSampler) -> dict[str, float]:
    """Count the forward passes and comparisons of an epoch."""
    forwards = compared = 0
    steps: list[Step] = list(sampler)
    for step in steps:
        rows = torch.tensor([draw.index for draw in step.draws])
        a, b = pairs_within(torch.tensor([draw.group for draw in step.draws]))
        forwards += len(rows)
        compared += int((rows[a] != rows[b]).sum())
    return {
        "steps": len(steps),
        "forwards": forwards,
        "comparisons": compared,
        "comparisons_per_forward": compared / forwards,
    }


def prepare_workers(settings: Settings) -> Row:
    """Time preparing images with one process per core, against one process."""
    images, megapixels = (4, 0.3) if settings.smoke else (256, 12)
    workers = max(2, cores())
    with tempfile.TemporaryDirectory() as folder:
        files = write_jpegs(Path(folder), images, megapixels)
        stores = iter(range(1000))

        def build(workers: int) -> None:
            own: PreparedStore[Portrait] = PreparedStore(Path(folder, f"store-{next(stores)}"), Preparation())
            with threads(1):  # as each worker process does
                own.build(files, device="cpu", workers=workers, progress=False)

        Preparer(Preparation())(files[0])  # imports that must not count for the one worker
        ways = in_turn(
            {f"{workers} workers": partial(build, workers), "one worker": partial(build, 1)},
            settings.times(2),
            "wall",
            torch.device("cpu"),
            warm_up=0,
        )
    for way in ways.values():
        way["images_per_s"] = images / way["median_s"]
    ratio = ways["one worker"]["median_s"] / ways[f"{workers} workers"]["median_s"]
    return Row(
        row="prepare-workers",
        what=f"preparing {images} JPEGs of {megapixels} MP without LIQE, on {cores()} cores; one thread a worker; "
        "starting the workers counts",
        ratio=ratio,
        compared=f"images/s with {workers} workers : one",
        expected=f"near {cores()}, the cores at hand",
        clock="wall",
        ways=ways,
        facts={"workers": workers, "efficiency": ratio / workers},
    )


def pretrain_input(settings: Settings) -> Row:
    """Time clips of 8 frames of a video: from the store, in each encoding, against decoding it every time."""
    width, height, seconds, side, crop = (320, 180, 3, 120, 96) if settings.smoke else (1920, 1080, 10, 384, 384)
    recipe, random_crop = partial(ClipPreparation, short_side=side), v2.RandomCrop(crop)

    def anew(video: Path) -> torch.Tensor:
        frames = torch.from_numpy(decode_clip(video, recipe()).frames).permute(0, 3, 1, 2)
        return torch.stack([random_crop(frame) for frame in frames])

    with tempfile.TemporaryDirectory() as folder, threads(1):
        video = write_video(Path(folder, "portrait.mp4"), width, height, seconds)
        ways: dict[str, Callable[[], object]] = {"decode": partial(anew, video)}
        sizes = {"decode": video.stat().st_size / 1e6}
        table = pd.DataFrame({"path": [str(video)], "score": [0.0], "scene": "one"})
        step = Step((Draw(index=0, group=0, seed=0),), groups=1)
        for encoding in ("raw", "webp"):
            store: PreparedStore[Clip] = PreparedStore(Path(folder, "store"), recipe(encoding=encoding))
            store.build([video], workers=0, progress=False)
            ways[f"store, {encoding}"] = partial(
                TrainingPortraits(table, store, InputOptions(crop_size=crop)).__getitem__, step
            )
            sizes[f"store, {encoding}"] = store.entry(video).stat().st_size / 1e6
        figures = in_turn(ways, settings.times(5), "cpu", torch.device("cpu"))
    for name, size in sizes.items():
        figures[name] |= {"file_mb": size, "clips_per_s": 1 / figures[name]["median_s"]}
    return Row(
        row="pretrain-input",
        what=f"8 frames of an H.264 clip of {seconds} s, {width} x {height}, cropped to {crop} px; one thread",
        ratio=figures["decode"]["median_s"] / figures["store, raw"]["median_s"],
        compared="clips/s out of the raw store : decoding the video every time",
        expected="no promise",
        clock="cpu",
        ways=figures,
    )


def write_video(path: Path, width: int, height: int, seconds: int) -> Path:
    """Write H.264 at 25 frames a second: the astronaut under a panning camera."""
    import av

    frames = 25 * seconds
    image = np.asarray(portrait(max(1.0, 12 * width / 1920)))  # room to pan 4 pixels a frame
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            view = image[number : number + height, 4 * number : 4 * number + width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(view))))
        container.mux(stream.encode())
    return path
