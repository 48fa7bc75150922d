"""Portraits that an export is calibrated with and checked on: scenes of one picture each, spoilt in many ways.

They come from a folder of the user's, or else from the two public-domain portraits of `piqa.data.demo`. Pictures that
are checked on are never those that are calibrated with.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from piqa.data.demo import DEVICES, Scene, shoot
from piqa.errors import InputError
from piqa.factors.regions import Regions
from piqa.factors.spoilings import LEVELS, SPOILINGS, spoilt
from piqa.preparation.image_file import open_image
from piqa.scoring.file_list import expand

SCENES = 4  # of generated portraits that are checked on; their numbers are free for no other purpose
SEED = 14  # of the generated portraits; that of the demo data is 0
LONGEST = 1600  # px: users' pictures are reduced to it first, so that a spoiling takes no seconds
NEED_FACES = ("face_darker", "bg_blur")  # spoilings that must know where the face is
NOWHERE = Regions(1, 1)  # of no use to the spoilings that are left


@dataclass(frozen=True)
class SpoiltPortrait:
    """A portrait, RGB, and the scene that it belongs to: others of the same scene are of the same picture."""

    image: Image.Image
    scene: str


@dataclass(frozen=True)
class Portraits:
    """Where portraits come from.

    Args:
        files: Pictures of the user's; empty for generated portraits.
    """

    files: Sequence[str] = ()

    @classmethod
    def of_folder(cls, folder: str | Path | None) -> Portraits:
        """Return those of a folder, and of all below it; None for generated ones.

        Raises:
            InputError: If there is no such folder, or it holds fewer than two images.
        """
        if folder is None:
            return cls()
        if not Path(folder).is_dir():
            raise InputError(f"`pictures` {folder} is no folder; name a folder of portraits")
        files = expand([str(folder)], tell=lambda line: None)
        if len(files) < 2:
            raise InputError(f"`pictures` {folder} holds {len(files)} image; at least 2 are needed, better 50 or more")
        return cls(files)

    def told(self) -> str:
        """Return what they are, for a line that is printed."""
        return f"{len(self.files)} pictures" if self.files else "generated portraits"

    def checked(self, count: int) -> Iterator[SpoiltPortrait]:
        """Yield the portraits of a check: `count` of them, from 4 scenes or more where there are as many pictures."""
        if not self.files:
            return islice(_generated(range(SCENES), -(-count // SCENES), SEED), count)
        pictures = self.files[::2][: max(1, count // 8)]
        return islice(_spoilt(pictures, -(-count // len(pictures)), start=0), count)

    def calibrated(self, count: int) -> Iterator[SpoiltPortrait]:
        """Yield the portraits that activations are observed on; each of the user's pictures is among them once."""
        if not self.files:
            scenes = range(SCENES, SCENES + -(-count // len(DEVICES)))
            return islice(_generated(scenes, len(DEVICES), SEED + 1), count)
        used = set(self.files[::2][:12])
        pictures = [file for file in self.files if file not in used]
        return islice(_spoilt(pictures[:count], -(-count // len(pictures)), start=50), count)


def _generated(scenes: range, each: int, seed: int) -> Iterator[SpoiltPortrait]:
    """Yield `each` images of every scene, by the demo's devices, from undistorted to hardly recognisable."""
    for number in scenes:
        scene = Scene.number(number)
        view = scene.view(seed)
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(len(DEVICES) - 1) + 1
        for place in range(each):
            device = list(DEVICES)[0 if place % len(DEVICES) == 0 else order[place % len(DEVICES) - 1]]
            image, quality = shoot(view, device, (place + rng.random()) / each, rng)
            yield SpoiltPortrait(image if quality is None else _as_jpeg(image, quality), scene.name)


def _as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _spoilt(files: Sequence[str], each: int, start: int) -> Iterator[SpoiltPortrait]:
    """Yield every file as it is, then spoilt in ways of which the first has the number `start`; unreadable ones not."""
    ways = [(name, level) for level in LEVELS[1:] for name in SPOILINGS if name not in NEED_FACES]
    for variant in range(each):
        for at, file in enumerate(files):
            try:
                image = open_image(file, "srgb")
            except InputError:
                continue
            image.thumbnail((LONGEST, LONGEST))
            if variant:
                name, level = ways[(start + 7 * variant + 11 * at) % len(ways)]
                image = Image.fromarray(spoilt(np.asarray(image), name, level, NOWHERE))
            yield SpoiltPortrait(image, f"picture {at}")
