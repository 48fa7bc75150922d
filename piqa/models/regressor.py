"""The network of pretraining: one backbone, a throw-away linear head, one score an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from piqa.models.backbone import SWIN_B_384, Backbone
from piqa.models.contract import ScoringModule


class Regressor(ScoringModule):
    """Backbone -> Linear 128 -> Linear 1, without an activation between, as published.

    Only the backbone is kept after pretraining. A video's score is the mean over its frames' scores.

    Args:
        backbone: timm model.
        image_size: Side in pixels of its square input crops.
        motion: Precomputed motion features that the head also takes: 256 of SlowFast in the LSVQ stage, 0 for none.
        hidden: Width of the head.

    Raises:
        InputError: If timm does not know the backbone.

    Examples:
        >>> network = Regressor("resnet10t", image_size=64).eval()
        >>> network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))["score"].shape
        torch.Size([2])
    """

    def __init__(self, backbone: str = SWIN_B_384, image_size: int = 384, motion: int = 0, hidden: int = 128) -> None:
        super().__init__()
        self.init_args = {"backbone": backbone, "image_size": image_size, "motion": motion, "hidden": hidden}
        self.image_size = image_size
        self.inputs = ["whole", "motion"] if motion else ["whole"]
        self.backbone = Backbone(backbone, image_size)
        self.head = nn.Sequential(nn.Linear(self.backbone.features + motion, hidden), nn.Linear(hidden, 1))

    def forward(self, whole: Tensor, motion: Tensor | None = None) -> dict[str, Tensor]:
        """Score images or frames.

        Args:
            whole: Crops, uint8 or float in [0, 1], (images, 3, image_size, image_size).
            motion: Motion features, (images, motion), where the head takes them.

        Returns:
            `score`, shape (images,), on the scale of the loss that trained them.
        """
        features = self.backbone(whole)
        if motion is not None:
            features = torch.cat([features, motion], dim=1)
        scores: Tensor = self.head(features)  # (images, 1)
        return {"score": scores.squeeze(1)}
