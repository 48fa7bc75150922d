"""TID2013, pristine images distorted in 24 ways."""

from pathlib import Path

import pandas as pd

from piqa.data.tables.database import Database, read_lines
from piqa.data.tables.splits import check_fractions, draw_splits, splits_with
from piqa.errors import InputError
from piqa.system.csv_text import as_numbers

FILE = r"[Ii](?P<reference>\d\d)_(?P<type>\d\d)_(?P<level>\d)\.\w+"
# 01 to 24, and LIQE's group of each; "" where two groups, or none, would do.
TYPES = (
    ("additive Gaussian noise", "noise"),
    ("noise in colour", "noise"),
    ("spatially correlated noise", "noise"),
    ("masked noise", "noise"),
    ("high-frequency noise", "noise"),
    ("impulse noise", "noise"),
    ("quantisation noise", "quantization"),
    ("Gaussian blur", "blur"),
    ("denoising", ""),  # leaves noise, blur, or both
    ("JPEG", "jpeg compression"),
    ("JPEG 2000", "jpeg2000 compression"),
    ("JPEG transmission errors", ""),
    ("JPEG 2000 transmission errors", "jpeg2000 compression"),  # as LIQE's code counts LIVE's fast fading
    ("non-eccentricity pattern", "spatial"),
    ("local blocks", "spatial"),
    ("mean shift", "other"),
    ("contrast change", "contrast"),
    ("change of saturation", "color"),
    ("multiplicative noise", "noise"),
    ("comfort noise", ""),
    ("lossy compression of noisy images", ""),
    ("colour quantisation with dither", "quantization"),
    ("chromatic aberration", ""),
    ("sparse sampling", ""),
)
REFERENCES = 25


class TID2013(Database):
    """TID2013: 25 images, distorted in 24 ways at 5 levels each, 3,000 images; no faces.

    Layout:

    ```
    root/
      reference_images/      I01.BMP .. I24.BMP, i25.bmp; they have no score and are not read
      distorted_images/      i<reference>_<type 01..24>_<level 1..5>.bmp, in some releases with a capital I
      mos_with_names.txt     lines such as `5.51429 i01_01_1.bmp`: MOS and image
      mos_std.txt            the standard deviations in the same order; optional
    ```

    Scores: MOS, 0 to 9, higher is better. `score_std` is the value of mos_std.txt.

    `reference` is the name of the reference image, `I01.BMP` .. `I24.BMP` and `i25.bmp`, as the database spells them.
    `distortion` is LIQE's group of the type where there is just one: noise (types 1-6 and 19), quantization (7, 22),
    blur (8), jpeg compression (10), jpeg2000 compression (11, 13), spatial (14, 15), other (16), contrast (17), color
    (18). It is empty for denoising (9), JPEG errors (12), comfort noise (20), compressed noise (21), chromatic
    aberration (23) and sparse sampling (24). The order of the types is that of the database's description as others
    quote it; it was not checked against the file itself.

    Splits: no official one; benchmarks draw 20 references for training and 5 for the test. Ours are drawn by
    reference: 17, 3 and 5 of the 25 (2,040 train, 360 val, 600 test). Five levels of a distortion look alike, so images
    of one reference must not be divided. Reference 25 is said to be artificial.

    Terms: see the database's page. Citation: Ponomarenko et al., "Image Database TID2013: Peculiarities, Results and
    Perspectives", Signal Processing: Image Communication 30, 2015.

    Args:
        root: Folder of the database.
        labels: mos_with_names.txt, below `root` or absolute.
        stds: mos_std.txt, likewise; not needed.
        images: Folder of the distorted images, likewise.
        val_fraction: Fraction of the references for validation.
        test_fraction: Fraction of the references for the test.
        seed: Seed of the draw.
        unit_range: Map scores of 0..9 to 0..1.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If a fraction is out of range.

    Examples:
        >>> TID2013("data/tid2013").name
        'TID2013, 12% val and 20% test of the references drawn with seed 0'
    """

    title = "TID2013"
    image_count = 3000
    own_range = (0.0, 9.0)

    def __init__(
        self,
        root: str | Path,
        labels: str | Path = "mos_with_names.txt",
        stds: str | Path = "mos_std.txt",
        images: str | Path = "distorted_images",
        val_fraction: float = 0.12,
        test_fraction: float = 0.2,
        seed: int = 0,
        unit_range: bool = False,
        max_missing: float = 0.0,
        check_files: bool = True,
    ) -> None:
        root = Path(root)
        super().__init__(root / images, unit_range, max_missing, check_files)
        check_fractions(val_fraction, test_fraction)
        self.labels, self.stds = root / labels, root / stds
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    def name(self) -> str:
        """The database and its split."""
        drawn = f"{self.val_fraction:.0%} val and {self.test_fraction:.0%} test of the references"
        return f"TID2013, {drawn} drawn with seed {self.seed}"

    def load(self) -> pd.DataFrame:
        """Read the scores, draw the splits by reference, find the images and check."""
        frame = read_lines(self.labels, ("score", "image"))
        frame["score"] = as_numbers(frame["score"], self.labels)
        if self.stds.is_file():
            stds = read_lines(self.stds, ("score_std",))["score_std"]
            if len(stds) != len(frame):
                raise InputError(f"{self.stds} has {len(stds)} lines and {self.labels} {len(frame)}; restore the files")
            frame["score_std"] = as_numbers(stds, self.stds).to_numpy()
        parts = self._parsed(frame["image"])
        frame["reference"] = [f"I{number}.BMP" if number != "25" else "i25.bmp" for number in parts["reference"]]
        frame["distortion"] = [TYPES[int(number) - 1][1] for number in parts["type"]]
        units = frame["reference"].tolist()
        frame["split"] = draw_splits(units, self.val_fraction, self.test_fraction, self.seed)
        return self.finish(frame, self.labels, splits_with(val=self.val_fraction, test=self.test_fraction))

    def _parsed(self, images: "pd.Series[str]") -> pd.DataFrame:
        parts: pd.DataFrame = images.str.extract(f"^{FILE}$")
        numbers = parts.fillna("0").astype(int)
        known = numbers["reference"].between(1, REFERENCES) & numbers["type"].between(1, len(TYPES))
        if not known.all():
            row, image = next((row, image) for row, image in images[~known].items())
            raise InputError(
                f"row {row} of {self.labels} has the image {image!r}, which is not named "
                "i<reference>_<type>_<level>.bmp as TID2013's; restore the database's own file"
            )
        return parts
