"""TAD66K, photographs rated for their aesthetics within themes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from piqa.data.tables.database import Database, read_columns
from piqa.data.tables.splits import draw_validation, splits_with
from piqa.data.tables.table import require_choice
from piqa.errors import InputError

Split = Literal["merge", "unmerge"]


class TAD66K(Database):
    """TAD66K: 66,327 photographs of 47 themes, each with at least 1,200 ratings.

    Layout:

    ```
    root/
      TAD66K/                              the images, long side 800 px; names such as 43751877@N085618633908.jpg
      labels/merge/train.csv  test.csv     image, score
      labels/unmerge/train/<theme>.csv     the same by theme, and in unmerge/test
    ```

    The labels are dataset.zip of TANet's repository (code/TAD66K), unpacked as `labels`. How the images' folder is
    called once unpacked, we have not seen: name it in `images`.

    Scores: 0 to 10 (1.13 to 9.46 found, mean 5.43), higher is better.

    Splits: merge, 52,248 train and 14,079 test; unmerge, 52,726 and 13,601, another partition of the same images,
    which also names the `theme` (portrait, people and family are among them). Neither has a validation part: 5 % of the
    training images are drawn.

    Terms: the lists are Apache-2.0; the images are Flickr's, see the database's page. Citation: He et al., "Rethinking
    Image Aesthetics Assessment: Models, Datasets and Benchmarks", IJCAI 2022.

    Args:
        root: Folder of the database.
        split: Which partition: merge, or unmerge, by theme.
        themes: Only these themes, of unmerge.
        labels: Folder of the labels, below `root` or absolute.
        images: Folder of the images, likewise.
        val_fraction: Fraction of the training images for validation.
        seed: Seed of their draw.
        unit_range: Map scores of 0..10 to 0..1.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If there is no such split, or `themes` are given with merge.

    Examples:
        >>> TAD66K("data/tad66k").name
        'TAD66K, merge split'
    """

    title = "TAD66K"
    image_count = 66327
    own_range = (0.0, 10.0)

    def __init__(
        self,
        root: str | Path,
        split: Split = "merge",
        themes: Sequence[str] = (),
        labels: str | Path = "labels",
        images: str | Path = "TAD66K",
        val_fraction: float = 0.05,
        seed: int = 0,
        unit_range: bool = False,
        max_missing: float = 0.001,
        check_files: bool = True,
    ) -> None:
        root = Path(root)
        super().__init__(root / images, unit_range, max_missing, check_files)
        require_choice(self.title, "split", split, get_args(Split))
        if themes and split == "merge":
            raise InputError("TAD66K's split merge does not name themes; choose `split: unmerge` to take some of them")
        self.split, self.themes = split, tuple(themes)
        self.labels = root / labels / split
        self.val_fraction, self.seed = val_fraction, seed

    @property
    def name(self) -> str:
        """The database and its split."""
        return f"TAD66K, {self.split} split" + (f", only {', '.join(self.themes)}" if self.themes else "")

    def load(self) -> pd.DataFrame:
        """Read the labels, split, leave out missing images within `max_missing`, and check."""
        parts = []
        for split in ("train", "test"):
            for source in self._files(split):
                part = read_columns(source, {"image": "image", "score": "score"}).assign(split=split)
                if self.split == "unmerge":
                    part["theme"] = source.stem
                parts.append(part.set_axis([f"{source.relative_to(self.labels)}:{row}" for row in part.index]))
        frame = draw_validation(pd.concat(parts), self.val_fraction, self.seed)
        return self.finish(frame, self.labels, splits_with(val=self.val_fraction, test=1), not self.themes)

    def _files(self, split: str) -> list[Path]:
        if self.split == "merge":
            return [self.labels / f"{split}.csv"]
        found = sorted((self.labels / split).glob("*.csv"))
        if not found:
            raise InputError(f"there are no themes in {self.labels / split}; unpack TANet's dataset.zip there")
        unknown = [theme for theme in self.themes if theme not in {file.stem for file in found}]
        if unknown:
            known = ", ".join(file.stem for file in found)
            raise InputError(f"TAD66K has no theme {unknown[0]!r} in {self.labels / split}; choose among {known}")
        return [file for file in found if not self.themes or file.stem in self.themes]
