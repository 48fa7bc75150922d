"""Demo data: two public-domain portraits, many scenes, 16 "devices", scores as noisy as real ones.

Layout::

    data/demo/
        demo.csv                       image, score, scene, score_std, split, condition, device, and two attributes
        images/<scene>/<device>.png    .jpg where the device's last step is JPEG: its own file, not compressed again

A scene is one portrait in its own framing, mirrored or not, in its own light. Every scene is shot by the same 16
devices; each distorts the image in its own way, with another strength in every scene. `score` falls with the strength
and imitates PIQ23's JOD: its mean is 0 and its standard deviation about 1.4 in every scene, and it has a label
noise of about 0.39 (`score_std`), so that even a perfect model reaches an SROCC of only about 0.96.

Two attributes have scores of their own, on the same scale and as noisy: `score.detail` falls with the strength of blur,
low resolution, noise and JPEG, `score.exposure` with that of under- and over-exposure. A device that does nothing to an
attribute leaves it at its best, so that images tie but for the label noise: 10 of 16 in exposure, 3 in detail.

The same two people stand in training and test scenes. The demo shows that a model learns to see quality and that the
whole pipeline works; it says nothing about portraits of other people.

Sources: `skimage.data.astronaut` (Eileen Collins; NASA) and matplotlib's `grace_hopper.jpg` (Grace Hopper; US Navy).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from piqa.errors import InputError
from piqa.system.command_line import run_command
from piqa.system.files import replacing
from piqa.system.ownership import claim_folder
from piqa.system.progress import progress

SIZE = (320, 400)  # width and height of every image, px; small, so that preparing and training take minutes
SCORE_SD = 1.4  # PIQ23's JOD within a scene
LABEL_NOISE = 0.39  # PIQ23's mean JOD STD
FORMER_COLUMNS = [
    "image",
    "score",
    "scene",
    "score_std",
    "split",
    "condition",
    "device",
]  # before there were attributes
ATTRIBUTES = {"detail": ("blur", "lowres", "noise", "jpeg"), "exposure": ("under", "over")}  # and what spoils each
COLUMNS = [*FORMER_COLUMNS, *(f"{kind}.{name}" for name in ATTRIBUTES for kind in ("score", "score_std"))]


@dataclass(frozen=True)
class Sitter:
    """A source portrait."""

    name: str
    head: tuple[int, int, int, int]  # left, top, right, bottom in source pixels; every framing holds all of it
    widths: tuple[int, int]  # the narrowest and the widest framing, source pixels

    def load(self) -> Image.Image:
        """Return the whole source image, RGB."""
        if self.name == "Collins":
            return Image.fromarray(skimage.data.astronaut())  # type: ignore[no-untyped-call]
        return Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")


SITTERS = [
    Sitter("Collins", head=(165, 20, 285, 180), widths=(240, 370)),
    Sitter("Hopper", head=(160, 70, 370, 345), widths=(310, 460)),
]

# Linear gains of red, green and blue. They stay mild: a dark scene must not look like an under-exposed image.
LIGHTS = {
    "Daylight": (1.00, 1.00, 1.00),
    "Tungsten": (1.10, 0.93, 0.72),
    "Shade": (0.85, 0.97, 1.12),
    "Dusk": (0.72, 0.66, 0.74),
}

# What each device does to an image, in the order in which a camera does it; "jpeg" is always last: it is the file.
DEVICES: dict[str, tuple[str, ...]] = {
    name: tuple(name.split("-")) if name != "reference" else ()
    for name in [
        *("reference", "under", "over", "blur", "lowres", "noise", "jpeg"),
        *("under-blur", "under-noise", "over-blur", "over-jpeg"),
        *("blur-noise", "blur-jpeg", "lowres-noise", "lowres-jpeg", "noise-jpeg"),
    ]
}
PAIR_FRACTION = 0.75  # two distortions at this fraction of their strength look about as bad as one at full strength


@dataclass(frozen=True)
class Scene:
    """A sitter in one light, mirrored or not; `name` is the one in the table, such as `Dusk_Hopper_07`."""

    name: str
    sitter: Sitter
    condition: str
    mirrored: bool

    @classmethod
    def number(cls, index: int) -> Scene:
        """Return the scene of a number; the combinations of sitter, light and mirror repeat after 16."""
        sitter, condition = SITTERS[index % 2], list(LIGHTS)[index // 2 % 4]
        return cls(f"{condition}_{sitter.name}_{index:02d}", sitter, condition, mirrored=index // 8 % 2 == 1)

    def view(self, seed: int) -> Image.Image:
        """Draw the undistorted image: framing, and what is random in the light, come from the seed."""
        rng = _rng(seed, f"view of {self.name}")
        source = self.sitter.load()
        head_left, head_top, head_right, head_bottom = self.sitter.head
        width = rng.uniform(*self.sitter.widths)
        height = width * SIZE[1] / SIZE[0]
        left = rng.uniform(max(0, head_right - width), min(head_left, source.width - width))
        top = rng.uniform(max(0, head_bottom - height), min(head_top, source.height - height))
        view = source.resize(SIZE, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
        if self.mirrored:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        colour = np.array(LIGHTS[self.condition]) * rng.uniform(0.9, 1.1, 3)
        from_one_side = np.linspace(1, rng.uniform(0.5, 1), SIZE[0])[:: rng.choice([-1, 1]), None]
        return _from_linear(_to_linear(view) * colour * from_one_side)


def shoot(view: Image.Image, device: str, strength: float, rng: np.random.Generator) -> tuple[Image.Image, int | None]:
    """Return a device's image of a view, and the JPEG quality at which the device stores it (None: losslessly).

    Every distortion runs on a geometric scale from just visible to hardly recognisable, so that equal strengths of
    different distortions look about equally bad; no study has confirmed it.

    Args:
        view: The undistorted scene, `SIZE` pixels.
        device: A key of `DEVICES`.
        strength: How strongly the device distorts it, in [0, 1].
        rng: Source of the grain.
    """
    steps = DEVICES[device]
    fraction = strength * (PAIR_FRACTION if len(steps) == 2 else 1)

    def between(weak: float, strong: float) -> float:
        return float(weak * (strong / weak) ** fraction)

    for step in steps:
        if step == "under":
            view = _from_linear(_to_linear(view) * 2 ** -between(0.4, 4))  # stops
        elif step == "over":
            view = _from_linear(_to_linear(view) * 2 ** between(0.3, 3))  # stops; what passes white is lost
        elif step == "blur":
            view = view.filter(ImageFilter.GaussianBlur(between(0.6, 6)))  # px
        elif step == "lowres":
            factor = between(1.4, 9)
            small = (round(view.width / factor), round(view.height / factor))
            view = view.resize(small, Image.Resampling.BOX).resize(view.size, Image.Resampling.BICUBIC)
        elif step == "noise":
            grain = rng.normal(0, between(5, 70), (view.height, view.width, 3))  # grey levels of 255
            view = Image.fromarray(np.clip(np.asarray(view) + grain, 0, 255).astype(np.uint8))
    return view, round(between(60, 5)) if "jpeg" in steps else None


def demo_table(seed: int = 0, scenes: int = 36, test_scenes: int = 6) -> pd.DataFrame:
    """Return the demo's labels: one row per image, the columns of `demo.csv` and `strength` in [0, 1].

    In every scene the strengths are spread evenly over the devices, in an order of its own; the reference has 0.

    Raises:
        InputError: If a number is out of range.
    """
    if not 0 < test_scenes < scenes or seed < 0:
        raise InputError(
            "the demo needs 0 < test_scenes < scenes and seed >= 0; "
            f"test_scenes is {test_scenes}, scenes is {scenes}, seed is {seed}"
        )
    splits = np.where(_rng(seed, "split").permutation(scenes) < test_scenes, "test", "train").tolist()
    tables = [_scene_table(Scene.number(index), split, seed) for index, split in enumerate(splits)]
    return pd.concat(tables, ignore_index=True)


def _scene_table(scene: Scene, split: str, seed: int) -> pd.DataFrame:
    rng = _rng(seed, f"scores of {scene.name}")
    n = len(DEVICES)
    strength = np.append(0, rng.permutation(n - 1) + 1 + rng.random(n - 1)) / n
    score, score_std = _scores(strength, rng)
    suffix = ["jpg" if "jpeg" in steps else "png" for steps in DEVICES.values()]
    table = {
        "image": [f"images/{scene.name}/{device}.{ending}" for device, ending in zip(DEVICES, suffix, strict=True)],
        "score": score,
        "scene": scene.name,
        "score_std": score_std,
        "split": split,
        "condition": scene.condition,
        "device": list(DEVICES),
        "strength": strength,
    }
    rng = _rng(seed, f"attributes of {scene.name}")
    for name in ATTRIBUTES:
        table[f"score.{name}"], table[f"score_std.{name}"] = _scores(strength * _weights(name), rng)
    return pd.DataFrame(table)


def _scores(strength: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scores that fall with the strength of what was done to the images of a scene, and their deviations."""
    quality = (strength.mean() - strength) / strength.std()
    score_std = LABEL_NOISE * rng.uniform(0.85, 1.15, len(strength))
    score = np.sqrt(SCORE_SD**2 - LABEL_NOISE**2) * quality + rng.normal(0, score_std)
    return (score - score.mean()).round(4), score_std.round(4)


