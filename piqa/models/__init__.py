"""The networks: plain `torch.nn.Module`s that know nothing of training, files or configs."""

from piqa.models.backbone import Backbone
from piqa.models.clip_iqa import CLIPIQA, CLIPIQAPlus
from piqa.models.dual_branch import DualBranch
from piqa.models.liqe import LIQE
from piqa.models.nima import NIMA
from piqa.models.regressor import Regressor
from piqa.models.tanet import TANet

__all__ = ["CLIPIQA", "LIQE", "NIMA", "Backbone", "CLIPIQAPlus", "DualBranch", "Regressor", "TANet"]
