"""The face detector MTCNN (Zhang et al. 2016) without PyTorch: its three networks by a runtime, the rest in numpy.

It gives the boxes, probabilities and points of facenet-pytorch's MTCNN as `piqa.preparation.mtcnn` uses it, in its
order. Every image that the networks see, of the pyramid as of a candidate, holds means over rectangles of pixels
(adaptive average pooling): all of them are read from one table of sums, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.engines.graph import Arrays, Engine, Graph, open_graph
from piqa.preparation.faces import Face, bounded_copy, faces_of
from piqa.preparation.mtcnn import MIN_FACE_SIDE

FACTOR = 0.709  # between two images of the pyramid; facenet-pytorch's own default, as all that follow
CELL, STRIDE = 12, 2  # pixels that P-Net sees of a face, and between two places
P_LEAST, R_LEAST, O_LEAST = 0.6, 0.7, 0.7  # probabilities that pass each network
WITHIN_SCALE, AFTERWARDS = 0.5, 0.7  # overlaps of two candidates that are one
# Candidates in one pass: the maps of 32 lie in a core's cache, OpenVINO takes longer for each pass; 512 fit in memory
AT_ONCE: dict[Engine, int] = {"onnxruntime": 32, "openvino": 512, "torch": 512}
COMPARED = 128  # boxes that are compared with all others at once, for the sake of memory

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class RuntimeFaces:
    """Where MTCNN's networks are had from: what a worker process is given.

    Args:
        networks: ONNX files' bytes by name, as `piqa.engines.exported.read_faces` returns them.
        engine: What runs them.
    """

    networks: Mapping[str, bytes]
    engine: Engine = "onnxruntime"

    def detector(self, detection_side: int) -> RuntimeMTCNN:
        """Load the networks, and return what finds faces."""
        graphs = {name: open_graph(content, self.engine, "cpu") for name, content in self.networks.items()}
        return RuntimeMTCNN(graphs, detection_side, AT_ONCE[self.engine])


class RuntimeMTCNN:
    """MTCNN on a copy of bounded size; a `piqa.preparation.faces.FaceDetector`.

    Args:
        graphs: `pnet`, `rnet` and `onet`.
        detection_side: Longest side in pixels of the copy that MTCNN sees. It finds faces of 20 px there and up.
        at_once: Candidates in one pass of R-Net and O-Net.
    """

    sure = 0.999

    def __init__(self, graphs: Mapping[str, Graph], detection_side: int = 1600, at_once: int = 32) -> None:
        self._graphs, self.detection_side, self._at_once = graphs, detection_side, at_once

    def detect(self, image: Image.Image) -> list[Face]:
        """Return all faces of an RGB image, the largest first."""
        copy = bounded_copy(image, self.detection_side)
        if min(copy.size) < MIN_FACE_SIDE:
            return []
        sums = _Sums(np.asarray(copy))
        boxes, scores = self._candidates(sums)
        boxes, scores = self._refined(sums, boxes, scores)
        boxes, scores, points = self._judged(sums, boxes, scores)
        order = np.argsort((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[::-1]
        found = (values[order].astype(np.float64).tolist() for values in (boxes, scores, points))
        return faces_of(image, copy, zip(*found, strict=True))  # type: ignore[arg-type]

    def _candidates(self, sums: _Sums) -> tuple[Floats, Floats]:
        """Return square boxes, (n, 4), that P-Net takes for faces in images of falling size, and probabilities."""
        parts = []
        for scale in _scales(sums.height, sums.width):
            size = int(sums.height * scale + 1), int(sums.width * scale + 1)
            found = self._graphs["pnet"].run({"pixels": _scaled(sums.whole(*size))[None]})
            part = _boxes_of(found["moves"][0], found["faces"][0, 1], scale)
            parts.append(part[_suppressed(part[:, :4], part[:, 4], WITHIN_SCALE)])
        all_ = np.concatenate(parts)
        all_ = all_[_suppressed(all_[:, :4], all_[:, 4], AFTERWARDS)]
        sides = all_[:, 2:4] - all_[:, :2]
        moved = all_[:, :4] + all_[:, 5:9] * np.tile(sides, 2)
        return _squared(moved), all_[:, 4]

    def _refined(self, sums: _Sums, boxes: Floats, scores: Floats) -> tuple[Floats, Floats]:
        """Return the candidates that R-Net takes for faces, as it corrects them, square again."""
        if not len(boxes):
            return boxes, scores
        found = self._answers("rnet", sums, boxes, 24)
        passed = found["faces"][:, 1] > R_LEAST
        boxes, scores, moves = boxes[passed], found["faces"][passed, 1], found["moves"][passed]
        kept = _suppressed(boxes, scores, AFTERWARDS)
        return _squared(_corrected(boxes[kept], moves[kept])), scores[kept]

    def _judged(self, sums: _Sums, boxes: Floats, scores: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the candidates that O-Net takes for faces, as it corrects them, and points, (n, 5, 2)."""
        if not len(boxes):
            return boxes, scores, np.empty((0, 5, 2), np.float32)
        found = self._answers("onet", sums, boxes, 48)
        passed = found["faces"][:, 1] > O_LEAST
        boxes, scores, moves = boxes[passed], found["faces"][passed, 1], found["moves"][passed]
        sides = boxes[:, 2:4] - boxes[:, :2] + np.float32(1)
        places = found["points"][passed].reshape(-1, 2, 5).transpose(0, 2, 1)  # five x, then five y
        points = sides[:, None] * places + boxes[:, None, :2] - np.float32(1)
        boxes = _corrected(boxes, moves)
        kept = _suppressed_by_smaller(boxes, scores, AFTERWARDS)
        return boxes[kept], scores[kept], points[kept]

    def _answers(self, name: str, sums: _Sums, boxes: Floats, side: int) -> Arrays:
        parts = [
            self._graphs[name].run({"pixels": _scaled(sums.of(boxes[start : start + self._at_once], side))})
            for start in range(0, len(boxes), self._at_once)
        ]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