def _weights(attribute: str) -> NDArray[np.float64]:
    """Return for each device how much of its strength an attribute feels: all, `PAIR_FRACTION`, or nothing."""
    spoils = ATTRIBUTES[attribute]
    shares = [np.mean([step in spoils for step in steps]) if steps else 0 for steps in DEVICES.values()]
    return np.array([PAIR_FRACTION if 0 < share < 1 else share for share in shares])


def write_demo(folder: str | Path = "data/demo", seed: int = 0, scenes: int = 36, test_scenes: int = 6) -> Path:
    """Write the demo data, unless they are there already, and print where they are.

    Args:
        folder: Where `demo.csv` and `images/` go; made if absent.
        seed: Seed of everything that is drawn.
        scenes: Number of scenes, 16 images each.
        test_scenes: How many of them are the test split; the others are for training.

    Returns:
        The path of `demo.csv`. It is written last, so that it never names an image that is not there.

    Raises:
        InputError: If a number is out of range, or the folder cannot be written or holds files of others.
    """
    csv, table = Path(folder) / "demo.csv", demo_table(seed, scenes, test_scenes)
    found = "already there" if _is_written(csv, table, COLUMNS) else "written"
    if found == "written":
        claim_folder(folder, "demo dataset", made_before=_made_by_0_1_0)
        if _is_written(csv, table, FORMER_COLUMNS):  # by an earlier version, whose images are the same
            found = "labels renewed"
            _write_labels(csv, table)
        else:
            _write(csv, table, seed)
    print(f"{csv}: {found}, {len(table)} images, {scenes - test_scenes} scenes to train on and {test_scenes} to test")
    return csv


