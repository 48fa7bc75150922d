"""Images of simple patterns under noise and blur of graded strength, and a way to train on them in seconds."""

import lightning
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader, Dataset, Subset

from piqa.models.liqe import distortion_labels, scene_labels

SIDE = 224
SCENES = ("cityscape", "landscape", "plant")  # columns, layers, a ball
DISTORTIONS = ("noise", "blur")


def _pattern(scene, rng):
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    period, phase = rng.uniform(6.5, 7.5), rng.uniform(0, 1)
    if scene == "plant":
        wave = np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.3, 0.7))
    else:
        wave = x if scene == "cityscape" else y
    return 128 + 80 * np.sign(np.sin(2 * np.pi * period * wave + phase))


def _spoilt(pixels, distortion, strength, rng):
    if distortion == "noise":
        grain = rng.normal(0, 80 * strength, (SIDE // 8, SIDE // 8))  # coarse, for a network that sees patches of 32 px
        return pixels + grain.repeat(8, axis=0).repeat(8, axis=1)
    return gaussian_filter(pixels, 12 * strength)


def graded_table(count, seed, distortions):
    """Images by scene and distortion in turn; one database a distortion, with scales of their own."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for number in range(count):
        scene, distortion = SCENES[number % 3], distortions[number // 3 % len(distortions)]
        strength = rng.uniform(0.05, 1)
        pixels = _spoilt(_pattern(scene, rng), distortion, strength, rng)
        images.append(np.broadcast_to(pixels.clip(0, 255).astype(np.uint8), (3, SIDE, SIDE)))
        score = 100 - 100 * strength if distortion == "noise" else 5 - 4 * strength
        rows.append((str(number), score, distortion, f"{distortion} database", scene))
    table = pd.DataFrame(rows, columns=["image", "score", "distortion", "scene", "scene_tags"])
    return table, torch.from_numpy(np.stack(images))


class Graded(Dataset):
    """The images of a table, with a batch's usual entries; `windows` says whether they come as one window each."""

    def __init__(self, count, seed, windows, distortions):
        self.table, self.images = graded_table(count, seed, distortions)
        self._windows = windows
        if not windows:
            self.images = self.images[..., : SIDE // 2, : SIDE // 2]  # any size will do, and this one is quicker
        self.labels = {
            "score": torch.tensor(self.table["score"].to_numpy(), dtype=torch.float32),
            "scene_labels": scene_labels(self.table["scene_tags"]),
            "distortion_label": distortion_labels(self.table["distortion"]),
            "group": torch.from_numpy(pd.factorize(self.table["scene"])[0]),
            "index": torch.arange(count),
        }

    def __len__(self):
        return len(self.table)

    def __getitem__(self, row):
        pixels = self.images[row]
        labels = {name: values[row] for name, values in self.labels.items()}
        return {"whole": pixels[None] if self._windows else pixels} | labels


class GradedData(lightning.LightningDataModule):
    """Training and validation images that share nothing but how they are made."""

    def __init__(self, windows, distortions=DISTORTIONS, train=192, val=96):
        super().__init__()
        self.train, self.val = Graded(train, 1, windows, distortions), Graded(val, 2, windows, distortions)

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        return DataLoader(self.train, 24, shuffle=True, generator=generator, collate_fn=_step)

    def val_dataloader(self):
        return DataLoader(Subset(self.val, range(len(self.val))), 32)

    def contract(self):
        return {"preparation": {}, "crop": SIDE}


def _step(items):
    batch = torch.utils.data.default_collate(items)
    return batch | {"groups": torch.tensor(float(len(batch["group"].unique())))}


def quiet_trainer(**arguments):
    defaults = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return lightning.Trainer(**defaults | {"enable_model_summary": False, "num_sanity_val_steps": 0} | arguments)
