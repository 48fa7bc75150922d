"""Noise: how much of it an image shows, judged in patches of the image's own pixels that have some texture.

After the noise model of the laboratory that DN-PIQA comes from, which is known from slides: MobileNetV2, entropy picks
textured patches, labels from a full-reference measure. `piqa.data.noise_pairs` makes such labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule, is_traced
from piqa.models.texture import CELL, patch_entropy

BAND = (2.0, 4.0)  # bits of `patch_entropy`: flat patches show noise to the eye, those with more texture hide it
MIDDLE, REACH = 30.0, 8.0  # dB: about the mean and the standard deviation of the labels


def outside_band(entropy: Tensor) -> Tensor:
    """Return how far entropies lie outside `BAND`, in bits; 0 inside."""
    low, high = BAND
    return (low - entropy).clamp_min(0) + (entropy - high).clamp_min(0)


class NoiseNet(ScoringModule):
    """Patches of middle entropy -> backbone -> Linear 1; the score of an image is the mean over its patches.

    It takes images in their own pixels: any reduction averages noise away. Of an image without a patch in the band
    those nearest to it count. A patch is as small as the image where that is smaller.

    Args:
        backbone: timm model of convolutions.
        patch: Side of the patches in pixels.
        patches: Patches of an image that are looked at, at most.
        dropout: Dropout rate in front of the last layer.

    Raises:
        InputError: If timm does not know the backbone or it takes one size only, or a number is out of range.

    Examples:
        >>> network = NoiseNet("resnet10t").eval()
        >>> network(torch.zeros(2, 3, 130, 200, dtype=torch.uint8))["score"].shape
        torch.Size([2])
    """

    inputs = ("whole",)
    image_size = None

    def __init__(
        self, backbone: str = "mobilenetv2_100", patch: int = 64, patches: int = 32, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if patch < 32 or patches < 1:
            raise InputError(f"NoiseNet: patch ({patch}) must be at least 32 px, and patches ({patches}) at least 1")
        self.init_args = {"backbone": backbone, "patch": patch, "patches": patches, "dropout": dropout}
        whole = Backbone(backbone, patch)
        if whole.net.pretrained_cfg.get("fixed_input_size"):
            raise InputError(f"timm model '{backbone}' takes images of one size; choose one of convolutions")
        self.patch, self.patches = patch, patches
        self.backbones = nn.ModuleDict({"whole": whole})
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(whole.features, 1))

    def chosen(self, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Return the patches of images that are looked at, and how much each counts.

        Args:
            whole: As for `forward`.

        Returns:
            Patches, (images, patches, 3, height, width), of the type of the images, and weights, (images, patches),
            that sum to 1 for each image: all of those in the band alike, or of all where none lies in it.
        """
        whole = _widened(whole)
        height, width = (torch.sym_min(size, self.patch) for size in whole.shape[2:])  # exported, sizes are symbols
        rows, columns = whole.shape[2] // height, whole.shape[3] // width
        grid = whole[:, :, : rows * height, : columns * width].reshape(-1, 3, rows, height, columns, width)
        patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (images, rows * columns, 3, height, width)
        entropy = patch_entropy(patches.flatten(0, 1)).view(patches.shape[:2])
        # Of those inside, the middle ones come first, so that the choice is the same on every device.
        order = outside_band(entropy) + 1e-3 * (entropy - sum(BAND) / 2).abs()
        places = order.topk(torch.sym_min(self.patches, rows * columns), dim=1, largest=False).indices
        inside = (outside_band(entropy.gather(1, places)) == 0).float()
        none = inside.sum(dim=1, keepdim=True) == 0
        weights = torch.where(none, torch.ones_like(inside), inside)
        images = torch.arange(whole.shape[0], device=whole.device).unsqueeze(1)
        return patches[images, places], weights / weights.sum(dim=1, keepdim=True)

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Score images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, height, width), of the image's own pixels.

        Returns:
            `score`, float32 even under autocast, (images,): higher for less noise; dB where it was trained on the
            labels of `piqa.data.noise_pairs` with the mean squared error.
        """
        patches, weights = self.chosen(whole)
        features = self.backbones["whole"](patches.flatten(0, 1)).float()
        with torch.autocast(features.device.type, enabled=False):
            values: Tensor = self.head(features)  # (images * patches, 1)
            score = (values.view(weights.shape) * weights).sum(dim=1)
        return {"score": MIDDLE + REACH * score}


def _widened(whole: Tensor) -> Tensor:
    """Return images with at least as many rows and columns as a value of the entropy needs, the last ones repeated."""
    if is_traced() or min(whole.shape[2:]) >= CELL:
        return whole
    rows, columns = (torch.arange(max(size, CELL), device=whole.device).clamp(max=size - 1) for size in whole.shape[2:])
    return whole[:, :, rows][:, :, :, columns]
