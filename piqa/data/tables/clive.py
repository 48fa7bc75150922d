"""CLIVE, photographs taken with mobile phones."""

import pandas as pd

from piqa.data.tables.database import read_mat
from piqa.data.tables.liqe_lists import LIQEDatabase
from piqa.errors import InputError

PRACTICE = 7  # images at the head of the label files with which raters practised


class CLIVE(LIQEDatabase):
    """CLIVE (LIVE In the Wild Image Quality Challenge): 1,162 photographs taken with mobile devices.

    Layout, of ChallengeDB_release:

    ```
    root/
      Images/                     the images, 627 .JPG and 535 .bmp
      Data/AllImages_release.mat  AllMOS_release.mat  AllStdDev_release.mat
    ```

    The label files name 1,169 images: the first 7 are those with which raters practised, and are dropped.

    Scores: MOS on a scale of 0 to 100 (3.42 to 92.43 found), higher is better; `score_std` is the standard deviation of
    the raw ratings.

    Splits: no official one. LIQE's ten: 813 train, 116 val, 233 test.

    Terms: see the database's page. Citation: Ghadiyaram and Bovik, "Massive Online Crowdsourced Study of Subjective and
    Objective Image Quality", IEEE Transactions on Image Processing 25, 2016.

    Examples:
        >>> CLIVE("data/clive").name
        "CLIVE, LIQE's split 1"
    """

    title = "CLIVE"
    image_count = 1162
    liqe_folder, liqe_name, liqe_range = "ChallengeDB_release", "clive", (0.0, 100.0)
    labels_name, labels_range = "Data", (0.0, 100.0)
    images_name = "Images"

    def _own_labels(self) -> pd.DataFrame:
        files = {"image": "AllImages_release", "score": "AllMOS_release", "score_std": "AllStdDev_release"}
        columns = {column: read_mat(self.labels / f"{name}.mat", name)[0] for column, name in files.items()}
        if len({len(values) for values in columns.values()}) > 1:
            counts = ", ".join(f"{len(values)} {name}" for name, values in columns.items())
            raise InputError(f"the files in {self.labels} differ in length ({counts}); restore the database's own")
        return pd.DataFrame(columns).set_axis(range(1, len(columns["image"]) + 1)).iloc[PRACTICE:]
