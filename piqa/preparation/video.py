"""Prepare a video file as a Clip: one frame a second, as the whole-image branch is pretrained on."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from piqa.errors import InputError
from piqa.preparation.image_file import MAX_ASPECT, MAX_PIXELS, Pixels
from piqa.preparation.portrait import resize_short_side
from piqa.preparation.store_entry import StoredArrays

MOTION_FEATURES = 256  # values a second of SlowFast's fast pathway
CLIP_VERSION = 1  # raise it when the same settings give other pixels
# What a file may make FFmpeg do: a playlist named .mp4 could make it open other files and addresses.
GUARD = {"format_whitelist": "mov,matroska,webm", "protocol_whitelist": "file"}
Motion = NDArray[np.float32]
Encoding = Literal["raw", "webp"]


@dataclass(frozen=True)
class ClipPreparation:
    """Settings of the preparation of video files for pretraining.

    Args:
        frames: Frames of a clip, one for each second of the video.
        short_side: Short side of the frames in pixels.
        motion: Folder of precomputed SlowFast features, an input of the published LSVQ head: for the video
            `.../yfcc-batch1/747.mp4` the array `yfcc-batch1/747.npy`, float32, (frames, 256). None for no features.
        encoding: How the prepared store encodes frames, without loss either way. Measured on a 1080p clip by
            `scripts/bench.py pretrain-input`: `raw` takes 6.3 MB and 2 ms to read, `webp` about 2 MB and 32 ms.
    """

    frames: int = 8
    short_side: int = 384
    motion: str | None = None
    encoding: Encoding = "raw"

    def __post_init__(self) -> None:
        if self.frames < 1 or self.short_side < 1:
            raise InputError(f"a clip needs at least 1 frame of 1 px, not {self.frames} frames of {self.short_side} px")

    def fingerprint(self) -> str:
        """Return a short name of everything that the frames depend on, apart from the video file; without `motion`."""
        settings = {"frames": self.frames, "short_side": self.short_side, "version": CLIP_VERSION}
        return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()

    def key(self, digest: Callable[[str], str]) -> str:
        """Return the fingerprint and the encoding, for the prepared store."""
        return f"{self.fingerprint()}-{self.encoding}"

    def preparer(self, device: str = "cpu") -> Callable[[str], Clip]:
        """Return a function that decodes a video file; motion features are read with the prepared clip, not stored."""
        without_motion = replace(self, motion=None)
        return lambda path: replace(decode_clip(path, without_motion), encoding=self.encoding)

    def unpack(self, arrays: StoredArrays, facts: Mapping[str, str], path: str) -> Clip:
        """Return the Clip that was packed, with its motion features; raw frames may be read when they are sliced."""
        if facts["encoding"] == "webp":
            files = [arrays[f"frame_{number}"].tobytes() for number in range(int(facts["frames"]))]
            frames = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
        else:
            frames = arrays["frames"]
        motion = None if self.motion is None else read_motion(self.motion, path, self.frames)
        return Clip(frames, motion, self.encoding)


@dataclass(frozen=True, eq=False)
class Clip:
    """One prepared video: what models see of it.

    Attributes:
        frames: uint8 RGB, (frames, height, width, 3), short side `ClipPreparation.short_side`.
        motion: Motion features of each frame's second, float32, (frames, 256); None where there are none.
        encoding: How the prepared store encodes it.
    """

    frames: Pixels
    motion: Motion | None = None
    encoding: Encoding = "raw"

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Return arrays and facts for the prepared store; motion features have their own files."""
        facts = {"encoding": self.encoding, "frames": str(len(self.frames))}
        if self.encoding == "raw":
            return {"frames": self.frames}, facts
        return {f"frame_{number}": _as_webp(frame) for number, frame in enumerate(self.frames)}, facts


def decode_clip(path: str | Path, settings: ClipPreparation, threads: int = 1) -> Clip:
    """Decode one frame of each second of an MP4, MOV, Matroska or WebM video, from its beginning.

    The frames are those of the published extraction (MinimalisticVQA): with the frame rate rounded to `fps`, the frames
    `fps // 2`, `fps // 2 + fps`, ..., the middle of each second. Where the video is too short for all of them, the
    last is repeated; of a video shorter than half a second the last frame is taken for all.

    The published code counts frames. Here frames are numbered by their presentation time (time x rate, rounded), and
    the one on display at each of those numbers is taken. At a constant rate the two agree; at a varying rate, counting
    would drift from the middle of the second. Where no rate is stated (the published code divides by zero), the middle
    of the second follows from timestamps alone.

    Frames are rotated upright as their display matrix tells, in steps of 90 degrees. Pixels that are not square are not
    corrected. Resizing is Pillow's bilinear filter, which antialiases, as later for portraits; the published OpenCV
    filter does not, and aliasing resembles the noise and sharpness that are to be judged.

    The decoder uses this number of `threads`; one is best where several processes decode.

    Raises:
        InputError: If the file is absent, empty, not a video, damaged, ends before a frame that is needed, or changes
            its size; or if its motion features are needed and absent or of another shape.
    """
    motion = None if settings.motion is None else read_motion(settings.motion, path, settings.frames)
    with opened_video(path) as container:
        stream = video_stream(container, threads)
        picked = _pick(container, stream, settings.frames)
        images = [resized_pixels(frame, settings.short_side) for frame in picked]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{path} changes its frame size; convert it to one size")
    return Clip(np.stack(images + images[-1:] * (settings.frames - len(images))), motion)


