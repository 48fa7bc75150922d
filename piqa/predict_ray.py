"""`python -m piqa.predict_ray IMAGES_OR_FOLDERS --ckpt_path MODEL --out scores/`: scores images on a Ray cluster.

Ray Data hands the list of images out to actors that hold a scorer each, and writes Parquet files of up to 1,000 rows
into a folder. An interrupted run goes on when the same command is given again: images with a row are left out, even
if they changed. The rows' order is that in which they were done; join them to anything by `file`, an absolute path.
Images that could not be read because of the machine have no row; the exit status is 3 then, and the same command tries
them again.

Needs the extra: `pip install "dn-piqa[ray]"`. Model, LIQE's checkpoint, images and output must lie where all machines
see them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import pandas as pd

from piqa.conversion.converted import load_scorer
from piqa.data.cuts import Crops
from piqa.engines.graph import Engine, is_exported
from piqa.errors import FileAccessError, InputError, NothingDoneError, Stopped
from piqa.scoring.file_list import expand
from piqa.scoring.image_batches import until_the_disk_is_gone
from piqa.scoring.options import Precision
from piqa.scoring.precision import tell_precision
from piqa.scoring.scorer import Row
from piqa.system.command_line import run_command
from piqa.system.json_text import json_text, write_json
from piqa.system.memory import keep_freed_memory
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import told_if_slow
from piqa.weights.licences import check_commercial, licence_of, require_commercial
from piqa.weights.model_file import find_model
from piqa.weights.registry import is_name
from piqa.weights.trust import Trust

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped, import-not-found, unused-ignore]

SETTINGS = "settings.json"
LICENCE = "licence"  # in the settings' file, where the model's is known; no row depends on it
FORMER_PART = re.compile(r"(\w+_)?[0-9a-f]{32}_\d{6}(_\d{6})?(-\d+)?\.parquet")
ROWS = 1000  # of a Parquet file, and what a kill costs an actor at most


class Loading(TypedDict):
    """What `load_scorer` is called with, here and by each actor."""

    liqe: str | None
    precision: Precision
    try_turns: bool
    trust: Trust
    engine: Engine | None


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
    trust: Trust = None,
    factors: bool = False,
    commercial: bool = False,
    engine: Engine | None = None,
) -> None:
    """Score images on a Ray cluster and write a folder of Parquet files.

    Args:
        images: Images, and folders whose images are all scored.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, an official DN-PIQA checkpoint, or
            a name that `piqa models` lists, which each machine fetches once.
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
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.
        factors: Measure what makes the images' quality, too: a column for each factor, as in `piqa.predict`.
        commercial: Refuse a model that is not known to allow commercial use.
        engine: What runs the network, as in `piqa.predict`; each machine converts the model once.

    Raises:
        InputError: If Ray is not installed, there is nothing to score, the model cannot be read, `out` cannot be
            written, is not piqa's or holds rows of other settings, or scoring fails. What was scored is kept.
        FileAccessError: If images could not be read because of the machine.
        NothingDoneError: If every image failed for a reason of its own.
    """
    exported = is_exported(ckpt_path)
    if commercial and not exported:
        require_commercial(ckpt_path)
    _require_ray()
    if actors < 1 or batch_size < 1:
        raise InputError(f"`actors` {actors} and `batch_size` {batch_size}: at least 1 is needed")
    folder = Path(out).resolve()
    with locked(folder, folder=True):
        run = claim_folder(folder, "scores", made_before=_made_before)
        files = _listed(images, list)
        model = ckpt_path if is_name(ckpt_path) else str(find_model(ckpt_path).resolve())
        how_loaded = {"liqe": liqe, "precision": precision, "try_turns": try_turns, "trust": trust, "engine": engine}
        loading = cast(Loading, how_loaded)
        # Here too, so that a mistake is told in one line and before any actor starts.
        scorer = load_scorer(model, device="cpu", **loading)
        if commercial and exported:
            check_commercial(scorer.card, ckpt_path)
        tell_precision(scorer.card, precision, ckpt_path)
        scorer.columns_with(factors)
        settings = scorer.settings(find_model(model), factors) | {"crops": test_crops}
        _same_settings(folder, settings, licence_of(scorer.card))
        left = _left(files, folder)
        if left:
            how: dict[str, object] = {"model": model, "gpu": gpus > 0, "loading": loading}
            how |= {"test_crops": test_crops, "batch_size": batch_size, "factors": factors}
            try:
                _score(left, folder, run, how, address, actors, cpus, gpus)
            except KeyboardInterrupt as error:
                raise Stopped(f"stopped by Ctrl-C; {_kept(folder)}") from error
        _report(files, folder)


def _listed(images: Sequence[str], names: str | None) -> list[str]:
    """Return the absolute paths of the images that are meant."""
    with told_if_slow("listing the images"):
        files = [str(Path(file).absolute()) for file in expand(images, names, tell=_warn)]
    if bad := next((file for file in files if file != file.encode(errors="replace").decode()), None):
        raise InputError(f"{bad!r} is no UTF-8, which names in Parquet are; rename it, or use piqa.predict")
    return files


def _left(files: Sequence[str], folder: Path) -> list[str]:
    """Return the images without a row."""
    done = set(_scored(folder, _warn))
    left = [file for file in files if file not in done]
    if len(left) < len(files):
        print(f"going on after {len(files) - len(left)} images that were scored before")
    return left


def _warn(line: str) -> None:
    print(f"piqa: warning: {line}", file=sys.stderr)


def _kept(folder: Path) -> str:
    return f"what was scored is kept in {folder}: give the command again to go on"


def _report(files: Sequence[str], folder: Path) -> None:
    """Tell how many images have a row; raise an error where some could not be read, or none could be scored."""
    rows = {file: failed for file, failed in _rows(folder, lambda line: None)}
    print(f"{len(rows)} images scored, {sum(rows.values())} of them failed: {folder}")
    missing = [file for file in files if file not in rows]
    if missing:
        raise FileAccessError(
            f"{len(missing)} of {len(files)} images could not be read because of the machine and have no row, such as "
            f"{missing[0]}{_reason(missing[0])}; give the command again to try these alone"
        )
    if all(rows[file] for file in files):
        raise NothingDoneError(f"no image could be scored; the column `error` of the rows in {folder} says why")


def _reason(file: str) -> str:
    try:
        with Path(file).open("rb") as content:
            content.read(1)
    except OSError as error:
        return f" ({error.strerror})"
    return ""


def _score(
    files: list[str],
    folder: Path,
    run: str,
    how: dict[str, object],
    address: str | None,
    actors: int,
    cpus: float,
    gpus: float,
) -> None:
    import ray
    from ray.data.datasource import FilenameProvider
    from ray.exceptions import RayError

    class Names(FilenameProvider):  # type: ignore[misc, unused-ignore]
        """Names files after the run; Ray adds what makes them unique. The second method is that of former versions."""

        def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
            return f"{run}_{write_uuid}_{task_index:06}.parquet"

        def get_filename_for_block(self, block: object, write_uuid: str, task_index: int, block_index: int) -> str:
            return f"{run}_{write_uuid}_{task_index:06}_{block_index:06}.parquet"

    handler = signal.getsignal(signal.SIGTERM)  # Ray sets one of its own, and leaves it there
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
        scores.write_parquet(str(folder), ray_remote_args={"num_cpus": 0}, filename_provider=Names())
    except RayError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise InputError(f"Ray could not score all images: {reason.strip()}; {_kept(folder)}") from error
    finally:
        if started_here:
            ray.shutdown()
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)


class ScoringActor:
    """What Ray starts on the machines: a scorer of tables of `file`, on the CPU or the GPU that Ray gives it.

    Args:
        model: As in `Scorer.load`.
        gpu: Whether Ray gives it a GPU.
        loading: The other arguments of `load_scorer`.
        test_crops: As in `Scorer.score`.
        batch_size: Likewise.
        factors: Likewise.
    """

    def __init__(
        self, model: str, gpu: bool, loading: Loading, test_crops: Crops, batch_size: int, factors: bool
    ) -> None:
        self._scorer = load_scorer(model, device="cuda" if gpu else "cpu", **loading)
        if not gpu:
            keep_freed_memory()
        self._test_crops, self._batch_size, self._factors = test_crops, batch_size, factors

    def __call__(self, images: pd.DataFrame) -> pa.Table:
        """Return the scores of the images in one block, with types that do not depend on the scores.

        As Arrow's table: Ray itself takes the type of a column without any value for that of nothing, and files of two
        types are not read together.

        An image that could not be read because of the machine has no row, so that the next run tries it again.
        """
        import pyarrow as pa

        batches = self._scorer.batches(
            images["file"], test_crops=self._test_crops, batch_size=self._batch_size, factors=self._factors
        )
        rows: list[Row] = []
        for batch in until_the_disk_is_gone(batches):
            of_batch = zip(self._scorer.rows(batch), batch.stamps, strict=True)
            rows += [row for row, stamp in of_batch if stamp is not None]
        table = self._scorer.table(rows, self._factors)
        texts = [name for name in table if table[name].dtype == object]
        return pa.Table.from_pandas(table.astype(dict.fromkeys(texts, "string")), preserve_index=False)


def _require_ray() -> None:
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise InputError('Ray is not installed: `pip install "dn-piqa[ray]"`, or use piqa.predict') from error


def _made_before(folder: Path) -> bool:
    """Whether version 0.1.0 wrote this folder, which has no marker: its settings, and Parquet as Ray names it."""
    others = [path.name for path in folder.iterdir() if path.name != SETTINGS and not path.name.startswith(".piqa")]
    return _settings(folder) is not None and all(FORMER_PART.fullmatch(name) for name in others)


def _settings(folder: Path) -> str | None:
    """Return the settings beside the rows, on which these depend, or None where there are none of ours."""
    try:
        content = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "model" not in content:
        return None
    return json_text({name: value for name, value in content.items() if name != LICENCE})


def _same_settings(folder: Path, settings: dict[str, object], licence: str | None) -> None:
    """Write the settings and the model's licence beside the rows, or check that the settings are those of the rows."""
    described = folder / SETTINGS
    if not described.exists():
        write_json(settings | ({LICENCE: licence} if licence else {}), described)
    elif _settings(folder) != json_text(settings):
        raise InputError(f"{folder} holds scores of another model or other settings; name another `--out`")


def _scored(folder: Path, tell: Callable[[str], None] = lambda line: None) -> Iterator[str]:
    """Yield the images that have a row, as of `_rows`."""
    yield from (file for file, _ in _rows(folder, tell))


def _rows(folder: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, bool]]:
    """Yield image and whether it failed, of each row.

    A file that cannot be read is told and left as it is: a kill cut it short, or the disk fails for a moment, or it is
    not piqa's.
    """
    from pyarrow import ArrowException, parquet  # type: ignore[import-untyped, import-not-found, unused-ignore]

    for path in sorted(folder.glob("*.parquet")):
        try:
            # As one file, not as a dataset, whose folder's other files count, too.
            table = parquet.ParquetFile(path).read(columns=["file", "score", "error"])
            if set(table.column_names) != {"file", "score", "error"}:
                tell(f"{path} holds no scores of piqa's, and was left out")
                continue
        except (ArrowException, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            tell(f"{path} was left out, as it cannot be read ({reason}); its images are scored again")
            continue
        failed = table["error"].is_valid().to_pylist()
        yield from zip(table["file"].to_pylist(), failed, strict=True)


if __name__ == "__main__":
    main()