class _Sums:
    """The sums of an image's pixels from its top left corner, from which the mean over any rectangle follows.

    They are taken modulo 2**32, as the differences of four of them are right so; no rectangle holds more than that.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.height, self.width = image.shape[:2]
        self._sums = np.zeros((3, self.height + 1, self.width + 1), np.uint32)
        inside = self._sums[:, 1:, 1:]
        np.cumsum(image.transpose(2, 0, 1), axis=2, dtype=np.uint32, out=inside)
        for row in range(1, self.height + 1):  # a fifth faster than numpy's sum along this axis
            self._sums[:, row] += self._sums[:, row - 1]

    def whole(self, height: int, width: int) -> Floats:
        """Return the whole image in another size, float32, (3, height, width)."""
        top, bottom = _edges(np.array([0]), np.array([self.height]), height)
        left, right = _edges(np.array([0]), np.array([self.width]), width)
        rows = self._sums.take(bottom[0], axis=1)
        rows -= self._sums.take(top[0], axis=1)
        sums = rows.take(right[0], axis=2)
        sums -= rows.take(left[0], axis=2)
        return _means(sums, (bottom - top)[0, :, None], (right - left)[0, None, :])

    def of(self, boxes: Floats, side: int) -> Floats:
        """Return what lies in boxes as far as it is inside, at least a pixel, float32, (n, 3, side, side)."""
        x1, y1, x2, y2 = np.trunc(boxes).astype(np.int64).T  # counted from 1, both ends included
        x1, y1 = x1.clip(1, self.width), y1.clip(1, self.height)
        left, right = _edges(x1 - 1, x2.clip(x1, self.width), side)
        top, bottom = _edges(y1 - 1, y2.clip(y1, self.height), side)
        table = self._sums.reshape(3, -1)  # places in it are found by `take` three times as fast as by two indices
        upper, lower = (edge[:, :, None] * (self.width + 1) for edge in (top, bottom))
        sums = table.take(lower + right[:, None], axis=1)
        sums -= table.take(lower + left[:, None], axis=1)
        sums -= table.take(upper + right[:, None], axis=1)
        sums += table.take(upper + left[:, None], axis=1)
        return _means(sums, (bottom - top)[:, :, None], (right - left)[:, None, :]).transpose(1, 0, 2, 3)


def _scales(height: int, width: int) -> list[float]:
    """Return the sizes of the pyramid's images, as fractions of the image: P-Net sees faces of 12 px in each."""
    scale = CELL / MIN_FACE_SIDE
    short, scales = min(height, width) * scale, []
    while short >= CELL:
        scales.append(scale)
        scale, short = scale * FACTOR, short * FACTOR
    return scales


