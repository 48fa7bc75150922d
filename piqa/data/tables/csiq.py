"""CSIQ, pristine images distorted in six ways."""

import pandas as pd

from piqa.data.tables.database import read_lines
from piqa.data.tables.liqe_lists import GROUPS, LIQEDatabase
from piqa.errors import InputError
from piqa.system.csv_text import as_numbers

TYPES = {  # folder, which is also the second part of a file name in lower case: what LIQE's lists call it
    "awgn": "white noise",
    "blur": "gaussian blur",
    "contrast": "contrast",
    "fnoise": "fnoise",
    "jpeg": "jpeg compression",
    "jpeg2000": "jpeg2000 compression",
}


class CSIQ(LIQEDatabase):
    """CSIQ: 30 pristine images, distorted in 6 ways at 4 or 5 levels, 866 images.

    Layout:

    ```
    root/
      dst_imgs/awgn/  blur/  contrast/  fnoise/  jpeg/  jpeg2000/     <reference>.<TYPE>.<level>.png
      csiq_label.txt         lines such as `1600.AWGN.1.png 0.062`, image and dmos, without a header
    ```

    csiq_label.txt is not in the archive but is handed on with much public code; its images may lack `.png`.

    Scores: the released dmos lies on a scale of 0 to 1, lower is better; `score` is 1 - dmos, and so it stands in
    LIQE's lists.

    Splits: no official one. LIQE's ten: 607 train, 87 val, 172 test or two more or fewer; 21, 3 and 6 of the 30
    references. `drawn` too keeps every reference in one split.

    Terms: see the database's page. Citation: Larson and Chandler, "Most Apparent Distortion: Full-Reference Image
    Quality Assessment and the Role of Strategy", Journal of Electronic Imaging 19, 2010.

    Examples:
        >>> CSIQ("data/csiq").name
        "CSIQ, LIQE's split 1"
    """

    title = "CSIQ"
    image_count = 866
    liqe_folder, liqe_name, liqe_range = "CSIQ", "csiq", (0.0, 1.0)
    labels_name, labels_range = "csiq_label.txt", (0.0, 1.0)
    images_name = "dst_imgs"

    def _own_labels(self) -> pd.DataFrame:
        labels = read_lines(self.labels, ("file", "dmos"))
        files = labels["file"].str.replace("\\", "/").str.rsplit("/", n=1).str[-1]
        files = files.where(files.str.lower().str.endswith(".png"), files + ".png")
        kinds = files.str.split(".").str[1].str.lower()
        unknown = kinds.index[~kinds.isin(list(TYPES))]
        if len(unknown):
            raise InputError(
                f"row {unknown[0]} of {self.labels} has the image {files[unknown[0]]!r}, which is not named "
                f"<reference>.<type>.<level>.png with one of {', '.join(TYPES)}; restore the file"
            )
        return pd.DataFrame(
            {
                "image": kinds + "/" + files,
                "score": 1 - as_numbers(labels["dmos"], self.labels),
                "reference": files.str.split(".").str[0],
                "distortion": [GROUPS[TYPES[kind]] for kind in kinds],
            }
        )

    def _listed(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(reference=frame["image"].str.rsplit("/", n=1).str[-1].str.split(".").str[0])
