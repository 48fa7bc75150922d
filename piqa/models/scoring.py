"""The score of a portrait is the mean over its crops."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def inputs_of(network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a batch that a network takes; those that its `inputs` name, or all three where it names none."""
    wanted = getattr(network, "inputs", ("full_image", "face_crop", "liqe_logits"))
    return {name: batch[name] for name in wanted if name in batch}


def score_of(answer: Tensor | Mapping[str, Tensor]) -> Tensor:
    """The scores, (portraits,), in what a network answers: the scores alone, or `score` among named extras."""
    return answer["score"] if isinstance(answer, Mapping) else answer


def score_crops(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Scores portraits of several crops each, in one pass.

    Args:
        network: Answers (inputs,) scores, or a dictionary that has them as `score`.
        batch: `full_image` and `face_crop` of shape (portraits, crops, 3, side, side); crop i goes with crop i, and a
            portrait's one `liqe_logits` vector goes with all of its crops. Of a clip, frames take the place of crops.

    Returns:
        Mean score over the crops, float32, shape (portraits,).
    """
    portraits, crops = batch["full_image"].shape[:2]
    flat = {
        # LIQE's logits are a portrait's, everything else is a crop's or a frame's own
        name: values.repeat_interleave(crops, dim=0) if name == "liqe_logits" else values.flatten(0, 1)
        for name, values in inputs_of(network, batch).items()
    }
    scores = score_of(network(**flat))  # (portraits * crops,)
    return scores.float().view(portraits, crops).mean(dim=1)
