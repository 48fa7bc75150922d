"""TANet: aesthetic quality by rules that depend on the theme of the image.

He et al., "Rethinking Image Aesthetics Assessment: Models, Datasets and Benchmarks", IJCAI 2022.

Where this network differs from the published code, and why: there, the weights that each image of a batch generates
are applied to the features of every image of the batch, which gives a (batch, batch) matrix, whose rows are then
pooled to ten values each (for AVA after a batch normalisation that never learns). An image's score thus changes with
its neighbours, and the published weights are tied to that. Equation 3 of the paper is per image: theta . q + b, with
weights theta and bias b generated from the theme, and q the theme's features, one number an image. Here the pooling to
ten values goes with that equation: theta * q is taken element by element, and each of the ten values is the sum over
ten of the hundred products, plus b. Together they hold Equation 3's scalar product, and nothing depends on neighbours.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from piqa.errors import InputError
from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule
from piqa.models.pixels import normalised
from piqa.models.rating_distribution import RATING_LEVELS, rating_outputs

PLACES = 365  # scene categories of Places365
FEATURES = 100  # of the theme; as many weights are generated
VALUES = 10  # that each stream hands to the head
GRID = 12  # patches a side between which the colour stream compares colours
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ThemeRules(nn.Module):
    """Theme stream: features of the theme, weighted by weights that are generated from the theme."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.generate_weights = nn.Linear(PLACES, FEATURES)
        self.generate_bias = nn.Linear(PLACES, 1)
        self.features = nn.Sequential(
            nn.Linear(PLACES, FEATURES), nn.BatchNorm1d(FEATURES), nn.PReLU(), nn.Dropout(dropout)
        )

    def forward(self, places: Tensor) -> Tensor:
        """Map logits of the categories of Places365, (images, 365), to values, (images, 10)."""
        products = self.generate_weights(places) * self.features(places)  # (images, 100)
        values: Tensor = products.unflatten(1, (VALUES, -1)).sum(dim=2) + self.generate_bias(places)
        return values


class ColourRelations(nn.Module):
    """Colour stream: similarities between the colours of 12 x 12 patches.

    The published code's form: cosine similarities of RGB vectors. The paper writes a scaled product per channel.
    """

    def __init__(self, dropout: float = 0.75) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(GRID**4, VALUES), nn.Softmax(dim=1))

    @staticmethod
    def similarities(pixels: Tensor) -> Tensor:
        """Return cosines between the mean colours of all patches, (images, 3, height, width) -> (images, 144, 144)."""
        colours = functional.adaptive_avg_pool2d(pixels, GRID).flatten(2)  # (images, 3, 144)
        unit = functional.normalize(colours, dim=1)
        return unit.transpose(1, 2) @ unit

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels, (images, 3, height, width), to values, (images, 10), each row summing to 1."""
        values: Tensor = self.head(self.similarities(pixels).flatten(1))
        return values


class TANet(ScoringModule):
    """Theme, colours and aesthetics, ten values each -> ReLU -> Dropout -> rating.

    Theme: a ResNet-18 that knows Places365, never trained here. Aesthetics: MobileNetV2, with the ReLU6 with which its
    ImageNet weights were trained; the published code has ReLU in the first and the last convolution.

    Args:
        head: `ava`: probabilities of the ratings 1 to 10, whose mean is the score. `tad66k`: the score alone, 0 to 10.
        backbone: timm model of the aesthetics stream.
        image_size: Side in pixels of its square input images; 224 as published.
        dropout: Dropout rate of the colour and aesthetics streams and of the head.

    Raises:
        InputError: If there is no such head, or timm does not know the backbone.

    Examples:
        >>> outputs = TANet(backbone="resnet10t", image_size=64).eval()(torch.rand(2, 3, 64, 64))
        >>> sorted(outputs)
        ['distribution', 'score', 'std']
    """

    inputs = ("whole",)

    def __init__(
        self,
        head: Literal["ava", "tad66k"] = "ava",
        backbone: str = "mobilenetv2_100",
        image_size: int = 224,
        dropout: float = 0.75,
    ) -> None:
        super().__init__()
        if head not in ("ava", "tad66k"):
            raise InputError(f"TANet has no head '{head}'; choose `ava` or `tad66k`")
        self.init_args = {"head": head, "backbone": backbone, "image_size": image_size, "dropout": dropout}
        self.image_size = image_size
        whole = Backbone(backbone, image_size)
        self.backbones = nn.ModuleDict({"whole": whole})
        self.aesthetics = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(whole.features, VALUES))
        self.theme = resnet18(num_classes=PLACES).requires_grad_(False).eval()
        self.theme_rules = ThemeRules()
        self.colours = ColourRelations(dropout)
        outputs = RATING_LEVELS if head == "ava" else 1
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(3 * VALUES, outputs))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    def train(self, mode: bool = True) -> TANet:
        """Switch training mode; the theme stream, batch normalisation included, stays in evaluation mode."""
        super().train(mode)
        self.theme.eval()
        return self

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Predict the ratings of images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, image_size, image_size).

        Returns:
            float32. With the head `ava` as `piqa.models.NIMA`; with `tad66k` `score` alone, (images,), 0 to 10.
        """
        pixels = normalised(whole, self.mean, self.std)
        with torch.no_grad():
            places = self.theme(pixels)
        beauty = self.aesthetics(self.backbones["whole"](whole)).float()
        with torch.autocast(beauty.device.type, enabled=False):
            values = torch.cat([beauty, self.theme_rules(places.float()), self.colours(pixels.float())], dim=1)
            ratings = self.head(values)
            if self.init_args["head"] == "tad66k":
                return {"score": RATING_LEVELS * ratings.squeeze(1).sigmoid()}
            return rating_outputs(ratings.softmax(dim=1))
