"""The face detector MTCNN (Zhang et al. 2016), from facenet-pytorch with its shipped weights: it needs no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.preparation.faces import Face, bounded_copy, faces_of

if TYPE_CHECKING:
    import torch

MIN_FACE_SIDE = 20  # pixels in the copy that the detector sees; facenet-pytorch's own default


class MTCNNDetector:
    """MTCNN on a copy of bounded size, so that a 12-megapixel image costs about what a 2-megapixel one does.

    Args:
        detection_side: Longest side in pixels of the copy that MTCNN sees. It finds faces of 20 px there and up.
        device: Where the three networks run.
    """

    sure = 0.999

    def __init__(self, detection_side: int = 1600, device: str | torch.device = "cpu") -> None:
        import torch
        from facenet_pytorch import MTCNN  # slow to import, and not needed where the store is complete

        _keep_every_candidate()
        self.detection_side = detection_side
        if torch.device(device).type == "mps":  # which has neither its float64 nor its pooling to any size
            device = "cpu"
        self._mtcnn = MTCNN(min_face_size=MIN_FACE_SIDE, keep_all=True, device=torch.device(device)).eval()

    def detect(self, image: Image.Image) -> list[Face]:
        """Return all faces of an RGB image, in no particular order."""
        copy = bounded_copy(image, self.detection_side)
        if min(copy.size) < MIN_FACE_SIDE:
            return []  # MTCNN's scale pyramid would be empty, and it would raise
        boxes, probabilities, points = self._mtcnn.detect(copy, landmarks=True)
        if boxes is None:
            return []
        # with numpy 2 boxes and points come as object arrays
        boxes, points = (np.asarray(found, dtype=np.float64).tolist() for found in (boxes, points))
        return faces_of(image, copy, zip(boxes, map(float, probabilities), points, strict=True))


def _keep_every_candidate() -> None:
    """Keep a pixel of face candidates wholly outside the image: facenet-pytorch keeps none, and then fails."""
    from facenet_pytorch.models.utils import detect_face

    def pad(boxes: torch.Tensor, width: int, height: int) -> tuple[NDArray[np.int32], ...]:
        x1, y1, x2, y2 = boxes[:, :4].trunc().int().cpu().numpy().T  # 1-based, both ends included
        x1, y1 = x1.clip(1, width), y1.clip(1, height)
        return y1, y2.clip(y1, height), x1, x2.clip(x1, width)

    detect_face.pad = pad
