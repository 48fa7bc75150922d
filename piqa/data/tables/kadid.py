"""KADID-10k, pristine images distorted in 25 ways."""

import re

import pandas as pd

from piqa.data.tables.liqe_lists import GROUPS, LIQEDatabase
from piqa.errors import InputError
from piqa.system.csv_text import read_csv, require_columns

COLUMNS = {"image": "dist_img", "score": "dmos", "score_std": "var"}
FILE = re.compile(r"(?P<reference>[Ii]\d+)_(?P<type>\d\d)_\d\d\.\w+")
TYPES = (  # 01 to 25, as LIQE's lists call them
    "gaussian blur, lens, motion, diffusion, shifting, color quantization, oversaturation, desaturation, "
    "jpeg2000 compression, jpeg compression, white noise, white with color, impulse, multiplicative, "
    "white noise with denoise, brighten, darken, shifting the mean, jitter, noneccentricity patch, "
    "pixelate, quantization, color blocking, sharpness, contrast"
).split(", ")


class KADID(LIQEDatabase):
    """KADID-10k: 81 pristine images, distorted in 25 ways at 5 levels each, 10,125 images.

    Layout:

    ```
    root/
      images/        I<reference>_<type 01..25>_<level 01..05>.png; also the references, which have no score
      dmos.csv       dist_img, ref_img, dmos, var
    ```

    Scores: 1 to 5 (1 to 4.93 found), higher is better: the column is called dmos, but holds mean ratings. `var` is a
    standard deviation, as far as can be told: the first row's 4.57 with 0.496 is what 30 ratings of 4 and 5 give.
    Distortion and reference follow from the file name.

    Splits: no official one. LIQE's ten: 7,125 train, 1,000 val, 2,000 test; 57, 8 and 16 of the 81 references, and
    `drawn` too keeps every reference in one split.

    Terms: see the database's page. Citation: Lin et al., "KADID-10k: A Large-scale Artificially Distorted IQA
    Database", QoMEX 2019.

    Examples:
        >>> KADID("data/kadid10k").name
        "KADID-10k, LIQE's split 1"
    """

    title = "KADID-10k"
    image_count = 10125
    liqe_folder, liqe_name, liqe_range = "kadid10k", "kadid10k", (1.0, 5.0)
    labels_name, labels_range = "dmos.csv", (1.0, 5.0)
    images_name = "images"

    def _own_labels(self) -> pd.DataFrame:
        labels = read_csv(self.labels, names=COLUMNS.values())
        require_columns(labels, ("dist_img", "dmos"), self.labels, "restore the database's own file")
        frame = pd.DataFrame({name: labels[theirs] for name, theirs in COLUMNS.items() if theirs in labels})
        names = self._parsed(frame, str(self.labels))
        types = names["type"].astype(int)
        beyond = types[~types.between(1, len(TYPES))]
        if len(beyond):
            raise InputError(f"row {beyond.index[0]} of {self.labels} has distortion {beyond.iloc[0]}, not 1 to 25")
        distortion = [GROUPS[TYPES[number - 1]] for number in types]
        return frame.assign(reference=names["reference"], distortion=distortion)

    def _listed(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(reference=self._parsed(frame, "LIQE's lists")["reference"])

    def _parsed(self, frame: pd.DataFrame, source: str) -> pd.DataFrame:
        names: pd.DataFrame = frame["image"].str.extract(f"^{FILE.pattern}$")
        other = names.index[names["reference"].isna()]
        if len(other):
            raise InputError(
                f"row {other[0]} of {source} has the image {frame['image'][other[0]]!r}, which is not named "
                "I<reference>_<type>_<level>.png as KADID-10k's; restore the database's own file"
            )
        return names.assign(reference=names["reference"].str.upper())
