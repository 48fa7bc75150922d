"""How far a person agrees with the picks: choices of their own, against the first shot of each moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy.special import ndtri

from piqa.errors import InputError
from piqa.moments.pick import PickedMoment
from piqa.moments.picks_table import has_rivals
from piqa.system.csv_text import read_csv

TRUE, FALSE = {"true", "1", "yes", "y", "x", "pick"}, {"false", "0", "no", "n", ""}
LEVEL = 0.95


@dataclass(frozen=True)
class Agreed:
    """In how many moments a person keeps the shot that is ranked first.

    Attributes:
        moments: Those with several ranked shots of which the person keeps some, but not all.
        agreed: In how many of them the first is kept.
        share, low, high: Their share, and its 95 % interval (Wilson).
        chance: The share that a random first shot would reach.
        clear, clear_agreed: The moments that were not too close to call, and in how many of these the first is kept.
        left_out: Moments in which the person keeps none or all.
        unknown: Files in the choices that are not among the images.
    """

    moments: int
    agreed: int
    share: float
    low: float
    high: float
    chance: float
    clear: int
    clear_agreed: int
    left_out: int
    unknown: int

    def to_dict(self) -> dict[str, float | int]:
        """Return what `picks.json` keeps."""
        return asdict(self)

    def in_words(self) -> str:
        """Return a line for a terminal."""
        interval = f"95 % interval {self.low:.2f} to {self.high:.2f}, chance {self.chance:.2f}"
        text = f"your choice is the first in {self.agreed} of {self.moments} moments: {self.share:.2f} ({interval})"
        if 0 < self.clear < self.moments:
            text += f"; in {self.clear_agreed} of the {self.clear} that were not too close to call"
        return text


def read_choices(path: str | Path) -> dict[str, bool]:
    """Read which files a person keeps: a CSV with the columns `file` and `pick`, as the contact sheet exports it.

    Raises:
        InputError: If a column is missing, a cell says neither yes nor no, or a file is named twice.
    """
    frame = read_csv(path, names=("file", "pick"))
    if missing := [name for name in ("file", "pick") if name not in frame]:
        raise InputError(f"{path} has no column `{missing[0]}`; choices have the columns `file` and `pick`")
    choices: dict[str, bool] = {}
    for row, file, pick in zip(frame.index, frame["file"], frame["pick"], strict=True):
        if (told := pick.casefold()) not in TRUE | FALSE:
            raise InputError(f"row {row} of {path} has the pick {pick!r}; write true or false")
        if file in choices:
            raise InputError(f"row {row} of {path} names {file} a second time; remove one of the two")
        choices[file] = told in TRUE
    return choices


def compare_choices(
    picked: Sequence[PickedMoment], choices: Mapping[str, bool], name_of: Callable[[str], str], source: str | Path
) -> Agreed:
    """Compare a person's choices with the first shot of each moment.

    Args:
        picked: The moments.
        choices: By a file's name in `picks.csv`, whether it is kept; a file that is not named is not kept.
        name_of: Returns a file's name there.
        source: Where the choices come from, for the error's message.

    Raises:
        InputError: If no moment can be compared.
    """
    known = {name_of(shot.shot.file) for moment in picked for shot in moment.ranked}
    agreed, chances, clear, clear_agreed, left_out = 0, [], 0, 0, 0
    for moment in picked:
        kept = [choices.get(name_of(shot.shot.file), False) for shot in moment.ranked if shot.rank is not None]
        if not has_rivals(moment):
            continue
        if not any(kept) or all(kept):
            left_out += 1
            continue
        agreed += kept[0]
        chances.append(sum(kept) / len(kept))
        clear += not moment.close
        clear_agreed += kept[0] and not moment.close
    unknown = len(choices.keys() - known)
    if not chances:
        why = (
            f"none of its {len(choices)} files is among the images"
            if unknown == len(choices)
            else ("in no moment with several shots are some kept and others not")
        )
        raise InputError(f"{source} cannot be compared with the picks: {why}; export it from this folder's sheet")
    low, high = wilson(agreed, len(chances))
    chance = sum(chances) / len(chances)
    share = agreed / len(chances)
    return Agreed(len(chances), agreed, share, low, high, chance, clear, clear_agreed, left_out, unknown)


def wilson(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a share: Wilson's, which holds for few trials, too.

    Reference: Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.

    Examples:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    if trials < 1:
        return 0.0, 1.0
    z = float(ndtri(0.5 + level / 2))
    share = successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)