@contextmanager
def opened_video(path: str | Path) -> Iterator[InputContainer]:
    """Open an MP4, MOV, Matroska or WebM video to decode from; faults inside the block are told as those of the file.

    Raises:
        InputError: If the file is absent, empty, no such video or damaged, or needs more memory than there is.
    """
    try:
        with Path(path).open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty; copy or download it again")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        container = av.open(str(path), options=dict(GUARD), metadata_errors="replace")
    except Exception as error:  # damaged or hostile bytes raise almost any exception; the fault is the file's
        fault = "is not an MP4, MOV, Matroska or WebM video, or is damaged or truncated; download it again"
        raise InputError(f"{path} {fault}") from error
    try:
        with container:
            yield container
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except MemoryError as error:
        raise InputError(f"{path} needs more memory than there is; scale it down") from error
    except Exception as error:
        raise InputError(f"{path} is a damaged or truncated video ({getattr(error, 'strerror', error)})") from error


def _as_webp(frame: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "WEBP", lossless=True, quality=0, method=0)  # the fastest lossless mode
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def read_motion(folder: str | Path, video: str | Path, frames: int) -> Motion:
    """Read the motion features of a video, as `ClipPreparation` describes them; raise InputError if they are not so."""
    path = Path(folder, Path(video).parent.name, f"{Path(video).stem}.npy")
    try:
        features = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read the motion features {path}: {error.strerror or 'no such array'}") from error
    except ValueError as error:
        raise InputError(f"{path} is not an array of motion features ({error})") from error
    expected = frames, MOTION_FEATURES
    if not isinstance(features, np.ndarray) or (features.dtype, features.shape) != (np.float32, expected):
        found = f"{getattr(features, 'dtype', 'several arrays')} {getattr(features, 'shape', '')}"
        raise InputError(f"{path} must hold float32 motion features of shape {expected}, found {found}; save it so")
    if not np.isfinite(features).all():
        raise InputError(f"{path} holds motion features that are not finite; compute them again")
    return features


def video_stream(container: InputContainer, threads: int) -> VideoStream:
    """Return the stream to decode; messages of errors continue after the file's name."""
    if not container.streams.video:
        raise InputError("has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise InputError("is in a format that cannot be decoded; convert it to H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(f"claims frames of {width} x {height} pixels, which are not read; scale it")
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = threads
    return stream


def _pick(container: InputContainer, stream: VideoStream, count: int) -> list[VideoFrame]:
    """Return the frames on display in the middle of the first `count` seconds; fewer, but one, of a short video."""
    rate = _rate(stream)
    fps = max(round(rate), 1)
    mark = fps // 2
    kept: list[VideoFrame] = []
    shown: VideoFrame | None = None
    for number, frame in _numbered(container, stream, rate):
        while shown is not None and mark < number and len(kept) < count:
            kept.append(_whole(shown))
            mark += fps
        if len(kept) == count:
            return kept
        shown = frame
    if shown is None:
        raise InputError("has no frame that can be decoded; it is damaged or truncated")
    if mark + 0.5 < stated_length(container, stream) * rate:  # 0.5 for times rounded to milliseconds
        raise InputError(f"is truncated: it ends before the frame at {float(mark / rate):.1f} s; download it again")
    return kept or [_whole(shown)]


def _numbered(container: InputContainer, stream: VideoStream, rate: Fraction) -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames in order of presentation with their numbers, and the last again with the number of its end."""
    ticks = time_base(stream) * rate
    frame, number, start, end = None, -1, 0, 0
    for packet in container.demux(stream):
        if packet.is_corrupt:  # truncated by the end of the file; parts of the frame would be invented
            continue
        if packet.pts is not None:
            end = max(end, packet.pts + (packet.duration or 0))
        for frame in packet.decode():
            if number < 0:
                start = frame.pts or 0
            number = number + 1 if frame.pts is None else round((frame.pts - start) * ticks)
            yield number, frame
    if frame is not None:
        yield max(number + 1, round((end - start) * ticks)), frame


def _rate(stream: VideoStream) -> Fraction:
    """Return the frame rate that the container states; else one frame for each unit of its timestamps."""
    return stream.guessed_rate or 1 / time_base(stream)


def _whole(frame: VideoFrame) -> VideoFrame:
    if frame.is_corrupt:
        raise InputError("is damaged: a frame that is needed cannot be decoded whole")
    return frame


def time_base(stream: VideoStream) -> Fraction:
    """Return the seconds of a unit of the stream's timestamps; messages of errors continue after the file's name."""
    if not stream.time_base:
        raise InputError("states no unit of its timestamps; convert it to MP4")
    return stream.time_base


def stated_length(container: InputContainer, stream: VideoStream) -> Fraction:
    """Return the duration in seconds that the container states; 0 where it states none."""
    if stream.frames and stream.duration:
        return stream.duration * time_base(stream)
    # Matroska states the end of the whole file, counted from time zero
    return Fraction(container.duration or 0, av.time_base) - (stream.start_time or 0) * time_base(stream)


def resized_pixels(frame: VideoFrame, short_side: int | None = None) -> Pixels:
    """Return upright RGB, (height, width, 3), in its own size or with this short side.

    Stated colour matrix and range are applied; HDR is not tone-mapped.
    """
    pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    if short_side is not None:
        pixels = np.asarray(resize_short_side(Image.fromarray(pixels), short_side))
    return np.rot90(pixels, round(frame.rotation / 90))
