"""Frames of a film as shots: looked at one after the other, the kept ones written as PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from piqa.errors import InputError
from piqa.moments.moment import Shot
from piqa.preparation.image_file import Pixels
from piqa.preparation.video import opened_video, resized_pixels, stated_length, time_base, video_stream
from piqa.system.device import core_count
from piqa.system.files import replacing

ENDINGS = frozenset((".mp4", ".mov", ".m4v", ".mkv", ".webm"))
SEEK = 5.0  # seconds; to what is further ahead the film is wound, and not decoded
TAIL = 1.0  # seconds by which containers may state more than there is
SAME = 1e-4  # seconds; frames are further apart
ROUNDING = 1e-6  # seconds; a frame is not late by so much
PNG_EFFORT = 1  # of 9: files some percent larger, in a fifth of the time
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a film.

    Attributes:
        name: The file that it is written as, such as `film_00012.400.png`: its time in seconds.
        seconds: After the first frame.
        pixels: Upright RGB, uint8, (height, width, 3).
        film: The film's file.
    """

    name: str
    seconds: float
    pixels: Pixels
    film: str

    @property
    def shot(self) -> Shot:
        """The frame as a shot: those of one film are grouped by how they look, not by their quick succession."""
        return Shot(self.name, seconds=self.seconds, camera=self.film)


def is_film(path: str | Path) -> bool:
    """Whether a file's ending is that of a film whose frames are read."""
    return Path(path).suffix.lower() in ENDINGS


def read_frames(
    film: str, every: float = 0.2, *, threads: int | None = None, tell: Tell | None = None
) -> Iterator[Frame]:
    """Yield frames of a film, one for each step of time, in order; no more than one is held.

    It is the first frame that is shown at or after 0, `every`, 2 `every`, ... seconds; of a film with fewer frames than
    steps, each comes once. A film that breaks off yields what comes before that, and `tell` takes a line on it.

    Args:
        film: An MP4, MOV, Matroska or WebM file.
        every: The step in seconds.
        threads: Of the decoder; by default one for each core.
        tell: Takes a line where the film breaks off; without it that is an error.

    Raises:
        InputError: If the step is no positive number, or the film cannot be read.
    """
    if not (math.isfinite(every) and every > 0):
        raise InputError(f"every is {every}; give the seconds between two frames of {film}")
    found = False
    try:
        with opened_video(film) as container:
            stream = video_stream(container, threads or core_count())
            due = seconds = 0.0
            for seconds, decoded in _timed(container, stream):
                if seconds + ROUNDING >= due:
                    due = (math.floor((seconds + ROUNDING) / every) + 1) * every
                    yield Frame(frame_name(film, seconds), seconds, resized_pixels(decoded), film)
                    found = True
            stated = float(stated_length(container, stream))
            if seconds + TAIL < stated:
                raise InputError(f"breaks off at {seconds:.1f} s of {stated:.1f} s; download or copy it again")
    except InputError as error:
        if not found or tell is None:
            raise
        tell(f"{error}; what comes before that is used")
    if not found:
        raise InputError(f"{film} has no frame that can be decoded; it is damaged or truncated")


def frame_name(film: str, seconds: float) -> str:
    """Return what a frame is written as; in order of name frames are in order of time.

    Examples:
        >>> frame_name("trip/film.mp4", 12.4)
        'film_00012.400.png'
    """
    return f"{Path(film).stem}_{seconds:09.3f}.png"


def write_frames(film: str, seconds: Sequence[float], folder: Path, *, threads: int | None = None) -> list[Path]:
    """Write frames of a film as PNG, each whole or not at all; what lies between two that are far apart is skipped.

    Args:
        film: As `read_frames` takes it.
        seconds: Of the frames, as `read_frames` tells them.
        folder: Where to write; it is there.
        threads: Of the decoder; by default one for each core.

    Returns:
        The files, in the order of time.

    Raises:
        InputError: If the film cannot be read, or has changed and lacks a frame.
    """
    written = []
    for when, pixels in _frames_at(film, sorted(set(seconds)), threads or core_count()):
        path = folder / frame_name(film, when)
        with replacing(path) as part:
            Image.fromarray(pixels).save(part, "PNG", compress_level=PNG_EFFORT)
        written.append(path)
    return written


def _frames_at(film: str, wanted: Sequence[float], threads: int) -> Iterator[tuple[float, Pixels]]:
    """Yield the frames of these times, which are in order."""
    with opened_video(film) as container:
        stream = video_stream(container, threads)
        start = next((frame.pts or 0 for frame in container.decode(stream)), 0)
        container.seek(start, stream=stream)
        frames, reached = _timed(container, stream, start), 0.0
        for when in wanted:
            if when - reached > SEEK:
                container.seek(start + math.floor(when / time_base(stream)), stream=stream)
                frames = _timed(container, stream, start)
            found = next(((seconds, frame) for seconds, frame in frames if seconds >= when - SAME), None)
            if found is None or found[0] > when + SAME:
                raise InputError(f"has no frame at {when:.3f} s any more; it was changed meanwhile, start anew")
            reached = when
            yield when, resized_pixels(found[1])


def _timed(
    container: InputContainer, stream: VideoStream, start: int | None = None
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield whole frames with their seconds after the first one, in order of presentation."""
    unit, last = time_base(stream), -1
    for packet in container.demux(stream):
        if packet.is_corrupt:  # truncated by the end of the file; parts of the frame would be invented
            continue
        for frame in packet.decode():
            number = last + 1 if frame.pts is None else frame.pts
            start = number if start is None else start
            last = number
            if not frame.is_corrupt:
                yield float((number - start) * unit), frame
