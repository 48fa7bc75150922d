"""The row on maps of what a score hangs on: features of each branch computed once, against the whole network anew."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from bench_rows.measure import Figures, Row, Settings, in_turn, portrait
from piqa import Scorer
from piqa.explanation.explainer import Explainer
from piqa.models import DualBranch
from piqa.models.backbone import SWIN_B_384
from piqa.preparation.portrait import Preparation
from piqa.scoring.options import Precision
from piqa.system.memory import keep_freed_memory

SMALL = ("test_byobnet", 160, "32")  # the demo's backbone, side and precision
FULL = (SWIN_B_384, 384, "bf16")


class Joint(nn.Module):
    """A network as one whose inputs cannot be told apart, so that all of it runs for each blurred window."""

    inputs = ("whole", "face_crop")

    def __init__(self, network: DualBranch) -> None:
        super().__init__()
        self.network, self.image_size = network, network.image_size

    def forward(self, whole: Tensor, face_crop: Tensor) -> dict[str, Tensor]:
        """Score portraits as the network does."""
        scores: dict[str, Tensor] = self.network(whole, face_crop)
        return scores


def explanation(settings: Settings) -> Row:
    """Time the maps of both branches of one portrait, of the demo's network and of the published one."""
    if settings.device.type == "cpu":
        keep_freed_memory()  # as the commands do
    ways: dict[str, Figures] = {}
    sizes = {"small": SMALL} if settings.smoke else {"small": SMALL, "Swin-B": FULL}
    for name, (backbone, side, precision) in sizes.items():
        ways |= maps_of(name, DualBranch(backbone, ("whole", "face"), side), precision, settings)  # type: ignore[arg-type]
    seconds = {name: way["median_s"] for name, way in ways.items()}
    largest = "small" if settings.smoke else "Swin-B"
    return Row(
        row="explanation",
        what="maps of the whole image and of the face, 7 x 7 blurred windows each of the centre crops, one portrait "
        f"that is prepared already, random weights: {' and '.join(f'{b} at {s} px' for b, s, _ in sizes.values())}",
        ratio=seconds[f"{largest}, whole network anew"] / seconds[f"{largest}, features once"],
        compared="seconds with the whole network run anew for each window : with the features of each branch once",
        expected="about 2; Swin-B in 20 s on two cores with AMX, the small network in 1 s",
        clock="wall",
        ways=ways,
        facts={"windows": 2 * 49},
    )


def maps_of(name: str, network: DualBranch, precision: Precision, settings: Settings) -> dict[str, Figures]:
    """Time the maps of one network in both ways."""
    torch.manual_seed(0)
    side = network.image_size
    explainers = {
        way: Explainer(Scorer(one, Preparation(side * 7 // 6), side, str(settings.device), precision))
        for way, one in (("features once", network), ("whole network anew", Joint(network)))
    }
    image = portrait(0.2 if settings.smoke else 2)
    features = {way: explainer.features(image) for way, explainer in explainers.items()}
    calls = {
        f"{name}, {way}": partial(explainer.explain, features[way], maps=True) for way, explainer in explainers.items()
    }
    return in_turn(calls, settings.times(3), "wall", settings.device)
