"""The measures of scenes as torchmetrics: against scipy and the functions, over batches and processes."""

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refusal
from scipy.stats import kendalltau, pearsonr, spearmanr
from torch import distributed
from torch.multiprocessing import spawn

from piqa.evaluation.metrics import pair_accuracy, per_scene, summarise
from piqa.evaluation.scene_metrics import SceneKROCC, ScenePairAccuracy, ScenePLCC, SceneSROCC

SCIPY = {SceneSROCC: spearmanr, SceneKROCC: kendalltau, ScenePLCC: pearsonr}
NAMES = {SceneSROCC: "srocc", SceneKROCC: "krocc", ScenePLCC: "plcc"}


def rated(images=60, scenes=5, seed=0):
    """A table with ties, shuffled."""
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 6, images).astype(float)
    frame = pd.DataFrame({"scene": [f"scene {row % scenes}" for row in range(images)], "score": score})
    frame["prediction"] = np.round(score + rng.normal(size=images), 1)
    return frame.assign(image=[f"{row}.jpg" for row in range(images)])


def add(metric, frame, named=True):
    tensors = (torch.tensor(frame[name].to_numpy()) for name in ("prediction", "score"))
    metric.update(*tensors, frame["scene"].tolist(), frame["image"].tolist() if named else None)


@pytest.mark.parametrize("kind", SCIPY)
def test_a_metric_is_scipys_measure_over_the_scenes(kind):
    frame = rated()
    values = [SCIPY[kind](rows["score"], rows["prediction"])[0] for _, rows in frame.groupby("scene")]
    mean, median = kind(), kind(over_scenes="median")
    for start in range(0, len(frame), 7):
        for metric in (mean, median):
            add(metric, frame[start : start + 7])
    assert mean.compute().item() == pytest.approx(np.mean(values), abs=1e-12)
    assert median.compute().item() == pytest.approx(np.median(values), abs=1e-12)
    summary = summarise(per_scene(frame))
    assert median.compute().item() == pytest.approx(summary["official"][NAMES[kind]], abs=1e-12)


def test_pair_accuracy_is_that_of_the_function():
    metric, frame = ScenePairAccuracy(), rated()
    add(metric, frame)
    assert metric.compute().item() == pytest.approx(pair_accuracy(frame), abs=1e-12)


def test_an_image_that_comes_twice_counts_once():
    once, twice, unnamed = SceneSROCC(), SceneSROCC(), SceneSROCC()
    frame = rated()
    add(once, frame)
    for part in (frame[:40], frame[30:], frame[:1]):
        add(twice, part)
    add(unnamed, frame, named=False)
    add(unnamed, frame, named=False)  # without names they are other images
    assert once.compute() == twice.compute() == unnamed.compute()
    assert len(torch.cat(unnamed.scene)) == 2 * len(frame)


@pytest.mark.parametrize("kind", [*SCIPY, ScenePairAccuracy])
def test_what_is_not_defined_is_nan_and_does_not_count(kind):
    metric = kind()
    assert math.isnan(metric.compute())
    metric.update(torch.tensor([1.0]), torch.tensor([2.0]), ["alone"])
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0]), ["equal", "equal"])
    assert math.isnan(metric.compute())
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), ["good", "good"])
    assert metric.compute() == 1
    metric.reset()
    assert math.isnan(metric.compute())


def test_shapes_that_differ_are_refused():
    message = refusal(SceneSROCC().update, torch.zeros(2), torch.zeros(3), ["a", "b"])
    assert "prediction (2,), score (3,), scene (2,)" in message
    assert "`over_scenes` is 'max'" in refusal(SceneSROCC, over_scenes="max")


def in_a_process(rank, folder):
    """Add a share of the images in one of two processes, all of them in the first of another metric."""
    sys.path.insert(0, str(Path(__file__).parent))
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    frame, shared, first = rated(), SceneSROCC(), SceneSROCC()
    add(shared, frame[:41] if rank == 0 else frame[30:])
    if rank == 0:
        add(first, frame)
    Path(folder, str(rank)).write_text(f"{shared.compute().item()} {first.compute().item()}")
    distributed.destroy_process_group()


def test_two_processes_compute_what_one_does(tmp_path):
    spawn(in_a_process, (str(tmp_path),), nprocs=2)
    alone = SceneSROCC()
    add(alone, rated())
    for rank in "01":
        found = [float(value) for value in (tmp_path / rank).read_text().split()]
        assert found == [alone.compute().item()] * 2
