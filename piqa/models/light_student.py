"""A light network: whole image and face through one small backbone, without LIQE; made to be a student.

Facts on the limits that it is built for: VQualA 2025, face image quality (at most 0.5 GFLOP and 5 M parameters); the
winner is Efficient-FIQA (arXiv 2507.15709), a small timm backbone with a head of two layers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule

LIGHT_BACKBONE = "mobilenetv4_conv_small.e2400_r224_in1k"
LIGHT_SIDE = 176  # px; both passes of the default backbone together are 0.48 GFLOP, a multiply-add counted as two


class LightStudent(ScoringModule):
    """One small backbone that sees whole image and face -> MLP -> score.

    The features of the two are concatenated; the MLP is as that of `DualBranch`.

    Args:
        backbone: timm model.
        image_size: Side in pixels of its square inputs.
        shared: Whether whole image and face go through the same weights, in one batch. Otherwise the face has a
            backbone of its own: as much arithmetic, twice the parameters.
        hidden: Width of the MLP.
        dropout: Dropout rate in front of the last layer.

    Raises:
        InputError: If timm does not know the backbone.

    Examples:
        >>> network = LightStudent("test_resnet", image_size=32).eval()
        >>> pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> network(whole=pixels, face_crop=pixels)["score"].shape
        torch.Size([2])
    """

    def __init__(
        self,
        backbone: str = LIGHT_BACKBONE,
        image_size: int = LIGHT_SIDE,
        shared: bool = True,
        hidden: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.init_args = {"backbone": backbone, "image_size": image_size, "shared": shared}
        self.init_args |= {"hidden": hidden, "dropout": dropout}
        self.inputs, self.image_size, self.shared = ["whole", "face_crop"], image_size, shared
        branches = ["whole"] if shared else ["whole", "face"]
        backbones = {branch: Backbone(backbone, image_size) for branch in branches}
        self.backbones = nn.ModuleDict(backbones)
        width = 2 * backbones["whole"].features
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))

    def forward(self, whole: Tensor, face_crop: Tensor) -> dict[str, Tensor]:
        """Score portraits; higher is better, and only differences within a scene are meaningful.

        Args:
            whole: The whole images, uint8 or float in [0, 1], (portraits, 3, image_size, image_size).
            face_crop: The faces, likewise.

        Returns:
            `score`, float32 even under autocast, shape (portraits,).
        """
        if self.shared:  # in one batch, whose statistics are those of both, as at scoring time
            features = self.backbones["whole"](torch.cat([whole, face_crop]))
            both = dict(zip(self.inputs, features.chunk(2), strict=True))
        else:
            given = {"whole": whole, "face_crop": face_crop}
            both = {name: self.input_features(name, values) for name, values in given.items()}
        return {"score": self.score_features(both)}

    def input_features(self, name: str, values: Tensor) -> Tensor:
        """Return the features of one input, `whole` or `face_crop`: (portraits, width)."""
        branch = "face" if name == "face_crop" and not self.shared else "whole"
        features: Tensor = self.backbones[branch](values)
        return features

    def score_features(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the scores, (portraits,), of portraits that have these features, by the names of the inputs."""
        joined = torch.cat([features[name] for name in self.inputs], dim=1).float()
        with torch.autocast(joined.device.type, enabled=False):  # bfloat16 scores, of 3 digits, would tie in a scene
            scores: Tensor = self.head(joined)  # (portraits, 1)
        return scores.squeeze(1)
