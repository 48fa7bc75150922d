"""LSVQ, the videos on which the whole-image branch is pretrained."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from piqa.data.tables.splits import splits_with
from piqa.data.tables.table import Table, leave_out_missing, validate
from piqa.errors import InputError
from piqa.system.csv_text import read_csv, read_text, require_columns

LIST_LINE = re.compile(r"(?P<file>.+?)\s*,\s*-?\d+\s*,\s*-?\d+\s*,\s*(?P<mos>[^,]*)")  # of FAST-VQA's lists
IS_TEST = {"true": "test", "false": "train"}


class LSVQ(Table):
    """LSVQ: 39,000 videos of the Internet Archive and of YFCC, with 5.5 million ratings.

    Layout:

    ```
    root/
      ia-batch1/  ...  yfcc-batch1/  ...  backup/    videos, <name>.mp4
      labels_train_test.csv                          the authors' labels: name, mos, is_test, ...; one row a video
    ```

    A few names end in `.mp4` themselves: `ia-batch9/x.mp4` is the file `ia-batch9/x.mp4.mp4`. The labels may also be
    the authors' in parts (`LSVQ_whole_train.csv`, and `LSVQ_whole_test.csv` with `LSVQ_whole_test_1080p.csv` in
    `tests`), or the lists of FAST-VQA: lines such as `yfcc-batch1/725.mp4, -1, -1, 76.84375`, without a header.

    Scores: MOS, 2.4 to 91.4, higher is better; comparable between all videos, so that they are one scene, "LSVQ".

    Videos: 28,056 train, mean MOS 59.8; 7,220 test (7,186 in FAST-VQA's list), 3,561 test in 1080p (3,573). Rows with
    `is_valid` False are kept, as in the published training.

    Splits: the last 20 % of the training rows, in their order in the file, are for validation: 22,444 train, 5,612 val,
    as published (MinimalisticVQA). Rows with `is_test` and everything in `tests` are for the test.

    Terms: see the dataset's page. Citation: Ying et al., "Patch-VQ: 'Patching Up' the Video Quality Problem", CVPR
    2021.

    Args:
        root: Folder of the videos.
        labels: Label file, below `root` or absolute.
        tests: Label files of test videos alone, likewise.
        val_fraction: Fraction of the training rows, the last of them, for validation.
        max_missing: Fraction of the rows of a label file whose videos may be missing; they are left out with a warning.
        check_files: Whether videos must be on disk.

    Raises:
        InputError: If a fraction is out of range.

    Examples:
        >>> LSVQ("data/lsvq").name
        'LSVQ, last 20% of the training rows for validation'
    """

    def __init__(
        self,
        root: str | Path,
        labels: str | Path = "labels_train_test.csv",
        tests: Sequence[str | Path] = (),
        val_fraction: float = 0.2,
        max_missing: float = 0.0,
        check_files: bool = True,
    ) -> None:
        if not 0 <= val_fraction < 1 or not 0 <= max_missing <= 1:
            raise InputError(
                f"LSVQ: `val_fraction` ({val_fraction:g}) must lie in [0, 1) and `max_missing` ({max_missing:g}) in "
                "[0, 1]"
            )
        self.root = Path(root)
        self.labels = self.root / labels
        self.tests = [self.root / file for file in tests]
        self.val_fraction, self.max_missing, self.check_files = val_fraction, max_missing, check_files

    @property
    def name(self) -> str:
        """The dataset and its split."""
        return f"LSVQ, last {self.val_fraction:.0%} of the training rows for validation"

    def load(self) -> pd.DataFrame:
        """Read the labels, split, leave out missing videos within `max_missing`, and check.

        `image` is the authors' name of the video, without the suffix that its file adds; `path` is the video.
        """
        parts = [self._read(file) for file in (self.labels, *self.tests)]
        sources = ", ".join(str(file) for file in (self.labels, *self.tests))
        table = pd.concat(parts)
        shared = table.loc[table["image"].duplicated(), "image"].tolist()
        if shared:
            found = f"{len(shared)} video(s), such as {shared[0]}, are in more than one of {sources}"
            raise InputError(f"{found}; remove them from all but one")
        return validate(table, sources, required_splits=splits_with(val=self.val_fraction), check_files=False)

    def _read(self, source: Path) -> pd.DataFrame:
        """Read and check one label file on its own, so that a message names file and row."""
        listed = _read_list(source)
        frame = _read_csv(source) if listed is None else listed
        if source in self.tests:
            if "train" in set(frame["split"]):
                row = frame.index[frame["split"] == "train"][0]
                raise InputError(f"row {row} of {source} is for training (is_test); name that file in `labels` alone")
            frame["split"] = "test"
        training = frame.index[frame["split"] != "test"]
        count = int((1 - self.val_fraction) * len(training))  # cut off, as published
        frame.loc[training[:count], "split"] = "train"
        frame.loc[training[count:], "split"] = "val"
        frame["scene"] = "LSVQ"
        frame["path"] = [str(self.root / f"{image}.mp4") if image else "" for image in frame["image"]]
        if self.check_files:
            frame = leave_out_missing(frame, source, self.max_missing)
        return validate(frame, source, rows=frame.index.tolist(), required_splits=(), check_files=self.check_files)


def _read_csv(source: Path) -> pd.DataFrame:
    """Read the authors' labels: `image`, `score` and, from `is_test` where there is one, `split`."""
    labels = read_csv(source, names=("name", "mos", "is_test"))
    require_columns(labels, ("name", "mos"), source, "restore the dataset's own file, or a list of FAST-VQA")
    frame = pd.DataFrame({"image": labels["name"].str.replace("\\", "/"), "score": labels["mos"], "split": ""})
    if "is_test" in labels:
        frame["split"] = labels["is_test"].str.lower().map(IS_TEST)
        unknown = labels.loc[frame["split"].isna(), "is_test"]
        if len(unknown):
            raise InputError(
                f"row {unknown.index[0]} of {source} has is_test {unknown.iloc[0]!r}, which is neither True nor False; "
                "restore the dataset's own file"
            )
    return frame


def _read_list(source: Path) -> pd.DataFrame | None:
    """Read FAST-VQA's labels: `image`, `score`, and an empty `split`; None if the first line is none of theirs."""
    try:
        lines = enumerate(read_text(source, errors="replace").splitlines(), start=1)
    except InputError:  # left to `read_csv`
        return None
    matches = {row: LIST_LINE.fullmatch(line.strip()) for row, line in lines if line.strip()}
    if not any(list(matches.values())[:1]):
        return None
    rows = {}
    for row, match in matches.items():
        if match is None:
            raise InputError(f"row {row} of {source} is not `<file>.mp4, -1, -1, <mos>` as the first; correct it")
        rows[row] = match["file"].replace("\\", "/").removesuffix(".mp4"), match["mos"], ""
    return pd.DataFrame.from_dict(rows, orient="index", columns=["image", "score", "split"])
