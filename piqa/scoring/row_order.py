"""The order of a table's rows: by a column, the best first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from piqa.errors import InputError

NAMED = 8  # columns that an error names where none is similar


@dataclass(frozen=True)
class RowOrder:
    """An order by the numbers of a column.

    Rows of equal numbers keep their order, and those without a number come last.

    Args:
        column: Its name.
        descending: Whether the highest come first.
    """

    column: str
    descending: bool = True

    def of(self, values: Iterable[object]) -> NDArray[np.int64]:
        """Return the numbers of the rows in this order, of the column's values in any number: 8 bytes of memory each.

        Examples:
            >>> RowOrder("score").of([0.5, None, 2.0, 0.5]).tolist()
            [2, 0, 3, 1]
        """
        keys = np.fromiter((np.nan if value is None else value for value in values), np.float64)
        return np.argsort(-keys if self.descending else keys, kind="stable")  # NaN comes last


def row_order(column: str | None, outputs: Sequence[str], factors: bool) -> RowOrder | None:
    """Return the order that `--sort` names.

    The score and the network's other numbers come from the highest. A factor comes from the highest where more is
    better; from the lowest where less is better, and where neither is: then its extremes stand at both ends.

    Args:
        column: The column's name; None for the order of the images.
        outputs: The score and the network's other numbers.
        factors: Whether factors are measured.

    Raises:
        InputError: If there is no such column of numbers.
    """
    if column is None:
        return None
    if column in outputs:
        return RowOrder(column)
    from piqa.factors.families import FACTORS  # a run without factors starts the faster

    if column in FACTORS and not factors:
        raise InputError(f"`sort` {column} is a factor, and factors are not measured; add `--factors true`")
    if column in FACTORS:
        return RowOrder(column, FACTORS[column].direction == "up")
    known = [*outputs, *FACTORS]
    close = get_close_matches(column, known, n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(known[:NAMED])}, ..."
    raise InputError(f"`sort` {column} is no column of numbers that say what is best; {advice}")
