"""What a network is trained to do: loss, optimiser, schedule and measures."""

from piqa.tasks.aesthetic import AestheticTask, TwoStages, nima_adam, nima_schedule
from piqa.tasks.attributes import AttributesTask
from piqa.tasks.base import ScoringTask, published_adam, published_schedule
from piqa.tasks.clip_iqa import CLIPIQATask, clip_iqa_schedule, clip_iqa_sgd
from piqa.tasks.composition import CompositionTask, composition_adam, composition_schedule
from piqa.tasks.distillation import DistillationTask
from piqa.tasks.exposure import ExposureTask, exposure_adam, exposure_schedule
from piqa.tasks.factor import FactorTask, factor_adam, factor_schedule
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.liqe import LIQETask, liqe_adamw, liqe_schedule
from piqa.tasks.ranking import RankingTask
from piqa.tasks.regression import RegressionTask, slow_schedule
from piqa.training.grad_norm import GradNorm

__all__ = [
    "AestheticTask",
    "AttributesTask",
    "CLIPIQATask",
    "CompositionTask",
    "DistillationTask",
    "ExposureTask",
    "FactorTask",
    "GradNorm",
    "InitialWeights",
    "LIQETask",
    "RankingTask",
    "RegressionTask",
    "ScoringTask",
    "TwoStages",
    "clip_iqa_schedule",
    "clip_iqa_sgd",
    "composition_adam",
    "composition_schedule",
    "exposure_adam",
    "exposure_schedule",
    "factor_adam",
    "factor_schedule",
    "liqe_adamw",
    "liqe_schedule",
    "nima_adam",
    "nima_schedule",
    "published_adam",
    "published_schedule",
    "slow_schedule",
]
