"""What a network says of a portrait is summed up over its crops: a number by its mean, a class by a vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError


def inputs_of(network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a batch that a network takes; those that its `inputs` name, or all three where it names none."""
    wanted = getattr(network, "inputs", ("full_image", "face_crop", "liqe_logits"))
    return {name: batch[name] for name in wanted if name in batch}


def score_of(answer: Tensor | Mapping[str, Tensor]) -> Tensor:
    """The scores, (portraits,), in what a network answers: the scores alone, or `score` among named extras."""
    return answer["score"] if isinstance(answer, Mapping) else answer


def classes_of(network: nn.Module) -> Mapping[str, Sequence[str]]:
    """The answers of a network that are class indices, each with the names of its classes; those in its `classes`."""
    classes: Mapping[str, Sequence[str]] = getattr(network, "classes", {})
    return classes


def answers(network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a network says of portraits of several crops each, in one pass.

    Args:
        network: Answers (inputs,) scores, or a dictionary of such: `score`, and whatever else it can tell. What its
            `classes` names are class indices, anything else is a number.
        batch: `full_image` and `face_crop` of shape (portraits, crops, 3, side, side); crop i goes with crop i, and a
            portrait's one `liqe_logits` vector goes with all of its crops. Of a clip, frames take the place of crops.

    Returns:
        Each answer of one value a crop, shape (portraits,): the mean over the crops, float32; of class indices the most frequent one, the
        lowest of several, int64.

    Raises:
        InputError: If the network answers no `score`.
    """
    portraits, crops = batch["full_image"].shape[:2]
    flat = {
        # LIQE's logits are a portrait's, everything else is a crop's or a frame's own
        name: values.repeat_interleave(crops, dim=0) if name == "liqe_logits" else values.flatten(0, 1)
        for name, values in inputs_of(network, batch).items()
    }
    said = network(**flat)  # (portraits * crops,) each
    named: dict[str, Tensor] = dict(said) if isinstance(said, Mapping) else {"score": said}
    if "score" not in named:
        raise InputError(f"a {type(network).__name__} answers {', '.join(named) or 'nothing'} but no `score`")
    classes = classes_of(network)
    by_portrait = {name: values.reshape(portraits, crops) for name, values in named.items() if values.ndim == 1}
    return {
        name: _vote(values, len(classes[name])) if name in classes else values.float().mean(dim=1)
        for name, values in by_portrait.items()
    }


def score_crops(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The scores among the `answers`: mean over the crops, float32, shape (portraits,)."""
    return answers(network, batch)["score"]


def _vote(indices: Tensor, classes: int) -> Tensor:
    """The most frequent class of each row of (portraits, crops) indices."""
    return functional.one_hot(indices.long(), classes).sum(dim=1).argmax(dim=1)
