"""The face detector YuNet (Wu et al. 2023), run by OpenCV from the model file of OpenCV's model zoo."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.errors import InputError
from piqa.preparation.faces import Face, bounded_copy, faces_of
from piqa.system.threads import thread_count
from piqa.weights.cache import cached_file
from piqa.weights.registry import entries

YUNET_PLACE = "data/weights/face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
WHERE_FROM = (
    "opencv/opencv_zoo on GitHub has it as models/face_detection_yunet/face_detection_yunet_2023mar.onnx (MIT licence, "
    "233 kB)"
)
# YuNet was trained on faces of 10 to 300 px, and in larger ones finds parts of faces: measured, from 600 px on.
YUNET_SIDE = 640
LEAST_PROBABILITY = 0.3  # of what it returns; `Preparation.face_threshold` is what decides
LARGEST_OVERLAP = 0.3  # intersection over union of two boxes that are two faces; its makers' value, as the next
MOST_CANDIDATES = 5000


class YuNetDetector:
    """YuNet on a copy of bounded size, on the CPU.

    Args:
        path: The model file; where it does not exist, `YUNET_PLACE` is tried, then what `piqa models get yunet` left.
        detection_side: Longest side in pixels of the copy that YuNet sees; at most `YUNET_SIDE`.

    Raises:
        InputError: If the model file is not there, or is not the published one.
    """

    sure = 0.92

    def __init__(self, path: str | Path = YUNET_PLACE, detection_side: int = 1600) -> None:
        content = _read_model(path)
        import cv2  # not needed where MTCNN finds the faces

        self.detection_side = min(detection_side, YUNET_SIDE)
        cv2.setNumThreads(thread_count())  # one in a worker process, which shares the cores with others
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns about its own default
        try:
            nothing = np.empty(0, np.uint8)  # there is no second file, as some formats have
            thresholds = LEAST_PROBABILITY, LARGEST_OVERLAP, MOST_CANDIDATES
            self._yunet = cv2.FaceDetectorYN.create("onnx", content, nothing, (YUNET_SIDE, YUNET_SIDE), *thresholds)
        finally:
            cv2.utils.logging.setLogLevel(level)

    def detect(self, image: Image.Image) -> list[Face]:
        """Return all faces of an RGB image, in no particular order."""
        copy = bounded_copy(image, self.detection_side)
        self._yunet.setInputSize(copy.size)
        found = self._yunet.detect(np.asarray(copy)[..., ::-1].copy())[1]  # OpenCV's order is blue, green, red
        rows = [] if found is None else np.asarray(found, dtype=np.float64).tolist()
        # left, top, width, height, five points of the face, probability
        # of the points, the person's right eye and corner of the mouth come first: they lie on the left of the picture
        faces = [((x, y, x + w, y + h), p, [*zip(at[::2], at[1::2], strict=True)]) for x, y, w, h, *at, p in rows]
        return faces_of(image, copy, faces)


def _read_model(path: str | Path) -> NDArray[np.uint8]:
    """Return the content of YuNet's model file; raise InputError if it cannot be read or is another."""
    # a model trained elsewhere names a path of that machine; nothing is fetched here, in whatever process this is
    fetched = cached_file(entries()["yunet"])
    path = next((place for place in (path, YUNET_PLACE, fetched) if place and Path(place).is_file()), path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        missing = f"cannot read YuNet's model file {path}: {error.strerror}"
        advice = "put it there, or run `piqa models get yunet`, or choose `detector: mtcnn`"
        raise InputError(f"{missing}; {WHERE_FROM}: {advice}") from error
    if hashlib.sha256(content).hexdigest() != YUNET_SHA256:
        pointer = "a pointer of Git LFS" if content.startswith(b"version https://git-lfs") else "another file"
        raise InputError(f"{path} is not YuNet's model file of March 2023 but {pointer}; {WHERE_FROM}: download that")
    return np.frombuffer(content, np.uint8)
