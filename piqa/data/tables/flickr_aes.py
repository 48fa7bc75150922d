"""FLICKR-AES, photographs with the ratings of individual people, for personalised scoring."""

from pathlib import Path
from typing import Literal

import pandas as pd

from piqa.data.tables.database import Database, read_columns, read_lines
from piqa.data.tables.paths import image_paths
from piqa.data.tables.splits import by_hash, draw_validation, splits_with
from piqa.errors import InputError
from piqa.system.csv_text import as_numbers

WORKERS = {"user": "worker", "image": "imagePair", "score": "score"}


class FlickrAES(Database):
    """FLICKR-AES: about 40,000 photographs, rated 1 to 5 by 210 people, each image by five of them.

    The layout is known from public code that reads it, not from the files themselves:

    ```
    root/
      40K/                                               the images
      FLICKR-AES_image_score.txt                         lines such as ` farm1_262_20009074919.jpg 0.25`, no header
      FLICKR-AES_image_labeled_by_each_worker.csv        worker, imagePair, score; one row per rating
    ```

    Scores: of the table, the mean over people as published, 0 to 1; of `ratings`, 1 to 5. Higher is better.

    Splits: the paper is said to test on 37 people, who rated 105 to 171 images each, and to train on what the other
    173 rated; who they are is not in the files. Here up to 37 people with as many ratings are drawn for the test. The
    images that they rated are the test split, so that a general model has not been trained on the images with which
    personalisation is tested. 5 % of the other images are drawn for validation.

    Terms: Creative Commons photographs; see the database's page. Citation: Ren et al., "Personalized Image Aesthetics",
    ICCV 2017.

    Args:
        root: Folder of the database.
        images: Folder of the images, below `root` or absolute.
        test_users: How many people to test on, at most.
        ratings_of_test_users: The fewest and the most ratings that such a person may have given.
        val_fraction: Fraction of the other images for validation.
        seed: Seed of the draws.
        unit_range: Has no effect on the table, whose scores lie in 0..1 already; it maps those of `ratings`.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If `test_users` is below 1 or `max_missing` is not in [0, 1].

    Examples:
        >>> FlickrAES("data/flickr-aes").name
        'FLICKR-AES, 37 test users drawn with seed 0'
    """

    title = "FLICKR-AES"
    image_count = None  # the paper says 40,000, public readers count up to 40,988
    own_range = (0.0, 1.0)
    rating_range = (1.0, 5.0)

    def __init__(
        self,
        root: str | Path,
        images: str | Path = "40K",
        test_users: int = 37,
        ratings_of_test_users: tuple[int, int] = (105, 171),
        val_fraction: float = 0.05,
        seed: int = 0,
        unit_range: bool = False,
        max_missing: float = 0.05,
        check_files: bool = True,
    ) -> None:
        if test_users < 1:
            raise InputError(f"FLICKR-AES: `test_users` must be at least 1, not {test_users}")
        self.root = Path(root)
        super().__init__(self.root / images, unit_range, max_missing, check_files)
        self.test_users, self.ratings_of_test_users = test_users, ratings_of_test_users
        self.val_fraction, self.seed = val_fraction, seed

    @property
    def name(self) -> str:
        """The database and its split."""
        return f"FLICKR-AES, {self.test_users} test users drawn with seed {self.seed}"

    def load(self) -> pd.DataFrame:
        """Read the mean scores, split by who rated, leave out missing images within `max_missing`, and check."""
        source = self.root / "FLICKR-AES_image_score.txt"
        frame = read_lines(source, ("image", "score"))
        judged = set(self._users("test")["image"])
        frame["split"] = ["test" if image in judged else "train" for image in frame["image"]]
        frame = draw_validation(frame, self.val_fraction, self.seed)
        return self.finish(frame, source, splits_with(val=self.val_fraction, test=1))

    def ratings(self, users: Literal["train", "test", "all"] = "test") -> pd.DataFrame:
        """Return the ratings of individual people, as `python -m piqa.personalise` reads them from a CSV.

        A person's ratings of the same image are averaged.

        Args:
            users: Those drawn for the test, the others, or all.

        Returns:
            One row per person and image: `image` (the file), `score` (1 to 5, or 0 to 1 with `unit_range`), `user`.
        """
        ratings = self._users(users)
        ratings = ratings.assign(image=image_paths(self.images, ratings["image"].tolist()))
        if self.check_files:
            ratings = ratings[ratings["image"].map({path: Path(path).is_file() for path in set(ratings["image"])})]
        if self.unit_range:
            low, high = self.rating_range
            ratings = ratings.assign(score=(ratings["score"] - low) / (high - low))
        return ratings[["image", "score", "user"]].reset_index(drop=True)

    def _users(self, which: str) -> pd.DataFrame:
        """Return `user`, `image` and `score` of the people of a split."""
        source = self.root / "FLICKR-AES_image_labeled_by_each_worker.csv"
        labels = read_columns(source, WORKERS)
        labels["score"] = as_numbers(labels["score"], source)
        beyond = labels.index[~labels["score"].between(*self.rating_range)]
        if len(beyond):
            raise InputError(f"row {beyond[0]} of {source} has a score of {labels['score'][beyond[0]]:g}, not 1 to 5")
        ratings = labels.groupby(["user", "image"], sort=False)["score"].mean().reset_index()
        if which == "all":
            return ratings
        counts = ratings["user"].value_counts()
        fitting = counts.index[counts.between(*self.ratings_of_test_users)].tolist()
        if not fitting:
            fewest, most = self.ratings_of_test_users
            raise InputError(
                f"nobody in {source} gave {fewest} to {most} ratings; adapt `ratings_of_test_users` (people gave "
                f"{counts.min()} to {counts.max()})"
            )
        drawn = ratings["user"].isin(by_hash(fitting, self.seed)[: self.test_users])
        return ratings[drawn] if which == "test" else ratings[~drawn]
