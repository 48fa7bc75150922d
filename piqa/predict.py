"""`python -m piqa.predict IMAGES_OR_FOLDERS --ckpt_path MODEL --out scores.csv`: scores images.

One row an image, in the order of the input: file, score, face_found, face box, error. A bad image costs its row, not
the run. An interrupted run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console

from piqa.data.transforms import Crops
from piqa.errors import InputError, one_line_errors
from piqa.scoring.file_list import expand
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.scorer import Precision, Scorer
from piqa.system.command_line import Parser
from piqa.system.device import core_count
from piqa.system.json_text import write_json
from piqa.system.progress import progress
from piqa.weights.model_file import find_model

PER_WORKER = 8  # images that justify starting one more process, which takes seconds
CORES_PER_WORKER = 4  # on a CPU: the published network takes several times what it takes to prepare an image for it
MOST_WORKERS = 32  # half a gigabyte each


def main(args: list[str] | None = None) -> None:
    """Scores images, from the command line or from a list of its arguments."""
    parser = Parser(prog="piqa predict", description=__doc__)
    parser.add_argument("images", nargs="*", type=str, help="Images, and folders whose images are all scored.")
    parser.add_function_arguments(predict, skip={"images"})
    parsed = parser.parse_args(args)
    with one_line_errors():
        predict(**parser.instantiate(parsed).as_dict())


def predict(
    images: Sequence[str],
    ckpt_path: str,
    out: str = "scores.csv",
    names: str | None = None,
    crops: Crops = "five",
    batch_size: int | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: Precision = "32",
    workers: int | None = None,
    liqe: str | None = None,
    pairs: dict[str, list[str]] | None = None,
) -> None:
    """Scores images and writes a CSV, and beside it the run's figures as JSON.

    Args:
        images: Images, and folders whose images are all scored.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, an official DN-PIQA checkpoint, or
            the config of a network that needs no training, such as `clipiqa.yaml`.
        out: The CSV to write.
        names: A text file that names more images, one a line, more than a command line holds.
        crops: `five` crops whose scores are averaged, or `one` from the centre, which is five times faster. Of no
            account to a model that sees whole images, or windows.
        batch_size: Images in one pass through the network; by default 4, or 16 on a GPU.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        devices: How many devices of each machine share the images.
        nodes: How many machines do; start the command on each by torchrun or Slurm, with `out` on a common disk.
        precision: `32`; or `bf16`, faster where the hardware multiplies matrices in bfloat16; or `16` for older GPUs.
        workers: Processes of each device that decode images and find faces; 0 does it in the scoring process. By
            default all cores of a GPU machine, and a fourth of them where the networks run on the same cores.
        liqe: LIQE's checkpoint, where it does not lie where it lay in training.
        pairs: Your own prompts for CLIP-IQA, two by name, the better one first, such as
            `{pose: [A relaxed pose., A stiff pose.]}`: each pair is a column, the first gives the score.

    Raises:
        InputError: If there is nothing to score, the model cannot be read, or `out` cannot be written. What was scored
            until then is kept, and the same command goes on from there.
    """
    several = _several(devices, nodes, batch_size, workers)
    if several:
        from piqa.scoring import distributed  # Lightning takes seconds to import

        kind, device = distributed.accelerator_of(device, devices), "cpu"  # until each process knows its own
    files = expand(images, names)
    model = find_model(ckpt_path)
    scorer = Scorer.load(model, liqe=liqe, device=device, precision=precision, pairs=pairs)
    if not several:
        kind = scorer.device.type
    settings = scorer.settings(model) | {"crops": crops}
    parts = ScoreParts(out, scorer.columns, settings)
    left = parts.left(files)
    console = Console(quiet=several and not distributed.is_first_process())
    if len(left) < len(files):
        console.print(f"going on after {len(files) - len(left)} images that were scored before", highlight=False)
    workers = _workers(kind, len(left), devices) if workers is None else workers
    how: dict[str, Any] = {
        "crops": crops,
        "workers": workers,
        "batch_size": batch_size or (16 if kind == "cuda" else 4),
    }
    if kind == "cpu":  # the workers have cores of their own
        torch.set_num_threads(max(1, min(torch.get_num_threads(), core_count() // devices - workers)))
    start = time.perf_counter()
    try:
        if several and left:
            module = distributed.ScoringModule(scorer, left, **how)
            distributed.score_on_devices(module, len(left), parts, kind, devices, nodes)
        elif left:
            _score(scorer, left, len(files), parts, how)
    except InputError as error:
        raise InputError(f"{error}; what was scored is kept: give the command again to go on") from error
    if several and not distributed.is_first_process():
        return
    figures = {
        "scored_now": len(left),
        "seconds": round(time.perf_counter() - start, 3),
        "device": kind if several else str(scorer.device),
        "devices": devices * nodes,
        **{name: settings[name] for name in ("model", "crops", "precision")},
        "liqe": liqe,
    }
    _finish(parts, files, figures, console)


def _several(devices: int, nodes: int, batch_size: int | None, workers: int | None) -> bool:
    """Whether more than one device is asked for, with numbers that make sense."""
    if (batch_size is not None and batch_size < 1) or (workers is not None and workers < 0):
        raise InputError(f"`batch_size` {batch_size} and `workers` {workers}: at least 1 and 0 are needed")
    if devices < 1 or nodes < 1:
        raise InputError(f"`devices` {devices} and `nodes` {nodes}: at least 1 is needed")
    return devices * nodes > 1


def _score(scorer: Scorer, left: Sequence[str], total: int, parts: ScoreParts, how: dict[str, Any]) -> None:
    with parts.writing(), progress(total, total - len(left)) as advance:
        for batch in scorer.batches(left, **how):
            parts.append(scorer.rows(batch), batch.stamps)
            advance(len(batch.files))


def _finish(parts: ScoreParts, files: Sequence[str], figures: dict[str, Any], console: Console) -> None:
    counts = parts.finish(files)
    write_json(asdict(counts) | figures, parts.out.with_suffix(".json"))
    console.print(
        f"{counts.images} images, {counts.no_face} without a face, {counts.failed} failed: {parts.out}",
        highlight=False,
        soft_wrap=True,
    )


def _workers(kind: str, images: int, devices: int) -> int:
    """Preparing processes of each device."""
    cores = core_count() // devices
    wanted = cores // CORES_PER_WORKER if kind == "cpu" else min(cores, MOST_WORKERS)
    return min(wanted, images // devices // PER_WORKER)


if __name__ == "__main__":
    main()
