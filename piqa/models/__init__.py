"""The networks: plain `torch.nn.Module`s that know nothing of training, files or configs."""

from piqa.models.backbone import Backbone
from piqa.models.clip_iqa import CLIPIQA, CLIPIQAPlus
from piqa.models.dual_branch import DualBranch
from piqa.models.liqe import LIQE
from piqa.models.regressor import Regressor

__all__ = ["CLIPIQA", "LIQE", "Backbone", "CLIPIQAPlus", "DualBranch", "Regressor"]
