"""Composition: how well an image is composed, and by which of nine patterns.

After the composition model of the seed's laboratory (explicit sub-tasks: saliency, nine classes) and SAMP-Net (Zhang
et al., "Image Composition Assessment with Saliency-Augmented Multi-Pattern Pooling", BMVC 2021): its saliency input and
its distribution of five ratings. Its pooling patterns and attributes are not here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError
from piqa.models.backbone import Backbone
from piqa.models.contract import ScoringModule
from piqa.models.pixels import as_unit_floats
from piqa.models.saliency import SIDE, SpectralResidual

# The seed's nine classes by their names in CADB, whose four others (golden_ratio, radial, vanishing_point and
# fill_the_frame) have no counterpart.
COMPOSITIONS = (
    *("rule_of_thirds", "center", "horizontal", "symmetric", "diagonal"),
    *("curved", "vertical", "triangle", "pattern"),
)
RATINGS = 5  # 1 .. 5, as CADB's raters gave
GRID = 8  # values on a side of what the network sees of the saliency, means of squares


class CompositionNet(ScoringModule):
    """Backbone and saliency -> a shared layer -> ratings from 1 to 5, and a probability for each of nine classes.

    An image may be of several classes, so each has a probability of its own.

    Args:
        backbone: timm model.
        image_size: Side in pixels of its square input images; 224 as published.
        dropout: Dropout rate in front of the two heads.
        saliency: Whether the network sees the spectral residual as well.
        hidden: Width of the shared layer.
        face: Whether the network sees where the face is as well: how much of each of 8 x 8 fields its box covers. For
            portraits; no published model does, as CADB shows what it will.

    Raises:
        InputError: If timm does not know the backbone.

    Examples:
        >>> network = CompositionNet("resnet10t", image_size=64).eval()
        >>> outputs = network(torch.rand(2, 3, 64, 64))
        >>> outputs["score"].shape, outputs["probabilities"].shape, sorted(outputs)[:2]
        (torch.Size([2]), torch.Size([2, 9]), ['center', 'composition'])
        >>> network.classes["composition"][0]
        'rule_of_thirds'
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        image_size: int = 224,
        dropout: float = 0.5,
        saliency: bool = True,
        hidden: int = 256,
        face: bool = False,
    ) -> None:
        super().__init__()
        self.init_args = {"backbone": backbone, "image_size": image_size, "dropout": dropout}
        self.init_args |= {"saliency": saliency, "hidden": hidden} | ({"face": True} if face else {})
        self.inputs = ("whole", "face_box") if face else ("whole",)
        self.image_size = image_size
        self.classes = {"composition": COMPOSITIONS}
        whole = Backbone(backbone, image_size)
        self.backbones = nn.ModuleDict({"whole": whole})
        self.saliency = SpectralResidual() if saliency else None
        seen = whole.features + GRID**2 * (saliency + face)
        self.shared = nn.Sequential(nn.Linear(seen, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.ratings = nn.Linear(hidden, RATINGS)
        self.compositions = nn.Linear(hidden, len(COMPOSITIONS))

    def forward(self, whole: Tensor, face_box: Tensor | None = None) -> dict[str, Tensor]:
        """Judge the composition of images.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, image_size, image_size).
            face_box: x1, y1, x2, y2 of the face as fractions of the image's sides, float, (images, 4), four zeros
                where there is none; taken with `face` only.

        Returns:
            float32, even under autocast: `score` (images,), the mean rating, 1 to 5, higher is better; `std`
            (images,), the ratings' standard deviation; `distribution` (images, 5), the ratings' probabilities;
            `composition` (images,), int64, the class that is most probable; the probability of each class by its
            name, (images,); `probabilities` (images, 9), the same together, and `logits`, from which they come.

        Raises:
            InputError: If the network was made with `face`, and is given no `face_box`.
        """
        features = self.backbones["whole"](whole)
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            if self.saliency is not None:
                salient = functional.avg_pool2d(self.saliency(as_unit_floats(whole)), SIDE // GRID)
                features = torch.cat([features, salient.flatten(1)], dim=1)
            if "face_box" in self.inputs:
                if face_box is None:
                    raise InputError("this CompositionNet was made with `face`, and is given no `face_box`")
                features = torch.cat([features, covered(face_box).flatten(1)], dim=1)
            shared = self.shared(features)
            distribution = self.ratings(shared).softmax(dim=1)
            logits = self.compositions(shared)
        ratings = torch.arange(1, RATINGS + 1, dtype=distribution.dtype, device=distribution.device)
        score = distribution @ ratings
        variance = (distribution * (ratings - score[:, None]).square()).sum(dim=1)
        probabilities = logits.sigmoid()
        by_name = {name: probabilities[:, place] for place, name in enumerate(COMPOSITIONS)}
        together = {"distribution": distribution, "probabilities": probabilities, "logits": logits}
        return {"score": score, "std": variance.sqrt(), "composition": logits.argmax(dim=1), **by_name, **together}


def covered(boxes: Tensor) -> Tensor:
    """Return how much of each of 8 x 8 fields of an image a box covers, 0 to 1, float32, (images, 8, 8).

    Args:
        boxes: x1, y1, x2, y2 as fractions of the image's sides, (images, 4).

    Examples:
        >>> covered(torch.tensor([[0.0625, 0.25, 0.25, 0.375]]))[0, 2, :3].tolist()
        [0.5, 1.0, 0.0]
    """
    starts = torch.arange(GRID, dtype=torch.float32, device=boxes.device) / GRID
    left, top, right, bottom = boxes.float()[:, :, None].unbind(dim=1)
    across, down = (
        (torch.minimum(end, starts + 1 / GRID) - torch.maximum(start, starts)).clamp(min=0) * GRID
        for start, end in ((left, right), (top, bottom))
    )
    return down[:, :, None] * across[:, None, :]
