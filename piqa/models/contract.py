"""What a network says of a portrait is summed up over its crops: a number by its mean, a class by a vote."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError

INPUTS = ("whole", "face_crop", "liqe_logits")  # what can be had of a portrait

Inputs = dict[str, Tensor]


def input_names(network: nn.Module) -> list[str]:
    """The entries of a batch that a network takes.

    Those in its `inputs`; of a network without, those of the three that its `forward` has as arguments, or all three.
    """
    names: Sequence[str] | None = getattr(network, "inputs", None)
    if names is None:
        arguments = inspect.signature(getattr(network, "forward", network)).parameters  # or a plain function's
        names = [name for name in INPUTS if name in arguments] or INPUTS
    return list(names)


def inputs_of(network: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a batch that a network takes, as far as they are there."""
    return {name: batch[name] for name in input_names(network) if name in batch}


def classes_of(network: nn.Module) -> Mapping[str, Sequence[str]]:
    """The answers of a network that are class indices, each with the names of its classes; those in its `classes`."""
    classes: Mapping[str, Sequence[str]] = getattr(network, "classes", {})
    return classes


def network_outputs(
    network: nn.Module, batch: Mapping[str, Any], arrange: Callable[[Inputs], Inputs] = lambda inputs: inputs
) -> dict[str, Tensor]:
    """What a network says of portraits.

    Portraits of different sizes go through it in one call a size; those of one size together.

    Args:
        network: Answers (inputs,) scores, or a dictionary: `score`, and whatever else it can tell. What its `classes`
            names are class indices, anything else is a number or, of more dimensions, numbers. A network that
            `pools_windows` is given all crops of an image and answers for the image.
        batch: `whole` and `face_crop` of shape (portraits, crops, 3, height, width), or without the axis of crops;
            a list of the portraits' own where these differ. Crop i goes with crop i, and a portrait's one `liqe_logits`
            vector goes with all of its crops. Of a clip, frames take the place of crops.
        arrange: What is done to the inputs of every call.

    Returns:
        Each answer, first dimension portraits: the mean over the crops, float32; of class indices the most frequent
        one, the lowest of several, int64.

    Raises:
        InputError: If the network answers no `score`, or not one for each of its inputs.
    """
    inputs = inputs_of(network, batch)
    images = batch["whole"]
    if isinstance(images, Tensor):
        return _outputs(network, inputs, images.shape, arrange)
    by_shape: dict[torch.Size, list[int]] = {}
    for row, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(row)
    outputs = []
    for shape, rows in by_shape.items():
        own = {name: torch.stack([values[row] for row in rows]) for name, values in inputs.items()}
        outputs.append(_outputs(network, own, torch.Size([len(rows), *shape]), arrange))
    order = torch.tensor([row for rows in by_shape.values() for row in rows]).argsort()
    return {
        name: (joined := torch.cat([part[name] for part in outputs]))[order.to(joined.device)] for name in outputs[0]
    }


def score_crops(network: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """The scores among the `network_outputs`: mean over the crops, float32, shape (portraits,)."""
    return network_outputs(network, batch)["score"]


def _outputs(
    network: nn.Module, inputs: Inputs, shape: torch.Size, arrange: Callable[[Inputs], Inputs]
) -> dict[str, Tensor]:
    """The answers on portraits of one `shape`, that of `whole`."""
    crops = shape[1] if len(shape) == 5 and not getattr(network, "pools_windows", False) else None
    if crops is not None:
        inputs = {
            # LIQE's logits are a portrait's, everything else is a crop's or a frame's own
            name: values.repeat_interleave(crops, dim=0) if name == "liqe_logits" else values.flatten(0, 1)
            for name, values in inputs.items()
        }
    outputs = network(**arrange(inputs))
    named: dict[str, Tensor] = dict(outputs) if isinstance(outputs, Mapping) else {"score": outputs}
    count = shape[0] * (crops or 1)
    _check_score(network, named, count)
    classes = classes_of(network)
    if crops is None:
        return {name: values if name in classes else values.float() for name, values in named.items()}
    by_portrait = {name: values.view(shape[0], crops, *values.shape[1:]) for name, values in named.items()}
    return {
        name: _vote(values, len(classes[name])) if name in classes else values.float().mean(dim=1)
        for name, values in by_portrait.items()
    }


def _check_score(network: nn.Module, named: Mapping[str, Tensor], count: int) -> None:
    if "score" not in named:
        raise InputError(f"a {type(network).__name__} answers {', '.join(named) or 'nothing'} but no `score`")
    shape = tuple(named["score"].shape)
    if shape != (count,):
        raise InputError(
            f"a {type(network).__name__} answers scores of shape {shape} for {count} images; one number each is "
            f"needed, shape ({count},)"
        )


def _vote(indices: Tensor, classes: int) -> Tensor:
    """The most frequent class of each row of (portraits, crops) indices."""
    return functional.one_hot(indices.long(), classes).sum(dim=1).argmax(dim=1)
