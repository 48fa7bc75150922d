"""Choose the face of an image that is judged: MTCNN finds faces, a named rule chooses one, a margin is added.

The released DN-PIQA crops come from YOLO5Face, whose first box is its most confident one; MTCNN (Zhang et al. 2016,
facenet-pytorch with its shipped weights) finds much the same faces and needs no download. `most_confident` keeps the
reference's order; `largest` is the default because the subject of a portrait is seldom a small face in the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

FaceRule = Literal["largest", "most_confident", "none"]
Box = tuple[float, float, float, float]

MIN_FACE_SIDE = 20  # pixels in the copy that the detector sees; facenet-pytorch's own default


@dataclass(frozen=True)
class Face:
    """One detected face."""

    box: Box  # x1, y1, x2, y2 in pixels of the image, without margin; may extend beyond its border
    probability: float  # the detector's confidence, in [0, 1]

    @property
    def area(self) -> float:
        """The area of the box in square pixels."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)


class FaceDetector:
    """MTCNN on a copy of bounded size, so that a 12-megapixel image costs about what a 2-megapixel one does.

    Args:
        detection_side: Longest side in pixels of the copy that MTCNN sees. It finds faces of 20 px there and up.
        device: Where the three networks run.
    """

    def __init__(self, detection_side: int = 1600, device: str | torch.device = "cpu") -> None:
        from facenet_pytorch import MTCNN  # slow to import, and not needed where the store is complete

        _keep_every_candidate()
        self.detection_side = detection_side
        if torch.device(device).type == "mps":  # which has neither its float64 nor its pooling to any size
            device = "cpu"
        self._mtcnn = MTCNN(min_face_size=MIN_FACE_SIDE, keep_all=True, device=torch.device(device)).eval()

    def detect(self, image: Image.Image) -> list[Face]:
        """Return all faces of an RGB image, in no particular order."""
        scale = min(1.0, self.detection_side / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if min(size) < MIN_FACE_SIDE:
            return []  # MTCNN's scale pyramid would be empty, and it would raise
        copy = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0) if scale < 1 else image
        boxes, probabilities = self._mtcnn.detect(copy)
        if boxes is None:
            return []
        # with numpy 2 the boxes come as an object array
        scaled = np.asarray(boxes, dtype=np.float64) * ([image.width / size[0], image.height / size[1]] * 2)
        x1, y1, x2, y2 = scaled.T
        within = (x1.clip(0) < x2.clip(max=image.width)) & (y1.clip(0) < y2.clip(max=image.height))  # at least in part
        found = zip(scaled.tolist(), probabilities, within, strict=True)
        return [Face(tuple(box), float(probability)) for box, probability, inside in found if inside]


def _keep_every_candidate() -> None:
    """Keep a pixel of face candidates wholly outside the image: facenet-pytorch keeps none, and then fails."""
    from facenet_pytorch.models.utils import detect_face

    def pad(boxes: torch.Tensor, width: int, height: int) -> tuple[NDArray[np.int32], ...]:
        x1, y1, x2, y2 = boxes[:, :4].trunc().int().cpu().numpy().T  # 1-based, both ends included
        x1, y1 = x1.clip(1, width), y1.clip(1, height)
        return y1, y2.clip(y1, height), x1, x2.clip(x1, width)

    detect_face.pad = pad


def choose_face(faces: list[Face], rule: FaceRule, threshold: float) -> Face | None:
    """Return the face that is judged by this rule, or None where no face is at least as probable as `threshold`."""
    candidates = [] if rule == "none" else [face for face in faces if face.probability >= threshold]
    key = (lambda face: face.area) if rule == "largest" else (lambda face: face.probability)
    return max(candidates, key=key, default=None)


def crop_face(image: Image.Image, box: Box, margin: int) -> Image.Image:
    """Cut out a face with `margin` pixels on every side; black beyond the image's border, as published."""
    x1, y1, x2, y2 = (round(value) for value in box)
    return image.crop((x1 - margin, y1 - margin, x2 + margin, y2 + margin))
