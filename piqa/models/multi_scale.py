"""Quality at many scales: pyramid pooling of several stages of one network, weighted by what the image shows.

After the quality model of the laboratory that DN-PIQA comes from, which is known from slides: MobileNetV2, spatial
pyramid pooling (He et al., ECCV 2014, arXiv 1406.4729), multi-scale coding, semantic fusion. No layout of it is
published. Here the coding is a narrow 1x1 convolution and a pyramid for each stage, and the fusion a gate: the pooled
features of the last layer, which know what the image shows, decide how much each value of each scale counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule

LEVELS = (1, 2, 4)  # cells a side of the pyramid, as for an image of classification: 21 cells
USUAL_SIDE = 224  # px, for which a backbone is built that takes any size


def pyramid_pool(maps: Tensor, levels: Sequence[int] = LEVELS) -> Tensor:
    """Return the largest values of maps in the cells of grids: spatial pyramid pooling.

    The cells of a level are those of `torch.nn.functional.adaptive_max_pool2d`, which ONNX lacks: cell i of n reaches
    from floor(i s / n) to ceil((i + 1) s / n) of a side s.

    Args:
        maps: (images, channels, rows, columns), of any size.
        levels: Cells a side of each grid.

    Returns:
        (images, channels * cells), the channels' cells one after another, level by level.

    Examples:
        >>> pyramid_pool(torch.arange(16.0).view(1, 1, 4, 4), (1, 2)).tolist()
        [[15.0, 5.0, 7.0, 13.0, 15.0]]
    """
    height, width = maps.shape[2:]
    cells = []
    for n in levels:
        for i in range(n):
            rows = maps[:, :, i * height // n : ((i + 1) * height + n - 1) // n].amax(dim=2)
            for j in range(n):
                cells.append(rows[:, :, j * width // n : ((j + 1) * width + n - 1) // n].amax(dim=2))
    return torch.stack(cells, dim=2).flatten(1)


class MultiScaleNet(ScoringModule):
    """Stages -> 1x1 convolution -> pyramid pooling -> Linear, gated by the deepest features -> ReLU -> Linear -> score.

    Args:
        backbone: timm model of convolutions.
        image_size: Side in pixels of its square input images; None for images of any size and shape.
        stages: Stages of the backbone, from 0 on, that are pooled; MobileNetV2's last three of five by default.
        width: Channels of a stage in its pyramid.
        hidden: Values of a scale.
        dropout: Dropout rate in front of the last layer.

    Raises:
        InputError: If timm does not know the backbone, it lacks a stage, or takes one size only.

    Examples:
        >>> network = MultiScaleNet("resnet10t").eval()
        >>> network(torch.zeros(2, 3, 64, 96, dtype=torch.uint8))["score"].shape
        torch.Size([2])
    """

    inputs = ("whole",)

    def __init__(
        self,
        backbone: str = "mobilenetv2_100",
        image_size: int | None = None,
        stages: Sequence[int] = (2, 3, 4),
        width: int = 32,
        hidden: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.init_args = {"backbone": backbone, "image_size": image_size, "stages": list(stages), "width": width}
        self.init_args |= {"hidden": hidden, "dropout": dropout}
        self.image_size = image_size
        whole = Backbone(backbone, image_size or USUAL_SIDE)
        if image_size is None and whole.net.pretrained_cfg.get("fixed_input_size"):
            raise InputError(f"timm model '{backbone}' takes images of one size; set `image_size`")
        if not stages or list(stages) != sorted({stage for stage in stages if stage >= 0}):
            raise InputError(f"`stages` must name stages of the backbone in their order, not {list(stages)}")
        self.stages = tuple(stages)
        self.backbones = nn.ModuleDict({"whole": whole})
        cells = sum(level**2 for level in LEVELS)
        channels = whole.map_channels(self.stages)
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for count in channels
        )
        self.scales = nn.ModuleList(nn.Linear(cells * width, hidden) for _ in self.stages)
        self.gates = nn.ModuleList(nn.Linear(whole.features, hidden) for _ in self.stages)
        joined = hidden * len(self.stages) + whole.features
        self.head = nn.Sequential(nn.Linear(joined, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Score images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, height, width); square where the network has an `image_size`.

        Returns:
            `score`, float32 even under autocast, (images,), on the scale of the loss that trained it.
        """
        backbone = self.backbones["whole"]
        assert isinstance(backbone, Backbone)
        maps, deepest = backbone.feature_maps(whole, self.stages)
        with torch.autocast(deepest.device.type, enabled=False):
            parts = [deepest]
            for values, narrow, scale, gate in zip(maps, self.narrow, self.scales, self.gates, strict=True):
                parts.append(scale(pyramid_pool(narrow(values))) * gate(deepest).sigmoid())
            score: Tensor = self.head(torch.cat(parts, dim=1))  # (images, 1)
        return {"score": score.squeeze(1)}
