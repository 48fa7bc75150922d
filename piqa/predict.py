"""`python -m piqa.predict IMAGES_OR_FOLDERS --ckpt_path MODEL --out scores.csv`: scores images.

One row an image, in the order of the input: file, score, face_found, face box, error. A bad image costs its row, not
the run. An interrupted run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import torch
from rich.console import Console

from piqa.data.transforms import Crops
from piqa.errors import InputError
from piqa.scoring.file_list import expand
from piqa.scoring.options import Precision
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.scorer import Scorer
from piqa.system.command_line import run_command
from piqa.system.device import core_count, pick_device
from piqa.system.json_text import write_json
from piqa.system.memory import keep_freed_memory
from piqa.system.progress import progress
from piqa.weights.model_file import find_model
from piqa.weights.trust import Trust

PER_WORKER = 8  # images that justify starting one more process, which takes seconds
CORES_PER_WORKER = 4  # on a CPU: the published network takes several times what it takes to prepare an image for it
MOST_WORKERS = 32  # half a gigabyte each


def main(args: list[str] | None = None) -> None:
    """Score images, from the command line or from a list of its arguments."""
    text = "Images, and folders whose images are all scored."
    run_command(predict, args, "piqa predict", __doc__, "images", nargs="*", help=text)


def predict(
    images: Sequence[str],
    ckpt_path: str,
    out: str = "scores.csv",
    list: str | None = None,
    test_crops: Crops = "five",
    batch_size: int | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: Precision = "32",
    workers: int | None = None,
    liqe: str | None = None,
    prompts: dict[str, list[str]] | None = None,
    trust: Trust = None,
) -> None:
    """Score images and write a CSV, and beside it a summary of the run as JSON.

    Args:
        images: Images, and folders whose images are all scored.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, an official DN-PIQA checkpoint, or
            the config of a network that needs no training, such as `clipiqa.yaml`.
        out: The CSV to write.
        list: Text file that names more images, one a line, more than a command line holds.
        test_crops: `five` crops whose scores are averaged, or `one` from the centre; for models that see crops.
        batch_size: Images in one pass through the network; by default 4, or 16 on a GPU.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        devices: Number of devices of each machine that share the images.
        nodes: Number of machines; start the command on each by torchrun or Slurm, with `out` on a common disk.
        precision: `32`; or `bf16`, faster where the hardware multiplies matrices in bfloat16; or `16` for older GPUs.
        workers: Processes of each device that decode images and find faces; 0 does it in the scoring process. By
            default all cores of a GPU machine, and a fourth of them where the networks run on the same cores.
        liqe: Path of LIQE's checkpoint; default: the one in the model card.
        prompts: Your own prompts for CLIP-IQA: pairs by name, the better one first, such as
            `{pose: [A relaxed pose., A stiff pose.]}`. Each pair becomes a column; the first gives the score.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.

    Raises:
        InputError: If there is nothing to score, the model cannot be read, or `out` cannot be written.
    """
    run = _Devices(device, devices, nodes, batch_size, workers)
    files = expand(images, list)
    scorer = Scorer.load(
        ckpt_path, liqe=liqe, device=run.loading_device, precision=precision, prompts=prompts, trust=trust
    )
    settings = scorer.settings(find_model(ckpt_path)) | {"crops": test_crops}
    parts = ScoreParts(out, scorer.columns, settings)
    left = parts.left(files)
    console = Console(quiet=not run.is_first_process())
    if done := len(files) - len(left):
        console.print(f"going on after {done} images that were scored before", highlight=False)
    start = time.perf_counter()
    try:
        run.score(scorer, left, len(files), parts, test_crops)
    except InputError as error:
        raise InputError(f"{error}; what was scored is kept: give the command again to go on") from error
    if run.is_first_process():
        counts = parts.finish(files)
        summary = {**asdict(counts), "scored_now": len(left), "seconds": round(time.perf_counter() - start, 3)}
        summary |= {"device": run.kind if run.several else str(scorer.device), "devices": devices * nodes}
        summary |= {"model": settings["model"], "test_crops": test_crops, "precision": precision, "liqe": liqe}
        write_json(summary, parts.out.with_suffix(".json"))
        found = f"{counts.images} images, {counts.no_face} without a face, {counts.failed} failed: {parts.out}"
        console.print(found, highlight=False, soft_wrap=True)


class _Devices:
    """What scores the images: one device, or several of one or more machines; arguments as of `predict`."""

    def __init__(self, device: str, devices: int, nodes: int, batch_size: int | None, workers: int | None) -> None:
        if (batch_size is not None and batch_size < 1) or (workers is not None and workers < 0):
            raise InputError(f"`batch_size` {batch_size} and `workers` {workers}: at least 1 and 0 are needed")
        if devices < 1 or nodes < 1:
            raise InputError(f"`devices` {devices} and `nodes` {nodes}: at least 1 is needed")
        self.devices, self.nodes, self._batch_size, self._workers = devices, nodes, batch_size, workers
        self.several = devices * nodes > 1
        self.loading_device = device
        if self.several:
            from piqa.scoring import distributed  # Lightning takes seconds to import

            self._distributed = distributed
            self.kind, self.loading_device = distributed.accelerator_of(device, devices), "cpu"  # then each its own
        else:
            self.kind = pick_device(device).type

    def is_first_process(self) -> bool:
        """Whether this process is the one that talks and writes the table."""
        return not self.several or self._distributed.is_first_process()

    def score(self, scorer: Scorer, left: Sequence[str], total: int, parts: ScoreParts, test_crops: Crops) -> None:
        """Score the images that are left of all, and append their rows to the parts."""
        workers = _workers(self.kind, len(left), self.devices) if self._workers is None else self._workers
        batch_size = self._batch_size or (16 if self.kind == "cuda" else 4)
        if self.kind == "cpu":
            keep_freed_memory()
            cores = core_count() // self.devices - workers  # the workers have cores of their own
            torch.set_num_threads(max(1, min(torch.get_num_threads(), cores)))
        if left and self.several:
            module = self._distributed.ScoringModule(scorer, left, test_crops, batch_size, workers)
            self._distributed.score_on_devices(module, len(left), parts, self.kind, self.devices, self.nodes)
        elif left:
            with parts.writing(), progress(total, total - len(left)) as advance:
                for batch in scorer.batches(left, test_crops=test_crops, batch_size=batch_size, workers=workers):
                    parts.append(scorer.rows(batch), batch.stamps)
                    advance(len(batch.files))


def _workers(kind: str, images: int, devices: int) -> int:
    """Return the number of preparing processes of each device."""
    cores = core_count() // devices
    wanted = cores // CORES_PER_WORKER if kind == "cpu" else min(cores, MOST_WORKERS)
    return min(wanted, images // devices // PER_WORKER)


if __name__ == "__main__":
    main()
