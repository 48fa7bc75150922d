"""What a folder becomes: shots, and moments of shots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["single", "burst", "bracket", "series", "scene"]


@dataclass(frozen=True)
class Shot:
    """One release of the shutter, in one file or several.

    Attributes:
        file: The file that is looked at and scored.
        companions: Other files of the same shot: RAW, film of a Live Photo, an editor's sidecar of edits, a copy of
            the same bytes beside it.
        seconds: Capture time in seconds since 1970, local to the camera, with its fraction; None where the file tells
            none, or one of a clock that was never set.
        subseconds: Whether the file tells the fraction.
        offset: Minutes by which the camera's time is ahead of UTC; None where the file does not tell.
        camera: Maker, model and serial number, as far as the file tells; None where it tells nothing.
        burst: Identifier of a burst that the camera wrote; None without any.
        series: The burst that the file's name tells; None without any.
        cover: Whether the camera chose it as the best of its burst.
        ev: Exposure value at ISO 100, log2(N^2 / t) - log2(ISO / 100); None where it is not known.
        bias: Exposure compensation in EV; None where the file tells none.
        exposure: Exposure time in seconds; None where the file tells none.
        bracketing: Whether the camera says that it bracketed the exposure.
        fault: Why the file could not be read; empty where it could.
    """

    file: str
    companions: tuple[str, ...] = ()
    seconds: float | None = None
    subseconds: bool = False
    offset: int | None = None
    camera: str | None = None
    burst: str | None = None
    series: str | None = None
    cover: bool = False
    ev: float | None = None
    bias: float | None = None
    exposure: float | None = None
    bracketing: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Moment:
    """Shots of one moment.

    Attributes:
        name: Unique, and the same in every run on the same files.
        shots: In the order of time, then of names.
        kind: A `single` shot; a `burst` or an exposure `bracket` of the camera; a `series` that time and likeness
            make; a `scene` that the user named.
        evidence: Why the shots belong together, in words; empty of a single shot.
    """

    name: str
    shots: tuple[Shot, ...]
    kind: Kind
    evidence: str
