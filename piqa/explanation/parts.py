"""A network as a function of its parts: the features of its inputs where these meet only in its head, else the inputs.

What a part adds to a score, or what happens when one is changed, is then asked in one way of every network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from piqa.data.transforms import Batch
from piqa.models.contract import ScoringModule, SeparableNetwork
from piqa.scoring.scorer import Scorer

Parts = dict[str, Tensor]  # of one image, by the name of the input; first dimension crops, or 1 for what all share

BRANCHES = {"whole": "whole", "face_crop": "face", "liqe_logits": "liqe"}  # what the parts are called
GOES_WITH = {"face_box": "whole"}  # a part that tells of another one, with which it is exchanged


class PartsScorer:
    """Scores images by their parts.

    Args:
        scorer: Whose network scores.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.network = scorer.network
        self.head = separable(scorer.network)

    @property
    def separable(self) -> bool:
        """Whether the features of each input can be had apart from the others."""
        return self.head is not None

    def parts_of(self, inputs: Batch) -> Parts:
        """Return the parts of one image by its inputs: features, (crops or 1, width), or the inputs themselves."""
        inputs = {name: values[None] if name == "liqe_logits" else values for name, values in inputs.items()}
        if self.head is None:
            return inputs
        return {name: self.features(name, values) for name, values in inputs.items()}

    def features(self, name: str, values: Tensor) -> Tensor:
        """Return the features of one input of a separable network, float32, (rows, width)."""
        assert self.head is not None
        with self._scorer.inference():
            return self.head.input_features(name, values).float()

    def score(self, parts: Mapping[str, Tensor]) -> float:
        """Return the score of one image: the mean over its crops."""
        if self.separable:
            return float(self.crop_scores(parts).mean(dtype=torch.float64))
        inputs = {name: values if name == "liqe_logits" else values[None] for name, values in parts.items()}
        return float(self._scorer.outputs(inputs)["score"])

    def crop_scores(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the score of each row of parts, a crop or an image, float32, (rows,); a part of one row goes to all.

        Of a network that takes all windows of an image at once, rows are images.
        """
        rows = max(len(values) for values in parts.values())
        whole = {name: values.expand(rows, *values.shape[1:]) for name, values in parts.items()}
        if self.head is not None:
            with self._scorer.inference():
                return self.head.score_features(whole).float()
        return self._scorer.outputs(whole)["score"]


def separable(network: ScoringModule) -> SeparableNetwork | None:
    """Return the network if its features tell its scores; None, too, where a subclass has a `forward` of its own."""
    if not isinstance(network, SeparableNetwork):
        return None
    classes = type(network).__mro__
    homes = [next((one for one in classes if name in vars(one)), None) for name in ("forward", "score_features")]
    return network if homes[0] is homes[1] else None
