"""KonIQ-10k, photographs from the web with their own distortions."""

import pandas as pd

from piqa.data.tables.database import read_columns
from piqa.data.tables.liqe_lists import LIQEDatabase

COLUMNS = {"image": "image_name", "score": "MOS", "split": "set"}


class KonIQ(LIQEDatabase):
    """KonIQ-10k: 10,073 photographs from the web.

    Layout:

    ```
    root/
      1024x768/                              the images, <number>.jpg; `images: 512x384` for the smaller release
      koniq10k_distributions_sets.csv        image_name, c1 .. c5, c_total, MOS, SD, set
    ```

    Scores, higher is better: the official MOS lies on a scale of 0 to 100, LIQE's on one of 1 to 5 (1.10 to 4.31
    found). Neither is the other's linear image: judge a model on the scale that it was trained on. SD is not used: it
    seems to be the standard deviation of the ratings 1 to 5, another scale than the official MOS's.

    Splits: official, 7,058 train, 1,000 val, 2,015 test; LIQE's ten, 7,051 / 1,007 / 2,015, other partitions.

    Resolution matters: CLIP-IQA+ reaches an SROCC of 0.895 at 1024x768 and 0.803 at 512x384 (IQA-PyTorch's benchmark).

    Terms: see the database's page. Citation: Hosu et al., "KonIQ-10k: An Ecologically Valid Database for Deep Learning
    of Blind Image Quality Assessment", IEEE Transactions on Image Processing 29, 2020.

    Examples:
        >>> KonIQ("data/koniq-10k").name
        "KonIQ-10k, LIQE's split 1"
    """

    title = "KonIQ-10k"
    image_count = 10073
    splits = ("liqe", "official", "drawn")
    liqe_folder, liqe_name, liqe_range = "koniq-10k", "koniq10k", (1.0, 5.0)
    labels_name, labels_range = "koniq10k_distributions_sets.csv", (0.0, 100.0)
    images_name = "1024x768"

    def _own_labels(self) -> pd.DataFrame:
        return read_columns(self.labels, COLUMNS)
