"""Thresholds by which shots become moments: each has a name, a unit and a default, and may be set."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from piqa.errors import InputError


@dataclass(frozen=True)
class GroupingOptions:
    """How shots become moments.

    Similarities are shares from 0 to 1, as `piqa.moments.likeness` measures them: 1 is the same image. The defaults
    are measured by `scripts/moment_quality.py` on generated folders.

    Args:
        burst_gap: Seconds between two shots of one camera that are a burst however they look. It counts only where
            both files tell fractions of a second.
        gap: Seconds between a shot and the next one of a series; they must also look alike.
        span: Seconds between the first and the last shot of a series or of a burst that is told by time alone.
        similarity: How alike the shots of a series must look, on average.
        similar: Whether shots whose files tell no time are grouped as well, by their look alone.
        alone: How alike any two of those must look.
        bracket_gap: Seconds between the end of one exposure of a bracket and the start of the next.
        bracket_frames: The fewest exposures of a bracket.
        bracket_step: The least step between its exposures, EV.
        bracket_evenness: By how much its steps may differ, EV.
        bracket_span: The least difference between its darkest and its brightest exposure, EV.
        clocks: Whether the clocks of all cameras agree, so that a moment may hold shots of several cameras.
    """

    burst_gap: float = 0.5
    gap: float = 15.0
    span: float = 120.0
    similarity: float = 0.7
    similar: bool = False
    alone: float = 0.92
    bracket_gap: float = 3.0
    bracket_frames: int = 3
    bracket_step: float = 0.5
    bracket_evenness: float = 0.34
    bracket_span: float = 1.0
    clocks: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                continue
            if not math.isfinite(value) or value < 0:
                raise InputError(f"{field.name} is {value}; give a number that is not negative")
        for name in ("similarity", "alone"):
            if getattr(self, name) > 1:
                raise InputError(
                    f"{name} is {getattr(self, name)}; give a share from 0 to 1, where 1 is the same image"
                )
        if self.bracket_frames < 2:
            raise InputError(f"bracket_frames is {self.bracket_frames}; a bracket has at least 2 exposures")
        if self.burst_gap > self.gap:
            raise InputError(f"burst_gap is {self.burst_gap} s and gap {self.gap} s; give a gap that is no smaller")
        if not self.span:
            raise InputError("span is 0; give the seconds that a series may take")
