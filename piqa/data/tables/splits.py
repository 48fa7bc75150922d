"""Draw which images train, validate and test, by a hash: the draw depends on neither row order nor library versions."""

import hashlib
from collections.abc import Iterable, Sequence

import pandas as pd

from piqa.errors import InputError


def by_hash(names: Iterable[str], seed: int) -> list[str]:
    """Return the names in the order of the hash of seed and name."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise an InputError if a fraction is negative or they leave nothing for training."""
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        raise InputError(
            f"`val_fraction` {val_fraction:g} and `test_fraction` {test_fraction:g} must not be negative and must "
            "leave some images for training"
        )


def draw_splits(units: Sequence[str], val_fraction: float, test_fraction: float, seed: int) -> list[str]:
    """Draw the split of each row; no unit (a reference image, or an image by itself) crosses them.

    The first units by hash are for the test, the next for validation.

    Args:
        units: Unit of each row.
        val_fraction: Fraction of the units for validation.
        test_fraction: Fraction of the units for the test.
        seed: Seed of the draw.

    Raises:
        InputError: As `check_fractions`.

    Examples:
        >>> draw_splits(["a", "b", "c", "d", "e"], val_fraction=0.2, test_fraction=0.2, seed=0)
        ['val', 'train', 'train', 'test', 'train']
    """
    check_fractions(val_fraction, test_fraction)
    order = by_hash(set(units), seed)
    test, val = round(test_fraction * len(order)), round(val_fraction * len(order))
    split = dict.fromkeys(order[:test], "test") | dict.fromkeys(order[test : test + val], "val")
    return [split.get(unit, "train") for unit in units]


def draw_validation(frame: pd.DataFrame, fraction: float, seed: int, column: str = "image") -> pd.DataFrame:
    """Return the table with a fraction of its training images moved to validation, as `draw_splits` draws them.

    Args:
        frame: `split` ("train" or "test"), and the image's name in `column`.
        fraction: Fraction of the training images to move.
        seed: Seed of the draw.
        column: Which column names an image.
    """
    train = frame["split"] == "train"
    moved = frame.copy()
    moved.loc[train, "split"] = draw_splits(frame.loc[train, column].tolist(), fraction, 0, seed)
    return moved


def hold_out_scenes(frame: pd.DataFrame, fraction: float, seed: int, target: str = "val") -> pd.DataFrame:
    """Return the table with whole scenes moved from training to another split, so that no scene stands in both.

    The first scenes by hash are moved, so that the draw changes little when scenes are added.

    Args:
        frame: A validated table.
        fraction: Fraction of the training scenes, in (0, 1); rounded, at least one, and at least one stays.
        seed: Seed of the draw.
        target: Split that receives them.

    Raises:
        InputError: If the fraction is out of range or there are fewer than two training scenes.

    Examples:
        >>> table = pd.DataFrame({"scene": ["hall", "hall", "lake", "lake", "park", "park"], "split": "train"})
        >>> held_out = hold_out_scenes(table, 0.34, seed=0)
        >>> held_out.groupby("split")["scene"].unique().map(list).to_dict()
        {'train': ['hall', 'park'], 'val': ['lake']}
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction of scenes to hold out must lie between 0 and 1, such as 0.2, not {fraction}")
    train = frame["split"] == "train"
    scenes = frame.loc[train, "scene"].unique().tolist()
    if len(scenes) < 2:
        raise InputError(
            f"cannot hold out scenes for {target}: the train split has {len(scenes)}, at least two are needed; "
            f"add scenes or mark the {target} images in a split column"
        )
    count = min(max(round(fraction * len(scenes)), 1), len(scenes) - 1)
    moved = frame.copy()
    moved.loc[train & frame["scene"].isin(by_hash(scenes, seed)[:count]), "split"] = target
    return moved


def splits_with(**fractions: float) -> list[str]:
    """Return the splits that must hold images: training, and those whose fraction is not zero."""
    return ["train", *(split for split, fraction in fractions.items() if fraction)]
