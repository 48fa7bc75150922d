"""`python -m piqa.predict IMAGES_OR_FOLDERS --ckpt_path MODEL --out scores.csv`: scores images.

One row an image, in the order of the input or of a column: file, score, face_found, face box, turned, error, and with
`--factors true` what makes its quality. A bad image costs its row, not the run. An interrupted run goes on where it
stopped when the same command is given again. The exit status is 3 where images could not be read because of the machine
(the same command tries these again), 1 where all failed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path

from piqa.data.cuts import Crops
from piqa.engines.graph import Engine, is_exported
from piqa.errors import FileAccessError, InputError, NothingDoneError, late_imports, stopped_with
from piqa.scoring.devices import ScoringDevices
from piqa.scoring.file_list import expand
from piqa.scoring.options import Precision
from piqa.scoring.precision import tell_precision
from piqa.scoring.resumable_csv import Counts, ScoreParts
from piqa.scoring.row_order import row_order
from piqa.scoring.score_output import ScoreOutput
from piqa.scoring.scorer import Scorer
from piqa.system.command_line import run_command
from piqa.system.ownership import locked
from piqa.system.progress import told_if_slow
from piqa.system.sigterm import sigterm_stops
from piqa.weights.licences import check_commercial, licence_of, require_commercial
from piqa.weights.model_places import find_model
from piqa.weights.trust import Trust


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
    factors: bool = False,
    sort: str | None = None,
    commercial: bool = False,
    engine: Engine | None = None,
    ensemble: Sequence[str] | None = None,
    mc_dropout: int | None = None,
) -> None:
    """Score images and write a CSV, and beside it a summary of the run as JSON.

    Args:
        images: Images, and folders whose images are all scored.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, an official DN-PIQA checkpoint,
            the config of a network that needs no training, such as `clipiqa.yaml`, or a name: `piqa models` lists them,
            and `hf:owner/name` is a model of piqa's own on the Hugging Face Hub. Or an exported model, `.onnx`, `.xml`
            or `.ts`; the first two do without PyTorch.
        out: The CSV to write.
        list: Text file that names more images, one a line, more than a command line holds.
        test_crops: `five` crops whose scores are averaged, or `one` from the centre; `ten` and `two` are the same with
            their mirror images, for twice the arithmetic. For models that see crops.
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
        factors: Measure what makes the images' quality, too: a column for each factor, such as `face_stops`, and
            `factors_error`, which says why an image could not be measured.
        sort: A column by which the rows are sorted, the best first: `score`, another output of the model, or a factor,
            from the lowest value where neither more nor less is better. By default rows are in the images' order.
        commercial: Refuse a model that is not known to allow commercial use.
        engine: What runs the network: `torch`, `onnxruntime` or `openvino`; by default what the model's file is for.
            For the latter two a model that was not exported is converted once, and kept below `PIQA_HOME`.
        ensemble: More models of the same kind, such as runs with other seeds: `[runs/b, runs/c]`. The score is the mean
            of all on the scale of `ckpt_path`, which their cards tell; `score_std` is its standard deviation, and
            `model_std` that between the models.
        mc_dropout: Passes with dropout, such as 20, that tell `score_std` and `model_std`; the score stays as it is. A
            `DualBranch` has one dropout layer, before the last, which sees little of what the network does not know.

    Raises:
        InputError: If there is nothing to score, the model cannot be read, there is no column `sort`, or `out` cannot
            be written or is not piqa's.
        FileAccessError: If images could not be read because of the machine: the same command tries them again.
        NothingDoneError: If every image failed for a reason of its own.
        Stopped: By Ctrl-C or SIGTERM; what was scored is kept.
    """
    models = [ckpt_path, *(ensemble or [])]
    exported = any(map(is_exported, models))
    for model in models if commercial and not exported else ():
        require_commercial(model)
    by_runtime = exported or engine not in (None, "torch")
    devices_used = ScoringDevices(device, devices, nodes, batch_size, workers, by_runtime)
    output = ScoreOutput(out)
    output.check()
    first = devices_used.is_first_process()
    # Of several processes the first one holds the lock, decides what is left to score, and writes.
    with locked(output.table) if first else nullcontext():
        files = _listed(images, list, output, first)
        devices_used.share_cores(len(files))
        with told_if_slow("loading the model") if first else nullcontext():
            load = partial(
                _loader(engine, exported),
                liqe=liqe,
                device=devices_used.loading_device,
                precision=precision,
                prompts=prompts,
                try_turns=try_turns,
                trust=trust,
                engine=engine,
            )
            scorer = _loaded(load, models, mc_dropout)
        if commercial and exported:
            check_commercial(scorer.card, ckpt_path)
        if first:
            tell_precision(scorer.card, precision, ckpt_path)
        order = row_order(sort, scorer.numbers, factors)
        settings = scorer.settings(find_model(ckpt_path), factors) | {"crops": test_crops}
        parts = ScoreParts(output, scorer.columns_with(factors), settings)
        score = partial(
            devices_used.score, scorer, total=len(files), parts=parts, test_crops=test_crops, factors=factors
        )
        if not first:
            score(None)
            return
        start = time.perf_counter()
        scored_now = _score_left(parts, files, score, devices_used.several)
        used = devices_used.kind if devices_used.several else str(scorer.device)
        about = {"device": used, "devices": devices * nodes, "model": settings["model"], "test_crops": test_crops}
        about |= {"precision": precision, "liqe": liqe, "factors": factors, "sort": sort}
        about |= {name: settings[name] for name in ("ensemble", "mc_dropout", "score_std_factor") if name in settings}
        about |= {"licence": line} if (line := licence_of(scorer.card)) else {}

        def summary(counts: Counts) -> dict[str, object]:
            took = {"scored_now": scored_now, "seconds": round(time.perf_counter() - start, 3)}
            return asdict(counts) | took | about

        _check_counts(parts.finish(files, summary, order), output)


def _loader(engine: Engine | None, exported: bool) -> Callable[..., Scorer]:
    """Return what loads the model; what converts it for another engine needs PyTorch and more."""
    if exported or engine in (None, "torch"):
        return Scorer.load
    with late_imports():
        from piqa.conversion.converted import load_scorer

    return load_scorer


def _loaded(load: Callable[..., Scorer], models: Sequence[str], mc_dropout: int | None) -> Scorer:
    """Return the scorer of one model, with passes under dropout where they are asked for, or of an ensemble."""
    if len(models) == 1 and mc_dropout is None:
        return load(models[0])
    if len(models) > 1 and mc_dropout is not None:
        raise InputError("`ensemble` and `mc_dropout` are two ways to the same column; give one of them")
    with late_imports():  # both need more than scoring does
        from piqa.scoring.dropout_engine import with_dropout
        from piqa.scoring.ensemble import load_ensemble

    return load_ensemble(models, load) if mc_dropout is None else with_dropout(load(models[0]), mc_dropout)


def _listed(images: Sequence[str], names: str | None, output: ScoreOutput, first: bool) -> list[str]:
    """Return the images that are meant, none of which may be what will be written."""
    with told_if_slow("listing the images") if first else nullcontext():
        files = expand(images, names, tell=_tell if first else lambda line: None)
    _check_inputs(output, [*files, *([names] if names else [])])
    return files


def _score_left(parts: ScoreParts, files: Sequence[str], score: Callable[[Sequence[str]], None], several: bool) -> int:
    """Score the images without a row yet, and return their number."""
    with told_if_slow("looking up what is scored already"):
        left = parts.left(files)
    if done := len(files) - len(left):
        print(f"going on after {done} images that were scored before")
    with _kept(), nullcontext() if several else sigterm_stops():  # Lightning has a way of its own
        score(left)
    return len(left)


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
    words = "what was scored is kept: give the command again to go on"
    try:
        with stopped_with(words):
            yield
    except FileAccessError:
        raise
    except InputError as error:
        raise InputError(f"{error}; {words}") from error


def _check_counts(counts: Counts, output: ScoreOutput) -> None:
    """Tell the counts; raise an error where images could not be read, or none was scored. All files are written now."""
    turned = f"{counts.turned} turned, " if counts.turned else ""
    found = f"{counts.images} images, {counts.no_face} without a face, {turned}{counts.failed} failed"
    print(f"{found}: {output.table}")
    if counts.passing:
        raise FileAccessError(
            f"{counts.passing} of {counts.images} images could not be read because of the machine, as their rows in "
            f"{output.table} say; give the command again to try these alone"
        )
    if counts.failed == counts.images:
        raise NothingDoneError(f"no image could be scored; the column `error` of {output.table} says why")


if __name__ == "__main__":
    main()
