"""NIMA: the distribution of people's ratings of an image, from 1 to 10.

Talebi and Milanfar, "NIMA: Neural Image Assessment", IEEE TIP 2018 (arXiv 1709.05424).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule
from piqa.models.rating_distribution import RATING_LEVELS, rating_outputs


class NIMA(ScoringModule):
    """Backbone -> Dropout -> Linear 10 -> softmax.

    The paper's backbones are MobileNet, VGG16 (timm's `vgg16` keeps its two wide layers, where re-implementations pool
    the last convolution) and Inception-v2, which timm does not have.

    Args:
        backbone: timm model.
        image_size: Side in pixels of its square input images; 224 as published.
        dropout: Dropout rate in front of the last layer.

    Raises:
        InputError: If timm does not know the backbone.

    Examples:
        >>> outputs = NIMA("resnet10t", image_size=64).eval()(torch.rand(2, 3, 64, 64))  # floats in [0, 1], or uint8
        >>> outputs["score"].shape, outputs["distribution"].shape
        (torch.Size([2]), torch.Size([2, 10]))
    """

    inputs = ("whole",)

    def __init__(self, backbone: str = "mobilenetv1_100", image_size: int = 224, dropout: float = 0.75) -> None:
        super().__init__()
        self.init_args = {"backbone": backbone, "image_size": image_size, "dropout": dropout}
        self.image_size = image_size
        whole = Backbone(backbone, image_size)
        self.backbones = nn.ModuleDict({"whole": whole})
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(whole.features, RATING_LEVELS))

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Predict the ratings of images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, image_size, image_size).

        Returns:
            float32, even under autocast: `score` (images,), the mean rating, 1 to 10, higher is better; `std`
            (images,), the ratings' standard deviation; `distribution` (images, 10), the ratings' probabilities.
        """
        features = self.backbones["whole"](whole).float()
        with torch.autocast(features.device.type, enabled=False):
            return rating_outputs(self.head(features).softmax(dim=1))
