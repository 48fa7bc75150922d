"""What a network is trained to do: loss, optimiser and metrics, and nothing else."""

from piqa.tasks.aesthetic import AestheticTask
from piqa.tasks.clip_iqa import CLIPIQATask
from piqa.tasks.liqe import LIQETask
from piqa.tasks.ranking import RankingTask
from piqa.tasks.regression import RegressionTask

__all__ = ["AestheticTask", "CLIPIQATask", "LIQETask", "RankingTask", "RegressionTask"]
