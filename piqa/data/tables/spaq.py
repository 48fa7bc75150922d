"""SPAQ, photographs by smartphones with scores of five attributes."""

import warnings
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from piqa.data.tables.database import EXIF, Database
from piqa.data.tables.more_labels import SCORE
from piqa.data.tables.splits import check_fractions, draw_splits, draw_validation, splits_with
from piqa.data.tables.table import require_choice
from piqa.errors import InputError
from piqa.system.csv_text import as_numbers, listed, require_columns
from piqa.system.spreadsheet import read_sheet

Split = Literal["drawn", "numbered"]

ATTRIBUTES = ("Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness")
NAMES = tuple(name.lower() for name in ATTRIBUTES)
QUALITY = "quality"  # the MOS, where it is not the score
SCENES = {  # columns of the scenes, and LIQE's names for them
    "Animal": "animal",
    "Cityscape": "cityscape",
    "Human": "human",
    "Indoor scene": "indoor",
    "Landscape": "landscape",
    "Night scene": "night",
    "Plant": "plant",
    "Still-life": "still_life",
    "Others": "others",
}
EXIF_COLUMNS = dict(zip(EXIF, ("Focal length", "F-number", "Exposure time", "ISO", "Brightness", "Flash"), strict=True))
SCORES_FILE, SCENES_FILE, EXIF_FILE = (
    "MOS and Image attribute scores.xlsx",
    "Scene category labels.xlsx",
    "EXIF_tags.xlsx",
)
NAME, MEND = "Image name", "restore the database's own file"
CERTAIN = 0.3  # share of the people from which on a scene counts, so that at most three do
TRAINING_NUMBERS = 10_000  # images 00001.jpg to 10000.jpg


