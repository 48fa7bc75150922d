"""What a network must answer to score images, and how its outputs on crops become those on an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError

INPUTS = ("whole", "face_crop", "liqe_logits", "motion")  # the entries of a batch that a network may take
FORMER_INPUTS = {"full_image": "whole"}

Arguments = dict[str, Any]  # of a constructor or a config, as JSON can hold them
Inputs = dict[str, Tensor]


class ScoringNetwork(Protocol):
    """A network that scores images.

    Any `torch.nn.Module` may be one. What it does not declare, `as_scoring_network` completes: `inputs` from the
    signature of its `forward`, the others with the defaults named here.

    Attributes:
        inputs: Names of the entries of a batch that it takes, out of `INPUTS`.
        classes: Names of the classes of each output that holds class indices; none by default.
        image_size: Side in pixels of the square images that it takes; None, the default, for any size.
        pools_windows: Whether it takes all crops of an image at once and answers for the image; False by default.
        init_args: Arguments that build the same network again; none by default.
    """

    inputs: Sequence[str]
    classes: Mapping[str, Sequence[str]]
    image_size: int | None
    pools_windows: bool
    init_args: Arguments

    def __call__(self, **inputs: Tensor) -> Mapping[str, Tensor]:
        """Return `score`, shape (images,), and any other outputs by name, first dimension images."""
        ...


class ScoringModule(nn.Module):
    """A `torch.nn.Module` that is a `ScoringNetwork`: the base of the networks of this package.

    `as_scoring_network` returns other people's modules under this type as well, so that a type checker knows them as
    both.
    """

    inputs: Sequence[str]
    classes: Mapping[str, Sequence[str]] = {}
    image_size: int | None = None
    pools_windows: bool = False
    init_args: Arguments


class FunctionNetwork(ScoringModule):
    """A plain function as a network without weights.

    Args:
        function: Takes the inputs as keywords and returns the outputs.
    """

    def __init__(self, function: Callable[..., Mapping[str, Tensor]]) -> None:
        super().__init__()
        self.inputs = _inputs_by_signature(function, "function")
        self.init_args = {}
        self.forward = function


def as_scoring_network(network: nn.Module | Callable[..., Mapping[str, Tensor]]) -> ScoringModule:
    """Check a network where it enters, and complete what it does not declare of the contract.

    Args:
        network: A module, which is changed in place, or a plain function.

    Returns:
        The module itself, or a module that calls the function.

    Raises:
        InputError: If it cannot score: it takes other inputs than `INPUTS`, or declares something impossible.
    """
    if not isinstance(network, nn.Module):
        return FunctionNetwork(network)
    declared = cast(ScoringModule, network)
    name = type(network).__name__
    if not hasattr(network, "inputs"):
        declared.inputs = _inputs_by_signature(network.forward, name)
    _check_inputs(declared.inputs, name)
    defaults: Arguments = {"classes": {}, "image_size": None, "pools_windows": False, "init_args": {}}
    kinds = {"classes": Mapping, "image_size": int | None, "pools_windows": bool, "init_args": Mapping}
    for attribute, default in defaults.items():
        if not hasattr(network, attribute):
            setattr(network, attribute, default)
        elif not isinstance(value := getattr(network, attribute), kinds[attribute]):
            raise InputError(
                f"the `{attribute}` of {name} is {value!r}; see piqa.models.contract.ScoringNetwork for what it must be"
            )
    return declared


def _inputs_by_signature(forward: Callable[..., Any], name: str) -> list[str]:
    """The arguments of a forward function that are inputs."""
    parameters = inspect.signature(forward).parameters.values()
    inputs = [parameter.name for parameter in parameters if parameter.name in INPUTS]
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    _check_inputs([former for former in FORMER_INPUTS if any(former == p.name for p in parameters)] or needed, name)
    if not inputs:
        raise InputError(f"{name} names none of its inputs; declare some of {', '.join(INPUTS)} by `inputs`")
    return inputs


def _check_inputs(inputs: Sequence[str], name: str) -> None:
    unknown = [one for one in inputs if one not in INPUTS]
    if not unknown:
        return
    if unknown[0] in FORMER_INPUTS:
        raise InputError(f"{name} takes `{unknown[0]}`, which is now called `{FORMER_INPUTS[unknown[0]]}`; rename it")
    raise InputError(f"{name} takes `{unknown[0]}`; a network can be given {', '.join(INPUTS)}")


def inputs_of(network: ScoringNetwork, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a batch that a network takes, as far as they are there."""
    return {name: batch[name] for name in network.inputs if name in batch}


def network_outputs(
    network: ScoringNetwork, batch: Mapping[str, Any], arrange: Callable[[Inputs], Inputs] = lambda inputs: inputs
) -> dict[str, Tensor]:
    """Return a network's outputs on images, each taken together over the image's crops.

    Images of different sizes go through it in one call a size; those of one size together.

    Args:
        network: As `as_scoring_network` returns it.
        batch: `whole` and `face_crop` of shape (images, crops, 3, height, width), or without the axis of crops;
            a list of the images' own where these differ. Crop i goes with crop i, and an image's one `liqe_logits`
            vector goes with all of its crops. Of a clip, frames take the place of crops.
        arrange: What is done to the inputs of every call.

    Returns:
        Each output, first dimension images: the mean over the crops, float32; of class indices the most frequent
        one, the lowest of several, int64.

    Raises:
        InputError: If the network returns no `score`, or not one for each of its inputs.
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


def score_crops(network: ScoringNetwork, batch: Mapping[str, Any]) -> Tensor:
    """Return the scores among the `network_outputs`: mean over the crops, float32, shape (images,)."""
    return network_outputs(network, batch)["score"]


def _outputs(
    network: ScoringNetwork, inputs: Inputs, shape: torch.Size, arrange: Callable[[Inputs], Inputs]
) -> dict[str, Tensor]:
    """Return the outputs on images of one `shape`, that of `whole`."""
    crops = shape[1] if len(shape) == 5 and not network.pools_windows else None
    if crops is not None:
        inputs = {
            # LIQE's logits are an image's, everything else is a crop's or a frame's own
            name: values.repeat_interleave(crops, dim=0) if name == "liqe_logits" else values.flatten(0, 1)
            for name, values in inputs.items()
        }
    outputs = network(**arrange(inputs))
    _check_outputs(network, outputs, shape[0] * (crops or 1))
    classes = network.classes
    if crops is None:
        return {name: values if name in classes else values.float() for name, values in outputs.items()}
    by_image = {name: values.view(shape[0], crops, *values.shape[1:]) for name, values in outputs.items()}
    return {
        name: _vote(values, len(classes[name])) if name in classes else values.float().mean(dim=1)
        for name, values in by_image.items()
    }


def _check_outputs(network: ScoringNetwork, outputs: object, count: int) -> None:
    name = type(network).__name__
    if not isinstance(outputs, Mapping):
        found = type(outputs).__name__
        raise InputError(f'{name} returns a {found} instead of outputs by name; return {{"score": scores}}')
    if "score" not in outputs:
        raise InputError(f"{name} returns {', '.join(outputs) or 'nothing'} but no `score`")
    shape = tuple(outputs["score"].shape)
    if shape != (count,):
        raise InputError(
            f"{name} returns scores of shape {shape} for {count} images; one number each is needed, shape ({count},)"
        )


def _vote(indices: Tensor, classes: int) -> Tensor:
    """Return the most frequent class of each row of (images, crops) indices."""
    return functional.one_hot(indices.long(), classes).sum(dim=1).argmax(dim=1)
