"""Histograms whose bins are learnt: the layer counts values softly, and gradients move the centres of the bins.

Wang et al., "Learnable Histogram: Statistical Context Features for Deep Neural Networks", ECCV 2016 (arXiv 1804.09398),
count by triangles: psi_k(x) = max(0, 1 - |x - mu_k| w_k), with centres and widths learnt apart. There a value may count
for nothing, or twice. Here each triangle reaches from its neighbours' centres to its own, so that the bins of any value
sum to 1 whatever is learnt, and there are no gaps without a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from piqa.errors import InputError


class TriangularBins(nn.Module):
    """Soft membership of values in [0, 1] in bins with learnt centres; piecewise linear, a partition of unity.

    Args:
        bins: Number of bins, at first evenly spaced; at least 2, and 3 where they are circular.
        circular: Whether 1 is 0 again, as for a hue. Otherwise values beyond the outer centres are in the outer bins.

    Raises:
        InputError: If there are too few bins.

    Examples:
        >>> TriangularBins(3)(torch.tensor([[0.0, 0.25, 0.875]])).detach()[0].T.tolist()
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]
        >>> TriangularBins(4, circular=True)(torch.tensor([[0.875]])).detach()[0].T.tolist()
        [[0.5, 0.0, 0.0, 0.5]]
    """

    def __init__(self, bins: int, circular: bool = False) -> None:
        super().__init__()
        if bins < (3 if circular else 2):
            raise InputError(f"a histogram cannot have {bins} bins; take at least {3 if circular else 2}")
        self.bins, self.circular = bins, circular
        # The softmax of these are the distances between neighbours: positive, so that the centres keep their order.
        self.distances = nn.Parameter(torch.zeros(bins if circular else bins - 1))
        self.turn = nn.Parameter(torch.zeros(())) if circular else None  # where the first centre lies

    def centres(self) -> Tensor:
        """Return the centres of the bins, (bins,), ascending from 0 to 1; of a circle from the first on, in turns."""
        steps = self.distances.softmax(dim=0)
        if self.turn is not None:
            return torch.cat([steps.new_zeros(1), steps[:-1].cumsum(dim=0)]) + self.turn
        return torch.cat([steps.new_zeros(1), steps.cumsum(dim=0)])

    def forward(self, values: Tensor) -> Tensor:
        """Return memberships, (images, bins, positions), of values in [0, 1], (images, positions); they sum to 1."""
        steps = self.distances.softmax(dim=0)
        distance = values.unsqueeze(1) - self.centres()[None, :, None]
        if self.circular:
            above, below = 1 / steps, 1 / steps.roll(1)
            # Up from the centre and down from it: neighbours may be more than half a turn apart.
            up = distance - distance.floor()
            return relu(1 - up * above[None, :, None]) + relu(1 - (1 - up) * below[None, :, None])
        edge = steps.new_zeros(1)  # a slope of 0: what lies beyond belongs to the outer bin
        above, below = torch.cat([1 / steps, edge]), torch.cat([edge, 1 / steps])
        return relu(1 - relu(distance) * above[None, :, None] - relu(-distance) * below[None, :, None])


class LearnableHistogram(nn.Module):
    """The fraction of the positions in each bin; the fractions sum to 1.

    Args:
        bins: As of `TriangularBins`.
        circular: Likewise.

    Examples:
        >>> LearnableHistogram(3)(torch.tensor([[0.0, 0.25, 0.5, 0.5]])).tolist()
        [[0.375, 0.625, 0.0]]
    """

    def __init__(self, bins: int, circular: bool = False) -> None:
        super().__init__()
        self.memberships = TriangularBins(bins, circular)

    def forward(self, values: Tensor) -> Tensor:
        """Map values in [0, 1], (images, positions), to histograms, (images, bins)."""
        fractions: Tensor = self.memberships(values).mean(dim=2)
        return fractions


class JointHistogram(nn.Module):
    """The fraction of the positions in each pair of bins of two values, such as hue and chroma; they sum to 1.

    Args:
        bins: Bins of the first value and of the second.
        circular: Whether the first and the second are circular.
    """

    def __init__(self, bins: tuple[int, int], circular: tuple[bool, bool] = (False, False)) -> None:
        super().__init__()
        self.first, self.second = (TriangularBins(*one) for one in zip(bins, circular, strict=True))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Map two values in [0, 1], each (images, positions), to histograms, (images, bins, bins)."""
        joint: Tensor = self.first(first) @ self.second(second).transpose(1, 2)
        return joint / first.shape[1]
