"""The row on the light student: from a JPEG of 12 megapixels to a score on one core, beyond decoding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from bench_rows.measure import Row, Settings, in_turn, threads, write_jpegs
from piqa import Scorer
from piqa.models import LightStudent
from piqa.preparation.image_file import open_image
from piqa.preparation.portrait import Preparation
from piqa.system.memory import keep_freed_memory
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

GOAL = 0.060  # s of one core from the decoded image to its score
SIDES = (800, 640, 480, 320)  # px of the copy in which MTCNN looks for faces
SIDE = 480  # that of light.yaml
OURS = f"MTCNN, {SIDE} px"


def light(settings: Settings) -> Row:
    """Time the score of a portrait by the exported student, by what finds its face, against decoding alone."""
    megapixels, backbone, side = (0.3, "test_resnet", 32) if settings.smoke else (12, None, None)
    keep_freed_memory()  # as the commands do
    with tempfile.TemporaryDirectory() as name, threads(1):
        folder = Path(name)
        (file,) = write_jpegs(folder, 1, megapixels)
        network = LightStudent() if backbone is None or side is None else LightStudent(backbone, side)
        base = Preparation(
            short_side=network.image_size or 0,
            resize="stretch",
            colour="srgb",
            face_margin_fraction=0.075,
            detection_side=SIDE,
            reducing_gap=2.0,
        )
        ways: dict[str, Callable[[], object]] = {"decoding": partial(open_image, file, "srgb")}
        found = {}
        for way, preparation in preparations(base, settings.smoke):
            scorer = exported(network, preparation, folder)
            ways[way] = partial(scorer.score, [str(file)], batch_size=1)
            found[way] = bool(scorer.score([str(file)])["face_found"][0])
        ways["PyTorch, " + OURS] = partial(in_pytorch(network, base, folder).score, [str(file)], batch_size=1)
        measured = in_turn(ways, settings.times(5), "cpu", torch.device("cpu"))
    for way, figures in measured.items():
        figures["beyond_decoding_ms"] = 1000 * (figures["median_s"] - measured["decoding"]["median_s"])
        figures |= {"face_found": found[way]} if way in found else {}
    ours = measured[OURS]["beyond_decoding_ms"] / 1000
    return Row(
        row="light",
        what=f"a JPEG of {megapixels} MP to its score by the student of light.yaml, exported as ONNX, random weights; "
        "face detection, resizing and network, one thread; decoding is measured alone",
        ratio=GOAL / ours,
        compared=f"the goal of {1000 * GOAL:g} ms : CPU seconds beyond decoding with {OURS}",
        expected=">= 1",
        clock="cpu",
        ways=measured,
    )


def preparations(base: Preparation, smoke: bool) -> list[tuple[str, Preparation]]:
    """Return ways to find the face, by name; YuNet where its file is there."""
    sides = (SIDE,) if smoke else SIDES
    made = [(f"MTCNN, {side} px", replace(base, detection_side=side)) for side in sides]
    made.append((f"{OURS}, resized in one step", replace(base, reducing_gap=None)))
    made.append(("no face detection", replace(base, face_rule="none")))
    yunet = replace(base, detector="yunet", face_threshold=None, detection_side=640)
    try:
        yunet.preparer()
    except Exception:  # its file is not there
        return made
    return [*made, ("YuNet, 640 px", yunet)]


def in_pytorch(network: LightStudent, preparation: Preparation, folder: Path) -> Scorer:
    """Return a scorer of the model as a run leaves it."""
    card = ModelCard(ClassSpec.of(network), asdict(preparation), crop_size=network.image_size or 0)
    return Scorer.load(model_file.save(network, folder / "model.safetensors", card), device="cpu")


def exported(network: LightStudent, preparation: Preparation, folder: Path) -> Scorer:
    """Return a scorer of the model as ONNX."""
    from piqa.export import export

    in_pytorch(network, preparation, folder)
    file = folder / f"{preparation.fingerprint(None)}.onnx"
    few: dict[str, Any] = {"check_images": 3, "min_spearman": 0.0}  # exactness has tests of its own
    with redirect_stdout(StringIO()):
        export(str(folder / "model.safetensors"), "onnx", "32", str(file), **few)
    return Scorer.load(file, device="cpu")
