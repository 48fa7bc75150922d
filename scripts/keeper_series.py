"""Synthetic series of one moment with a known best shot, made of the demo's portraits.

Every series is one framing of one portrait. Each shot is framed a few pixels aside, and spoilt by one thing, or by two
in series of the kind `mixed`, with a strength of its own; the best one has the least. Strengths are drawn so that the
second best is now and then hardly worse. There is no series of blinks, as nothing here measures them.

    focus     the face out of focus, its surroundings sharp
    motion    smeared along one direction
    exposure  too dark or too bright
    noise     grain of the sensor
    jpeg      compressed
    mixed     two of these
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from piqa.data.demo import SIZE, Scene
from piqa.preparation.faces import Box
from piqa.preparation.image_file import Pixels
from piqa.preparation.portrait import Preparation, Preparer

KINDS = ("focus", "motion", "exposure", "noise", "jpeg", "mixed")
SHOTS = (2, 3, 4, 5, 6, 7, 8)  # of a series, drawn evenly
SHIFT = 4  # pixels by which shots are framed aside, at most
QUALITY = 95  # of the JPEG files, where nothing else is said
WORST_QUALITY = 8
FIRST_SEED = 10_000  # of series; the demo itself has seed 0


@dataclass(frozen=True)
class Series:
    """One series as it lies on the disk.

    Attributes:
        name: Of its folder.
        kind: What tells its shots apart.
        strength: How much each file is spoilt, 0 to 1, by its name.
    """

    name: str
    kind: str
    strength: dict[str, float]

    @property
    def best(self) -> str:
        """The file that is spoilt least."""
        return min(self.strength, key=self.strength.__getitem__)


def write_series(folder: Path, count: int, seed: int = FIRST_SEED) -> list[Series]:
    """Write so many series, a folder each, and return what they are; the kinds take turns."""
    faces = Preparer(Preparation(colour="srgb", try_turns=False))
    return [_write_one(folder, number, seed + number, faces) for number in range(count)]


def _write_one(folder: Path, number: int, seed: int, faces: Preparer) -> Series:
    rng = np.random.default_rng(seed)
    scene, kind = Scene.number(int(rng.integers(16))), KINDS[number % len(KINDS)]
    view = scene.view(seed)
    found = faces.find_face(view).face
    box = found.box if found is not None else (SIZE[0] * 0.25, SIZE[1] * 0.2, SIZE[0] * 0.75, SIZE[1] * 0.7)
    name, shots = f"{number:04d}-{kind}", int(rng.choice(SHOTS))
    strengths = _strengths(shots, rng)
    (folder / name).mkdir(parents=True, exist_ok=True)
    bright = bool(rng.integers(2))
    parts = tuple(rng.choice(KINDS[:-1], 2, replace=False)) if kind == "mixed" else (kind,)
    told = {}
    for at, strength in enumerate(strengths):
        pixels = _aside(np.asarray(view), rng)
        shares = rng.dirichlet((2.0, 2.0)) * strength if kind == "mixed" else (strength,)
        quality = QUALITY
        for part, share in zip(parts, shares, strict=True):
            if part == "jpeg":
                quality = round(QUALITY * (WORST_QUALITY / QUALITY) ** share)
            else:
                pixels = _spoilt(pixels, part, share, box, bright, rng)
        file = f"{name}_{at + 1}.jpg"
        Image.fromarray(pixels).save(folder / name / file, quality=quality, subsampling=0)
        told[file] = float(strength)
    return Series(name, kind, told)


def _strengths(shots: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how much each shot is spoilt; none is spoilt as much as another, or by less than 0.04 more."""
    while True:
        drawn = rng.uniform(0, 0.9, shots)
        if np.diff(np.sort(drawn)).min() >= 0.04:
            return drawn


def _aside(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    down, right = rng.integers(-SHIFT, SHIFT + 1, 2)
    padded = np.pad(pixels, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), "edge")
    return padded[SHIFT + down : SHIFT + down + pixels.shape[0], SHIFT + right : SHIFT + right + pixels.shape[1]]


def _spoilt(pixels: Pixels, kind: str, strength: float, box: Box, bright: bool, rng: np.random.Generator) -> Pixels:
    values = pixels.astype(np.float32)
    if kind == "focus":
        weight = _face_weight(pixels, box)
        blurred = ndimage.gaussian_filter(values, (4 * strength, 4 * strength, 0))
        values = weight * blurred + (1 - weight) * values
    elif kind == "motion":
        turned = ndimage.convolve(values, _line(12 * strength, rng.uniform(0, np.pi))[..., None], mode="nearest")
        values = turned
    elif kind == "exposure":
        stops = 2.5 * strength * (0.8 if bright else -1.0)
        values = 255 * np.clip((values / 255) ** 2.2 * 2**stops, 0, 1) ** (1 / 2.2)
    elif kind == "noise":
        values = values + rng.normal(0, 40 * strength, values.shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _line(length: float, angle: float) -> np.ndarray:
    """Return a kernel that smears along a line of a length in pixels; shorter than a pixel it changes little."""
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for step in np.linspace(-length / 2, length / 2, 64):
        kernel[round(half + step * np.sin(angle)), round(half + step * np.cos(angle))] += 1
    return kernel / kernel.sum()


def _face_weight(pixels: Pixels, box: Box) -> np.ndarray:
    """Return 1 in the face and 0 far from it, (rows, columns, 1)."""
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float32)
    x, y, wide, high = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
    inside = ((columns - x) / (0.75 * wide)) ** 2 + ((rows - y) / (0.75 * high)) ** 2 <= 1
    return ndimage.gaussian_filter(inside.astype(np.float32), 0.06 * wide)[..., None]
