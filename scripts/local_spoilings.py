"""A small model that knows local spoilings: portraits with spoilt discs, and a network trained to tell how many.

What makes its scores is known, so that a map of them can be right or wrong. Trained in about half a minute of one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from piqa import Scorer
from piqa.data.demo import Scene
from piqa.models import DualBranch
from piqa.preparation.image_file import Pixels
from piqa.preparation.portrait import Preparation

SIDE = 96  # px of what the network sees; a disc has a tenth of it
TRAINING_SCENES, TEST_SCENES = range(24), range(24, 32)
STEPS, BATCH, RATE = 260, 32, 3e-3
KINDS = ("blur", "noise", "dark")


@dataclass(frozen=True)
class Disc:
    """A spoilt place of an image.

    Attributes:
        y: Of its middle, in pixels.
        x: Likewise.
        radius: In pixels.
        kind: Out of `KINDS`.
        strength: In [0, 1].
    """

    y: float
    x: float
    radius: float
    kind: str = "blur"
    strength: float = 1.0

    @property
    def damage(self) -> float:
        """What it takes from the label: 1 for a fully spoilt disc of a quarter of the side."""
        return self.strength * (self.radius / (SIDE / 4)) ** 2

    def holds(self, y: float, x: float, margin: float = 0) -> bool:
        """Whether a place lies in the disc, or within a margin about it."""
        return bool(np.hypot(y - self.y, x - self.x) <= self.radius + margin)


def spoilt(pixels: Pixels, disc: Disc, seed: int = 0) -> Pixels:
    """Return an image, (height, width, 3), with a feathered disc of it spoilt."""
    rows, columns = np.indices(pixels.shape[:2])
    distance = np.hypot(rows + 0.5 - disc.y, columns + 0.5 - disc.x)
    weight = np.clip((disc.radius - distance) / 2 + 0.5, 0, 1)[..., None]
    if disc.kind == "blur":
        image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1 + 2 * disc.strength))
        bad: NDArray[np.floating] = np.asarray(image, dtype=np.float32)
    elif disc.kind == "noise":
        bad = pixels + np.random.default_rng(seed).normal(0, 40 * disc.strength, pixels.shape)
    else:
        bad = pixels * (1 - 0.6 * disc.strength)
    mixed: Pixels = np.clip(np.rint(pixels + (bad - pixels) * weight), 0, 255).astype(np.uint8)
    return mixed


@cache
def view(scene: int) -> Pixels:
    """Return a portrait in a framing and light of its own, a little larger than what the network sees."""
    image = Scene.number(scene).view(seed=0)
    width = SIDE * 7 // 6
    return np.asarray(image.resize((width, width * image.height // image.width), Image.Resampling.LANCZOS))


def centre(pixels: Pixels) -> Pixels:
    """Return the middle of an image that the network sees."""
    top, left = ((side - SIDE) // 2 for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def drawn(rng: np.random.Generator, scenes: range = TRAINING_SCENES) -> tuple[Pixels, float]:
    """Draw a crop of a scene with up to three spoilt discs, and its label."""
    whole = view(int(rng.choice(scenes)))
    top, left = (int(rng.integers(side - SIDE + 1)) for side in whole.shape[:2])
    pixels, label = whole[top : top + SIDE, left : left + SIDE], 0.0
    for _ in range(rng.integers(4)):
        place = rng.uniform(0, SIDE, 2)
        disc = Disc(*place, SIDE * rng.uniform(0.1, 0.25), str(rng.choice(KINDS)), rng.uniform(0.3, 1))
        pixels = spoilt(pixels, disc, int(rng.integers(2**31)))
        label -= disc.damage
    return (np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels), label


def untrained(seed: int = 0) -> DualBranch:
    """Return the network with random weights."""
    torch.manual_seed(seed)
    return DualBranch("test_byobnet", ("whole",), SIDE)


def trained(shuffled: bool = False, steps: int = STEPS) -> DualBranch:
    """Return the network after training; with labels that are shuffled, for the control, it can learn nothing."""
    network, rng = untrained(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    network.train().to(memory_format=torch.channels_last)  # a step takes two thirds of the time
    for _ in range(steps):
        images, labels = zip(*(drawn(rng) for _ in range(BATCH)), strict=True)
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        wanted = torch.tensor(rng.permutation(labels) if shuffled else labels, dtype=torch.float32)
        loss = (network(batch)["score"] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def scorer_of(network: DualBranch) -> Scorer:
    """Return a scorer that sees images of the network's side as they are."""
    return Scorer(network, Preparation(SIDE, face_rule="none"), SIDE, "cpu")


def drawn_for_test(count: int) -> tuple[list[Pixels], list[float]]:
    """Return spoilt images of test scenes as the network sees them, and their labels."""
    rng = np.random.default_rng(1)
    images, labels = zip(*(drawn(rng, TEST_SCENES) for _ in range(count)), strict=True)
    return list(images), list(labels)
