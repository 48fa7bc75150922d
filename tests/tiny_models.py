"""Models of a tiny random network in files, without training: for whatever only runs them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from piqa.models import DualBranch
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard


def write_tiny_model(folder: Path, face_rule: str = "none", **init_args) -> Path:
    """Write a model of a small random network; returns its folder. By default no face is looked for, which is quick."""
    torch.manual_seed(0)
    init_args = {"backbone": "test_resnet", "branches": ["whole"], "image_size": 32} | init_args
    network, side = DualBranch(**init_args), init_args["image_size"]
    preparation = {"short_side": side + 8, "face_rule": face_rule}
    card = ModelCard(ClassSpec.of(network), preparation, crop_size=side)
    model_file.save(network, folder / "model.safetensors", card)
    return folder


def write_images(folder: Path, count: int) -> list[str]:
    """Write small JPEGs of noise, all different; returns their names in order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        noise = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((50, 60), Image.Resampling.BICUBIC).save(file)
    return [str(file) for file in files]
