"""The unit of the standard deviation that a network states of its scores: the factor in the model's card."""

from __future__ import annotations

from piqa.errors import InputError
from piqa.weights.model_card import ModelCard
from piqa.weights.trust import is_number, shown

STD = "score_std"  # the output, and the column
MODEL_STD = "model_std"  # of the scores by several models, or by several passes of one


def std_factor_of(card: ModelCard) -> float:
    """Return the factor that calibration found; 1 where the card holds none.

    It is read without what fits it, which needs SciPy.

    Raises:
        InputError: If it is no positive number.
    """
    factor = card.uncertainty.get("factor", 1.0)
    if not is_number(factor) or factor <= 0:
        raise InputError(f"the uncertainty in a card has the `factor` {shown(factor)}; a positive number is needed")
    return float(factor)
