"""Prepare an image file as a Portrait: the one preparation that training, evaluation and scoring share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.errors import InputError
from piqa.preparation.faces import (
    Box,
    Detector,
    FaceDetector,
    FaceRule,
    Found,
    Points,
    crop_face,
    find_face,
    relative_margin,
    turned_clockwise,
)
from piqa.preparation.image_file import Colour, Pixels, open_image
from piqa.preparation.mtcnn import MIN_FACE_SIDE, MTCNNDetector
from piqa.preparation.yunet import YUNET_PLACE, YUNET_SHA256, YuNetDetector

if TYPE_CHECKING:
    import torch

    from piqa.preparation.runtime_faces import RuntimeFaces
    from piqa.preparation.store_entry import StoredArrays

STORED_WHOLE = "full_image"  # the name of the whole image in existing stores
SIZE = "original_size"  # of the original, among an entry's facts
PREPARATION_VERSION = 1  # raise it when the same settings give other pixels

MOST_PIXELS = 10_000  # of a side or a margin; a model's card could ask for all the memory there is

Resize = Literal["short_side", "shrink", "stretch", "keep"]
CHOICES = {"resize": Resize, "colour": Colour, "face_rule": FaceRule, "detector": Detector}
WHOLE_NUMBERS = ("short_side", "face_margin", "detection_side")
# Settings that are newer than existing stores, with what they mean there.
NEWER = {"resize": "short_side", "colour": "stored", "try_turns": False, "face_margin_fraction": None}
NEWER |= {"detector": "mtcnn", "reducing_gap": None}
# Lowest confidence of a face that counts. In the 50 example images of PIQ23's repository, each of which shows a person,
# YuNet's faces have 0.80 to 0.95; with MTCNN's threshold it would miss one in five.
THRESHOLDS: dict[Detector, float] = {"mtcnn": 0.9, "yunet": 0.6}


@dataclass(frozen=True)
class Preparation:
    """Settings of the preparation of image files.

    The defaults are those of the published models, and of all models, cards and stores that do not name a setting.

    Args:
        short_side: Length in pixels for `resize`.
        face_rule: Which face is judged: the `largest`, or the `most_confident`, as in the reference; `none` detects no
            faces, which saves time where only the whole image is used.
        face_threshold: Lowest detector confidence of a face that counts, in [0, 1]; None for what suits the detector:
            0.9 for `mtcnn`, 0.6 for `yunet`.
        face_margin: Pixels added on every side of the face box, at original resolution.
        detection_side: Longest side in pixels of the copy in which faces are detected; for `yunet` at most 640. 800
            takes a third of the time of 1600, but misses faces below a fiftieth of the image's longest side. A
            detector's box changes by up to 5 % with the size of the copy, so among images of very different sizes a
            side that none falls short of gives the most even crops; but `mtcnn` finds no face below 20 px of the copy.
        liqe: LIQE's checkpoint; None for no LIQE logits.
        resize: How the whole image and the face crop are resized. `short_side`: the short side to that length, up or
            down. `shrink`: the same where both sides are longer, else not at all. `stretch`: to a square of that side.
            `keep`: not at all, and `short_side` is not used.
        colour: `stored` takes the values of RGB images as they are, whatever their colour space, as published; `srgb`
            converts them to sRGB by their profile, so that files of different cameras can be compared.
        try_turns: Where an image shows no face of which the detector is sure, look at it turned by 90, 180 and 270
            degrees as well, and prepare that which shows the surest face. It takes three more detections, of such
            images only.
        face_margin_fraction: Margin on every side as a fraction of the longer side of the face box, in place of
            `face_margin`, so that the crop shows the same at any resolution. 0.075 is the published margin at PIQ23's
            resolution: 20 px, where the faces of the 50 example images in its repository measure 264 px (median).
        detector: What finds faces: `mtcnn`, which comes with facenet-pytorch, or `yunet`, which finds more of them in
            the dark and takes a tenth of the time, and whose model file must be put into its place.
        yunet: Path of YuNet's model file.
        reducing_gap: Resize in two steps: blocks of whole pixels are averaged first, to this many times the size that
            is wanted, then the published filter resizes. With 2.0, an image of 12 megapixels takes a quarter of the
            time, and pixels differ little. None: one step, as published.

    Examples:
        >>> portrait = Preparation(short_side=64, face_rule="none").preparer()("a.jpg")
        >>> min(portrait.whole.shape[:2]), portrait.face_found
        (64, False)
    """

    short_side: int = 448
    face_rule: FaceRule = "largest"
    face_threshold: float | None = None
    face_margin: int = 20
    detection_side: int = 1600
    liqe: str | None = None
    resize: Resize = "short_side"
    colour: Colour = "stored"
    try_turns: bool = False
    face_margin_fraction: float | None = None
    detector: Detector = "mtcnn"
    yunet: str = YUNET_PLACE
    reducing_gap: float | None = None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in get_args(known):
                raise InputError(f"preparation: `{name}` is one of {', '.join(get_args(known))}, not {value!r}")
        for name in WHOLE_NUMBERS:
            if type(value := getattr(self, name)) is not int:
                raise InputError(f"preparation: `{name}` is a whole number, not {value!r}")
        if self.face_threshold is None:
            object.__setattr__(self, "face_threshold", THRESHOLDS[self.detector])  # so that cards name the number
        if self.short_side < 1 or self.face_margin < 0 or not 0 <= self.threshold <= 1:
            raise InputError(
                f"preparation: short_side ({self.short_side}) must be at least 1, face_margin ({self.face_margin}) at "
                f"least 0, and face_threshold ({self.face_threshold}) from 0 to 1"
            )
        if max(self.short_side, self.face_margin) > MOST_PIXELS:
            found = f"short_side ({self.short_side}) and face_margin ({self.face_margin})"
            raise InputError(f"preparation: {found} must be at most {MOST_PIXELS}")
        if self.face_margin_fraction is not None and not 0 <= self.face_margin_fraction <= 1:
            raise InputError(f"preparation: face_margin_fraction ({self.face_margin_fraction}) must be from 0 to 1")
        if self.reducing_gap is not None and not 1 <= self.reducing_gap <= MOST_PIXELS:
            raise InputError(f"preparation: reducing_gap ({self.reducing_gap}) must be at least 1, such as 2.0")
        if self.detection_side < MIN_FACE_SIDE:
            raise InputError(f"preparation: no face is found with detection_side {self.detection_side}; try 1600")

    @property
    def threshold(self) -> float:
        """The lowest confidence of a face that counts."""
        assert self.face_threshold is not None  # since __post_init__
        return self.face_threshold

    def fingerprint(self, liqe_digest: str | None) -> str:
        """Return a short name of all that the prepared pixels depend on but the image file, all weights included."""
        settings = asdict(self) | {"liqe": liqe_digest, "yunet": YUNET_SHA256, "version": PREPARATION_VERSION}
        unused = [name for name, before in NEWER.items() if settings[name] == before]
        unused += ["short_side"] if self.resize == "keep" else []
        unused += ["face_margin"] if self.face_margin_fraction is not None else []
        unused += ["yunet"] if self.detector == "mtcnn" else []
        used = {name: value for name, value in settings.items() if name not in unused}
        return hashlib.blake2b(json.dumps(used, sort_keys=True).encode(), digest_size=8).hexdigest()

    def key(self, digest: Callable[[str], str]) -> str:
        """Return the fingerprint, for the prepared store; `digest` returns the digest of a file's content."""
        if self.liqe is None:
            return self.fingerprint(None)
        from piqa.weights import state_dicts

        return self.fingerprint(digest(str(state_dicts.require(self.liqe, "liqe"))))

    def preparer(self, device: str | torch.device = "cpu") -> Preparer:
        """Load the networks that prepare image files."""
        return Preparer(self, device)

    def unpack(self, arrays: StoredArrays, facts: Mapping[str, str], path: str) -> Portrait:
        """Return the Portrait that was packed; its images may be `StoredImage`, which are read when sliced."""
        box = json.loads(facts["face_box"])
        return Portrait(
            whole=arrays[STORED_WHOLE],
            face_crop=arrays.get("face_crop", arrays[STORED_WHOLE]),
            face_box=None if box is None else tuple(box),
            liqe_logits=arrays.get("liqe_logits"),
            turned=int(facts.get("turned", 0)),
            face_points=_points(json.loads(facts.get("face_points", "null"))),
            other_faces=int(facts.get("other_faces", 0)),
            original_size=self._original_size(facts, arrays[STORED_WHOLE].shape[:2]),
        )

    def _original_size(self, facts: Mapping[str, str], shape: Sequence[int]) -> tuple[int, int] | None:
        """Return the stored size of an original; where it lacks, that of the whole image, if this was not resized."""
        if SIZE in facts:
            width, height = json.loads(facts[SIZE])
            return width, height
        same = self.resize == "keep" or (self.resize == "shrink" and min(shape) < self.short_side)
        return (shape[1], shape[0]) if same else None


