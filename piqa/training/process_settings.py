"""Settings of a whole process that trains. Commands make them; library code does not."""

from __future__ import annotations

import atexit
import logging
import warnings

import torch

from piqa.system.memory import keep_freed_memory
from piqa.training.signals import end_loading_processes

UNHELPFUL = ("litlogger", "Detected KeyboardInterrupt")  # an advertisement; what piqa says itself


def set_up_process() -> None:
    """End loading processes when this process exits; suppress lines of Lightning's that help nobody here."""
    atexit.register(end_loading_processes)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: not any(part in record.getMessage() for part in UNHELPFUL))
    warnings.filterwarnings("ignore", ".*LeafSpec.*")


def set_up_training(device: torch.device) -> None:
    """Set memory and the precision of matrix products up for training on a device."""
    if device.type == "cpu":
        keep_freed_memory()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it; no effect on a CPU
