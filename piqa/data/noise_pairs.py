"""Patches with noise, each with a label that a full-reference measure gives: what a noise model is trained on.

Layout:

```
data/noise/
  noise.csv               image, score, score.ssim, scene, split
  noise.json              what the patches were made of
  images/<scene>/<exposure>_<patch>.png
```

Pairs of a noisy and a clean picture come from one of

- the two public-domain portraits of `piqa.data.demo`, in many framings and lights, with noise as a camera makes it
  (`piqa.data.camera_noise`),
- a folder of clean pictures of the user's, likewise,
- SIDD's sRGB pictures, `<instance>/*NOISY*.PNG` with `*GT*.PNG`, taken by phones: real noise.

Patches are taken where the clean picture's entropy lies in a middle band (`piqa.models.noise.BAND`). A scene is one
clean picture; of SIDD, one of its ten scenes. Whole scenes are held out for validation and test.

`score` is the PSNR of the noisy patch against the clean one over all three channels, in dB, at most 50: higher is less
noise, as in SPAQ. SSIM, of the luminance, stands beside it as `score.ssim`. PSNR is the score because it says how much
noise there is: the same noise has the same PSNR in any content, so that the mean over patches is a picture's, and its
values spread evenly over some 25 dB. SSIM divides by the local contrast: the same noise scores higher on texture, so
that a network could learn the texture instead; and most of its values crowd below 1. The laboratory's choice is not
known. Texture that hides noise from the eye is taken into account by the band alone.

The demo's two sitters stand in training and test scenes; it says nothing about portraits of other people.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image

from piqa.data.noise_sources import PairOptions, Source, pairs_of, sources_of
from piqa.errors import one_line_errors
from piqa.models.noise import outside_band
from piqa.models.texture import patch_entropy
from piqa.preparation.image_file import Pixels
from piqa.system.command_line import Parser
from piqa.system.files import replacing
from piqa.system.json_text import write_json
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import progress

KIND = "noise patches"
COLUMNS = ["image", "score", "score.ssim", "scene", "split"]
MOST_DB = 50.0  # of patches that hardly differ
Split = Literal["train", "val", "test"]


def splits_of(scenes: Sequence[str], held_out: float, seed: int) -> dict[str, Split]:
    """Return the split of each scene: `held_out` of them for validation, and as many for the test.

    Each split has one at least, where there are three scenes.
    """
    names = sorted(set(scenes))
    order = np.random.default_rng([seed, zlib.crc32(b"split")]).permutation(len(names))
    count = max(1, min(round(held_out * len(names)), (len(names) - 1) // 2))
    split: dict[str, Split] = {}
    for place, number in enumerate(order):
        split[names[number]] = "val" if place < count else "test" if place < 2 * count else "train"
    return split


def textured_corners(clean: Pixels, side: int, most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return top left corners (y, x) of patches of a grid whose entropy lies in the band, drawn where there are more.

    Where none does, the one nearest to the band.
    """
    rows, columns = clean.shape[0] // side, clean.shape[1] // side
    corners = [(y * side, x * side) for y in range(rows) for x in range(columns)]
    patches = np.stack([clean[y : y + side, x : x + side] for y, x in corners]).transpose(0, 3, 1, 2)
    outside = outside_band(patch_entropy(torch.from_numpy(patches.copy()))).numpy()
    inside = np.flatnonzero(outside == 0)
    if not len(inside):
        return [corners[int(outside.argmin())]]
    return [corners[number] for number in sorted(rng.permutation(inside)[:most])]


def labels_of(noisy: Pixels, clean: Pixels) -> tuple[float, float]:
    """Return the PSNR, in dB and at most 50, and the SSIM of a noisy patch against the clean one."""
    from skimage.metrics import structural_similarity

    error = float(np.square(noisy.astype(np.float64) - clean).mean())
    psnr = MOST_DB if error == 0 else min(MOST_DB, 10 * np.log10(255**2 / error))
    weights = np.array([0.299, 0.587, 0.114])
    ssim = structural_similarity(noisy @ weights, clean @ weights, data_range=255)  # type: ignore[no-untyped-call]
    return float(psnr), float(ssim)