@dataclass(frozen=True, eq=False)
class Portrait:
    """One prepared image: what models see of it.

    Attributes:
        whole: The whole image, uint8 RGB, (height, width, 3), resized as `Preparation` tells.
        face_crop: The face with its margin, likewise; the whole image where no face was found.
        face_box: x1, y1, x2, y2 of the face in pixels of the upright original, without margin; None if none was found.
        liqe_logits: LIQE's raw logits, float32, (495,); None where `Preparation.liqe` is None.
        turned: Clockwise degrees by which the image was turned because its face lay on its side or on its head: 0, 90,
            180 or 270. All else here is of the turned image.
        face_points: x, y of the eyes, the nose and the corners of the mouth, in pixels like the box, the left of the
            picture first; None without a face, and in stores made before version 0.2.0.
        other_faces: How many other faces were found that count.
        original_size: Width and height in pixels of the upright original, to which the box belongs; None in stores made
            before version 0.2.0 of images that were resized.

    Examples:
        >>> portrait = Preparation(short_side=64, face_rule="none").preparer()("a.jpg")
        >>> portrait.whole.shape, portrait.face_box
        ((76, 64, 3), None)
    """

    whole: Pixels
    face_crop: Pixels
    face_box: Box | None
    liqe_logits: NDArray[np.float32] | None
    turned: int = 0
    face_points: Points | None = None
    other_faces: int = 0
    original_size: tuple[int, int] | None = None

    @property
    def face_found(self) -> bool:
        """Whether `face_crop` shows a face rather than the whole image."""
        return self.face_box is not None

    @property
    def relative_box(self) -> Box | None:
        """The face box as fractions of the image's width and height; None without a face, or where these are lost."""
        if self.face_box is None or self.original_size is None:
            return None
        (x1, y1, x2, y2), (width, height) = self.face_box, self.original_size
        return x1 / width, y1 / height, x2 / width, y2 / height

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Return arrays and facts for the prepared store."""
        arrays: dict[str, np.ndarray] = {STORED_WHOLE: self.whole}
        if self.face_found:  # without a face the crop is the whole image
            arrays["face_crop"] = self.face_crop
        if self.liqe_logits is not None:
            arrays["liqe_logits"] = self.liqe_logits
        facts = {"face_box": json.dumps(self.face_box)}
        if self.original_size is not None:
            facts[SIZE] = json.dumps(self.original_size)
        if self.turned:
            facts["turned"] = str(self.turned)
        if self.face_points is not None:
            facts["face_points"] = json.dumps(self.face_points)
        if self.other_faces:
            facts["other_faces"] = str(self.other_faces)
        return arrays, facts


class Preparer:
    """Prepares image files as Portraits, with the networks that it holds on `device`: the face detector and LIQE.

    Args:
        settings: How.
        device: Where the networks lie, as far as PyTorch runs them.
        faces: MTCNN's networks for a runtime; by default PyTorch runs them.
    """

    def __init__(
        self, settings: Preparation, device: str | torch.device = "cpu", faces: RuntimeFaces | None = None
    ) -> None:
        self.settings = settings
        self._detector = _detector(settings, device, faces)
        self._liqe = None
        if settings.liqe is not None:
            from piqa.weights import state_dicts  # PyTorch, which nothing else here needs

            self._liqe = state_dicts.load_liqe(settings.liqe).to(device)

    def __call__(self, path: str | Path) -> Portrait:
        """Prepare one file; raises the errors of `open_image`."""
        return self.prepare(open_image(path, self.settings.colour))

    def find_face(self, image: Image.Image) -> Found:
        """Find the face of an upright RGB image that is judged."""
        settings = self.settings
        if self._detector is None:
            return Found(None, 0, 0)
        return find_face(image, self._detector, settings.face_rule, settings.threshold, settings.try_turns)

    def prepare(self, image: Image.Image) -> Portrait:
        """Prepare one upright RGB image."""
        settings = self.settings
        face, turn, others = self.find_face(image)
        image = turned_clockwise(image, turn)
        box, points = (None, None) if face is None else (face.box, face.points)
        crop = whole = np.asarray(resized(image, settings))
        if box is not None:
            fraction = settings.face_margin_fraction
            margin = settings.face_margin if fraction is None else relative_margin(box, fraction)
            crop = np.asarray(resized(crop_face(image, box, margin), settings))
        logits = None if self._liqe is None else self._liqe.logits(image)
        return Portrait(whole, crop, box, logits, turn, points, others, image.size)


def _points(stored: list[list[float]] | None) -> Points | None:
    return None if stored is None else cast(Points, tuple((x, y) for x, y in stored))


def _detector(settings: Preparation, device: str | torch.device, faces: RuntimeFaces | None) -> FaceDetector | None:
    if settings.face_rule == "none":
        return None
    if settings.detector == "yunet":
        return YuNetDetector(settings.yunet, settings.detection_side)
    if faces is not None:
        return faces.detector(settings.detection_side)
    return MTCNNDetector(settings.detection_side, device)


def resized(image: Image.Image, settings: Preparation) -> Image.Image:
    """Resize a whole image or a face as the settings tell, by Pillow's bilinear filter, which antialiases."""
    side = settings.short_side
    if settings.resize == "keep" or (settings.resize == "shrink" and min(image.size) < side):
        return image
    if settings.resize == "stretch":
        return image if image.size == (side, side) else _bilinear(image, (side, side), settings.reducing_gap)
    return resize_short_side(image, side, settings.reducing_gap)


def resize_short_side(image: Image.Image, side: int, reducing_gap: float | None = None) -> Image.Image:
    """Resize by Pillow's antialiasing bilinear filter: short side to `side`, long side truncated, as published."""
    width, height = image.size
    size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    return image if size == image.size else _bilinear(image, size, reducing_gap)


def _bilinear(image: Image.Image, size: tuple[int, int], reducing_gap: float | None) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=reducing_gap)
