"""The two public-domain portraits that come inside scikit-image and matplotlib."""

from pathlib import Path

import matplotlib
import skimage.data
from PIL import Image

# The face by eye, left, top, right, bottom: hair line to chin, ear to ear.
COLLINS_FACE = (178, 62, 272, 178)
HOPPER_FACE = (168, 125, 352, 345)


def collins() -> Image.Image:
    """Eileen Collins, 512 x 512 (NASA)."""
    return Image.fromarray(skimage.data.astronaut())


def hopper() -> Image.Image:
    """Grace Hopper, 512 x 600 (US Navy)."""
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as image:
        return image.convert("RGB")
