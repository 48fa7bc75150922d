"""What moments are called: after their first shot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from piqa.moments.moment import Shot


def moment_names(moments: Sequence[Sequence[Shot]]) -> list[str]:
    """Return a name for each moment, none twice: its first file's, with as many folders before it as tell it apart.

    Examples:
        >>> moment_names([[Shot("trip/1.jpg"), Shot("trip/2.jpg")], [Shot("home/1.jpg")], [Shot("home/3.jpg")]])
        ['trip/1', 'home/1', '3']
    """
    parts = [_parts(moment[0].file) for moment in moments]
    depth = [1] * len(parts)
    while True:
        names = ["/".join(own[-length:]) for own, length in zip(parts, depth, strict=True)]
        count = Counter(name.casefold() for name in names)
        again = [at for at, name in enumerate(names) if count[name.casefold()] > 1 and depth[at] < len(parts[at])]
        if not again:
            return _numbered(names)
        for at in again:
            depth[at] += 1


def _parts(file: str) -> list[str]:
    path = PurePath(file)
    folders = [part for part in path.parts[:-1] if part != path.anchor]
    return [*folders, path.stem]


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names none of which is there twice, such as those of one stem with two endings."""
    used: set[str] = set()
    unique = []
    for name in names:
        number, free = 1, name
        while free.casefold() in used:
            number += 1
            free = f"{name} ({number})"
        used.add(free.casefold())
        unique.append(free)
    return unique
