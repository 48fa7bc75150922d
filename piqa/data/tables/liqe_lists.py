"""LIQE's lists: ten splits of six databases, with a distortion and up to three scenes for every image."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from piqa.data.tables.database import Database, read_lines
from piqa.data.tables.splits import draw_splits, splits_with
from piqa.data.tables.table import require_choice
from piqa.errors import InputError
from piqa.models.liqe import SCENES

Split = Literal["liqe", "official", "drawn"]

REPOSITORY = "zwx8981/LIQE"  # on GitHub; has the lists, not the images
CHECKOUTS = ("LIQE", "LIQE-main")  # the repository cloned, or downloaded as a zip
SPLIT_COUNT = 10
COLUMNS = ("image", "score", "distortion", "scene_1", "scene_2", "scene_3")
NO_SCENE = "invalid"

_RAW = {  # LIQE's groups and what the lists write for them (train_unique_clip_weight.py)
    "jpeg2000 compression": ("jpeg2000 compression", "fastfading"),
    "jpeg compression": ("jpeg compression",),
    "noise": (
        "white noise",
        "fnoise",
        "white with color",
        "impulse",
        "multiplicative",
        "white noise with denoise",
        "realistic noise",
    ),
    "blur": ("gaussian blur", "lens", "motion", "shifting", "realistic blur"),
    "color": ("diffusion", "oversaturation", "desaturation"),
    "contrast": ("contrast", "sharpness", "realistic contrast change"),
    "overexposure": ("brighten", "overexposure"),
    "underexposure": ("darken", "underexposure"),
    "spatial": ("jitter", "noneccentricity patch", "pixelate", "color blocking"),
    "quantization": ("color quantization", "quantization"),
    "other": ("shifting the mean", "other realistic"),
}
GROUPS = {raw: group for group, labels in _RAW.items() for raw in labels}


class LIQEDatabase(Database):
    """One of the six databases that LIQE was trained on.

    The lists are in the GitHub repository zwx8981/LIQE. They are looked for in `root/splits2`, and in
    `IQA_Database/<database>/splits2` of that repository, cloned as LIQE in or beside `root`.

    Args:
        root: Folder of the database.
        split: `liqe`: one of LIQE's ten, which also bring `distortion` and `scene_tags`. `official`: the database's
            own, where it has one. `drawn`: ours, 70 / 10 / 20 % by default, from the database's own labels.
        number: Which of LIQE's ten splits, 1 to 10.
        lists: Folder of LIQE's lists (`splits2`), if it is another.
        labels: The database's own labels, below `root` or absolute, if they have another name; for `official` and
            `drawn`.
        images: Folder of the images, likewise.
        val_fraction: Fraction of the images, or of the references, that `drawn` takes for validation.
        test_fraction: The same for the test.
        seed: Seed of `drawn`.
        mend: Correct known errors in LIQE's lists; only `LIVE` has some.
        unit_range: Map the range of the scores to 0..1.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If there is no such split.
    """

    splits: ClassVar[tuple[Split, ...]] = ("liqe", "drawn")
    liqe_folder: ClassVar[str]  # below IQA_Database
    liqe_name: ClassVar[str]  # first word of the lists' names
    liqe_range: ClassVar[tuple[float, float]]  # scale of the lists' scores
    labels_range: ClassVar[tuple[float, float]]  # scale of the database's own, turned upwards
    labels_name: ClassVar[str]  # the database's own label file
    images_name: ClassVar[str]  # folder of the images; the lists write it in front of every name

    def __init__(
        self,
        root: str | Path,
        split: Split = "liqe",
        number: int = 1,
        lists: str | Path | None = None,
        labels: str | Path | None = None,
        images: str | Path | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 0,
        mend: bool = True,
        unit_range: bool = False,
        max_missing: float = 0.0,
        check_files: bool = True,
    ) -> None:
        self.root = Path(root)
        images = self.images_name if images is None else images
        super().__init__(self.root / images, unit_range, max_missing, check_files)
        require_choice(self.title, "split", split, self.splits)
        if not 1 <= number <= SPLIT_COUNT:
            raise InputError(f"LIQE has splits 1 to {SPLIT_COUNT}, not {number}; correct `number`")
        self.split, self.number, self.mend = split, number, mend
        self.lists = None if lists is None else Path(lists)
        self.labels = self.root / (self.labels_name if labels is None else labels)
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    def name(self) -> str:
        """The database and its split."""
        if self.split == "liqe":
            return f"{self.title}, LIQE's split {self.number}"
        if self.split == "official":
            return f"{self.title}, official split"
        drawn = f"{self.val_fraction:.0%} val and {self.test_fraction:.0%} test drawn with seed {self.seed}"
        return f"{self.title}, {drawn}"

    @property
    def own_range(self) -> tuple[float, float]:
        """The scale of the lists, or that of the database's own labels."""
        return self.liqe_range if self.split == "liqe" else self.labels_range

    def load(self) -> pd.DataFrame:
        """Read LIQE's lists or the database's own labels, split, find the images and check."""
        if self.split == "liqe":
            folder = self._find_lists()
            frame = self._listed(read_lists(folder, self.liqe_name, self.images_name))
            return self.finish(frame, folder, ("train", "val", "test"))
        frame = self._own_labels()
        fractions = {"val": 1.0, "test": 1.0}
        if self.split == "drawn":
            units = frame["reference" if "reference" in frame else "image"].tolist()
            frame["split"] = draw_splits(units, self.val_fraction, self.test_fraction, self.seed)
            fractions = {"val": self.val_fraction, "test": self.test_fraction}
        return self.finish(frame, self.labels, splits_with(**fractions))

    @abstractmethod
    def _own_labels(self) -> pd.DataFrame:
        """Return the database's own labels: `image`, `score` (higher is better), `split` where official, and extras."""

    def _listed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return LIQE's lists with what a database adds (its `reference`) or corrects."""
        return frame

    def _find_lists(self) -> Path:
        if self.lists is not None:
            places = [self.lists]
        else:
            below = Path("IQA_Database") / self.liqe_folder / "splits2"
            checkouts = [parent / name for parent in (self.root, self.root.parent) for name in CHECKOUTS]
            places = [self.root / "splits2", *(checkout / below for checkout in checkouts)]
        for place in places:
            if (place / str(self.number)).is_dir():
                return place / str(self.number)
        raise InputError(
            f"there are no lists of {self.name} (looked in {', '.join(map(str, places))}); they are in the GitHub "
            f"repository {REPOSITORY}: clone it beside the database or name their folder in `lists`"
        )


