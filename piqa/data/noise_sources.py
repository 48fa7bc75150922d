"""Pairs of a noisy and a clean picture, and where they come from; see `piqa.data.noise_pairs`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from piqa.data.camera_noise import Exposure, noisy_and_clean
from piqa.data.demo import Scene
from piqa.errors import InputError
from piqa.preparation.image_file import Pixels, open_image

MOST_SIDE = 1024  # px: the middle of a larger clean picture is taken
ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".heic", ".avif"}


@dataclass(frozen=True)
class PairOptions:
    """What is made of each clean picture.

    Args:
        clean: Folder of clean pictures, looked through with all below; None for the demo's portraits.
        sidd: Folder of SIDD's instances, in place of clean pictures.
        scenes: Scenes that are made of the demo's portraits.
        exposures: Noisy pictures of each clean one, from hardly any noise to much.
        patches: Patches of each noisy picture, at most.
        side: Side of a patch in pixels.
        reduce: Times that a picture of the user's is made smaller first, which averages its own noise away.
        held_out: Fraction of the scenes for validation, and as many for the test.
        seed: Seed of the noise, the exposures and the split.
    """

    clean: str | None = None
    sidd: str | None = None
    scenes: int = 24
    exposures: int = 8
    patches: int = 8
    side: int = 64
    reduce: int = 2
    held_out: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clean is not None and self.sidd is not None:
            raise InputError("name clean pictures or SIDD, not both: drop `--clean` or `--sidd`")
        if min(self.scenes - 2, self.exposures, self.patches, self.reduce, self.side - 31, self.seed + 1) < 1:
            raise InputError(
                f"scenes ({self.scenes}) must be at least 3, exposures ({self.exposures}), patches ({self.patches}) "
                f"and reduce ({self.reduce}) at least 1, side ({self.side}) at least 32, seed ({self.seed}) at least 0"
            )
        if not 0 < self.held_out < 0.5:
            raise InputError(f"held_out ({self.held_out:g}) must lie between 0 and 0.5")


@dataclass(frozen=True)
class Source:
    """A clean picture, or a pair of files.

    Attributes:
        scene: What it shows; pictures of one scene stay in one split.
        name: Its own name, of a file below the scene's folder.
        files: None for the demo's; the clean file; or the noisy and the clean file.
    """

    scene: str
    name: str
    files: tuple[str, ...]


def sources_of(options: PairOptions) -> list[Source]:
    """Return what the patches are made of.

    Raises:
        InputError: If a folder holds too few pictures, or a noisy picture of SIDD lacks its clean one.
    """
    if options.sidd is not None:
        return _sidd_sources(Path(options.sidd))
    if options.clean is None:
        return [Source(Scene.number(number).name, "", ()) for number in range(options.scenes)]
    files = _files(Path(options.clean), lambda path: path.suffix.lower() in ENDINGS)
    found = [Source(f"{number:05d}_{path.stem}", "", (str(path),)) for number, path in enumerate(files)]
    return _enough(found, options.clean, "clean pictures")


def _sidd_sources(folder: Path) -> list[Source]:
    found = []
    for noisy in _files(folder, lambda path: path.suffix.lower() == ".png" and "NOISY" in path.name.upper()):
        clean = noisy.with_name(noisy.name.replace("NOISY", "GT"))
        if not clean.is_file() or clean == noisy:
            raise InputError(f"{noisy} has no clean picture {clean.name} beside it; restore the dataset's own files")
        # <instance>_<scene>_<phone>_<ISO>_...: the scene is the second
        parts = noisy.parent.name.split("_")
        scene = f"scene_{parts[1]}" if len(parts) > 2 else noisy.parent.name
        found.append(Source(scene, f"{noisy.parent.name}_{noisy.stem}", (str(noisy), str(clean))))
    return _enough(found, folder, "pairs *NOISY*.PNG and *GT*.PNG")


def _files(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one of pictures")
    return sorted(path for path in folder.rglob("*") if path.is_file() and wanted(path))


def _enough(found: list[Source], folder: object, what: str) -> list[Source]:
    scenes = {source.scene for source in found}
    if len(scenes) < 3:
        raise InputError(
            f"{folder} holds {what} of {len(scenes)} scenes; 3 or more are needed, to train, to validate and to test"
        )
    return found


def pairs_of(source: Source, options: PairOptions) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Yield noisy pictures with a name and the clean picture of each.

    Raises:
        InputError: If a file cannot be read, is smaller than a patch, or two of a pair differ in size.
    """
    if len(source.files) == 2:
        noisy, clean = (np.asarray(open_image(file)) for file in source.files)
        if noisy.shape != clean.shape:
            raise InputError(f"{source.files[0]} and its clean picture differ in size; restore the dataset's own files")
        if min(noisy.shape[:2]) < options.side:
            raise InputError(f"{source.files[0]} is smaller than a patch of {options.side} px; lower `--side`")
        yield source.name, noisy, clean
        return
    picture = _clean_picture(source, options)
    rng = np.random.default_rng([options.seed, zlib.crc32(source.scene.encode())])
    for number in range(options.exposures):
        strength = (number + rng.random()) / options.exposures
        noisy, clean = noisy_and_clean(picture, Exposure.at(strength, rng), rng)
        yield f"{number:02d}", noisy, clean


def _clean_picture(source: Source, options: PairOptions) -> Pixels:
    if not source.files:
        number = int(source.scene.rpartition("_")[2])
        return np.asarray(Scene.number(number).view(options.seed))
    image = open_image(source.files[0], "srgb")
    image = image.reduce(options.reduce) if options.reduce > 1 else image
    if min(image.size) < options.side:
        raise InputError(
            f"{source.files[0]} has {image.width} x {image.height} pixels, made smaller by {options.reduce}; a patch "
            f"has {options.side} px: lower `--reduce` or take the picture away"
        )
    left, top = (max(0, (side - MOST_SIDE) // 2) for side in image.size)
    return np.asarray(image.crop((left, top, min(left + MOST_SIDE, image.width), min(top + MOST_SIDE, image.height))))
