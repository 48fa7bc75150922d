"""CADB, photographs rated for their composition, with classes of composition."""

import json
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from piqa.data.tables.database import VOTES, Database
from piqa.data.tables.more_labels import CLASS
from piqa.data.tables.splits import check_fractions, draw_splits, draw_validation, splits_with
from piqa.data.tables.table import require_choice
from piqa.errors import InputError
from piqa.system.csv_text import read_text

Split = Literal["official", "drawn"]

CLASSES = (
    *("center", "rule_of_thirds", "golden_ratio", "horizontal", "vertical", "diagonal", "curved"),
    *("fill_the_frame", "radial", "vanishing_point", "symmetric", "triangle", "pattern"),
)
NO_CLASS = "none"
SCENES = {  # the database's scenes, and LIQE's names for them
    **{name: name for name in ("animal", "plant", "human", "landscape", "cityscape", "indoor", "night")},
    "static": "still_life",
    "architecture": "cityscape",
    "other": "others",
}
RATINGS = {text: level for level in range(1, 6) for text in (f"{level}", f"{level}.0")}  # as JSON writes them
MEND = "restore the database's own file"


class CADB(Database):
    """CADB (Composition Assessment DataBase): 9,497 photographs of AADB, each rated by five people from fine art.

    Layout:

    ```
    root/
      images/                        the images, <number>.jpg
      composition_scores.json        {"10003.jpg": {"scores": [2, 3, 2, 2, 2], "dist": [...], "mean": 2.2}, ...}
      composition_elements.json      {"10003.jpg": {"center": [...], "horizontal": [...]}, ...}; optional
      scene_categories.json          {"10003.jpg": "human", ...}; optional
      split.json                     {"train": ["10003.jpg", ...], "test": [...]}, for `official`
    ```

    The first three are in the GitHub repository of the database too (`annotations/`); split.json is in the archive.

    Scores: the mean of the ratings, 1 to 5, higher is better (mean 2.699, standard deviation 0.595); `score_std` is the
    standard deviation of the ratings; `votes_1` .. `votes_5` count them, `votes_6` .. `votes_10` are 0. Raters agree
    little: their mean has a reliability of 0.82, so that a perfect model reaches a correlation of about 0.91.

    Classes: `class.center`, `class.rule_of_thirds` and so on, 13 of them, 1 or 0; an image may be of several (5,183 of
    one, 2,860 of two, 1,152 of three), and 18 are of none. Counts: center 4,804, horizontal 3,132, diagonal 2,083,
    vertical 1,896, rule_of_thirds 1,291, triangle 598, symmetric 359, golden_ratio 354, curved 349, fill_the_frame 284,
    vanishing_point 280, pattern 106, radial 42. Where an element lies is not read.

    `scene_tags`: the scene in LIQE's words; `static` is still_life, and `architecture` counts as cityscape. 4,319 are
    human, 1,432 static, 979 landscape, 692 animal, 635 architecture, 474 plant, 436 cityscape, 256 indoor, 152 night,
    122 other.

    Splits: `official`, 7,692 train and 855 val, drawn from the 8,547 for training (the published code has no validation
    part and looks at the test instead), and 950 test; `drawn`, ours, without split.json: 7,597, 950 and 950.

    Terms: the code is MIT; the photographs come from Flickr by way of AADB, whose terms hold. Citation: Zhang, Niu and
    Zhang, "Image Composition Assessment with Saliency-Augmented Multi-Pattern Pooling", BMVC 2021.

    Args:
        root: Folder of the database.
        split: Which partition: official or drawn.
        annotations: Folder of the JSON files, below `root` or absolute.
        images: Folder of the images, likewise.
        val_fraction: Fraction of the images for validation; of `official`, of those for training.
        test_fraction: Fraction of the images for the test of `drawn`.
        seed: Seed of the draw.
        unit_range: Map scores of 1..5 to 0..1.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If there is no such split, or a fraction is out of range.

    Examples:
        >>> CADB("data/cadb").name
        'CADB, official test'
    """

    title = "CADB"
    image_count = 9497
    own_range = (1.0, 5.0)

    def __init__(
        self,
        root: str | Path,
        split: Split = "official",
        annotations: str | Path = ".",
        images: str | Path = "images",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        unit_range: bool = False,
        max_missing: float = 0.0,
        check_files: bool = True,
    ) -> None:
        root = Path(root)
        super().__init__(root / images, unit_range, max_missing, check_files)
        require_choice(self.title, "split", split, get_args(Split))
        check_fractions(val_fraction, test_fraction)
        self.split, self.annotations = split, root / annotations
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    def name(self) -> str:
        """The database and its split."""
        if self.split == "official":
            return "CADB, official test"
        return f"CADB, {self.val_fraction:.0%} val and {self.test_fraction:.0%} test drawn with seed {self.seed}"

    def load(self) -> pd.DataFrame:
        """Read ratings, classes, scenes and split, find the images and check."""
        source = self.annotations / "composition_scores.json"
        scores = _read(source)
        images = list(scores)
        frame = pd.DataFrame({"image": images}, index=range(1, len(images) + 1))
        frame = frame.join(_ratings(scores, source))
        frame = frame.join(self._classes(images).set_axis(frame.index)).join(self._scenes(images).set_axis(frame.index))
        frame["split"] = self._splits(images)
        if self.split == "official":
            frame = draw_validation(frame, self.val_fraction, self.seed)
        test = 1.0 if self.split == "official" else self.test_fraction
        return self.finish(frame, source, splits_with(val=self.val_fraction, test=test))

    def _splits(self, images: list[str]) -> list[str]:
        if self.split == "drawn":
            return draw_splits(images, self.val_fraction, self.test_fraction, self.seed)
        source = self.annotations / "split.json"
        if not source.is_file():
            raise InputError(f"there is no {source}, which is in the database's archive; restore it, or `split: drawn`")
        listed = _read(source)
        split: dict[str, str] = {}
        for part in ("train", "test"):
            names = listed.get(part)
            if not isinstance(names, list):
                raise InputError(f"{source} lists no {part} images; {MEND}")
            for name in map(str, names):
                if split.setdefault(name, part) != part:
                    raise InputError(f"{source} has {name} in both train and test; {MEND}")
        absent = [name for name in images if name not in split]
        if absent:
            raise InputError(f"{source} has {len(absent)} of the rated images in no split, such as {absent[0]}; {MEND}")
        return [split[name] for name in images]

    def _classes(self, images: list[str]) -> pd.DataFrame:
        """Return the columns of the classes, without any where there is no file; NaN for an image that it lacks."""
        source = self.annotations / "composition_elements.json"
        if not source.is_file():
            return pd.DataFrame(index=range(len(images)))
        elements = _read(source)
        rows = []
        for image in images:
            own = elements.get(image)
            if not isinstance(own, dict | list | None):
                raise InputError(f"{source} has {own!r} of {image}, which names no classes; {MEND}")
            unknown = [name for name in own or () if name not in (*CLASSES, NO_CLASS)]
            if unknown:
                raise InputError(f"{source} has the class {unknown[0]!r} of {image}, which is none of CADB's; {MEND}")
            rows.append([np.nan if own is None else float(name in own) for name in CLASSES])
        return pd.DataFrame(rows, columns=[CLASS + name for name in CLASSES])

    def _scenes(self, images: list[str]) -> pd.DataFrame:
        source = self.annotations / "scene_categories.json"
        if not source.is_file():
            return pd.DataFrame(index=range(len(images)))
        scenes = _read(source)
        for image in images:
            if not isinstance(scene := scenes.get(image, "other"), str) or scene not in SCENES:
                raise InputError(
                    f"{source} has the scene {scenes[image]!r} of {image}, which is none of CADB's; {MEND}"
                )
        return pd.DataFrame({"scene_tags": [SCENES[scenes[image]] if image in scenes else "" for image in images]})


def _ratings(scores: dict[str, Any], source: Path) -> pd.DataFrame:
    """Return `score`, `score_std` and the votes, by the place of the image from 1 on."""
    rows = []
    for image, entry in scores.items():
        given = entry.get("scores") if isinstance(entry, dict) else None
        if not isinstance(given, list) or not given or not all(rating in RATINGS for rating in map(repr, given)):
            raise InputError(f"{source} has the ratings {given!r} of {image}, not numbers from 1 to 5; {MEND}")
        ratings = np.array(given, dtype=np.float64)
        counts = [int((ratings == level).sum()) for level in range(1, len(VOTES) + 1)]
        rows.append([float(ratings.mean()), float(ratings.std()), *counts])
    return pd.DataFrame(rows, columns=["score", "score_std", *VOTES], index=range(1, len(rows) + 1))


def _read(source: Path) -> dict[str, Any]:
    text = read_text(source)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON that can be read; {MEND}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{source} holds no table by image; {MEND}")
    return content