def _write(csv: Path, table: pd.DataFrame, seed: int) -> None:
    folder, scenes = csv.parent, table["scene"].nunique()
    try:
        csv.unlink(missing_ok=True)  # of other settings: it must not stand beside new images if this run is stopped
    except OSError as error:
        raise InputError(f"cannot write the demo data in {folder}: {error.strerror}; name another folder") from error
    with progress(scenes, task="making the demo data", unit="scenes") as advance:
        for scene in map(Scene.number, range(scenes)):
            view = scene.view(seed)
            for shot in table[table["scene"] == scene.name].to_dict("records"):
                image, quality = shoot(view, shot["device"], shot["strength"], _rng(seed, f"grain of {shot['image']}"))
                with replacing(folder / shot["image"]) as part:
                    if quality is None:
                        image.save(part, "PNG", compress_level=3)
                    else:
                        image.save(part, "JPEG", quality=quality)
            advance(1)
    _write_labels(csv, table)


def _write_labels(csv: Path, table: pd.DataFrame) -> None:
    with replacing(csv) as part:
        table.to_csv(part, columns=COLUMNS, index=False)


def _made_by_0_1_0(folder: Path) -> bool:
    """Whether a folder without a marker holds the demo data of version 0.1.0."""
    try:
        return list(pd.read_csv(folder / "demo.csv", nrows=0)) in (FORMER_COLUMNS, COLUMNS)
    except (OSError, ValueError):
        return False


def _is_written(csv: Path, table: pd.DataFrame, columns: list[str]) -> bool:
    """Return whether the CSV holds these columns of the table and no others, and every image is there."""
    try:
        written = pd.read_csv(csv)
    except (OSError, ValueError):  # absent, or something else
        return False
    return written.equals(table[columns]) and all((csv.parent / image).is_file() for image in table["image"])


def _rng(seed: int, purpose: str) -> np.random.Generator:
    """Return a random generator for each purpose, so that an image does not depend on what was drawn before it."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def _to_linear(image: Image.Image) -> NDArray[np.float64]:
    return (np.asarray(image) / 255.0) ** 2.2


def _from_linear(light: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray((np.clip(light, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8))


def main(args: list[str] | None = None) -> None:
    """Write the demo data: `python -m piqa.data.demo [folder]`."""
    folder = {"nargs": "?", "default": "data/demo", "help": "Where to (default: data/demo)."}
    run_command(write_demo, args, "piqa.data.demo", "Write piqa's demo data.", "folder", **folder)


if __name__ == "__main__":
    main()
