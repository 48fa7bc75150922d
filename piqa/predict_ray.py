"""`python -m piqa.predict_ray IMAGES_OR_FOLDERS --ckpt_path MODEL --out scores/`: scores images on a Ray cluster.

Ray Data hands the list of images out to actors that hold a scorer each, and writes Parquet files of up to 1,000 rows
into a folder. An interrupted run goes on when the same command is given again: images with a row are left out, even
if they changed. The rows' order is that in which they were done; join them to anything by `file`, an absolute path.

Needs the extra: `pip install "dn-piqa[ray]"`. Model, LIQE's checkpoint, images and output must lie where all machines
see them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from piqa.data.transforms import Crops
from piqa.errors import InputError
from piqa.scoring.file_list import expand
from piqa.scoring.options import Precision
from piqa.scoring.scorer import Scorer
from piqa.system.command_line import run_command
from piqa.system.json_text import json_text, write_json
from piqa.system.memory import keep_freed_memory
from piqa.weights.model_file import find_model

ROWS = 1000  # of a Parquet file, and what a kill costs an actor at most


def main(args: list[str] | None = None) -> None:
    """Score images, from the command line or from a list of its arguments."""
    text = "Images, and folders whose images are all scored."
    run_command(predict_ray, args, "piqa.predict_ray", __doc__, "images", nargs="*", help=text)


def predict_ray(
    images: Sequence[str],
    ckpt_path: str,
    out: str = "scores",
    list: str | None = None,
    address: str | None = None,
    actors: int = 1,
    cpus: float = 1,
    gpus: float = 0,
    test_crops: Crops = "five",
    batch_size: int = 4,
    precision: Precision = "32",
    liqe: str | None = None,
    try_turns: bool = True,
) -> None:
    """Score images on a Ray cluster and write a folder of Parquet files.

    Args:
        images: Images, and folders whose images are all scored.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, or an official DN-PIQA checkpoint.
        out: The folder to write.
        list: Text file that names more images, one a line.
        address: The cluster: `auto` for the one that this machine belongs to; by default Ray is started here alone.
        actors: Scorers that work side by side.
        cpus: Cores of each.
        gpus: GPUs of each. An actor prepares its images itself, on one core, so that several should share a GPU:
            0.125 lets eight do so.
        test_crops: `five` crops whose scores are averaged, or `one` from the centre, which is five times faster.
        batch_size: Images in one pass through the network.
        precision: `32`, `bf16` or `16`, as in `piqa.predict`.
        liqe: Path of LIQE's checkpoint; default: the one in the model card.
        try_turns: Look at an image without a sure face turned as well, as in `piqa.predict`.

    Raises:
        InputError: If Ray is not installed, there is nothing to score, the model cannot be read, `out` cannot be
            written or holds rows of other settings, or scoring fails. What was scored until then is kept.
    """
    _require_ray()
    if actors < 1 or batch_size < 1:
        raise InputError(f"`actors` {actors} and `batch_size` {batch_size}: at least 1 is needed")
    files = [str(Path(file).absolute()) for file in expand(images, list)]
    if bad := next((file for file in files if file != file.encode(errors="replace").decode()), None):
        raise InputError(f"{bad!r} is no UTF-8, which names in Parquet are; rename it, or use piqa.predict")
    model = str(find_model(ckpt_path).resolve())
    # Here too, so that a mistake is told in one line and before any actor starts.
    scorer = Scorer.load(model, liqe=liqe, device="cpu", precision=precision, try_turns=try_turns)
    folder = Path(out).resolve()
    _same_settings(folder, scorer.settings(model) | {"crops": test_crops})
    done = set(_scored(folder))
    left = [file for file in files if file not in done]
    console = Console()
    if len(left) < len(files):
        console.print(f"going on after {len(files) - len(left)} images that were scored before", highlight=False)
    if left:
        how: dict[str, object] = {"model": model, "liqe": liqe, "gpu": gpus > 0, "precision": precision}
        how |= {"test_crops": test_crops, "batch_size": batch_size, "try_turns": try_turns}
        _score(left, folder, how, address, actors, cpus, gpus)
    rows = sum(1 for _ in _scored(folder))
    console.print(f"{rows} images scored: {out}", highlight=False, soft_wrap=True)


def _score(
    files: list[str], folder: Path, how: dict[str, object], address: str | None, actors: int, cpus: float, gpus: float
) -> None:
    import ray
    from ray.exceptions import RayError

    if started_here := not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    blocks = max(actors, -(-len(files) // ROWS))
    images = ray.data.from_items([{"file": file} for file in files], override_num_blocks=blocks)
    scores = images.map_batches(
        ScoringActor,
        fn_constructor_kwargs=how,
        batch_size=None,
        batch_format="pandas",
        concurrency=actors,
        num_cpus=cpus,
        num_gpus=gpus,
    )
    try:
        # Without a core of their own: where the actors hold all, rows would otherwise be written at the end alone.
        scores.write_parquet(str(folder), ray_remote_args={"num_cpus": 0})
    except RayError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        advice = f"what was scored is kept in {folder}: give the command again to go on"
        raise InputError(f"Ray could not score all images: {reason.strip()}; {advice}") from error
    finally:
        if started_here:
            ray.shutdown()


class ScoringActor:
    """What Ray starts on the machines: a scorer of tables of `file`, on the CPU or the GPU that Ray gives it.

    The other arguments are as in `Scorer.load` and `Scorer.score`.
    """

    def __init__(
        self,
        model: str,
        liqe: str | None,
        gpu: bool,
        precision: Precision,
        test_crops: Crops,
        batch_size: int,
        try_turns: bool,
    ) -> None:
        device = "cuda" if gpu else "cpu"
        self._scorer = Scorer.load(model, liqe=liqe, device=device, precision=precision, try_turns=try_turns)
        if not gpu:
            keep_freed_memory()
        self._test_crops, self._batch_size = test_crops, batch_size

    def __call__(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return the scores of the images in one block, with types that do not depend on the scores."""
        table = self._scorer.score(images["file"], test_crops=self._test_crops, batch_size=self._batch_size)
        texts = [name for name in table if table[name].dtype == object]
        return table.astype(dict.fromkeys(texts, "string"))


def _require_ray() -> None:
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise InputError('Ray is not installed: `pip install "dn-piqa[ray]"`, or use piqa.predict') from error


def _same_settings(folder: Path, settings: dict[str, object]) -> None:
    """Write the settings beside the rows, or check that they are those of the rows that are there."""
    described = folder / "settings.json"
    if not described.is_file():
        write_json(settings, described)
    elif described.read_text(encoding="utf-8") != json_text(settings):
        raise InputError(f"{folder} holds scores of another model or other settings; name another `--out`")


def _scored(folder: Path) -> Iterator[str]:
    """Yield the images that have a row. A file that a kill cut short cannot be read, and is removed."""
    from pyarrow import ArrowInvalid, parquet  # type: ignore[import-untyped, import-not-found, unused-ignore]

    for path in sorted(folder.glob("*.parquet")):
        try:
            yield from parquet.read_table(path, columns=["file"])["file"].to_pylist()
        except (ArrowInvalid, OSError):
            path.unlink()


if __name__ == "__main__":
    main()
