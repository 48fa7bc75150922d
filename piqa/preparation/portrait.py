"""Prepare an image file as a Portrait: the one preparation that training, evaluation and scoring share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from piqa.errors import InputError
from piqa.preparation.faces import MIN_FACE_SIDE, Box, FaceDetector, FaceRule, choose_face, crop_face
from piqa.preparation.image_file import Pixels, open_image
from piqa.preparation.store_entry import StoredArrays
from piqa.weights import state_dicts

STORED_WHOLE = "full_image"  # the name of the whole image in existing stores
PREPARATION_VERSION = 1  # raise it when the same settings give other pixels

Resize = Literal["short_side", "shrink", "stretch", "keep"]


@dataclass(frozen=True)
class Preparation:
    """Settings of the preparation of image files.

    Args:
        short_side: Length in pixels for `resize`.
        resize: How the whole image and the face crop are resized. `short_side`: the short side to that length, up or
            down. `shrink`: the same where both sides are longer, else not at all. `stretch`: to a square of that side.
            `keep`: not at all, and `short_side` is not used.
        face_rule: Which face is judged: the `largest`, or the `most_confident`, as in the reference; `none` detects no
            faces, which saves time where only the whole image is used.
        face_threshold: Lowest detector confidence of a face that counts, in [0, 1].
        face_margin: Pixels added on every side of the face box, at original resolution.
        detection_side: Longest side in pixels of the copy in which faces are detected.
        liqe: LIQE's checkpoint; None for no LIQE logits.

    Examples:
        >>> portrait = Preparation(short_side=64, face_rule="none").preparer()("a.jpg")
        >>> min(portrait.whole.shape[:2]), portrait.face_found
        (64, False)
    """

    short_side: int = 448
    face_rule: FaceRule = "largest"
    face_threshold: float = 0.9
    face_margin: int = 20
    detection_side: int = 1600
    liqe: str | None = None
    resize: Resize = "short_side"

    def __post_init__(self) -> None:
        if self.resize not in get_args(Resize):
            raise InputError(f"preparation: `resize` is one of {', '.join(get_args(Resize))}, not {self.resize!r}")
        if self.short_side < 1 or self.face_margin < 0 or not 0 <= self.face_threshold <= 1:
            raise InputError(
                f"preparation: short_side ({self.short_side}) must be at least 1, face_margin ({self.face_margin}) at "
                f"least 0, and face_threshold ({self.face_threshold}) from 0 to 1"
            )
        if self.detection_side < MIN_FACE_SIDE:
            raise InputError(f"preparation: no face is found with detection_side {self.detection_side}; try 1600")

    def fingerprint(self, liqe_digest: str | None) -> str:
        """Return a short name of all that the prepared pixels depend on but the image file, LIQE's weights included."""
        settings = asdict(self) | {"liqe": liqe_digest, "version": PREPARATION_VERSION}
        if self.resize == "short_side":
            del settings["resize"]  # newer than existing stores
        elif self.resize == "keep":
            del settings["short_side"]
        return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()

    def key(self, digest: Callable[[str], str]) -> str:
        """Return the fingerprint, for the prepared store; `digest` returns the digest of a file's content."""
        return self.fingerprint(None if self.liqe is None else digest(str(state_dicts.require(self.liqe, "liqe"))))

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
        )


@dataclass(frozen=True, eq=False)
class Portrait:
    """One prepared image: what models see of it.

    Attributes:
        whole: The whole image, uint8 RGB, (height, width, 3), resized as `Preparation` tells.
        face_crop: The face with its margin, likewise; the whole image where no face was found.
        face_box: x1, y1, x2, y2 of the face in pixels of the upright original, without margin; None if none was found.
        liqe_logits: LIQE's raw logits, float32, (495,); None where `Preparation.liqe` is None.

    Examples:
        >>> portrait = Preparation(short_side=64, face_rule="none").preparer()("a.jpg")
        >>> portrait.whole.shape, portrait.face_box
        ((76, 64, 3), None)
    """

    whole: Pixels
    face_crop: Pixels
    face_box: Box | None
    liqe_logits: NDArray[np.float32] | None

    @property
    def face_found(self) -> bool:
        """Whether `face_crop` shows a face rather than the whole image."""
        return self.face_box is not None

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Return arrays and facts for the prepared store."""
        arrays: dict[str, np.ndarray] = {STORED_WHOLE: self.whole}
        if self.face_found:  # without a face the crop is the whole image
            arrays["face_crop"] = self.face_crop
        if self.liqe_logits is not None:
            arrays["liqe_logits"] = self.liqe_logits
        return arrays, {"face_box": json.dumps(self.face_box)}


class Preparer:
    """Prepares image files as Portraits, with the networks that it holds on `device`: the face detector and LIQE."""

    def __init__(self, settings: Preparation, device: str | torch.device = "cpu") -> None:
        self.settings = settings
        self._detector = None if settings.face_rule == "none" else FaceDetector(settings.detection_side, device)
        self._liqe = None if settings.liqe is None else state_dicts.load_liqe(settings.liqe).to(device)

    def __call__(self, path: str | Path) -> Portrait:
        """Prepare one file; raises the errors of `open_image`."""
        return self.prepare(open_image(path))

    def prepare(self, image: Image.Image) -> Portrait:
        """Prepare one upright RGB image."""
        settings = self.settings
        faces = [] if self._detector is None else self._detector.detect(image)
        face = choose_face(faces, settings.face_rule, settings.face_threshold)
        box = None if face is None else face.box
        whole = np.asarray(resized(image, settings))
        crop = whole if box is None else np.asarray(resized(crop_face(image, box, settings.face_margin), settings))
        return Portrait(whole, crop, box, None if self._liqe is None else self._liqe.logits(image))


def resized(image: Image.Image, settings: Preparation) -> Image.Image:
    """Resize a whole image or a face as the settings tell, by Pillow's bilinear filter, which antialiases."""
    side = settings.short_side
    if settings.resize == "keep" or (settings.resize == "shrink" and min(image.size) < side):
        return image
    if settings.resize == "stretch":
        return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR)
    return resize_short_side(image, side)


def resize_short_side(image: Image.Image, side: int) -> Image.Image:
    """Resize by Pillow's antialiasing bilinear filter: short side to `side`, long side truncated, as published."""
    width, height = image.size
    size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
