"""Colour: histograms in CIELAB with learnt bins beside a network of convolutions, colour and quality as two tasks.

After the colour model of the laboratory that DN-PIQA comes from, which is known from slides: MobileNetV2, a learnable
colour histogram, two tasks balanced by GradNorm (`piqa.tasks.GradNorm`), trained on SPAQ among others. Sizes, the
choice of histograms and the way they are joined are this program's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule
from piqa.models.histogram import JointHistogram, LearnableHistogram
from piqa.models.pixels import normalised

# Linear sRGB to XYZ under D50, and its white: as in `piqa.factors.cielab`, which measures without PyTorch.
XYZ = ((0.43605, 0.38508, 0.14309), (0.22249, 0.71689, 0.06062), (0.01393, 0.09710, 0.71419))
WHITE = (0.964221, 1.0, 0.825211)
EPSILON, KAPPA = 216 / 24389, 24389 / 27  # CIE 15
REACH = 80.0  # of a*, b* and of chroma; stronger colours, which photographs hardly have, count as the strongest
CELLS = 64  # a side, at least, of the copy whose colours are counted: noise and JPEG change those of single pixels more
DARK = 0.5  # chroma of which hue and chroma still have a gradient


class LabColours(nn.Module):
    """Colours of images in CIELAB (D50), box-filtered in linear light."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.cell = max(1, side // CELLS)
        self.register_buffer("matrix", torch.tensor(XYZ), persistent=False)
        self.register_buffer("white", torch.tensor(WHITE).view(1, 3, 1), persistent=False)
        self.register_buffer("zero", torch.zeros(3, 1, 1), persistent=False)
        self.register_buffer("one", torch.ones(3, 1, 1), persistent=False)

    matrix: Tensor
    white: Tensor
    zero: Tensor
    one: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return L*, a* and b*, each (images, positions), of uint8 or float in [0, 1], (images, 3, height, width)."""
        encoded = normalised(images, self.zero, self.one).clamp(0, 1)
        linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
        xyz = self.matrix @ avg_pool2d(linear, self.cell).flatten(2)
        relative = xyz / self.white
        root = relative.clamp_min(EPSILON) ** (1 / 3)
        x, y, z = torch.where(relative > EPSILON, root, (KAPPA * relative + 16) / 116).unbind(1)
        return 116 * y - 16, 500 * (x - y), 200 * (y - z)


class ColourHistograms(nn.Module):
    """Histograms of a* and of b*, and the joint one of hue and chroma, with learnt bins.

    Args:
        side: Side of the images in pixels.
        bins: Bins of a*, of b* and of chroma.
        hues: Bins of the hue, a circle.
    """

    def __init__(self, side: int, bins: int, hues: int) -> None:
        super().__init__()
        self.lab = LabColours(side)
        self.red_green, self.yellow_blue = LearnableHistogram(bins), LearnableHistogram(bins)
        self.hue_chroma = JointHistogram((hues, bins), (True, False))
        self.features = 2 * bins + hues * bins

    def forward(self, images: Tensor) -> Tensor:
        """Return the histograms, (images, features), each value times the number of bins, so that their mean is 1."""
        _, a, b = self.lab(images)
        hue = torch.atan2(b, torch.where((a == 0) & (b == 0), torch.ones_like(a), a)) / (2 * math.pi)
        chroma = ((a.square() + b.square() + DARK**2).sqrt() - DARK) / REACH
        parts = [
            self.red_green((a / REACH + 1).clamp(0, 2) / 2),
            self.yellow_blue((b / REACH + 1).clamp(0, 2) / 2),
            self.hue_chroma(hue, chroma.clamp(0, 1)).flatten(1),
        ]
        return torch.cat([part * part.shape[1] for part in parts], dim=1)


class ColourNet(ScoringModule):
    """Features of a backbone and of colour histograms -> Linear -> a linear head for colour and one for quality.

    Both tasks share everything but the last layer. `score` is the colour's, `quality` that of the whole image.

    Args:
        backbone: timm model.
        image_size: Side in pixels of its square input images.
        bins: Bins of a*, of b* and of chroma.
        hues: Bins of the hue.
        hidden: Width of the layer that both tasks share.
        dropout: Dropout rate in front of the heads.

    Raises:
        InputError: If timm does not know the backbone, or there are too few bins.

    Examples:
        >>> network = ColourNet("resnet10t", image_size=64).eval()
        >>> sorted(network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)))
        ['quality', 'score']
    """

    inputs = ("whole",)
    attributes = ("quality",)

    def __init__(
        self,
        backbone: str = "mobilenetv2_100",
        image_size: int = 224,
        bins: int = 8,
        hues: int = 12,
        hidden: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.init_args = {"backbone": backbone, "image_size": image_size, "bins": bins, "hues": hues}
        self.init_args |= {"hidden": hidden, "dropout": dropout}
        self.image_size = image_size
        whole = Backbone(backbone, image_size)
        self.backbones = nn.ModuleDict({"whole": whole})
        self.histograms = ColourHistograms(image_size, bins, hues)
        self.of_colours = nn.Sequential(nn.Linear(self.histograms.features, hidden), nn.ReLU())
        self.shared = nn.Sequential(nn.Linear(whole.features + hidden, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, 1) for name in ("score", "quality")})

    def shared_weights(self) -> Sequence[nn.Parameter]:
        """Return the weights of the last layer that both tasks share, for GradNorm."""
        return [cast(nn.Parameter, self.shared[0].weight)]

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Score images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, image_size, image_size).

        Returns:
            `score`, of the colour, and `quality`, float32 even under autocast, (images,); higher is better, on the
            scale of the loss that trained them.
        """
        features = self.backbones["whole"](whole).float()
        with torch.autocast(features.device.type, enabled=False):
            joined = self.shared(torch.cat([features, self.of_colours(self.histograms(whole))], dim=1))
            return {name: head(joined).squeeze(1) for name, head in self.heads.items()}