def _edges(start: Places, end: Places, count: int) -> tuple[Places, Places]:
    """Return the begins and ends of `count` rows, (n, count) each, between two places, as torch's pooling sets them."""
    length, steps = (end - start)[:, None], np.arange(count + 1)
    return start[:, None] + steps[:-1] * length // count, start[:, None] - (-steps[1:] * length // count)


def _means(sums: NDArray[np.uint32], rows: Places, columns: Places) -> Floats:
    means = sums.astype(np.float32)
    means /= rows.astype(np.float32)
    means /= columns.astype(np.float32)
    return means


def _scaled(pixels: Floats) -> Floats:
    """Scale pixels as the networks take them, in place."""
    pixels -= np.float32(127.5)
    pixels *= np.float32(0.0078125)
    return pixels


def _boxes_of(moves: Floats, faces: Floats, scale: float) -> Floats:
    """Return box, probability and moves, (n, 9), of each place of an image of the pyramid that may be a face."""
    rows, columns = np.nonzero(faces >= P_LEAST)
    at = np.stack([columns, rows], axis=1).astype(np.float32)
    first, last = (np.floor((STRIDE * at + inside) / np.float32(scale)) for inside in (1, CELL))
    found: Floats = np.concatenate([first, last, faces[rows, columns, None], moves[:, rows, columns].T], axis=1)
    return found


def _corrected(boxes: Floats, moves: Floats) -> Floats:
    sides = boxes[:, 2:4] - boxes[:, :2] + np.float32(1)
    return boxes + moves * np.tile(sides, 2)


def _squared(boxes: Floats) -> Floats:
    """Return squares around the same centres, of the longer sides."""
    sides = boxes[:, 2:4] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sides * np.float32(0.5) - longer * np.float32(0.5)
    return np.concatenate([corner, corner + longer], axis=1)


def _suppressed(boxes: Floats, scores: Floats, overlap: float) -> Places:
    """Return which boxes stay, the most probable first, where of two that overlap more the less probable one goes.

    The overlap is intersection over union, in the arithmetic of torchvision's `nms`.
    """
    left = np.argsort(-scores, kind="stable")
    kept = [left[:0]]
    while len(left):  # the next ones settle it among themselves, and those of them that stay drop others
        some, left = left[:COMPARED], left[COMPARED:]
        among = _overlaps(boxes[some], boxes[some]) > overlap
        stay, gone = [], np.zeros(len(some), bool)
        for place, hits in enumerate(among):
            if not gone[place]:
                stay.append(place)
                gone |= hits
        kept.append(some[stay])
        if len(left):
            left = left[~(_overlaps(boxes[some[stay]], boxes[left]) > overlap).any(axis=0)]
    return np.concatenate(kept)


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Return the intersection over union of each box with each other, (n, m); NaN for two without an area."""
    x1, y1, x2, y2 = (column[:, None] for column in boxes.T)
    left, top, right, bottom = np.ascontiguousarray(others.T)
    shared = (np.minimum(x2, right) - np.maximum(x1, left)).clip(0)
    shared *= (np.minimum(y2, bottom) - np.maximum(y1, top)).clip(0)
    areas = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top)
    with np.errstate(invalid="ignore"):
        parts: Floats = shared / (areas - shared)
    return parts


def _suppressed_by_smaller(boxes: Floats, scores: Floats, overlap: float) -> Places:
    """Return which boxes stay, likewise, by the part of the smaller box that is shared, both ends included."""
    x1, y1, x2, y2 = boxes.T
    one, nothing = np.float32(1), np.float32(0)
    areas = (x2 - x1 + one) * (y2 - y1 + one)
    left, kept = np.argsort(scores), []
    while len(left):
        first, left = left[-1], left[:-1]
        kept.append(first)
        width = np.maximum(nothing, np.minimum(x2[first], x2[left]) - np.maximum(x1[first], x1[left]) + one)
        height = np.maximum(nothing, np.minimum(y2[first], y2[left]) - np.maximum(y1[first], y1[left]) + one)
        left = left[width * height / np.minimum(areas[first], areas[left]) <= overlap]
    return np.array(kept, np.int64)
