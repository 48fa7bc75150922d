"""A user's own CSV file as a table."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from piqa.data.tables.more_labels import is_more, more_of
from piqa.data.tables.paths import similar_files
from piqa.data.tables.splits import hold_out_scenes
from piqa.data.tables.table import OPTIONAL_COLUMNS, Table, validate
from piqa.errors import InputError
from piqa.system.csv_text import read_csv, read_header, require_columns

NEEDED = ("image", "score", "scene")
KNOWN = (*NEEDED, "split", *OPTIONAL_COLUMNS)


class CSVTable(Table):
    """Images and scores in a CSV file of your own.

    One row per image, separated by commas, semicolons or tabs, in UTF-8 or UTF-16; with decimal commas where no comma
    separates. Spaces and the case of the header do not matter:

    ```
    image,score,scene
    garden/001.jpg,3.2,garden
    garden/002.jpg,1.7,garden
    ```

    `image` is a path below `root`, with slashes of either kind, or absolute. A name that differs from the file's in
    case or in how accents are spelled is that file's if it is no other's; of a path of another machine the end that is
    found below `root` counts. `score` is higher for better images and
    is compared within a scene only. Optional columns are `score_std` (standard deviation of the score), `split`
    (train, val or test in any case), `condition` and `device`. Without `split`, whole scenes are held out for the test.
    Scores of further attributes are `score.<attribute>`, such as `score.details`, with `score_std.<attribute>`; classes
    are `class.<name>`, 1 or 0. Their cells may be empty.
    Everything but the numbers is text: scene `007` stays `007`.

    Args:
        csv: The label file.
        root: Folder of the images; by default the folder of the label file.
        columns: Names of the columns where they differ, ours to theirs: `{score: MOS, image: file}`.
        test_fraction: Fraction of the scenes held out for the test where there is no `split` column; 0: none, 1: all.
        seed: Seed of the draw of those scenes.
        required_splits: Splits that must hold images where there is a `split` column; `[test]` for a table that is
            only evaluated.
        check_files: Whether every image must be on disk; off, predictions can be judged without the images.

    Raises:
        InputError: If `columns` maps an unknown name or `test_fraction` is not in [0, 1].

    Examples:
        >>> rows = {"image": ["a.jpg", "b.jpg"], "score": [3.2, 1.7], "scene": ["hall", "hall"]}
        >>> pd.DataFrame(rows).to_csv("scores.csv", index=False)
        >>> table = CSVTable("scores.csv", test_fraction=1)
        >>> table.load()[["image", "score", "scene", "split"]].values.tolist()
        [['a.jpg', 3.2, 'hall', 'test'], ['b.jpg', 1.7, 'hall', 'test']]
    """

    def __init__(
        self,
        csv: str | Path,
        root: str | Path | None = None,
        columns: dict[str, str] | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        required_splits: Sequence[str] = ("train", "test"),
        check_files: bool = True,
    ) -> None:
        self.csv = Path(csv)
        self.root = self.csv.parent if root is None else Path(root)
        self.columns, self.required_splits = columns or {}, tuple(required_splits)
        self.test_fraction, self.seed, self.check_files = test_fraction, seed, check_files
        unknown = [name for name in self.columns if name not in KNOWN and not is_more(name)]
        if unknown:
            raise InputError(f"`columns` maps {', '.join(unknown)}, which is none of {', '.join(KNOWN)}; correct it")
        if not 0 <= test_fraction <= 1:
            raise InputError(f"`test_fraction` must lie between 0 and 1 (0.2: one scene in five), not {test_fraction}")

    @property
    def name(self) -> str:
        """The file, and where its test images come from."""
        if "split" in self._read():
            return f"{self.csv.name}, its own split"
        return f"{self.csv.name}, {self.test_fraction:.0%} of the scenes held out with seed {self.seed}"

    def load(self) -> pd.DataFrame:
        """Read, check and, where the file names no split, divide the images by scene."""
        frame = self._read()
        frame["image"] = frame["image"].str.replace("\\", "/")
        frame["path"] = (
            _found(self.root, frame["image"].tolist()) if self.check_files else _joined(self.root, frame["image"])
        )
        rows, required, named = frame.index.tolist(), self.required_splits, "split" in frame
        if not named:
            frame["split"], required = "test" if self.test_fraction == 1 else "train", ()
        table = validate(frame, self.csv, rows=rows, required_splits=required, check_files=self.check_files)
        if named or self.test_fraction in (0, 1):
            return table
        return hold_out_scenes(table, self.test_fraction, self.seed, target="test")

    def _read(self) -> pd.DataFrame:
        """Return the known columns under our names; a `split` column without any value counts as absent."""
        more = [*more_of(self.columns), *self._unmapped_more()]
        numbers = [self.columns.get(name, name) for name in ("score", "score_std", *more)]
        known = [*KNOWN, *more]
        labels = read_csv(self.csv, numbers=numbers, names=[self.columns.get(name, name) for name in known])
        require_columns(labels, self.columns.values(), self.csv, "correct `columns`")
        names = {name: self.columns.get(name, name) for name in known}
        need = [names[name] for name in NEEDED]
        require_columns(labels, need, self.csv, "rename it, or map it in `columns`, such as {score: MOS}")
        frame = pd.DataFrame({name: labels[theirs] for name, theirs in names.items() if theirs in labels})
        return frame.drop(columns="split") if "split" in frame and not any(frame["split"]) else frame

    def _unmapped_more(self) -> list[str]:
        """Return the file's columns of further labels that are called as here, in any case."""
        split = [name.partition(".") for name in read_header(self.csv)]
        found = [f"{kind.casefold()}.{label}" for kind, dot, label in split if dot]
        taken = {*self.columns, *self.columns.values()}
        return [name for name in found if is_more(name) and name not in taken]


def _joined(root: Path, images: Iterable[str]) -> list[str]:
    """Return each image's path; an empty cell stays empty, so that the check names its row."""
    return [str(root / image) if image else "" for image in images]


def _found(root: Path, images: Sequence[str]) -> list[str]:
    """Return each image's file, where it is not as the table names it one that can be meant."""
    paths = _joined(root, images)
    absent = [place for place, path in enumerate(paths) if path and not Path(path).is_file()]
    for place, path in zip(absent, similar_files(root, [images[place] for place in absent]), strict=True):
        paths[place] = path or paths[place]
    return paths
