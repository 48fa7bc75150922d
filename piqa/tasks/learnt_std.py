"""How a network learns the standard deviation of its scores from pairs: Thurstone's model with a learnt variance.

A network answers a score f and a standard deviation s of each image. The predicted preference of a pair is
Phi((f_a - f_b) / sqrt(s_a^2 + s_b^2)), so that an image whose score cannot be relied on moves it towards 1/2. There are
two ways to learn s:

* `joint`: s stands inside the loss of the preference, with its gradient. Where the order cannot be predicted from the
  image, a larger s lowers the loss. So s is the doubt of the model, which is what its user asks for.
* `raters`: s stands inside the preference without a gradient, and learns only the order of the standard deviations of
  the measured scores, as UNIQUE does. So s tells on which images raters disagree, and nothing of the model's errors.

Preferences do not change where all f and all s are multiplied by one factor, so that the loss of the preference leaves
it free. `joint` adds the mean of v - 1 - log v over the pairs, v = s_a^2 + s_b^2. As the rest of the loss does not
depend on the factor, its optimum has a mean v of exactly 1, whatever the weight: the unit variance of the published
loss, in which differences of f are those of the measured scores (JOD).

Reference: Zhang et al., Uncertainty-Aware Blind Image Quality Assessment in the Laboratory and Wild, IEEE TIP 2021.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LearntStd = Literal["joint", "raters"]
SMALLEST_VARIANCE = 1e-8  # published; of a difference of scores
MARGIN = 0.025  # published; between the standard deviations of two images whose raters agree less and more
ANCHOR = 0.01  # weight of the mean of v - 1 - log v; losses of preferences are about 0.02 to 0.1


def in_standard_deviations(difference: Tensor, std_a: Tensor, std_b: Tensor) -> Tensor:
    """Return differences of scores over their standard deviations, shape (pairs,); Phi of it is the preference.

    Examples:
        >>> one = torch.ones(1)
        >>> round(in_standard_deviations(5 * one, 3 * one, 4 * one).item(), 6)
        1.0
    """
    return difference / (std_a.square() + std_b.square() + SMALLEST_VARIANCE).sqrt()


def anchor_loss(std_a: Tensor, std_b: Tensor) -> Tensor:
    """Return v - 1 - log v of each pair, v = s_a^2 + s_b^2, shape (pairs,); 0 for v = 1, else positive."""
    variance = std_a.square() + std_b.square() + SMALLEST_VARIANCE
    return variance - 1 - variance.log()


def order_loss(std_a: Tensor, std_b: Tensor, measured_a: Tensor, measured_b: Tensor) -> Tensor:
    """Return by how much standard deviations miss the order of the measured ones and the margin, shape (pairs,).

    Pairs whose measured standard deviations are equal, or not both known (NaN), have no order and cost nothing.

    Examples:
        >>> two = order_loss(torch.tensor([0.5, 0.5]), torch.tensor([0.2, 0.9]), torch.ones(2), torch.zeros(2))
        >>> [round(loss, 3) for loss in two.tolist()]
        [0.0, 0.425]
    """
    order = torch.nan_to_num((measured_a - measured_b).sign())
    return order.abs() * (MARGIN - order * (std_a - std_b)).clamp_min(0)


def std_terms(
    way: LearntStd, difference: Tensor, stds: tuple[Tensor, Tensor], measured: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Return the differences in standard deviations, and what joins the loss of each pair, both of shape (pairs,).

    Args:
        way: How standard deviations are learnt.
        difference: Predicted score of A less that of B.
        stds: Predicted standard deviations of A and of B.
        measured: Those of their measured scores, which `raters` needs.
    """
    if way == "joint":
        return in_standard_deviations(difference, *stds), ANCHOR * anchor_loss(*stds)
    assert measured is not None
    fixed = [std.detach() for std in stds]
    return in_standard_deviations(difference, *fixed), order_loss(*stds, *measured)
