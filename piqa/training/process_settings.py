"""Settings of a whole process that trains. Commands make them; library code does not."""

from __future__ import annotations

import atexit
import logging
import warnings

import torch

from piqa.system.memory import keep_freed_memory
from piqa.training.signals import end_loading_processes


def set_up_process() -> None:
    """End loading processes when this process exits; suppress an advertisement and a warning of Lightning's."""
    atexit.register(end_loading_processes)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: "litlogger" not in record.getMessage())
    warnings.filterwarnings("ignore", ".*LeafSpec.*")


def set_up_training(device: torch.device) -> None:
    """Set memory and the precision of matrix products up for training on a device."""
    if device.type == "cpu":
        keep_freed_memory()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it; no effect on a CPU
