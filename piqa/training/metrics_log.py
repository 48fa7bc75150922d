"""The metrics of a run that is resumed in its own folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_only

from piqa.system.files import replacing


@rank_zero_only
def keep_metrics(folder: Path, checkpoint: str) -> None:
    """Rename a run's metrics of the steps before a checkpoint to `metrics-<number>.csv`; the logger would delete them.

    The metrics of later steps are left out, as these steps are repeated.
    """
    metrics = folder / "metrics.csv"
    if not metrics.exists():
        return
    part = folder / f"metrics-{len(list(folder.glob('metrics-*.csv'))) + 1}.csv"
    steps = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    rows = pd.read_csv(metrics, dtype=str)
    done = rows["step"].astype(int) < steps
    if done.all():
        metrics.rename(part)
        return
    with replacing(part) as temporary:
        rows[done].to_csv(temporary, index=False)
    metrics.unlink()
