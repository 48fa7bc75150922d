"""AVA, photographs rated for their aesthetics."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from piqa.data.tables.database import VOTES, Database, read_columns, read_lines
from piqa.data.tables.splits import draw_validation, splits_with
from piqa.data.tables.table import require_choice
from piqa.errors import InputError
from piqa.models.rating_distribution import RATING_LEVELS
from piqa.system.csv_text import as_numbers

Split = Literal["official", "tanet"]

RATINGS = np.arange(1, RATING_LEVELS + 1)
LABELS = ("index", "id", *VOTES, "tag_1", "tag_2", "challenge")  # the cells of a line of AVA.txt
TANET = {"id": "image_id"} | {name: f"score{place}" for place, name in enumerate(VOTES, start=2)}  # place in AVA.txt


class AVA(Database):
    """AVA (Aesthetic Visual Analysis): 255,530 photographs of photo contests, each with the votes of about 210 people.

    Layout:

    ```
    root/
      images/                                        the images, <id>.jpg
      AVA.txt                                        index, id, ten counts of votes, two tags, challenge; no header
      aesthetics_image_lists/generic_test.jpgl       ids of the official test
      tanet/train.csv  val.csv  test.csv             for `tanet`: image_id, score2 .. score11, tag1, tag2, tag3
    ```

    The last three are TANet's (code/AVA/dataset in its repository): score2 .. score11 count the votes for 1 .. 10.

    Scores: the mean of the votes, 1 to 10, higher is better; `score_std` is their standard deviation; `votes_1` ..
    `votes_10` are the counts. Over TANet's test images the mean is 5.378, its standard deviation 0.733.

    Splits: official, the listed test images and the rest, of which 5 % are drawn for validation as in a public
    benchmark (IQA-PyTorch; the draw is ours); tanet, which has its own 12,775 val and 12,776 test images.

    A few of the files are known to be broken or missing: missing ones are left out here, broken ones by the prepared
    store (`data.store.max_failed`).

    Terms: see the database's page; the images belong to their photographers. Citation: Murray, Marchesotti and
    Perronnin, "AVA: A Large-Scale Database for Aesthetic Visual Analysis", CVPR 2012.

    Args:
        root: Folder of the database.
        split: Which partition: official or tanet.
        labels: AVA.txt, below `root` or absolute; for tanet, the folder of its three files.
        test: List of the official test's ids, likewise.
        images: Folder of the images, likewise.
        val_fraction: Fraction of the official training images for validation.
        seed: Seed of their draw.
        unit_range: Map scores of 1..10 to 0..1.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If there is no such split.

    Examples:
        >>> AVA("data/ava").name
        'AVA, official test'
    """

    title = "AVA"
    image_count = 255530
    own_range = (1.0, 10.0)

    def __init__(
        self,
        root: str | Path,
        split: Split = "official",
        labels: str | Path | None = None,
        test: str | Path = "aesthetics_image_lists/generic_test.jpgl",
        images: str | Path = "images",
        val_fraction: float = 0.05,
        seed: int = 0,
        unit_range: bool = False,
        max_missing: float = 0.001,
        check_files: bool = True,
    ) -> None:
        root = Path(root)
        super().__init__(root / images, unit_range, max_missing, check_files)
        require_choice(self.title, "split", split, get_args(Split))
        self.split = split
        self.labels = root / (labels if labels is not None else {"official": "AVA.txt", "tanet": "tanet"}[split])
        self.test = root / test
        self.val_fraction, self.seed = val_fraction, seed

    @property
    def name(self) -> str:
        """The database and its split."""
        return "AVA, TANet's split" if self.split == "tanet" else "AVA, official test"

    def load(self) -> pd.DataFrame:
        """Read the votes, split, leave out missing images within `max_missing`, and check."""
        if self.split == "tanet":
            return self.finish(_with_scores(self._of_tanet(), self.labels), self.labels, ("train", "val", "test"))
        labels = read_lines(self.labels, LABELS)
        test = set(read_lines(self.test, ("id",))["id"])
        labels["split"] = ["test" if name in test else "train" for name in labels["id"]]
        labels = draw_validation(labels, self.val_fraction, self.seed, "id")
        return self.finish(_with_scores(labels, self.labels), self.labels, splits_with(val=self.val_fraction, test=1))

    def _of_tanet(self) -> pd.DataFrame:
        parts = []
        for split in ("train", "val", "test"):
            source = self.labels / f"{split}.csv"
            part = read_columns(source, TANET, "restore TANet's file").assign(split=split)
            parts.append(part.set_axis([f"{source.name}:{row}" for row in part.index]))
        return pd.concat(parts)


def _with_scores(labels: pd.DataFrame, source: Path) -> pd.DataFrame:
    """`image`, `score`, `score_std`, `split` and the counts, from `id`, `split` and the counts as text."""
    counts = pd.DataFrame({name: as_numbers(labels[name], source) for name in VOTES})
    votes = counts.to_numpy()
    total = votes.sum(axis=1)
    bad = counts.index[(votes < 0).any(axis=1) | (votes % 1 != 0).any(axis=1) | (total == 0)]
    if len(bad):
        raise InputError(f"row {bad[0]} of {source} has votes that are no counts, or none; restore the file")
    mean = votes @ RATINGS / total
    std = np.sqrt((votes * (RATINGS - mean[:, None]) ** 2).sum(axis=1) / total)
    scores = pd.DataFrame({"score": mean, "score_std": std}, index=labels.index)
    names = labels["id"].map(lambda name: f"{name}.jpg" if name else "")
    return pd.concat([names.rename("image"), scores, labels["split"], counts.astype(np.int64)], axis=1)
