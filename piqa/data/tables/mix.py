"""Several tables as one, to train on all of them together."""

from collections.abc import Sequence

import pandas as pd

from piqa.data.tables.database import TEXT_EXTRAS, Database
from piqa.data.tables.table import Table, validate
from piqa.errors import InputError


class Mix(Table):
    """Several tables together, such as the six databases of LIQE.

    Scores of different databases are never compared: `database` names where an image comes from, and `scene` becomes
    the database's name, or database and scene ("PIQ23/Indoor_Scene_0") where a table has several. `image` too begins
    with the database. A `MixSampler` draws batches with a fixed number of images from each database.

    A column that only some tables have is "" (text) or missing (numbers) for the others; `score_std` is kept where all
    have it.

    Args:
        tables: The tables, each with its own splits.
        names: Names of the tables; by default a database's title, or the class of another table.

    Raises:
        InputError: If there is no table, or two have the same name.

    Examples:
        >>> from piqa import CSVTable
        >>> Mix([CSVTable("one.csv"), CSVTable("two.csv")], names=["one", "two"]).names
        ('one', 'two')
    """

    def __init__(self, tables: list[Table], names: Sequence[str] | None = None) -> None:
        if not tables:
            raise InputError("a mix needs at least one table in `tables`")
        if names is None:
            names = [table.title if isinstance(table, Database) else type(table).__name__ for table in tables]
        if len(names) != len(tables):
            raise InputError(f"a mix of {len(tables)} tables needs as many `names`, not {len(names)}")
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise InputError(f"a mix has more than one table called {twice[0]}; tell them apart with `names`")
        self.tables = list(tables)
        self.names = tuple(names)

    @property
    def name(self) -> str:
        """The names of all its tables."""
        return f"mix of {'; '.join(table.name for table in self.tables)}"

    @property
    def std_of_ratings(self) -> bool:
        """Whether `score_std` is that of single people's ratings: where it is in one of the tables."""
        return any(table.std_of_ratings for table in self.tables)

    def load(self) -> pd.DataFrame:
        """Load every table and concatenate them in order."""
        parts = [_marked(table.load(), name) for table, name in zip(self.tables, self.names, strict=True)]
        frame = pd.concat(parts, ignore_index=True)
        if not all("score_std" in part for part in parts):
            frame = frame.drop(columns="score_std", errors="ignore")
        mixed = validate(frame, self.name, required_splits=("train",), check_files=False)
        for column in [column for column in frame.columns if column not in mixed]:
            text = column in (*TEXT_EXTRAS, "database")
            mixed[column] = frame[column].fillna("") if text else frame[column]
        return mixed


def _marked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    one = frame["scene"].nunique() == 1
    return frame.assign(
        image=name + "/" + frame["image"], scene=name if one else name + "/" + frame["scene"], database=name
    )
