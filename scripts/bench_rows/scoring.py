"""Rows on scoring: LIQE's logits, and the whole way from a file to a score."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy.stats import spearmanr
from torch.nn import functional

from bench_rows.measure import Figures, PeakMemory, Row, Settings, in_child, in_turn, portrait, write_jpegs
from bench_rows.other_models import SMALL
from piqa import Scorer
from piqa.models import LIQE, DualBranch
from piqa.models.backbone import SWIN_B_384
from piqa.models.liqe import LIQE_LOGITS
from piqa.models.liqe_windows import STRIDE, WINDOW, WINDOWS, cut_windows
from piqa.preparation.portrait import Portrait, Preparation
from piqa.system.memory import keep_freed_memory
from piqa.weights import model_file

FIVE_CROPS = 5


def liqe(settings: Settings) -> Row:
    """Measure LIQE's logits of an image: cutting 15 windows, against unfolding all of them first."""
    megapixels = 0.5 if settings.smoke else 12
    ways = in_child(liqe_ways, megapixels, settings.times(3), settings, fresh=not settings.smoke)
    cut, grid = ways.values()
    return Row(
        row="liqe",
        what=f"LIQE's logits of an image of {megapixels} MP, random weights, in a fresh process; the text features, "
        "the same for all images, are there already; memory is that of the host, beyond network and image",
        ratio=grid["peak_extra_mb"] / max(cut["peak_extra_mb"], 0.1),
        compared="peak extra memory of all windows first : of cutting 15",
        expected=">= 20, and faster",
        clock="wall",
        ways=ways,
        facts={"times_faster": grid["median_s"] / cut["median_s"]},
    )


def liqe_ways(megapixels: float, repeats: int, settings: Settings) -> dict[str, Figures]:
    """Measure one way, in the child process of `liqe`."""
    device = settings.device
    network = LIQE(architecture=SMALL["liqe"] if settings.smoke else None).to(device)
    width = network.clip.text_projection.shape[1]
    features = functional.normalize(torch.randn(LIQE_LOGITS, width, device=device), dim=-1)
    network.text_features = lambda: features  # type: ignore[method-assign]
    image = portrait(megapixels)

    @torch.inference_mode()
    def logits(windows: Callable[[Image.Image], torch.Tensor]) -> np.ndarray:
        answer: np.ndarray = network.window_logits(windows(image).unsqueeze(0).to(device))[0].float().cpu().numpy()
        return answer

    calls = {"15 cut": partial(logits, cut_windows), "all windows first": partial(logits, all_windows_first)}
    ways = in_turn(calls, repeats, "wall", device)
    answers = []
    for name, call in calls.items():
        with PeakMemory(torch.device("cpu")) as peak:
            answers.append(call())
        ways[name]["peak_extra_mb"] = peak.mb
    if not np.allclose(*answers, atol=1e-3):
        raise RuntimeError(f"the two ways give other logits, by up to {np.abs(answers[0] - answers[1]).max()}")
    return ways


def all_windows_first(image: Image.Image) -> torch.Tensor:
    """Cut windows as published: every window of the grid in float32, then 15 of them."""
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float()
    windows = pixels.unfold(1, WINDOW, STRIDE).unfold(2, WINDOW, STRIDE).permute(1, 2, 0, 3, 4)
    windows = windows.reshape(-1, 3, WINDOW, WINDOW)
    step = len(windows) // WINDOWS
    return windows[: step * WINDOWS : step].to(torch.uint8)  # which the network scales and normalises


