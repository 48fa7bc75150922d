"""`python -m piqa.predict PICTURES_OR_FOLDERS --ckpt_path MODEL --out scores.csv`: scores pictures.

One row a picture: file, score, face_found, face box, error. A bad picture costs its row, not the run. An interrupted
run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from piqa.arguments import Parser
from piqa.data.transforms import Crops
from piqa.digests import digest_of
from piqa.errors import InputError, one_line_errors
from piqa.files import replacing
from piqa.scorer import COLUMNS, Precision, Scorer
from piqa.weights import find_model


def main(args: list[str] | None = None) -> None:
    """Scores pictures, from the command line or from a list of its arguments."""
    parser = Parser(prog="piqa predict", description=__doc__)
    parser.add_argument("pictures", nargs="+", type=str, help="Pictures, and folders whose pictures are all scored.")
    parser.add_function_arguments(predict, skip={"pictures"})
    parsed = parser.parse_args(args)
    with one_line_errors():
        predict(**parser.instantiate(parsed).as_dict())


def predict(
    pictures: Sequence[str],
    ckpt_path: str,
    out: str = "scores.csv",
    crops: Crops = "five",
    batch_size: int = 4,
    device: str = "auto",
    precision: Precision = "32",
    workers: int = 0,
    liqe: str | None = None,
) -> None:
    """Scores pictures and writes a CSV, and beside it the run's figures as JSON.

    Args:
        pictures: Pictures, and folders whose pictures are all scored.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, or an official DN-PIQA checkpoint.
        out: The CSV to write.
        crops: `five` crops whose scores are averaged, or `one` from the centre, which is five times faster.
        batch_size: Pictures in one pass through the network.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: `32`, or mixed precision in `bf16` or `16`.
        workers: Processes that decode pictures and find faces; 0 does it in this one.
        liqe: LIQE's checkpoint, where it does not lie where it lay in training.

    Raises:
        InputError: If there is nothing to score, the model cannot be read, or `out` cannot be written.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"`batch_size` {batch_size} and `workers` {workers}: at least 1 and 0 are needed")
    files = expand(pictures)
    model = find_model(ckpt_path)
    settings = {"model": digest_of(model), "crops": crops, "precision": precision, "liqe": liqe}
    rows = _Rows(Path(out), settings)
    left = files[rows.resume(files) :]
    console = Console()
    if len(left) < len(files):
        console.print(f"going on after {len(files) - len(left)} pictures that were scored before", highlight=False)
    scorer = Scorer.load(model, liqe=liqe, device=device, precision=precision)
    start = time.perf_counter()
    with _bar(console) as bar:
        task = bar.add_task("scoring", total=len(files), completed=len(files) - len(left))

        def keep(part: pd.DataFrame) -> None:
            rows.append(part)
            bar.update(task, advance=len(part))

        scorer.score(left, crops=crops, batch_size=batch_size, workers=workers, progress=keep)
    seconds = time.perf_counter() - start
    table = rows.finish()
    failed = int(table["error"].notna().sum())
    figures = {
        "pictures": len(table),
        "failed": failed,
        "no_face": int((table["face_found"].astype(str) == "False").sum()),
        "scored_now": len(left),
        "seconds": round(seconds, 3),
        "device": str(scorer.device),
        **settings,
    }
    with replacing(Path(out).with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print(
        f"{len(table)} pictures, {figures['no_face']} without a face, {failed} failed: {out}",
        highlight=False,
        soft_wrap=True,
    )


def expand(pictures: Sequence[str]) -> list[str]:
    """The files that are meant: what is named, and every picture below each folder, in order of name.

    Raises:
        InputError: If something is not there, or a folder holds no picture.
    """
    Image.init()
    endings = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN} - {".pdf"}
    files: dict[str, None] = {}
    for picture in pictures:
        path = Path(picture)
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file())
            if not found:
                raise InputError(f"there is no picture in the folder {path}")
            files |= dict.fromkeys(map(str, found))
        elif path.exists():
            files[str(path)] = None
        else:
            raise InputError(f"there is no file or folder {path}")
    return list(files)


class _Rows:
    """The growing CSV: rows are kept in `.<name>.part` beside the target, so that an interrupted run can go on."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self._out, self._settings = out, settings
        self._part = out.with_name(f".{out.name}.part")
        self._made_with = out.with_name(f".{out.name}.part.json")

    def resume(self, files: Sequence[str]) -> int:
        """How many of the first files have their row already; starts over if the rows are of another run."""
        try:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            done = self._known(files)
            if done is None:
                self._made_with.write_text(json.dumps(self._settings), encoding="utf-8")
                done = pd.DataFrame(columns=COLUMNS)
            done.to_csv(self._part, index=False)  # without a last row that was cut short
        except OSError as error:
            raise InputError(f"cannot write {self._out}: {error.strerror}; choose another `--out`") from error
        return len(done)

    def _known(self, files: Sequence[str]) -> pd.DataFrame | None:
        try:
            if json.loads(self._made_with.read_text(encoding="utf-8")) != self._settings:
                return None
            whole_lines = self._part.read_bytes().rpartition(b"\n")[0]
            rows = pd.read_csv(BytesIO(whole_lines), dtype=str)
        except (OSError, ValueError):
            return None
        return rows if list(rows) == COLUMNS and rows["file"].tolist() == list(files[: len(rows)]) else None

    def append(self, part: pd.DataFrame) -> None:
        try:
            part.to_csv(self._part, mode="a", header=False, index=False)
        except OSError as error:
            raise InputError(
                f"cannot write {self._out}: {error.strerror}; what was scored is kept, give the command again to go on"
            ) from error

    def finish(self) -> pd.DataFrame:
        """Gives the rows their final name and reads them back."""
        self._part.replace(self._out)
        self._made_with.unlink(missing_ok=True)
        return pd.read_csv(self._out, dtype={"file": str, "error": str})


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


if __name__ == "__main__":
    main()
