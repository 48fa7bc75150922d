"""NIMA: the distribution of people's ratings of an image, from 1 to 10.

Talebi and Milanfar, "NIMA: Neural Image Assessment", IEEE TIP 2018 (arXiv 1709.05424).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule
from piqa.models.rating_distribution import RATING_LEVELS, rating_outputs


class NIMA(ScoringModule):
    """Backbone -> Dropout -> Linear 10 -> softmax.

    The paper's backbones are MobileNet, VGG16 and Inception-v2, which timm does not have.

    Args:
        backbone: timm model.
        image_size: Side in pixels of its square input images; 224 as published.
        dropout: Dropout rate in front of the last layer.
        wide_layers: Whether a VGG keeps its two wide layers, as timm's `vgg16` does; re-implementations of NIMA pool
            the last convolution instead.
        output: What is predicted: the `distribution` of ratings, or the `score` alone, one number without a softmax.

    Raises:
        InputError: If timm does not know the backbone, or it has no wide layers to leave out.

    Examples:
        >>> outputs = NIMA("resnet10t", image_size=64).eval()(torch.rand(2, 3, 64, 64))  # floats in [0, 1], or uint8
        >>> outputs["score"].shape, outputs["distribution"].shape
        (torch.Size([2]), torch.Size([2, 10]))
    """

    inputs = ("whole",)

    def __init__(
        self,
        backbone: str = "mobilenetv1_100",
        image_size: int = 224,
        dropout: float = 0.75,
        wide_layers: bool = True,
        output: Literal["distribution", "score"] = "distribution",
    ) -> None:
        super().__init__()
        if output not in ("distribution", "score"):
            raise InputError(f"NIMA has no output '{output}'; choose `distribution` or `score`")
        self.init_args = {"backbone": backbone, "image_size": image_size, "dropout": dropout}
        # As in cards of former versions where nothing else is asked for.
        self.init_args |= {} if wide_layers else {"wide_layers": False}
        self.init_args |= {} if output == "distribution" else {"output": output}
        self.image_size = image_size
        whole = Backbone(backbone, image_size)
        if not wide_layers:
            whole.leave_out_wide_layers()
        self.backbones = nn.ModuleDict({"whole": whole})
        outputs = RATING_LEVELS if output == "distribution" else 1
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(whole.features, outputs))

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Predict the ratings of images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, image_size, image_size).

        Returns:
            float32, even under autocast: `score` (images,), the mean rating, 1 to 10, higher is better; `std`
            (images,), the ratings' standard deviation; `distribution` (images, 10), the ratings' probabilities. Where
            the output is the score, that alone, on the scale that it was trained on.
        """
        features = self.backbones["whole"](whole).float()
        with torch.autocast(features.device.type, enabled=False):
            values: Tensor = self.head(features)
            return {"score": values.squeeze(1)} if values.shape[1] == 1 else rating_outputs(values.softmax(dim=1))
