"""A scoring network as one module for other engines: bytes in, outputs by name out, everything between inside.

Normalisation, LIQE's image tower, the mean over windows and over crops are part of it. Text features are constants: no
text tower is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from types import MethodType
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError
from piqa.models.clip import PromptedCLIP
from piqa.models.clip_iqa import AntonymCLIP
from piqa.models.contract import ScoringModule
from piqa.models.liqe import LIQE
from piqa.models.liqe_windows import WINDOW

CropsAveraged = Literal["inside", "outside"]
LIQE_WINDOWS = "liqe_windows"  # the input that takes the place of LIQE's logits
FACE_BOX = "face_box"  # the one input that holds no pixels
TEXT_TOWER = ("transformer", "token_embedding", "ln_final", "text_projection", "positional_embedding", "attn_mask")


@dataclass(frozen=True)
class GraphInput:
    """An input of the graph, uint8, or float32 if it is the face box.

    Attributes:
        name: `whole`, `face_crop`, `face_box` or `liqe_windows`.
        axes: Names of the axes that may have any length, by their place; all others are as in `example`.
        example: A shape that it takes.
    """

    name: str
    axes: Mapping[int, str]
    example: tuple[int, ...]


class GraphModule(nn.Module):
    """What is exported: takes the graph's inputs in their order, and returns its outputs in theirs.

    Args:
        network: A copy is made, and put into evaluation mode.
        liqe: LIQE, where the network takes its logits.
        side: Side in pixels of the images that the network takes; None for images of any size.
        crops: Whether outputs are averaged over an image's crops `inside`, so that `whole` is (images, crops, 3,
            height, width); or `outside`, so that each crop counts as an image. LIQE as a model of its own always takes
            all windows of an image.

    Raises:
        InputError: If the network takes what an image file does not give, or LIQE's logits without LIQE.

    Examples:
        >>> from piqa.models import DualBranch
        >>> graph = GraphModule(DualBranch("resnet10t", ("whole", "face"), image_size=64), side=64)
        >>> [one.name for one in graph.inputs], graph.outputs
        (['whole', 'face_crop'], ['score'])
        >>> crops = torch.zeros(2, 5, 3, 64, 64, dtype=torch.uint8)
        >>> [values.shape for values in graph(crops, crops)]
        [torch.Size([2])]
    """

    def __init__(
        self, network: ScoringModule, liqe: LIQE | None = None, side: int | None = None, crops: CropsAveraged = "inside"
    ) -> None:
        super().__init__()
        name = type(network).__name__
        if "motion" in network.inputs:
            raise InputError(f"a {name} that takes motion features scores videos; models of images are exported")
        if "liqe_logits" in network.inputs and liqe is None:
            raise InputError(f"this {name} takes LIQE's logits; name LIQE's weights by `liqe`")
        self.network = without_text_tower(network)
        self.liqe: LIQE | None = None
        if "liqe_logits" in network.inputs and liqe is not None:
            self.liqe = cast(LIQE, without_text_tower(liqe))
        self.crops: CropsAveraged = "inside" if network.pools_windows else crops
        self._classes = dict(network.classes)
        self._takes_crops = crops == "inside" and not network.pools_windows
        names = [*network.inputs] if "whole" in network.inputs else ["whole", *network.inputs]
        self.inputs = [self._input(one, side) for one in names]  # all files take `whole`, which tells of the crops
        self.eval().requires_grad_(False)
        with torch.no_grad():
            outputs = self.named(*self.examples())
        self.outputs = [one for one, values in outputs.items() if values.ndim == 1]

    def _input(self, name: str, side: int | None) -> GraphInput:
        if name == "liqe_logits":
            return GraphInput(LIQE_WINDOWS, {0: "images", 1: "windows"}, (2, 3, 3, WINDOW, WINDOW))
        if self.network.pools_windows:
            return GraphInput(name, {0: "images", 1: "windows"}, (2, 3, 3, WINDOW, WINDOW))
        axes, shape = ({0: "images", 1: "crops"}, (2, 3)) if self._takes_crops else ({0: "images"}, (2,))
        if name == FACE_BOX:
            return GraphInput(name, axes, (*shape, 4))
        height, width = (side, side) if side is not None else (96, 128)
        if side is None:
            axes = {**axes, len(shape) + 1: "height", len(shape) + 2: "width"}
        return GraphInput(name, axes, (*shape, 3, height, width))

    def examples(self) -> tuple[Tensor, ...]:
        """Return inputs that the graph takes, of random bytes, and boxes within the images, of which one is empty."""
        generator = torch.Generator().manual_seed(0)
        found = []
        for one in self.inputs:
            values = torch.randint(0, 256, one.example, dtype=torch.uint8, generator=generator)
            if one.name == FACE_BOX:
                values = (values / 255).sort().values
                values[-1] = 0
            found.append(values)
        return tuple(found)

    def named(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return all outputs by name, first dimension images: as of `piqa.models.contract.network_outputs`."""
        given = dict(zip((one.name for one in self.inputs), inputs, strict=True))
        crops = given["whole"].shape[1] if self._takes_crops else None
        arguments, unused = {}, given["whole"] if "whole" not in self.network.inputs else None
        if unused is not None:
            del given["whole"]
        for name, values in given.items():
            if name == LIQE_WINDOWS:
                assert self.liqe is not None
                logits = self.liqe.window_logits(values).float()
                if crops is not None:  # an image's one vector goes with all of its crops
                    logits = logits.unsqueeze(1).expand(-1, crops, -1).flatten(0, 1)
                arguments["liqe_logits"] = logits
            else:
                arguments[name] = values.flatten(0, 1) if self._takes_crops else values
        outputs: dict[str, Tensor] = dict(self.network(**arguments))
        if unused is not None:  # its shape must count, or exporters would leave it out
            outputs["score"] = outputs["score"] + torch.zeros(unused.shape[0] * (crops or 1))
        if crops is None:
            return {name: values if name in self._classes else values.float() for name, values in outputs.items()}
        return {name: self._combined(name, values, crops) for name, values in outputs.items() if values.ndim == 1}

    def _combined(self, name: str, values: Tensor, crops: int) -> Tensor:
        """Return the mean over an image's crops; of class indices the most frequent, the lowest of several."""
        by_image = values.view(-1, crops)
        if name not in self._classes:
            return by_image.float().mean(dim=1)
        votes = functional.one_hot(by_image.long(), len(self._classes[name])).sum(dim=1)
        return votes.argmax(dim=1)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map inputs, in the order of `inputs`, to outputs, in the order of `outputs`, each (images,)."""
        outputs = self.named(*inputs)
        return tuple(outputs[name] for name in self.outputs)


def without_text_tower(network: ScoringModule) -> ScoringModule:
    """Return a copy of a network whose text features are constants, and that has no text tower left."""
    network = deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, PromptedCLIP):
            with torch.no_grad():
                module.register_buffer("constant_text", cast(Any, module).text_features().clone(), persistent=True)
            module.text_features = MethodType(lambda self: self.constant_text, module)  # type: ignore[method-assign]
            for name in TEXT_TOWER:
                if hasattr(module.clip, name):
                    setattr(module.clip, name, None)
    return network


def grid_means(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """Return the mean over each of rows x columns patches, as adaptive pooling does, by two products of matrices."""
    height, width = (int(side) for side in pixels.shape[-2:])
    return _means(height, rows) @ pixels @ _means(width, columns).T


def _means(side: int, parts: int) -> Tensor:
    """Return the matrix, (parts, side), whose rows average a part of a line each; neighbours overlap by a pixel."""
    matrix = np.zeros((parts, side), np.float32)  # by numpy, so that a trace sees a constant
    for part in range(parts):
        start, stop = part * side // parts, -(-(part + 1) * side // parts)
        matrix[part, start:stop] = 1 / (stop - start)
    return torch.from_numpy(matrix)


@contextmanager
def plain_operators(module: nn.Module) -> Iterator[None]:
    """Let a module compute by operators that every engine has, while the block runs; the numbers are the same.

    Fused attention becomes products and a softmax; pooling to a grid that does not divide the image becomes products.
    """
    usual: Any = functional.adaptive_avg_pool2d
    fast = torch.backends.mha.get_fastpath_enabled()
    fused: list[tuple[Any, Any]] = [(one, one.fused_attn) for one in module.modules() if hasattr(one, "fused_attn")]

    def pooled(pixels: Tensor, output_size: int | tuple[int, int]) -> Tensor:
        """Pool as torch does."""
        rows, columns = (output_size, output_size) if isinstance(output_size, int) else output_size
        height, width = (int(side) for side in pixels.shape[-2:])
        if not rows or not columns or (height % rows == 0 and width % columns == 0):
            return cast(Tensor, usual(pixels, output_size))
        return grid_means(pixels, rows, columns)

    functional.adaptive_avg_pool2d = cast(Any, pooled)
    torch.backends.mha.set_fastpath_enabled(False)
    for one, _ in fused:
        one.fused_attn = False
    try:
        yield
    finally:
        functional.adaptive_avg_pool2d = usual
        torch.backends.mha.set_fastpath_enabled(fast)
        for one, before in fused:
            one.fused_attn = before


def takes_any_size(network: ScoringModule) -> bool:
    """Whether a network takes images of any size."""
    return isinstance(network, AntonymCLIP) or network.image_size is None
