"""An image file becomes a Portrait: the one preparation that training, evaluation and scoring share."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from piqa.errors import InputError
from piqa.faces import MIN_FACE, Box, FaceDetector, FaceRule, choose_face, crop_face
from piqa.models import LIQE

MAX_PIXELS = 300_000_000  # a 200-megapixel phone camera fits; what is larger is refused as a decompression bomb
MAX_ASPECT = 100  # long side by short side; with its short side at 448 px a longer strip would fill gigabytes
BAND = 4_000_000  # pixels that are converted at a time where a conversion takes many bytes a pixel
OTHER_PROGRAMS = {"EPS"}  # formats for which Pillow would start another program (Ghostscript) on the file
VERSION = 1  # of the arithmetic below: raise it when the same settings would give other pixels

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Resize = Literal["short_side", "shrink", "stretch", "keep"]


@dataclass(frozen=True)
class Preparation:
    """Settings that turn an image file into what a model eats.

    Args:
        short_side: Side in pixels that `resize` is about.
        resize: What becomes of the whole image and of the face crop. `short_side`: their short side gets that length,
            up or down. `shrink`: the same where both sides are longer, else they stay as they are. `stretch`: a square
            of that side, whatever the shape was. `keep`: they stay as they are, and `short_side` is not used.
        face_rule: Which face is judged: the `largest`, or the `most_confident`, as the reference's detector ordered;
            `none` looks for no face, which spares time where only the whole image is used.
        face_threshold: Least detector confidence of a face that counts, in [0, 1].
        face_margin: Pixels added on every side of the face box, at original resolution.
        detection_side: Longest side in pixels of the copy in which faces are looked for.
        liqe: LIQE's checkpoint; None leaves the 495 logits out.
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
        if self.detection_side < MIN_FACE:
            raise InputError(f"preparation: no face is found with detection_side {self.detection_side}; try 1600")

    def fingerprint(self, liqe_digest: str | None) -> str:
        """Short name of everything that the prepared pixels depend on, apart from the image file.

        Args:
            liqe_digest: Digest of the LIQE file's content, so that other weights under the same name are noticed.
        """
        settings = asdict(self) | {"liqe": liqe_digest, "version": VERSION}
        if self.resize == "short_side":
            del settings["resize"]  # younger than stores that are in use
        elif self.resize == "keep":
            del settings["short_side"]
        return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()

    def key(self, digest: Callable[[str], str]) -> str:
        """The fingerprint, for the prepared store; `digest` gives a file's content digest.

        Raises:
            InputError: If LIQE's checkpoint is not there.
        """
        if self.liqe is None:
            return self.fingerprint(None)
        from piqa.weights import require

        return self.fingerprint(digest(str(require(self.liqe, "liqe"))))

    def preparer(self, device: str | torch.device = "cpu") -> Preparer:
        """What does it."""
        return Preparer(self, device)

    def unpack(self, arrays: Mapping[str, Any], facts: Mapping[str, str], path: str) -> Portrait:
        """A Portrait from what `Portrait.pack` gave; pictures may be `piqa.entry.StoredPicture`, read when sliced."""
        box = json.loads(facts["face_box"])
        return Portrait(
            full_image=arrays["full_image"],
            face_crop=arrays.get("face_crop", arrays["full_image"]),
            face_box=None if box is None else (box[0], box[1], box[2], box[3]),
            liqe_logits=arrays.get("liqe_logits"),
        )


@dataclass(frozen=True, eq=False)
class Portrait:
    """What a model knows of one picture.

    Attributes:
        full_image: The whole image, uint8 RGB, (height, width, 3), short side `Preparation.short_side`.
        face_crop: The face with its margin, likewise; the whole image where no face was found.
        face_box: x1, y1, x2, y2 of the face in pixels of the upright original, without margin; None if none was found.
        liqe_logits: LIQE's raw logits, float32, (495,); None where the preparation leaves them out.
    """

    full_image: Pixels
    face_crop: Pixels
    face_box: Box | None
    liqe_logits: np.ndarray[Any, np.dtype[np.float32]] | None

    @property
    def face_found(self) -> bool:
        """Whether `face_crop` shows a face rather than the whole image."""
        return self.face_box is not None

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays and facts for the prepared store."""
        arrays: dict[str, np.ndarray] = {"full_image": self.full_image}
        if self.face_found:  # without a face the crop is the whole image
            arrays["face_crop"] = self.face_crop
        if self.liqe_logits is not None:
            arrays["liqe_logits"] = self.liqe_logits
        return arrays, {"face_box": json.dumps(self.face_box)}


class Preparer:
    """Turns image files into Portraits; holds the networks that this takes.

    Args:
        settings: What to do.
        device: Where the face detector and LIQE run.
    """

    def __init__(self, settings: Preparation, device: str | torch.device = "cpu") -> None:
        self.settings = settings
        self._detector = None if settings.face_rule == "none" else FaceDetector(settings.detection_side, device)
        self._liqe: LIQE | None = None
        if settings.liqe is not None:
            from piqa.weights import load_liqe

            self._liqe = load_liqe(settings.liqe).to(device)

    def __call__(self, path: str | Path) -> Portrait:
        """Prepares one file.

        Raises:
            InputError: If it is not an image that can be read whole.
        """
        return self.prepare(open_image(path))

    def prepare(self, image: Image.Image) -> Portrait:
        """Prepares one upright RGB image."""
        settings = self.settings
        faces = [] if self._detector is None else self._detector.detect(image)
        face = choose_face(faces, settings.face_rule, settings.face_threshold)
        crop = None if face is None else crop_face(image, face.box, settings.face_margin)
        whole = np.asarray(resized(image, settings))
        return Portrait(
            full_image=whole,
            face_crop=whole if crop is None else np.asarray(resized(crop, settings)),
            face_box=None if face is None else face.box,
            liqe_logits=None if self._liqe is None else self._liqe.logits(image),
        )


def resized(image: Image.Image, settings: Preparation) -> Image.Image:
    """A whole image or a face in the size that the settings ask for; by Pillow's bilinear filter, which antialiases."""
    side = settings.short_side
    if settings.resize == "keep" or (settings.resize == "shrink" and min(image.size) < side):
        return image
    if settings.resize == "stretch":
        return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR)
    return resize_short_side(image, side)


