"""LIVE, pristine images distorted in five ways."""

import numpy as np
import pandas as pd

from piqa.data.tables.database import read_mat
from piqa.data.tables.liqe_lists import GROUPS, LIQEDatabase
from piqa.errors import InputError

FOLDERS = {  # in the order of the label files: images with their references, and what LIQE's lists call it
    "jp2k": (227, "jpeg2000 compression"),
    "jpeg": (233, "jpeg compression"),
    "wn": (174, "white noise"),
    "gblur": (174, "gaussian blur"),
    "fastfading": (174, "fastfading"),
}
REALIGNED_RANGE = (-12.0, 103.0)  # a span that holds the 114.41 of LIQE's lists
IMAGES = [f"{folder}/img{number}.bmp" for folder, (count, _) in FOLDERS.items() for number in range(1, count + 1)]


class LIVE(LIQEDatabase):
    """LIVE (release 2): 29 pristine images, distorted in 5 ways, 779 images.

    Layout, of databaserelease2:

    ```
    root/
      jp2k/  jpeg/  wn/  gblur/  fastfading/      img1.bmp and so on: 227, 233, 174, 174 and 174 with the references
      dmos.mat                                    dmos, orgs (1: a reference); or `labels: dmos_realigned.mat`, dmos_new
      refnames_all.mat                            refnames_all: the reference of every image
    ```

    Scores: the released DMOS is lower for better images; `score` is 100 - dmos, on a scale of 0 to 100. LIQE's lists
    hold a reversed DMOS too, from 0 to 114.41 (of dmos_realigned.mat, it seems): the order is what counts.

    Splits: no official one. LIQE's ten: 538 train, 81 val, 160 test or three more or fewer, by reference. `drawn` too
    keeps every reference in one split, and leaves the references themselves out.

    LIQE's lists call the 145 images of fast fading "white noise", although LIQE's code has a name for them and counts
    them as JPEG 2000 compression, whose errors they show. Their scenes are wrong too: they differ between levels of one
    image, while its other distortions agree (seen in split 1's val and test lists). By default both are corrected: the
    distortion goes by the folder, the scenes are those of the same reference's other distortions where
    refnames_all.mat is there, and none where not. `mend: false` leaves the lists as they were published.

    Terms: see the database's page. Citation: Sheikh, Sabir and Bovik, "A Statistical Evaluation of Recent Full
    Reference Image Quality Assessment Algorithms", IEEE Transactions on Image Processing 15, 2006.

    Examples:
        >>> LIVE("data/live").name
        "LIVE, LIQE's split 1"
    """

    title = "LIVE"
    image_count = 779
    liqe_folder, liqe_name, liqe_range = "databaserelease2", "live", (0.0, 114.414709)
    labels_name, labels_range = "dmos.mat", (0.0, 100.0)
    images_name = "."

    @property
    def own_range(self) -> tuple[float, float]:
        """As for every database; realigned scores reach beyond 0..100 on both sides."""
        return REALIGNED_RANGE if self._realigned and self.split != "liqe" else super().own_range

    @property
    def _realigned(self) -> bool:
        return "realigned" in self.labels.name

    def _own_labels(self) -> pd.DataFrame:
        variable = "dmos_new" if self._realigned else "dmos"
        dmos, originals = read_mat(self.labels, variable, "orgs")
        names = read_mat(self.root / "refnames_all.mat", "refnames_all")[0]
        if not len(IMAGES) == len(dmos) == len(originals) == len(names):
            raise InputError(
                f"{self.labels} and refnames_all.mat hold {len(dmos)}, {len(originals)} and {len(names)} images, "
                f"not {len(IMAGES)}; restore the database's own files"
            )
        frame = pd.DataFrame(
            {"image": IMAGES, "score": 100.0 - dmos.astype(np.float64), "reference": names},
            index=range(1, len(IMAGES) + 1),
        )
        frame["distortion"] = [GROUPS[FOLDERS[image.split("/")[0]][1]] for image in IMAGES]
        distorted: pd.DataFrame = frame[originals == 0]
        return distorted

    def _listed(self, frame: pd.DataFrame) -> pd.DataFrame:
        file = self.root / "refnames_all.mat"
        if file.is_file():
            references = dict(zip(IMAGES, read_mat(file, "refnames_all")[0], strict=False))
            frame = frame.assign(reference=frame["image"].map(references))
            unknown = frame.index[frame["reference"].isna()]
            if len(unknown):
                raise InputError(f"{file} names no reference of {frame['image'][unknown[0]]}; restore the file")
        return _corrected(frame) if self.mend else frame


def _corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the lists with fast fading under the distortion of its folder and the scenes of its reference."""
    fading = frame["image"].str.startswith("fastfading/")
    tags = pd.Series("", index=frame.index[fading])
    if "reference" in frame:
        others = frame[~fading].drop_duplicates("reference").set_index("reference")["scene_tags"]
        tags = frame.loc[fading, "reference"].map(others).fillna("")
    mended = frame.copy()
    mended.loc[fading, "distortion"] = GROUPS["fastfading"]
    mended.loc[fading, "scene_tags"] = tags
    return mended
