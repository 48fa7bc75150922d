"""BID, photographs blurred in real life."""

import pandas as pd

from piqa.data.tables.liqe_lists import LIQEDatabase
from piqa.system.csv_text import read_csv, require_columns


class BID(LIQEDatabase):
    """BID (Blurred Image Database): 586 photographs of everyday life, many of them blurred.

    Layout:

    ```
    root/
      ImageDatabase/          the images, DatabaseImage0001.JPG and so on
      DatabaseGrades.csv      for `drawn` alone: image, score; see below
    ```

    The database's own labels are a spreadsheet, DatabaseGrades.xlsx, which we have not seen. Export it as CSV; public
    loaders take the first column for the image's number and the second for its score, whatever they are called, and
    so do we. A first column that holds file names will do too.

    Scores: 0 to 5 (0.16 to 4.92 found), higher is better, in LIQE's lists as in the spreadsheet.

    Splits: no official one is known. LIQE's ten: 410 train, 59 val, 117 test.

    Terms: see the database's page. Citation: Ciancio et al., "No-Reference Blur Assessment of Digital Images Based on
    Multifeature Classifiers", IEEE Transactions on Image Processing 20, 2011.

    Examples:
        >>> BID("data/bid").name
        "BID, LIQE's split 1"
    """

    title = "BID"
    image_count = 586
    liqe_folder, liqe_name, liqe_range = "BID", "bid", (0.0, 5.0)
    labels_name, labels_range = "DatabaseGrades.csv", (0.0, 5.0)
    images_name = "ImageDatabase"

    def _own_labels(self) -> pd.DataFrame:
        labels = read_csv(self.labels)
        columns = labels.columns.tolist()
        if len(columns) < 2:
            require_columns(labels, ["image", "score"], self.labels, "export both columns of the spreadsheet")
        labels = labels.set_axis(["image", "score", *columns[2:]], axis=1)[["image", "score"]]
        return labels.assign(image=[_file(cell) for cell in labels["image"]])


def _file(cell: str) -> str:
    """'456', or '456.0' as spreadsheets export it, is DatabaseImage0456.JPG."""
    number = cell.removesuffix(".0")
    return f"DatabaseImage{int(number):04d}.JPG" if number.isdecimal() else cell.replace("\\", "/")
