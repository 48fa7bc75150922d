"""GFIQA-20k, the faces on which the face branch is pretrained."""

from pathlib import Path

import pandas as pd

from piqa.data.tables.database import Database, read_columns
from piqa.data.tables.splits import check_fractions, draw_splits, splits_with
from piqa.errors import InputError

COLUMNS = {"image": "img_name", "score": "mos"}


class GFIQA(Database):
    """GFIQA-20k: 20,000 images of faces with mean opinion scores.

    Layout:

    ```
    root/
      image/                 the images
      mos_val_rating.csv     img_name, mos; one row per image
    ```

    Scores: MOS, higher is better, said to lie from 0 to 1; comparable between all images, so that they are one scene,
    "GFIQA".

    Splits: no official one is known, nor the one with which the published face branch was trained. Ours are the
    images with the lowest hash of seed and name: 14,000 train, 2,000 val and 4,000 test, the fractions of a public
    benchmark (IQA-PyTorch), but not its images. The draw depends neither on the order of the rows nor on which
    images are on disk. Who is in an image is not told, so one person may be in two splits.

    A catalogue counts 19,998 usable images: a few missing ones are left out with a warning.

    Terms: see the dataset's page. Citation: Su et al., "Going the Extra Mile in Face Image Quality Assessment: A Novel
    Database and Model", IEEE Transactions on Multimedia 26, 2024.

    Args:
        root: Folder of the dataset.
        labels: Label file, below `root` or absolute.
        images: Folder of the images, likewise.
        columns: Names of the columns where they differ, ours to theirs: `{image: file, score: MOS}`.
        val_fraction: Fraction of the images for validation.
        test_fraction: Fraction of the images for the test.
        seed: Seed of the draw.
        max_missing: Fraction of the images that may be missing.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If a fraction is out of range or `columns` maps what is none of ours.

    Examples:
        >>> GFIQA("data/gfiqa").name
        'GFIQA-20k, 10% val and 20% test drawn with seed 0'
    """

    title = "GFIQA"
    image_count = None  # 20,000; usable ones are fewer
    own_range = (0.0, 1.0)

    def __init__(
        self,
        root: str | Path,
        labels: str | Path = "mos_val_rating.csv",
        images: str | Path = "image",
        columns: dict[str, str] | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 0,
        max_missing: float = 0.01,
        check_files: bool = True,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        unknown = [name for name in columns or {} if name not in COLUMNS]
        if unknown:
            raise InputError(f"`columns` maps {', '.join(unknown)}, which is none of {', '.join(COLUMNS)}; correct it")
        root = Path(root)
        super().__init__(root / images, False, max_missing, check_files)
        self.labels, self.columns = root / labels, COLUMNS | (columns or {})
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    def name(self) -> str:
        """The dataset and its split."""
        return f"GFIQA-20k, {self.val_fraction:.0%} val and {self.test_fraction:.0%} test drawn with seed {self.seed}"

    def load(self) -> pd.DataFrame:
        """Read the labels, split, leave out missing images within `max_missing`, and check."""
        frame = read_columns(self.labels, self.columns, "map them in `columns`, such as {image: file, score: MOS}")
        frame["image"] = frame["image"].str.replace("\\", "/")
        frame["split"] = draw_splits(frame["image"].tolist(), self.val_fraction, self.test_fraction, self.seed)
        return self.finish(frame, self.labels, splits_with(val=self.val_fraction, test=self.test_fraction))