def write_noise_pairs(folder: str | Path = "data/noise", options: PairOptions | None = None) -> Path:
    """Write patches and labels, unless they are there already, and print where they are.

    Args:
        folder: Where `noise.csv` and `images/` go; made if absent.
        options: What the patches are made of.

    Returns:
        The path of `noise.csv`. It is written last, so that it never names an image that is not there.

    Raises:
        InputError: If pictures are missing or cannot be read, or the folder cannot be written or holds files of others.
    """
    options = options or PairOptions()
    folder = Path(folder)
    csv, sources = folder / "noise.csv", sources_of(options)
    made_of = _made_of(options, sources)
    found = "already there"
    if not _is_written(csv, made_of):
        found = "written"
        claim_folder(folder, KIND)
        with locked(folder, folder=True):
            _write(folder, options, sources, made_of)
    counts = pd.read_csv(csv)["split"].value_counts()
    print(f"{csv}: {found}, " + ", ".join(f"{counts.get(split, 0)} {split}" for split in ("train", "val", "test")))
    return csv


def _made_of(options: PairOptions, sources: Sequence[Source]) -> dict[str, object]:
    """Return all that the patches depend on, as far as it can be told without reading pictures."""
    sizes = {file: Path(file).stat().st_size for source in sources for file in source.files}
    return {"options": asdict(options), "bytes": sizes}


def _write(folder: Path, options: PairOptions, sources: Sequence[Source], made_of: dict[str, object]) -> None:
    (folder / "noise.csv").unlink(missing_ok=True)  # it must not stand beside others' patches if this is stopped
    split = splits_of([source.scene for source in sources], options.held_out, options.seed)
    rows = []
    with progress(len(sources), task="making noise patches", unit="pictures") as advance:
        for source in sources:
            for name, noisy, clean in pairs_of(source, options):
                rows += _write_patches(folder, source, name, noisy, clean, split[source.scene], options)
            advance(1)
    with replacing(folder / "noise.csv") as part:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(part, index=False)
    write_json(made_of, folder / "noise.json")


def _write_patches(
    folder: Path, source: Source, name: str, noisy: Pixels, clean: Pixels, split: Split, options: PairOptions
) -> list[tuple[str, float, float, str, Split]]:
    rng = np.random.default_rng([options.seed, zlib.crc32(f"{source.scene}/{name}".encode())])
    rows = []
    for number, (y, x) in enumerate(textured_corners(clean, options.side, options.patches, rng)):
        pair = [picture[y : y + options.side, x : x + options.side] for picture in (noisy, clean)]
        image = f"images/{source.scene}/{name}_{number:02d}.png"
        with replacing(folder / image) as part:
            Image.fromarray(pair[0]).save(part, "PNG")
        psnr, ssim = labels_of(*pair)
        rows.append((image, round(psnr, 3), round(ssim, 5), source.scene, split))
    return rows


def _is_written(csv: Path, made_of: dict[str, object]) -> bool:
    """Whether the CSV was made of the same pictures by the same settings, and every patch is there."""
    try:
        same = json.loads(csv.with_name("noise.json").read_text(encoding="utf-8")) == json.loads(json.dumps(made_of))
        return same and all((csv.parent / image).is_file() for image in pd.read_csv(csv)["image"])
    except (OSError, ValueError, KeyError):  # absent, or something else
        return False


def main(args: list[str] | None = None) -> None:
    """Write noisy patches: `python -m piqa.data.noise_pairs [folder]`."""
    parser = Parser(prog="piqa.data.noise_pairs", description="Write patches with noise and their labels.")
    parser.add_argument("folder", nargs="?", default="data/noise", help="Where to (default: data/noise).")
    parser.add_class_arguments(PairOptions)
    given = parser.parse_args(args).as_dict()
    with one_line_errors():
        write_noise_pairs(given.pop("folder"), PairOptions(**given))


if __name__ == "__main__":
    main()
