"""`python -m piqa.predict IMAGES_OR_FOLDERS --ckpt_path MODEL --out scores.csv`: scores images.

One row an image, in the order of the input: file, score, face_found, face box, turned, error. A bad image costs its
row, not the run. An interrupted run goes on where it stopped when the same command is given again. The exit status is
3 where images could not be read because of the machine (the same command tries these again), 1 where all failed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch

from piqa.data.transforms import Crops
from piqa.errors import STOPPED, FileAccessError, InputError, NothingDoneError, Stopped
from piqa.scoring.file_list import expand
from piqa.scoring.image_batches import until_the_disk_is_gone
from piqa.scoring.options import Precision
from piqa.scoring.resumable_csv import Counts, ScoreParts
from piqa.scoring.score_output import ScoreOutput
from piqa.scoring.scorer import Scorer
from piqa.system.command_line import run_command
from piqa.system.device import core_count, pick_device
from piqa.system.memory import keep_freed_memory
from piqa.system.ownership import locked
from piqa.system.progress import progress, told_if_slow
from piqa.system.sigterm import sigterm_stops
from piqa.weights.licences import licence_of, require_commercial
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
    try_turns: bool = True,
    trust: Trust = None,
    commercial: bool = False,
) -> None:
    """Score images and write a CSV, and beside it a summary of the run as JSON.

    Args:
        images: Images, and folders whose images are all scored.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, an official DN-PIQA checkpoint,
            the config of a network that needs no training, such as `clipiqa.yaml`, or a name: `piqa models` lists them,
            and `hf:owner/name` is a model of piqa's own on the Hugging Face Hub.
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
        try_turns: Look at an image without a sure face turned by 90, 180 and 270 degrees as well, and score that which
            shows the surest face; the column `turned` tells which images were turned.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.
        commercial: Refuse a model that is not known to allow commercial use.

    Raises:
        InputError: If there is nothing to score, the model cannot be read, or `out` cannot be written or is not piqa's.
        FileAccessError: If images could not be read because of the machine: the same command tries them again.
        NothingDoneError: If every image failed for a reason of its own.
        Stopped: By Ctrl-C or SIGTERM; what was scored is kept.
    """
    if commercial:
        require_commercial(ckpt_path)
    run = _Devices(device, devices, nodes, batch_size, workers)
    output = ScoreOutput(out)
    output.check()
    first = run.is_first_process()
    # Of several processes the first one holds the lock, decides what is left to score, and writes.
    with locked(output.table) if first else nullcontext():
        with told_if_slow("listing the images") if first else nullcontext():
            files = expand(images, list, tell=_tell if first else lambda line: None)
        _check_inputs(output, [*files, *([list] if list else [])])
        with told_if_slow("loading the model") if first else nullcontext():
            scorer = Scorer.load(
                ckpt_path,
                liqe=liqe,
                device=run.loading_device,
                precision=precision,
                prompts=prompts,
                try_turns=try_turns,
                trust=trust,
            )
            settings = scorer.settings(find_model(ckpt_path)) | {"crops": test_crops}
            parts = ScoreParts(output, scorer.columns, settings)
        if not first:
            run.score(scorer, None, len(files), parts, test_crops)
            return
        with told_if_slow("looking up what is scored already"):
            left = parts.left(files)
        if done := len(files) - len(left):
            print(f"going on after {done} images that were scored before")
        start = time.perf_counter()
        with _kept(), nullcontext() if run.several else sigterm_stops():  # Lightning has a way of its own
            run.score(scorer, left, len(files), parts, test_crops)

        def summary(counts: Counts) -> dict[str, object]:
            content = {**asdict(counts), "scored_now": len(left), "seconds": round(time.perf_counter() - start, 3)}
            content |= {"licence": line} if (line := licence_of(scorer.card)) else {}
            content |= {"device": run.kind if run.several else str(scorer.device), "devices": devices * nodes}
            return content | {
                "model": settings["model"],
                "test_crops": test_crops,
                "precision": precision,
                "liqe": liqe,
            }

        counts = parts.finish(files, summary)
        turned = f"{counts.turned} turned, " if counts.turned else ""
        found = f"{counts.images} images, {counts.no_face} without a face, {turned}{counts.failed} failed"
        print(f"{found}: {output.table}")
        _check_counts(counts, output)


def _tell(line: str) -> None:
    print(f"piqa: warning: {line}", file=sys.stderr)


def _check_inputs(output: ScoreOutput, inputs: Sequence[str]) -> None:
    """Check that no input is what will be written; InputError if one is."""
    written = {str(output.table.resolve()), str(output.summary.resolve())}
    names = {Path(path).name for path in written}
    for file in inputs:
        if os.path.basename(file) in names and os.path.realpath(file) in written:  # noqa: PTH119 -- of a million
            raise InputError(f"{file} is an input and would be replaced; name another `--out`")


@contextmanager
def _kept() -> Iterator[None]:
    """Say, whatever ends the scoring, that its rows are kept."""
    try:
        yield
    except FileAccessError:
        raise
    except InputError as error:
        raise InputError(f"{error}; what was scored is kept: give the command again to go on") from error
    except KeyboardInterrupt as error:
        status = error.exit_status if isinstance(error, Stopped) else STOPPED
        how = str(error) or "stopped by Ctrl-C"
        raise Stopped(f"{how}; what was scored is kept: give the command again to go on", status) from error


def _check_counts(counts: Counts, output: ScoreOutput) -> None:
    """Raise an error where images could not be read, or none could be scored; all files are written by now."""
    if counts.passing:
        raise FileAccessError(
            f"{counts.passing} of {counts.images} images could not be read because of the machine, as their rows in "
            f"{output.table} say; give the command again to try these alone"
        )
    if counts.failed == counts.images:
        raise NothingDoneError(f"no image could be scored; the column `error` of {output.table} says why")


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

    def score(
        self, scorer: Scorer, left: Sequence[str] | None, total: int, parts: ScoreParts, test_crops: Crops
    ) -> None:
        """Score the images that are left of all, and append their rows to the parts; `left` is the first process's."""
        images = total if left is None else len(left)
        workers = _workers(self.kind, images, self.devices) if self._workers is None else self._workers
        batch_size = self._batch_size or (16 if self.kind == "cuda" else 4)
        if self.kind == "cpu":
            keep_freed_memory()
            cores = core_count() // self.devices - workers  # the workers have cores of their own
            torch.set_num_threads(max(1, min(torch.get_num_threads(), cores)))
        if self.several:
            module = self._distributed.ScoringModule(scorer, left, parts, test_crops, batch_size, workers)
            # None: this is another process than the first, which waits for it. By torchrun, say, all meet in any case.
            if left is None or left or self._distributed.is_launched():
                self._distributed.score_on_devices(module, self.kind, self.devices, self.nodes)
        elif left:
            batches = scorer.batches(left, test_crops=test_crops, batch_size=batch_size, workers=workers)
            with (
                parts.writing(),
                progress(total, total - len(left)) as advance,
                closing(until_the_disk_is_gone(batches)) as readable,
            ):
                for batch in readable:
                    parts.append(scorer.rows(batch), batch.stamps)
                    advance(len(batch.files))


def _workers(kind: str, images: int, devices: int) -> int:
    """Return the number of preparing processes of each device."""
    cores = core_count() // devices
    wanted = cores // CORES_PER_WORKER if kind == "cpu" else min(cores, MOST_WORKERS)
    return min(wanted, images // devices // PER_WORKER)


if __name__ == "__main__":
    main()
