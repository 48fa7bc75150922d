"""FiveK (MIT-Adobe), photographs with experts' edits, as a table of exposure."""

import warnings
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from piqa.data.tables.database import Database
from piqa.data.tables.splits import check_fractions, draw_splits, splits_with
from piqa.data.tables.table import require_choice
from piqa.errors import InputError

Way = Literal["expert", "synthetic"]

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")  # in lower case
SCORE_RANGE = (-4.0, 0.0)  # stops


class FiveK(Database):
    """MIT-Adobe FiveK: 5,000 photographs, each also as edited by an expert; labels of exposure are derived here.

    Layout; the photographs are DNG files, which must be rendered first, with the camera's exposure and no edit:

    ```
    root/
      input/        a0001-jmac_DSC1459.jpg .. a5000-...: as shot (.jpg, .png or .tif)
      expertC/      the same names: as expert C edited them (the database's folder tiff16_c)
    ```

    No list of scores and no map of exposure is public, so both are made. There are two ways, of which `expert` is the
    default, because it alone says something of the photographs as they were taken:

    - `expert`: an image is what it was, and right is what expert C made of it. In every place y = log2((Y + e) /
      (Y_C + e)), Y the luminance in linear light, e = 1/255, within 4 stops either way; positive is too bright. `score`
      is minus the mean of |y|, in stops, -4 to 0, higher is better. `reference_path` is the expert's file, from which
      `piqa.tasks.ExposureTask` (`labels: reference`) makes the map. It mixes the expert's style with exposure.
    - `synthetic`: the images are expert C's, which count as well exposed, so that `score` is 0 for all.
      `piqa.tasks.ExposureTask` (`labels: synthetic`) spoils each by stops that it draws. That they are well exposed is
      assumed.

    Scores of `expert` are measured once, in copies of 256 px, and kept in `root/exposure_labels.csv`; a pair of which a
    file has another size since is measured again.

    Splits: no official one. Drawn: 10 % val and 10 % test of the photographs, 4,000, 500 and 500 where all are there.

    Terms: research only, by the licences LicenseAdobe and LicenseAdobeMIT, which list the photographs that each is for.
    Citation: Bychkovsky, Paris, Chan and Durand, "Learning Photographic Global Tonal Adjustment with a Database of
    Input / Output Image Pairs", CVPR 2011.

    Args:
        root: Folder of the database.
        way: Which images and labels: expert or synthetic.
        images: Folder of the photographs as shot, below `root` or absolute.
        experts: Folder of the expert's pictures, likewise.
        labels: Where measured scores are kept, likewise.
        val_fraction: Fraction of the photographs for validation.
        test_fraction: Fraction of the photographs for the test.
        seed: Seed of the draw.
        unit_range: Map scores of -4..0 to 0..1.
        max_missing: Fraction of the photographs that may lack the expert's picture; they are left out with a warning.

    Raises:
        InputError: If there is no such way, or a fraction is out of range.

    Examples:
        >>> FiveK("data/fivek").name
        'FiveK as shot against expert C, 10% val and 10% test drawn with seed 0'
    """

    title = "FiveK"
    image_count = 5000
    own_range = SCORE_RANGE

    def __init__(
        self,
        root: str | Path,
        way: Way = "expert",
        images: str | Path = "input",
        experts: str | Path = "expertC",
        labels: str | Path = "exposure_labels.csv",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        unit_range: bool = False,
        max_missing: float = 0.0,
    ) -> None:
        root = Path(root)
        self.way, self.experts, self.labels = way, root / experts, root / labels
        super().__init__(root / images if way == "expert" else self.experts, unit_range, max_missing, check_files=True)
        require_choice(self.title, "way", way, get_args(Way))
        check_fractions(val_fraction, test_fraction)
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    def name(self) -> str:
        """The photographs, their labels and their split."""
        what = "FiveK as shot against expert C" if self.way == "expert" else "FiveK by expert C, as well exposed"
        return f"{what}, {self.val_fraction:.0%} val and {self.test_fraction:.0%} test drawn with seed {self.seed}"

    def load(self) -> pd.DataFrame:
        """List the pictures, measure what is not measured yet, draw the splits, and check."""
        files = _pictures(self.images)
        frame = pd.DataFrame({"image": [file.name for file in files], "score": 0.0}, index=range(1, len(files) + 1))
        if self.way == "expert":
            frame = self._with_experts(frame, files)
            pairs = [(str(self.images / name), path) for name, path in frame[["image", "reference_path"]].to_numpy()]
            from piqa.data.tables.exposure_labels import exposure_labels  # which needs the factors' modules

            frame["score"] = exposure_labels(pairs, self.labels)
        stems = [Path(name).stem for name in frame["image"]]
        frame["split"] = draw_splits(stems, self.val_fraction, self.test_fraction, self.seed)
        return self.finish(frame, self.images, splits_with(val=self.val_fraction, test=self.test_fraction))

    def _with_experts(self, frame: pd.DataFrame, files: list[Path]) -> pd.DataFrame:
        theirs = {file.stem: str(file) for file in _pictures(self.experts)}
        frame = frame.assign(reference_path=[theirs.get(file.stem, "") for file in files])
        alone = frame["reference_path"] == ""
        if alone.any():
            found = f"{alone.sum()} of {len(frame)} pictures in {self.images} have none of expert C in {self.experts}"
            first = frame.loc[alone, "image"].iloc[0]
            if alone.sum() > self.max_missing * len(frame):
                raise InputError(f"{found}, such as {first}; add them, or raise `max_missing` to go on without them")
            warnings.warn(f"{found}, such as {first}; they are left out", stacklevel=3)
        return frame[~alone]


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder by name; raise an InputError if there is none, or a name stands for two."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; check `root`, or name the folder")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)
    if not files:
        raw = any(file.suffix.lower() == ".dng" for file in folder.iterdir())
        mend = "render the DNG files first" if raw else "check `root`"
        raise InputError(f"{folder} has no picture ({', '.join(ENDINGS)}); {mend}")
    stems = [file.stem for file in files]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"{folder} has more than one picture called {twice}; keep one")
    return files