class SPAQ(Database):
    """SPAQ: 11,125 photographs by 66 smartphones, with scores of quality and of five attributes.

    Layout:

    ```
    root/
      TestImage/                                           00001.jpg .. 11125.jpg
      Annotations/MOS and Image attribute scores.xlsx      Image name, MOS, Brightness, Colorfulness, Contrast,
                                                           Noisiness, Sharpness
      Annotations/Scene category labels.xlsx               Image name and nine scenes; optional
      Annotations/EXIF_tags.xlsx                           Image name and what the camera noted; optional
    ```

    Reading .xlsx needs openpyxl (`pip install "dn-piqa[xlsx]"`); a .csv of the same name beside a file, exported by a
    spreadsheet program, is taken instead.

    Scores, all from 0 to 100, higher is better: MOS as `score`, and `score.brightness`, `score.colorfulness`,
    `score.contrast`, `score.noisiness` and `score.sharpness`. **Noisiness too is higher for less noise**: it rises with
    the MOS. The attributes follow the MOS closely (Spearman: sharpness 0.958, noisiness 0.893, contrast 0.875,
    colorfulness 0.844, brightness 0.784), so that a network that knows the MOS alone reaches such values: judge an
    attribute by its partial correlation, which `piqa evaluate` prints. With `attribute: colorfulness`, say, that is the
    `score`, and the MOS is `score.quality`.

    `scene_tags`: the scene that most people named, and any other that 30 % named. `exif_focal_length` .. `exif_flash`:
    as the sheet has them, NaN where a cell is empty or, with a warning, no number.

    Splits: no official one. `drawn`, by hash: 7,788 train, 1,112 val, 2,225 test; benchmarks draw 80/20. `numbered`, as
    a published study of colour used them: 9,000 train and 1,000 val, drawn from 00001 to 10000, and the last 1,125 for
    the test.

    Terms: "educational and research purposes only"; a commercial product needs the authors' leave (header of their code
    and Readme). Citation: Fang et al., "Perceptual Quality Assessment of Smartphone Photography", CVPR 2020.

    Args:
        root: Folder of the database.
        split: Which partition: drawn or numbered.
        annotations: Folder of the three sheets, below `root` or absolute.
        images: Folder of the images, likewise.
        val_fraction: Fraction of the images for validation; of `numbered`, of those for training.
        test_fraction: Fraction of the images for the test of `drawn`.
        seed: Seed of the draw.
        unit_range: Map scores of 0..100 to 0..1, those of the attributes too.
        attribute: The attribute whose scores are the `score`: brightness, colorfulness, contrast, noisiness or
            sharpness; None for the MOS.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If there is no such split or attribute, or a fraction is out of range.

    Examples:
        >>> SPAQ("data/spaq").name
        'SPAQ, 10% val and 20% test drawn with seed 0'
    """

    title = "SPAQ"
    image_count = 11125
    own_range = (0.0, 100.0)

    def __init__(
        self,
        root: str | Path,
        split: Split = "drawn",
        annotations: str | Path = "Annotations",
        images: str | Path = "TestImage",
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 0,
        unit_range: bool = False,
        max_missing: float = 0.0,
        check_files: bool = True,
        attribute: str | None = None,
    ) -> None:
        root = Path(root)
        super().__init__(root / images, unit_range, max_missing, check_files)
        require_choice(self.title, "split", split, get_args(Split))
        require_choice(self.title, "attribute", attribute or NAMES[0], NAMES)
        check_fractions(val_fraction, test_fraction)
        self._attribute = attribute
        self.split, self.annotations = split, root / annotations
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    def name(self) -> str:
        """The database, the attribute if there is one, and the split."""
        title = f"SPAQ {self.attribute}" if self.attribute else "SPAQ"
        if self.split == "numbered":
            return f"{title}, images 1 to 10,000 for training and the others for the test"
        return f"{title}, {self.val_fraction:.0%} val and {self.test_fraction:.0%} test drawn with seed {self.seed}"

    @property
    def attribute(self) -> str | None:
        """The attribute whose scores are the `score`; None for the MOS."""
        return self._attribute

    def load(self) -> pd.DataFrame:
        """Read the sheets, split, find the images and check."""
        source = self.annotations / SCORES_FILE
        scores = read_sheet(source)
        require_columns(scores, (NAME, "MOS", *ATTRIBUTES), source, MEND)
        columns = {QUALITY: "MOS", **dict(zip(NAMES, ATTRIBUTES, strict=True))}
        judged = self.attribute or QUALITY
        frame = pd.DataFrame({"image": scores[NAME], "score": as_numbers(scores[columns.pop(judged)], source)})
        for name, theirs in columns.items():
            frame[SCORE + name] = as_numbers(scores[theirs], source)
        if (scenes := self._of_images(SCENES_FILE, frame["image"])) is not None:
            frame["scene_tags"] = self._tags(scenes)
        if (exif := self._of_images(EXIF_FILE, frame["image"], "Source EXIF tags")) is not None:
            for name, theirs in EXIF_COLUMNS.items():
                if theirs in exif:
                    frame[name] = self._noted(exif[theirs], frame["image"])
        return self.finish(self._split(frame, source), source, self._required())

    def _required(self) -> list[str]:
        test = 1.0 if self.split == "numbered" else self.test_fraction
        return splits_with(val=self.val_fraction, test=test)

    def _split(self, frame: pd.DataFrame, source: Path) -> pd.DataFrame:
        if self.split == "drawn":
            drawn = draw_splits(frame["image"].tolist(), self.val_fraction, self.test_fraction, self.seed)
            return frame.assign(split=drawn)
        numbers = frame["image"].str.extract(r"^(\d+)\.\w+$")[0]
        other = frame.index[numbers.isna()]
        if len(other):
            raise InputError(
                f"row {other[0]} of {source} has the image {frame['image'][other[0]]!r}, which is not named by a "
                "number as SPAQ's; take `split: drawn`"
            )
        first = numbers.astype(int) <= TRAINING_NUMBERS
        return draw_validation(
            frame.assign(split=first.map({True: "train", False: "test"})), self.val_fraction, self.seed
        )

    def _of_images(self, file: str, images: "pd.Series[str]", sheet: str | None = None) -> pd.DataFrame | None:
        """Return another sheet's rows of these images, in their order; None where there is no such sheet."""
        source = self.annotations / file
        if not (source.is_file() or source.with_suffix(".csv").is_file()):
            return None
        rows = read_sheet(source, sheet)
        require_columns(rows, (NAME,), source, MEND)
        absent = images[~images.isin(rows[NAME])]
        if len(absent) or rows[NAME].duplicated().any():
            what = f"no row of {absent.iloc[0]}" if len(absent) else "an image more than once"
            raise InputError(f"{source} has {what}; {MEND}")
        return rows.set_index(NAME).loc[images.tolist()].set_axis(images.index)

    def _noted(self, cells: "pd.Series[str]", images: "pd.Series[str]") -> "pd.Series[float]":
        """Return what the camera noted; a cell that is no number costs no image, as nothing is learnt from it."""
        numbers = pd.to_numeric(cells, errors="coerce").astype(float)
        numbers = numbers.where(np.isfinite(numbers))
        bad = cells[numbers.isna() & cells.notna() & cells.astype(str).str.strip().ne("")]
        if len(bad):
            file = self.annotations / EXIF_FILE
            told = listed([f"{cell!r} of {image}" for cell, image in zip(bad, images[bad.index], strict=True)])
            warnings.warn(
                f"{cells.name} in {file} has cells that are no numbers: {told}; they stay empty", stacklevel=3
            )
        return numbers

    def _tags(self, scenes: pd.DataFrame) -> list[str]:
        source = self.annotations / SCENES_FILE
        require_columns(scenes, SCENES, source, MEND)
        shares = pd.DataFrame({tag: as_numbers(scenes[name], source) for name, tag in SCENES.items()})
        counts = shares.ge(CERTAIN) | shares.eq(shares.max(axis=1), axis=0) & shares.gt(0)
        return [";".join(shares.columns[row]) for row in counts.to_numpy()]
