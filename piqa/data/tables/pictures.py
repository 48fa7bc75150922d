"""A folder of pictures without scores, for tasks that make their labels themselves."""

from pathlib import Path

import pandas as pd

from piqa.data.tables.splits import check_fractions, draw_splits, splits_with
from piqa.data.tables.table import Table, validate
from piqa.errors import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")  # in lower case
SCENE = "pictures"


class Pictures(Table):
    """The pictures of a folder, without scores, such as well-exposed photographs for `piqa.tasks.ExposureTask`.

    The column `score` is 0 throughout, and all pictures are one scene. Splits: folders are drawn where there are three
    or more that hold pictures, so that pictures of one folder stay together, and at least one for each split; else
    single pictures.

    Args:
        root: The folder.
        pattern: Which files below it: a pattern as of `Path.glob`. Of these, those with the ending of a picture count.
        val_fraction: Fraction of the folders or pictures for validation.
        test_fraction: Fraction for the test.
        seed: Seed of the draw.

    Raises:
        InputError: If the fractions leave nothing to train on.

    Examples:
        >>> Pictures(".", pattern="*.jpg", val_fraction=0, test_fraction=0).load()["image"].tolist()
        ['a.jpg', 'b.jpg']
    """

    def __init__(
        self,
        root: str | Path,
        pattern: str = "**/*",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        self.root, self.pattern = Path(root), pattern
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    def name(self) -> str:
        """The folder and its pattern."""
        return f"pictures {self.pattern} in {self.root}, drawn with seed {self.seed}"

    def load(self) -> pd.DataFrame:
        """Find the pictures and draw their splits.

        Raises:
            InputError: If there are too few pictures, or the pattern is none.
        """
        try:
            found = sorted(self.root.glob(self.pattern))
        except (ValueError, NotImplementedError) as error:
            raise InputError(f"`pattern` {self.pattern!r} is no pattern of files ({error}); try '**/*'") from error
        files = [file for file in found if file.suffix.lower() in ENDINGS and file.is_file()]
        if len(files) < 2:
            raise InputError(f"{len(files)} pictures match {self.pattern!r} in {self.root}; two or more are needed")
        images = [file.relative_to(self.root).as_posix() for file in files]
        folders = [image.rpartition("/")[0] for image in images]
        fractions, count = (self.val_fraction, self.test_fraction), len(set(folders))
        if by_folder := count >= 3:  # a tenth of five folders would be none
            val, test = (max(fraction, 1 / count) if fraction else 0.0 for fraction in fractions)
            fractions = (val, test) if val + test < 1 else fractions
        splits = draw_splits(folders if by_folder else images, *fractions, self.seed)
        for split in splits_with(val=self.val_fraction, test=self.test_fraction):
            if (left := splits.count(split)) < 2:
                raise InputError(
                    f"{len(files)} pictures in {self.root} leave {'one' if left else 'none'} for {split}, which is too "
                    "few; add pictures, or change `val_fraction` and `test_fraction`"
                )
        frame = pd.DataFrame({"image": images, "path": [str(file) for file in files], "score": 0.0, "scene": SCENE})
        return validate(frame.assign(split=splits), self.root, required_splits=("train",), check_files=False)
