"""The row on the published way to score one picture: as DN-PIQA's code does it, written after its description.

The picture and its face are each resized to a short side of 448 px, of which five crops of 384 px go through a backbone
of their own in float32; LIQE sees all windows of the picture at full resolution, cut in float32, of which it takes 15.
The face's place is given: the published code finds faces beforehand, and with another detector.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from torchvision.transforms import v2

from bench_rows.measure import PeakMemory, Row, Settings, in_child, in_turn
from bench_rows.scoring import all_windows_first, write_model, write_spoilt
from piqa import Scorer
from piqa.preparation.faces import Box, crop_face
from piqa.system.memory import keep_freed_memory
from piqa.weights import state_dicts

PUBLISHED_MARGIN = 20  # px around the box of a face
OFFICIAL, FLOAT32, BF16 = "official", "piqa, float32", "piqa, bf16"
Place = tuple[Path, Box | None]  # a picture, and where its face is


class Official:
    """The published way with the weights of one of our models.

    Args:
        scorer: The model, in float32.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._network, self._device = scorer.network, scorer.device
        side = scorer.crop_size
        cut = [v2.Resize(scorer.preparation.short_side), v2.FiveCrop(side)]
        self._cut = v2.Compose([*cut, lambda crops: torch.stack([v2.functional.pil_to_tensor(crop) for crop in crops])])
        liqe = scorer.preparation.liqe
        self._liqe = None if liqe is None else state_dicts.load_liqe(liqe).to(self._device)

    @torch.no_grad()
    def __call__(self, place: Place) -> float:
        """Return the score of a picture whose face is known; without one the whole picture is the face's."""
        file, box = place
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        face = image if box is None else crop_face(image, box, PUBLISHED_MARGIN)
        inputs = {
            name: self._cut(one).to(self._device).float() / 255 for name, one in (("whole", image), ("face_crop", face))
        }
        if self._liqe is not None:
            windows = all_windows_first(image).to(self._device).float() / 255
            inputs["liqe_logits"] = self._liqe.window_logits(windows[None]).expand(len(inputs["whole"]), -1)
        return float(self._network(**inputs)["score"].mean())


def official(settings: Settings) -> Row:
    """Time and weigh one picture by the published way, and by ours in float32 and with bfloat16 weights."""
    pictures, megapixels = (4, 0.3) if settings.smoke else (24, 12)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder, settings)
        files = write_spoilt(folder, pictures, megapixels)
        places = list(zip(files, boxes_of(model, files, settings), strict=True))
        calls = {way: call_of(way, model, settings) for way in (OFFICIAL, FLOAT32, BF16)}
        scores = {way: np.array([call(place) for place in places]) for way, call in calls.items()}
        ways = in_turn(
            {way: partial(call, places[0]) for way, call in calls.items()}, settings.times(3), "wall", settings.device
        )
        for way in ways:
            fresh = not settings.smoke
            ways[way]["peak_extra_mb"] = in_child(peak_of, way, model, places[0], settings, fresh=fresh)
    for way in (OFFICIAL, BF16):
        ways[way]["spearman_with_float32"] = float(spearmanr(scores[way], scores[FLOAT32]).statistic)
        ways[way]["scores_differ"] = float(np.abs(scores[way] - scores[FLOAT32]).max())
    return Row(
        row="official",
        what=f"a JPEG of about {megapixels} MP from file to score by a network of random weights; ours finds the "
        "face, the published way is told where it is; text features are there already; peak memory beyond that of the "
        f"loaded networks, in a fresh process; rank correlations over {pictures} spoilt portraits",
        ratio=ways[OFFICIAL]["cpu_s"] / max(ways[BF16]["cpu_s"], 1e-3),
        compared="CPU seconds of the published way : of ours with bfloat16 weights",
        expected=">= 2.5 with instructions for bfloat16, <= 1/2 of the memory, Spearman with float32 >= 0.999",
        clock="wall",
        ways=ways,
        facts={
            "float32_ratio": ways[OFFICIAL]["cpu_s"] / max(ways[FLOAT32]["cpu_s"], 1e-3),
            "memory_ratio": ways[OFFICIAL]["peak_extra_mb"] / max(ways[BF16]["peak_extra_mb"], 0.1),
        },
    )


def call_of(way: str, model: Path, settings: Settings) -> Callable[[Place], float]:
    """Return what scores a picture in one of the ways."""
    scorer = Scorer.load(model, device=str(settings.device), precision="bf16" if way == BF16 else "32")
    if way == OFFICIAL:
        return Official(scorer)
    return lambda place: float(scorer.score([place[0]], batch_size=1)["score"].iloc[0])


def boxes_of(model: Path, files: list[Path], settings: Settings) -> list[Box | None]:
    """Return where our detector finds the face of each picture, so that both ways see the same one."""
    scorer = Scorer.load(model, device=str(settings.device))
    preparer = scorer.preparation.preparer(scorer.device)
    found: list[Box | None] = []
    for file in files:
        with Image.open(file) as image:
            face = preparer.find_face(image.convert("RGB")).face
        found.append(None if face is None else face.box)
    return found


def peak_of(way: str, model: Path, place: Place, settings: Settings) -> float:
    """Return by how much memory grows while a picture is scored, in MB."""
    if way != OFFICIAL and settings.device.type == "cpu":
        keep_freed_memory()  # as the commands do
    call = call_of(way, model, settings)
    small = (place[0].with_name(f"small-{place[0].name}"), None)
    with Image.open(place[0]) as image:
        image.resize((240, 320)).save(small[0])
    call(small)  # imports, and what is computed once
    with PeakMemory(settings.device) as peak:
        call(place)
    return peak.mb
