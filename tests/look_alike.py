"""Writers of tiny datasets in their official layouts: real images of noise that grows as the score falls."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter
from portraits import collins, hopper

ATTRIBUTES = ("Overall", "Details", "Exposure")
SCENE_NUMBERS = (1, 12, 2, 13)  # Indoor_Scene_1 is a part of the name Indoor_Scene_12
CONDITIONS = ("Indoor", "Indoor", "Outdoor", "Night", "Lowlight")
EXTENSIONS = (".jpg", ".JPG", ".jpeg")
DEVICES = ("Alpha 1", "Alpha 2", "Beta", "Gamma")


def write_piq23(folder: Path, scenes: int = 3, images_per_scene: int = 4, seed: int = 0, splits: str = "") -> Path:
    """Write a PIQ23 of three attributes with both official splits; returns its root.

    The scene split tests the first third of the scenes, the device split every other image. `splits` is the folder of
    the split files below the root, such as "Test split" or "PIQ2023/Test split". The second image is the one .tiff.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [_scene_name(position) for position in range(scenes)]
    images = pd.DataFrame({"SCENE": np.repeat(names, images_per_scene)})
    extension = [".tiff" if row == 1 else EXTENSIONS[row % 3] for row in images.index]
    images["IMAGE"] = [f"{row}_{scene}{extension[row]}" for row, scene in enumerate(images["SCENE"])]
    for number, attribute in enumerate(ATTRIBUTES):
        scores = _piq23_scores(images, attribute, np.random.default_rng([seed, number]))
        scores.to_csv(folder / f"Scores_{attribute}.csv", index=False, lineterminator="\n")
        for row, score in scores.iterrows():
            _write_image(folder / attribute / score["IMAGE"], score["JOD"], seed=[seed, number, row])
    scene_part = ["Test" if position < max(scenes // 3, 1) else "Train" for position in range(scenes)]
    device_part = ["Test" if row % 2 else "Train" for row in images.index]
    (folder / splits).mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"SCENE": names, "SPLIT": scene_part, "NB IMAGES": images_per_scene}).to_csv(
        folder / splits / "Scene Split.csv", index=False, lineterminator="\r\n"
    )
    pd.DataFrame({"IMAGE": images["IMAGE"], "SPLIT": device_part}).to_csv(
        folder / splits / "Device Split.csv", index=False, lineterminator="\r\n"
    )
    return folder


def write_csv_dataset(
    folder: Path,
    scenes: int = 3,
    images_per_scene: int = 4,
    seed: int = 0,
    columns: Sequence[str] = ("image", "score", "scene"),
) -> Path:
    """Write images and portraits.csv with the given columns of our own CSV; returns the CSV.

    The split, if asked for, tests the first third of the scenes, in a spelling of its own (Test, Train).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for position in range(scenes):
        for number, score in enumerate(_centred_scores(images_per_scene, rng)):
            image = f"scene_{position}/{number}.png"
            _write_image(folder / "images" / image, score, seed=[seed, position, number])
            rows.append(
                {
                    "image": f"images/{image}",
                    "score": score,
                    "scene": f"scene_{position}",
                    "score_std": 0.4,
                    "split": "Test" if position < max(scenes // 3, 1) else "Train",
                    "condition": CONDITIONS[position % len(CONDITIONS)],
                    "device": DEVICES[number % len(DEVICES)],
                }
            )
    csv = folder / "portraits.csv"
    pd.DataFrame(rows)[list(columns)].to_csv(csv, index=False)
    return csv


def write_gfiqa(root: Path, faces: int = 24) -> None:
    """Write a GFIQA of two portraits, the more blurred the lower the MOS."""

    (root / "image").mkdir(parents=True)
    rows = []
    for number in range(faces):
        blur = number / 6
        face = [collins, hopper][number % 2]().crop((150, 50, 350, 330)).resize((100, 140))
        face.filter(ImageFilter.GaussianBlur(blur)).save(root / "image" / f"{number}.png")
        rows.append((f"{number}.png", 1 - blur / 8))
    pd.DataFrame(rows, columns=["img_name", "mos"]).to_csv(root / "mos_val_rating.csv", index=False)


def _scene_name(position: int) -> str:
    number = SCENE_NUMBERS[position] if position < len(SCENE_NUMBERS) else position + 100
    return f"{CONDITIONS[position % len(CONDITIONS)]}_Scene_{number}"


def _piq23_scores(images: pd.DataFrame, attribute: str, rng: np.random.Generator) -> pd.DataFrame:
    """The fourteen columns of Scores_<attribute>.csv, in the official order."""
    jod = images.groupby("SCENE", sort=False)["IMAGE"].transform(lambda scene: _centred_scores(len(scene), rng))
    jod = jod.astype(float)
    return pd.DataFrame(
        {
            "IMAGE PATH": attribute + "\\" + images["IMAGE"],
            "JOD": jod,
            "JOD STD": rng.uniform(0.3, 0.5, len(images)),
            "CI LOW": jod - 0.8,
            "CI HIGH": jod + 0.8,
            "CI RANGE": 1.6,
            "QUALITY LEVEL": 0,
            "CLUSTER": -1.0,
            "TOTAL COMPARISONS": 143.0,
            "IMAGE": images["IMAGE"],
            "SCENE": images["SCENE"],
            "ATTRIBUTE": attribute,
            "SCENE IDX": images["SCENE"].str.rsplit("_", n=1).str[1].astype(int),
            "CONDITION": images["SCENE"].str.split("_").str[0],
        }
    )


def _centred_scores(count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct scores in random order with mean 0 and standard deviation 1.4, as a scene of PIQ23 has them."""
    scores = rng.permutation(np.linspace(-1, 1, count) + rng.uniform(-0.1, 0.1, count) / count)
    return 1.4 * (scores - scores.mean()) / scores.std()


def _write_image(path: Path, score: float, seed: Sequence[int]) -> None:
    """A gradient 96 px wide and 128 px high, with noise that is the stronger the lower the score."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    gradient = np.linspace(40, 215, 128)[:, None, None] + np.linspace(-30, 30, 96)[None, :, None]
    noise = rng.normal(0, 40 / (1 + np.exp(score)), (128, 96, 3))
    Image.fromarray(np.clip(gradient + noise, 0, 255).astype(np.uint8)).save(path)
