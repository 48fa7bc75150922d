"""What a network must answer to score images, and how its outputs on crops become those on an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError

# The entries of a batch that a network may take. Pixels are uint8, or float in [0, 1]: a network normalises its own.
INPUTS = ("whole", "face_crop", "face_box", "liqe_logits", "motion")
FORMER_INPUTS = {"full_image": "whole"}

Arguments = dict[str, Any]  # of a constructor or a config, as JSON can hold them
Inputs = dict[str, Tensor]
Images = Mapping[str, Tensor | list[Tensor]]  # a batch; where images differ in size, each has a tensor of its own


class ScoringNetwork(Protocol):
    """A network that scores images.

    A `torch.nn.Module` of any kind may be one. `as_scoring_network` completes what it does not declare: `inputs` from
    the signature of its `forward`, the others by the defaults named here.

    Attributes:
        inputs: Names of the entries of a batch that it takes, out of `INPUTS`. `face_box`, float32, (images, 4), tells
            where in `whole` the face is: x1, y1, x2, y2 as fractions of its width and height, and four zeros without a
            face. Windows and videos come without one.
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


@runtime_checkable
class SeparableNetwork(Protocol):
    """A scoring network whose inputs meet only in its head: an explanation then computes the features of each once."""

    def input_features(self, name: str, values: Tensor) -> Tensor:
        """Return the features of one input, by its name, shape (images, width)."""
        ...

    def score_features(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return scores, shape (images,), by the features of each input."""
        ...


class ScoringModule(nn.Module):
    """A `torch.nn.Module` that is a `ScoringNetwork`: the base of this package's networks, and the type of others."""

    inputs: Sequence[str]
    classes: Mapping[str, Sequence[str]] = {}
    image_size: int | None = None
    pools_windows: bool = False
    init_args: Arguments


def is_traced() -> bool:
    """Whether a network is being traced or compiled, so that what depends on the size of an image would be fixed."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())  # type: ignore[attr-defined, no-untyped-call]


def as_scoring_network(network: nn.Module | Callable[..., Mapping[str, Tensor]]) -> ScoringModule:
    """Check a network where it enters, and complete what it does not declare of the contract.

    Args:
        network: A module, which is changed in place and returned, or a plain function, for which a module is made.

    Raises:
        InputError: If it cannot score: it takes other inputs than `INPUTS`, or declares something impossible.
    """
    if not isinstance(network, nn.Module):
        function, network = network, ScoringModule()
        network.forward = function
        name = "function"
    else:
        name = type(network).__name__
    declared = cast(ScoringModule, network)
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
    if declared.pools_windows and "face_box" in declared.inputs:
        raise InputError(f"{name} takes all windows of an image, which come without `face_box`; leave that out")
    return declared


def _inputs_by_signature(forward: Callable[..., object], name: str) -> list[str]:
    """Return the arguments of a forward function that are inputs."""
    parameters = inspect.signature(forward).parameters.values()
    inputs = [parameter.name for parameter in parameters if parameter.name in INPUTS]
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    _check_inputs([one.name for one in named if one.default is one.empty or one.name in FORMER_INPUTS], name)
    if not inputs:
        raise InputError(f"{name} names none of its inputs; declare some of {', '.join(INPUTS)} by `inputs`")
    return inputs


def _check_inputs(inputs: Sequence[str], name: str) -> None:
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise InputError(f"the `inputs` of {name} are {inputs!r}; a list of names is needed")
    for unknown in (one for one in inputs if one not in INPUTS):
        if unknown in FORMER_INPUTS:
            raise InputError(f"{name} takes `{unknown}`, which is now called `{FORMER_INPUTS[unknown]}`; rename it")
        raise InputError(f"{name} takes `{unknown}`; a network can be given {', '.join(INPUTS)}")
    if "face_box" in inputs and "whole" not in inputs:
        raise InputError(f"{name} takes `face_box`, the place of the face in `whole`, and not `whole`; take both")


def inputs_of(network: ScoringNetwork, batch: Images) -> dict[str, Tensor | list[Tensor]]:
    """Return the entries of a batch that a network takes, as far as they are there."""
    return {name: batch[name] for name in network.inputs if name in batch}


def network_outputs(
    network: ScoringNetwork, batch: Images, arrange: Callable[[Inputs], Inputs] = lambda inputs: inputs
) -> dict[str, Tensor]:
    """Return a network's outputs on images, each taken together over the image's crops.

    Images of different sizes go through it in one call a size; those of one size together.

    Args:
        network: As `as_scoring_network` returns it.
        batch: `whole` and `face_crop` of shape (images, crops, 3, height, width), and `face_box`, (images, crops, 4),
            or without the axis of crops; a list of the images' own where these differ. Crop i goes with crop i, and an
            image's one `liqe_logits` vector goes with all of its crops. Of a clip, frames take the place of crops.
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
        return _outputs(network, cast(Inputs, inputs), images.shape, arrange)
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


def score_crops(network: ScoringNetwork, batch: Images) -> Tensor:
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
    combined = {}
    for name, values in outputs.items():
        classes = network.classes.get(name)
        combined[name] = values if classes else values.float()
        if crops is not None:
            by_image = combined[name].view(shape[0], crops, *values.shape[1:])
            votes = functional.one_hot(by_image.long(), len(classes)).sum(dim=1) if classes else None
            combined[name] = by_image.mean(dim=1) if votes is None else votes.argmax(dim=1)
    return combined


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