def read_lists(folder: Path, name: str, images: str) -> pd.DataFrame:
    """Read one of LIQE's splits: `<name>_train_clip.txt`, `<name>_val_clip.txt` and `<name>_test_clip.txt`.

    Returns:
        `image` (without the folder `images`, which the lists write in front), `score` (as text), `distortion` (LIQE's
        group), `scene_tags` and `split`; the index is file and row.

    Raises:
        InputError: If a list is absent or a row is not as LIQE's are.
    """
    parts = []
    for split in ("train", "val", "test"):
        source = folder / f"{name}_{split}_clip.txt"
        part = read_lines(source, COLUMNS, separator="\t").apply(lambda column: column.str.strip())
        part["distortion"] = _known(part["distortion"], GROUPS, "distortion", source)
        scenes = [part.pop(column) for column in COLUMNS[3:]]
        for column in scenes:
            _known(column, dict.fromkeys((*SCENES, NO_SCENE), ""), "scene", source)
        tags = zip(*scenes, strict=True)
        part["scene_tags"] = [";".join(tag for tag in three if tag != NO_SCENE) for three in tags]
        part["split"] = split
        parts.append(part.set_axis([f"{source.name}:{row}" for row in part.index]))
    frame: pd.DataFrame = pd.concat(parts)
    frame["image"] = frame["image"].str.replace("\\", "/").str.removeprefix(f"{images}/")
    return frame


def _known(column: pd.Series[str], names: dict[str, str], what: str, source: Path) -> pd.Series[str]:
    """Return the column translated; raise an InputError at the first unknown value."""
    unknown = column[~column.isin(list(names))]
    if len(unknown):
        raise InputError(
            f"row {unknown.index[0]} of {source} has the {what} {unknown.iloc[0]!r}, which LIQE does not know; "
            "restore the list"
        )
    return column.map(names)
