"""Checks a submission's zip: runs it alone on sample images, and measures it against the challenge's limits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.scoring.scorer import Scorer
from piqa.submission.run import EXTENSIONS

FRESH = Path(__file__).with_name("run_isolated.py")
TOLERANCE = 1e-4  # of SCORE against the scorer's, times the score's size where that is above 1
SAMPLES = 8  # of a user's folder; more tell nothing new about time and memory
CONDITIONS = ("INDOOR", "OUTDOOR", "LOWLIGHT", "NIGHT")  # as the kit spells them
SIZES = ((1280, 960), (960, 1280))  # of the kit's images


@dataclass(frozen=True)
class Limits:
    """What the challenge allows; GB are 10^9 bytes, the stricter reading.

    Attributes:
        seconds: An image's mean time, without loading the model.
        ram_gb: Peak memory of the process.
        tflops: Floating-point operations of one image, a multiplication with its addition counted as two.
        weights_gb: The weights file.
        gpu_gb: Peak memory on the GPU, where there is one.
    """

    seconds: float = 5.0
    ram_gb: float = 16.0
    tflops: float = 5.0
    weights_gb: float = 2.0
    gpu_gb: float = 8.0


@dataclass(frozen=True)
class Finding:
    """One line of the check: what was looked at, what was found, what is asked, and whether it passes."""

    what: str
    value: str
    limit: str
    passed: bool


def check_submission(
    archive: Path, name: str, scorer: Scorer, test_crops: Crops, half: bool, images: Path | None, limits: Limits
) -> list[Finding]:
    """Unpack the zip into an empty folder and run its script there, in a process without any other piqa.

    Args:
        archive: The zip.
        name: `<LAST>_<FIRST>`.
        scorer: The model that was packed, with the precision of the script.
        test_crops: As the script scores.
        half: Whether the weights were rounded to float16; then it is told what that does to the scores.
        images: A folder of sample images; None takes two public-domain portraits, upright and across.
        limits: The limits.

    Raises:
        InputError: If there is no sample image that can be read, or no room to unpack.
    """
    with tempfile.TemporaryDirectory(prefix="piqa-submission-") as folder:
        root = Path(folder)
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(root)
            files = lay_out_images(root, images)
        except OSError as error:
            raise InputError(f"cannot unpack {archive} into {folder}: {error}; is there room?") from error
        weights = root / "weights" / f"weights_{name}.ckpt"
        expected = before = _scores(scorer, files, test_crops)
        if half:
            scorer = Scorer.load(weights, liqe=weights, device=str(scorer.device), precision=scorer.precision)
            expected = _scores(scorer, files, test_crops)
        readable = np.isfinite(expected)
        if not readable.any():
            raise InputError(f"none of the {len(files)} sample images can be scored; name others by `--images`")
        figures, findings = run_alone(root, name, len(files))
        findings.append(check_result(root, name, expected))
        if half:
            change, spread = np.abs(expected - before)[readable].max(), np.ptp(before[readable])
            value = f"scores change by {change:.2g} at most; they span {spread:.2g}"
            findings.append(Finding("half precision", value, "", passed=True))
        flops = count_flops(scorer, files[int(readable.argmax())], test_crops)
        size = weights.stat().st_size
    measured = [
        ("seconds an image", figures.get("seconds", np.nan), limits.seconds),
        ("peak RAM, GB", figures.get("ram_bytes", np.nan) / 1e9, limits.ram_gb),
        ("TFLOPs an image", flops / 1e12, limits.tflops),
        ("weights, GB", size / 1e9, limits.weights_gb),
    ]
    if "gpu_bytes" in figures:
        measured.append(("peak GPU memory, GB", figures["gpu_bytes"] / 1e9, limits.gpu_gb))
    return findings + [_within(*row) for row in measured]


def lay_out_images(root: Path, images: Path | None) -> list[Path]:
    """Write `images.csv` and `images/<class>/` as the challenge has them; a class is a folder of the samples.

    Returns:
        The image files, in the order of the rows.

    Raises:
        InputError: If the folder has no image of the kit's extensions.
    """
    if images is None:
        files = _write_portraits(root / "images")
    else:
        found = sorted(file for file in images.rglob("*") if file.suffix in EXTENSIONS and file.is_file())[:SAMPLES]
        if not found:
            raise InputError(f"there is no image in {images}; the challenge knows {', '.join(EXTENSIONS)}")
        folders = list(dict.fromkeys(file.parent for file in found))
        files = [root / "images" / str(folders.index(file.parent)) / file.name for file in found]
        for file, copy in zip(found, files, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    names, classes = [file.relative_to(root).as_posix() for file in files], [file.parent.name for file in files]
    conditions = [CONDITIONS[int(number) % len(CONDITIONS)] for number in classes]
    table = pd.DataFrame({"IMAGE": names, "CLASS": classes, "CONDITION": conditions})
    table.to_csv(root / "images.csv", index=False, lineterminator="\r\n")
    return files


def _write_portraits(folder: Path) -> list[Path]:
    from piqa.data.demo import SITTERS  # its sources, scikit-image and matplotlib, are needed for nothing else here

    files = []
    for number, sitter in enumerate(SITTERS):
        for size, extension in zip(SIZES, ("jpg", "tiff"), strict=True):
            file = folder / str(number) / f"{sitter.name}_{size[0]}x{size[1]}.{extension}"
            file.parent.mkdir(parents=True, exist_ok=True)
            ImageOps.fit(sitter.load(), size, Image.Resampling.BICUBIC, centering=(0.5, 0.0)).save(file)
            files.append(file)
    return files


def run_alone(root: Path, name: str, images: int) -> tuple[dict[str, float], list[Finding]]:
    """Run the script in a fresh process; return its measurements (none if it failed), and the finding."""
    figures = root / "figures.json"
    script = [f"models/model_{name}.py", str(figures)]
    patience = 1800 + 120 * images  # s; far beyond the limit, so that only what hangs is stopped
    try:
        run = subprocess.run(
            [sys.executable, "-I", str(FRESH), *script], cwd=root, capture_output=True, text=True, timeout=patience
        )
        fault = "" if run.returncode == 0 else (run.stderr.strip().splitlines() or ["no word"])[-1]
    except subprocess.TimeoutExpired:
        fault = f"not done after {patience} s"
    finding = Finding("runs without piqa", fault or "yes", "exit status 0", passed=not fault)
    return {} if fault else json.loads(figures.read_text(encoding="utf-8")), [finding]


def check_result(root: Path, name: str, expected: np.ndarray) -> Finding:
    """Check that the result has the rows and columns of `images.csv`, and the `expected` scores (NaN: any will do)."""
    given = pd.read_csv(root / "images.csv", dtype=str, keep_default_na=False)
    limit = f"all rows and columns, scores within {TOLERANCE:g}"
    try:
        result = pd.read_csv(root / "results" / f"result_{name}.csv", dtype=str, keep_default_na=False)
        scores = result.pop("SCORE").astype(float).to_numpy()
    except (OSError, KeyError, ValueError) as error:
        return Finding("result file", f"none that can be read ({error})", limit, passed=False)
    if not result.equals(given):
        return Finding("result file", "not the rows and columns of images.csv", limit, passed=False)
    if not np.isfinite(scores).all():
        return Finding("result file", f"{(~np.isfinite(scores)).sum()} scores are no numbers", limit, passed=False)
    difference = np.nanmax(np.abs(scores - expected) / np.maximum(1.0, np.abs(expected)))
    value = f"{len(given)} rows, scores differ by {difference:.2g} at most"
    return Finding("result file", value, limit, passed=bool(difference <= TOLERANCE))


def count_flops(scorer: Scorer, file: Path, test_crops: Crops) -> int:
    """Count floating-point operations of one image in all networks, two for each multiplication.

    The fused forms of attention, not all of which the counter knows, are off meanwhile. The scorer must have scored
    before, lest what it does only once (LIQE's text tower) be counted.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            scorer.score([file], test_crops=test_crops, batch_size=1, workers=0)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def _scores(scorer: Scorer, files: list[Path], test_crops: Crops) -> np.ndarray:
    return scorer.score(files, test_crops=test_crops, batch_size=1, workers=0)["score"].to_numpy(
        dtype=float, na_value=np.nan
    )


def _within(what: str, value: float, limit: float) -> Finding:
    return Finding(what, "not measured" if np.isnan(value) else f"{value:.3g}", f"{limit:g}", value <= limit)