def scoring(settings: Settings) -> Row:
    """Time the way from file to score with five crops: batched in bf16, against one image at a time in float32."""
    # Among few images the rank agreement is coarse: two neighbours of 12 that change places cost 0.007.
    agreeing, timed, megapixels = (6, 2, 0.2) if settings.smoke else (48, 4, 12)
    if settings.device.type == "cpu":
        keep_freed_memory()  # as the commands do
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder), settings)
        files = write_spoilt(Path(folder), agreeing, megapixels)
        slow = Scorer.load(model, device=str(settings.device), precision="32")
        fast = Scorer.load(model, device=str(settings.device), precision="bf16")

        def one_by_one() -> None:
            for file in files[:timed]:
                slow.score([file], batch_size=1)

        portraits = prepared(slow, files[:timed])
        ways = in_turn(
            {
                "batched, bf16 weights": lambda: fast.score(files[:timed], batch_size=timed),
                "one by one, float32": one_by_one,
                "networks alone, batched, bf16": lambda: fast.score_portraits(portraits, batch_size=timed),
                "networks alone, one by one, float32": lambda: slow.score_portraits(portraits, batch_size=1),
            },
            settings.times(3),
            "wall",
            settings.device,
        )
        exact, quick = (scorer.score(files)["score"].to_numpy(dtype=float) for scorer in (slow, fast))
    for way in ways.values():
        way["images_per_s"] = timed / way["median_s"]
    seconds = [way["median_s"] for way in ways.values()]
    return Row(
        row="scoring",
        what=f"{timed} JPEGs of about {megapixels} MP, {FIVE_CROPS} crops of whole image and face each, "
        f"{slow.card.network.init_args['backbone']} twice with random weights, LIQE: "
        f"{slow.preparation.liqe is not None}; agreement over {agreeing} spoilt portraits",
        ratio=seconds[1] / seconds[0],
        compared="images/s batched with bf16 weights : one at a time in float32",
        expected=">= 3 (on a CPU with AMX), rank agreement >= 0.999",
        clock="wall",
        ways=ways,
        facts={
            "networks_alone_ratio": seconds[3] / seconds[2],
            "rank_agreement": float(spearmanr(exact, quick).statistic),
            "largest_difference": float(np.abs(exact - quick).max()),
            "spread_of_scores": float(exact.std()),
        },
    )


def prepared(scorer: Scorer, files: list[Path]) -> list[Portrait]:
    """Return files as portraits with random logits instead of LIQE's, to measure the backbones alone."""
    preparer = replace(scorer.preparation, liqe=None).preparer(scorer.device)
    logits = np.random.default_rng(0).normal(20, 3, LIQE_LOGITS).astype(np.float32)
    return [replace(preparer(file), liqe_logits=logits) for file in files]


def write_model(folder: Path, settings: Settings) -> Path:
    """Write a model of the published network with random weights, LIQE's beside it; a tiny one for the smoke test."""
    torch.manual_seed(0)
    if settings.smoke:
        network, preparation = DualBranch("test_resnet", ("whole", "face"), 64), Preparation(short_side=72)
    else:
        network, preparation = DualBranch(SWIN_B_384), Preparation(liqe=str(folder / "LIQE.pt"))
        torch.save(LIQE().clip.state_dict(), folder / "LIQE.pt")
    card = {
        "network": {"class_path": "piqa.models.DualBranch", "init_args": network.init_args},
        "preparation": asdict(preparation),
        "crop": network.image_size,
    }
    return model_file.save(network, folder / "model.safetensors", card)


def write_spoilt(folder: Path, number: int, megapixels: float) -> list[Path]:
    """Write portraits of falling quality in other framings: blurred, darker, noisier, compressed."""
    files = []
    for index, file in enumerate(write_jpegs(folder, number, megapixels)):
        with Image.open(file) as image:
            width, height = image.size
            inset = round(min(width, height) * 0.02 * (index % 5))
            framed = image.crop((inset, 0, width - inset // 2, height - inset))
        spoilt = framed.filter(ImageFilter.GaussianBlur(index % 4 * width / 1500))
        spoilt = spoilt.point(lambda value, gain=1 - 0.05 * (index % 7): value * gain)
        files.append(folder / f"spoilt-{index:02}.jpg")
        spoilt.save(files[-1], quality=95 - 6 * (index % 6))
    return files
