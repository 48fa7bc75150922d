"""LIQE's losses: fidelity of quality, scene and distortion, and the weights that balance the three.

Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence", CVPR 2023 (arXiv 2303.14968).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from piqa.tasks.losses import EPSILON, mean_within_groups, pairs_within, published_fidelity_loss
from piqa.training.checkpoints import State

TEMPERATURE = 2.0  # T of the dynamic weight average, as published: the higher, the more equal the weights
FLOOR = 1e-8  # smallest epoch mean; a perfect fidelity loss is slightly negative because of its epsilons


def quality_loss(predicted: Tensor, score: Tensor, group: Tensor, groups: Tensor | float) -> Tensor:
    """Return the fidelity of all pairs within each database's mini-batch to the order of their scores.

    The observed preference is 1 or 0, or 0.5 for equal scores, whatever the difference: scales of different databases
    need not agree. The published form of the loss is used: for predictions from 1 to 5 its gradient does not vanish.

    Args:
        predicted: Qualities, float32, (images,).
        score: Subjective scores, comparable within a group, (images,).
        group: Database of each image, (images,).
        groups: What the sum over databases is divided by.

    Returns:
        Scalar: the mean over pairs, then over databases.
    """
    a, b = pairs_within(group)
    order = (score[a] - score[b]).sign()
    certain = torch.where(order == 0, order, order * math.inf)  # the difference whose Phi is the preference
    return mean_within_groups(published_fidelity_loss(predicted[a] - predicted[b], certain), group[a], groups)


def scene_loss(probabilities: Tensor, labels: Tensor) -> Tensor | None:
    """Return the binary fidelity of each scene's probability, for images that may have several scenes.

    Args:
        probabilities: Of the scenes, float32, (images, scenes).
        labels: 0 or 1, same shape; images without any 1 have no known scene and are left out.

    Returns:
        Scalar: the mean over scenes, then over images; None if no scene is known.
    """
    known = labels.any(dim=1)
    if not known.any():
        return None
    p, g = probabilities[known], labels[known].float()
    return (1 - (p * g + EPSILON).sqrt() - ((1 - p) * (1 - g) + EPSILON).sqrt()).mean()


def distortion_loss(probabilities: Tensor, labels: Tensor) -> Tensor | None:
    """Return the fidelity of the predicted distribution over distortions to the true distortion.

    Args:
        probabilities: Of the distortions, float32, (images, distortions).
        labels: Index of the distortion, int64, (images,); images with -1 are left out.

    Returns:
        Scalar: 1 - sum over distortions of sqrt(p g + eps), the mean over images; None if no distortion is known. The
        published epsilons of the absent distortions are kept: they make a perfect loss -1e-3.
    """
    known = labels >= 0
    if not known.any():
        return None
    p = probabilities[known]
    g = torch.nn.functional.one_hot(labels[known], p.shape[1])
    return 1 - (p * g + EPSILON).sqrt().sum(dim=1).mean()


class DynamicWeightAverage:
    """Weights of several losses: larger for those that fell less between the last two epochs.

    lambda_k = K exp(w_k / T) / sum_j exp(w_j / T) with w_k = L_k(t - 1) / L_k(t - 2), from the epochs' mean losses. The
    first two epochs, and losses that were absent in one of the two, have weight 1.

    Args:
        names: Names of the losses.

    Reference: Liu et al., CVPR 2019; as used by LIQE.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._epoch = list(names), 0
        self._means: list[dict[str, float]] = []  # of the last two epochs, the older first
        self._sums = torch.zeros(len(self._names), 2, dtype=torch.float64)  # of this epoch: sum and count

    def begin(self, epoch: int, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> None:
        """Start an epoch, unless it was started already, and close the one before; `reduce` sums over processes."""
        if epoch != self._epoch:
            self._means = [*self._means, self.means(reduce)][-2:]
            self._epoch, self._sums = epoch, torch.zeros_like(self._sums)

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of one step."""
        self._sums = self._sums.to(next(iter(losses.values())).device)
        for name, loss in losses.items():
            row = self._sums[self._names.index(name)]
            row += torch.stack([loss.detach().double(), torch.ones_like(row[1])])

    def means(self, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """Return the mean of each loss that occurred in this epoch, over processes by `reduce`."""
        sums = reduce(self._sums)
        return {name: float(total / count) for name, (total, count) in zip(self._names, sums, strict=True) if count}

    def weights(self) -> dict[str, float]:
        """Return this epoch's weight of each loss."""
        weights = dict.fromkeys(self._names, 1.0)
        if len(self._means) == 2:
            before, last = self._means
            names = [name for name in self._names if name in before and name in last]
            ratios = torch.tensor([max(last[name], FLOOR) / max(before[name], FLOOR) for name in names])
            values = (ratios.double() / TEMPERATURE).softmax(dim=0) * len(names)
            weights |= dict(zip(names, values.tolist(), strict=True))
        return weights

    def state_dict(self, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> State:
        """Return plain numbers for a checkpoint; `reduce` is that of `begin`."""
        return {"epoch": self._epoch, "means": self._means, "sums": reduce(self._sums).tolist()}

    def load_state_dict(self, state: State, first: bool = True) -> None:
        """Restore the state of a checkpoint; the `first` process takes the sums of all, the others start from 0."""
        self._epoch, self._means = state["epoch"], state["means"]
        self._sums = torch.tensor(state["sums"], dtype=torch.float64) * first
