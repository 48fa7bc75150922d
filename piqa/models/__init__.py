"""The networks: plain `torch.nn.Module`s that know nothing of training, files or configs.

Each is imported when it is first asked for: what is known of images and windows here does not need PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piqa.models.backbone import Backbone
    from piqa.models.clip_iqa import CLIPIQA, CLIPIQAPlus
    from piqa.models.colour import ColourNet
    from piqa.models.composition import CompositionNet
    from piqa.models.dual_branch import DualBranch
    from piqa.models.exposure_map import ExposureMap
    from piqa.models.focus import Focus
    from piqa.models.light_student import LightStudent
    from piqa.models.liqe import LIQE
    from piqa.models.multi_scale import MultiScaleNet
    from piqa.models.nima import NIMA
    from piqa.models.noise import NoiseNet
    from piqa.models.regressor import Regressor
    from piqa.models.tanet import TANet

__all__ = [
    "CLIPIQA",
    "LIQE",
    "NIMA",
    "Backbone",
    "CLIPIQAPlus",
    "ColourNet",
    "CompositionNet",
    "DualBranch",
    "ExposureMap",
    "Focus",
    "LightStudent",
    "MultiScaleNet",
    "NoiseNet",
    "Regressor",
    "TANet",
]

_HOMES = {
    "Backbone": "backbone",
    "CLIPIQA": "clip_iqa",
    "CLIPIQAPlus": "clip_iqa",
    "ColourNet": "colour",
    "CompositionNet": "composition",
    "DualBranch": "dual_branch",
    "ExposureMap": "exposure_map",
    "Focus": "focus",
    "LightStudent": "light_student",
    "LIQE": "liqe",
    "MultiScaleNet": "multi_scale",
    "NIMA": "nima",
    "NoiseNet": "noise",
    "Regressor": "regressor",
    "TANet": "tanet",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"piqa.models.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
