"""Portraits of the demo as files."""

from pathlib import Path

from piqa.data.demo import Scene


def spoilt_folder(folder: Path, count: int) -> Path:
    """Write `count` portraits of as many scenes into a folder; returns it."""
    for number in range(count):
        Scene.number(number).view(3).resize((80, 100)).save(folder / f"{number}.png")
    return folder
