"""What a submission does where the challenge runs it: `images.csv` in, all its columns and SCORE out."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from piqa.data.cuts import Crops
from piqa.errors import InputError, one_line_errors
from piqa.scoring.options import Precision
from piqa.scoring.scorer import Scorer
from piqa.system.csv_text import read_csv, require_columns
from piqa.system.files import replacing
from piqa.system.memory import keep_freed_memory

EXTENSIONS = (".tiff", ".tif", ".TIFF", ".TIF", ".jpg", ".JPG", ".jpeg")  # those of the kit


def run(root: Path, name: str, test_crops: Crops = "five", precision: Precision = "32") -> dict[str, float]:
    """Score the images that `images.csv` names, and write the result and the log.

    An image that cannot be read gets the median SCORE of its CLASS (of all images where the class has none, 0 where
    there is none at all), which neither lifts nor lowers it among its scene's, and a line in the log.

    Args:
        root: The folder that holds `images.csv`, `images`, `weights` and `assets`.
        name: The submission's `<LAST>_<FIRST>`.
        test_crops: `five` crops whose scores are averaged, or `one`.
        precision: As `Scorer`'s.

    Returns:
        `images`, `failed`, and `seconds` and `slowest`: of one image, mean and greatest, loading of the model not
        counted; on a GPU also `gpu_bytes`, the most that was reserved there.

    Raises:
        SystemExit: With status 2 and one line on stderr, also in the log, if there is nothing to score or no weights.
    """
    with one_line_errors(), _logging(root / "logs" / f"log_{name}.log") as log:
        table = read_csv(root / "images.csv")
        require_columns(table, ["IMAGE"], root / "images.csv", "the kit's header is IMAGE,CLASS,CONDITION")
        if table.empty:
            raise InputError(f"{root / 'images.csv'} names no image")
        weights = root / "weights" / f"weights_{name}.ckpt"
        scorer = Scorer.load(weights, liqe=weights, precision=precision)
        if scorer.device.type == "cpu":
            keep_freed_memory()
        _warm_up(scorer, test_crops)
        log.info("%d images on %s, %s crop(s), precision %s", len(table), scorer.device, test_crops, precision)
        scores: list[float] = []
        seconds: list[float] = []
        for image in table["IMAGE"]:
            start = time.perf_counter()
            row = scorer.score([find_image(root, image)], test_crops=test_crops, batch_size=1, workers=0).iloc[0]
            seconds.append(time.perf_counter() - start)
            scores.append(math.nan if pd.isna(row["score"]) else float(row["score"]))
            if math.isnan(scores[-1]):
                reason = row["error"] if isinstance(row["error"], str) else "its score is not a number"
                log.warning("%s gets the median of its class: %s", image, reason)
        classes = table.get("CLASS", pd.Series("", index=table.index))
        result = table.assign(SCORE=fill(pd.Series(scores, index=table.index, dtype=float), classes))
        with replacing(root / "results" / f"result_{name}.csv") as file:
            result.to_csv(file, index=False, lineterminator="\r\n")
        figures: dict[str, float] = {"images": len(table), "failed": sum(map(math.isnan, scores))}
        figures |= {"seconds": sum(seconds) / len(seconds), "slowest": max(seconds)}
        if scorer.device.type == "cuda":
            figures["gpu_bytes"] = torch.cuda.max_memory_reserved(scorer.device)
        log.info("done: %s", figures)
    return figures


def find_image(root: Path, image: str) -> Path:
    """Return the file that a cell of IMAGE means, with any slashes and any of the kit's extensions, if there is one."""
    path = root / image.replace("\\", "/")
    others = (path.with_suffix(extension) for extension in EXTENSIONS)
    return next((file for file in (path, *others) if file.is_file()), path)


def fill(scores: pd.Series[float], classes: pd.Series[str]) -> pd.Series[float]:
    """Fill gaps in scores by the median of the class, of all, or 0."""
    median = scores.groupby(classes).transform("median")
    return scores.fillna(median).fillna(scores.median()).fillna(0.0)


def _warm_up(scorer: Scorer, test_crops: Crops) -> None:
    """Score an empty image, so that what is loaded or computed once is not counted as an image's time."""
    with tempfile.TemporaryDirectory() as folder:
        blank = Path(folder) / "blank.png"
        Image.new("RGB", (1280, 960)).save(blank)
        scorer.score([blank], test_crops=test_crops, batch_size=1, workers=0)


@contextmanager
def _logging(path: Path) -> Iterator[logging.Logger]:
    """Open a log at `path`, also on stderr; an InputError that passes through is logged."""
    log = logging.getLogger(path.stem)
    log.setLevel(logging.INFO)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; is there room, and may you write there?") from error
    handlers: list[logging.Handler] = [file, logging.StreamHandler()]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
    try:
        yield log
    except InputError as error:
        log.error("%s", error)
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