def resize_short_side(image: Image.Image, side: int) -> Image.Image:
    """Pillow's bilinear filter (which antialiases), short side to `side`, long side cut to an integer, as published."""
    width, height = image.size
    if width <= height:
        size = side, int(side * height / width)
    else:
        size = int(side * width / height), side
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def open_image(path: str | Path) -> Image.Image:
    """The one way in for image files: upright, RGB, whole.

    EXIF orientation is applied. Transparency is laid on white; 16-bit grey is scaled to 8 bits; CMYK goes through its
    ICC profile where it has one; the first page of several is taken. As in the reference, the ICC profile of an RGB
    image is not applied.

    Raises:
        InputError: If the file is absent, no image, truncated, damaged, larger than `MAX_PIXELS`, or a strip of more
            than `MAX_ASPECT` times its short side.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return decode_image(content, path)


def decode_image(content: bytes, name: str | Path) -> Image.Image:
    """`open_image` for bytes already read; `name` is what an error calls them."""
    try:
        image, turn = _decoded(content)
        return image if turn is None else image.transpose(turn)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image that can be read") from error
    except Image.DecompressionBombError as error:
        limit = f"{MAX_PIXELS / 1e6:g} million"
        raise InputError(f"{name} claims more than the {limit} pixels that are read; scale it down") from error
    except MemoryError as error:
        raise InputError(f"{name} needs more memory than there is; scale it down") from error
    # Decoders meet hostile bytes with almost any exception; whichever it is, the picture is at fault, not the program.
    except Exception as error:
        raise InputError(f"{name} is a damaged or truncated image ({error})") from error


def _decoded(content: bytes) -> tuple[Image.Image, Image.Transpose | None]:
    """RGB as stored, and the turn that makes it upright: turned last, when what was decoded is gone, it takes less."""
    Image.init()
    formats = [known for known in Image.ID if known not in OTHER_PROGRAMS]
    with _own_pixel_limit(), Image.open(io.BytesIO(content), formats=formats) as image:
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise InputError(f"its {image.width} x {image.height} pixels are a strip, not a portrait; crop it")
        image.load()
        return _to_rgb(image), _turn(image)


_pillow_state = threading.Lock()  # Pillow's limit and Python's warning filters belong to the whole process


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Pillow refuses what is above twice its limit (179 million pixels, less than today's largest phone cameras have).

    Its limit is moved, not lifted: Pillow applies it also to pictures inside pictures (icons, tiles, GIF frames).
    """
    with _pillow_state, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF tags and the like: the pixels decide
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What EXIF asks for. `ImageOps.exif_transpose` also rewrites the EXIF, and fails where that is odd."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block fails in many ways; any viewer shows such a picture as it lies
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled_grey(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            assert converted is not None  # None is for in-place conversion alone
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a profile that cannot be read is like none
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Lays a transparent picture on white, band by band: as a whole it would stand in memory five times."""
    result = Image.new("RGB", image.size)
    for top, bottom in _bands(image):
        layered = image.crop((0, top, image.width, bottom)).convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        result.paste(Image.alpha_composite(white, layered).convert("RGB"), (0, top))
    return result


def _bands(image: Image.Image) -> Iterator[tuple[int, int]]:
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, min(top + rows, image.height)


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Grey values of more than 8 bits -> 8 bits. Pillow's own conversion would clip everything above 255 to white."""
    values = np.asarray(image)
    least, most = float(values.min()), float(values.max())  # NaN where any value is
    if image.mode == "F":
        top = 1.0 if most <= 1.0 else 255.0  # the two conventions for float images
    else:
        top = 65535.0
    if not 0 <= least <= most <= top:
        raise InputError(f"grey values from {least} to {most} fit no known scale (mode {image.mode})")
    scaled = np.empty(values.shape, dtype=np.uint8)
    for start, end in _bands(image):
        scaled[start:end] = np.rint(values[start:end].astype(np.float64) * (255.0 / top))
    return Image.fromarray(scaled)
