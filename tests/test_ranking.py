import itertools
import logging
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from look_alike import write_csv_dataset
from scipy.stats import norm, spearmanr
from torch import nn
from torch.multiprocessing import get_all_start_methods, start_processes

from piqa.data.datamodule import PortraitData
from piqa.data.sampler import StepSampler, scene_groups
from piqa.data.tables.csv_table import CSVTable
from piqa.errors import InputError
from piqa.models import DualBranch
from piqa.preparation.portrait import Preparation
from piqa.preparation.store import PreparedStore
from piqa.tasks.gathered_predictions import Predictions
from piqa.tasks.losses import published_fidelity_loss
from piqa.tasks.ranking import RankingTask, published_adam, published_schedule
from piqa.weights.model_file import load_model

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

PREPARATION, CROP = Preparation(short_side=48), 40
SCENES, IMAGES = 6, 5


class Smoothness(nn.Module):
    """Scores an image by how little its neighbouring pixels differ, times a learnt number: no randomness, no batch."""

    inputs = ("whole",)

    def __init__(self, slope=0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope]))
        self.seen = []

    def forward(self, whole):
        self.seen.append(len(whole))
        return {"score": -self.slope * whole.float().diff(dim=-1).abs().mean(dim=(1, 2, 3))}


class Constant(nn.Module):
    """Answers the same number for every image."""

    inputs = ("whole",)

    def __init__(self, score):
        super().__init__()
        self.score = nn.Parameter(torch.tensor([score]))

    def forward(self, whole):
        return {"score": self.score.expand(len(whole))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CSV dataset of 6 scenes, 2 of them for the test, whose noise grows as the score falls; with its store."""
    folder = tmp_path_factory.mktemp("data")
    write_csv_dataset(folder, SCENES, IMAGES, columns=("image", "score", "scene", "split", "score_std"))
    data_of(folder).prepare_data()
    return folder


def data_of(folder, **settings):
    settings = {
        "images_per_group": 5,
        "workers": 0,
        "prepare_workers": 0,
        "prepare_device": "cpu",
        "crops": "one",
    } | settings
    return PortraitData(CSVTable(folder / "portraits.csv"), PREPARATION, str(folder / "store"), CROP, **settings)


def trainer_of(**settings):
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    quiet |= {"accelerator": "cpu", "use_distributed_sampler": False, "max_epochs": 1}
    return Trainer(**quiet | settings)


def adam(parameters, lr=1e-3):
    return torch.optim.Adam(parameters, lr=lr)


def a_batch(groups=(4, 3, 2), seed=0):
    """Groups of these sizes with random scores; nothing of the images."""
    rng = np.random.default_rng(seed)
    total = sum(groups)
    return {
        "score": torch.tensor(rng.normal(0, 1.4, total), dtype=torch.float32),
        "score_std": torch.tensor(rng.uniform(0.3, 0.5, total), dtype=torch.float32),
        "group": torch.arange(len(groups)).repeat_interleave(torch.tensor(groups)),
        "groups": torch.tensor(float(len(groups))),
    }


def loss_by_hand(predicted, batch, deviation=lambda a, b: 1.0):
    """Mean over groups of the mean over pairs of 1 - sqrt(p p') - sqrt((1 - p)(1 - p')), pair by pair with scipy."""
    means = []
    for group in sorted(set(batch["group"].tolist())):
        rows = [row for row, own in enumerate(batch["group"].tolist()) if own == group]
        losses = []
        for a, b in itertools.combinations(rows, 2):
            p = norm.cdf(float(predicted[a] - predicted[b]))
            q = norm.cdf(float(batch["score"][a] - batch["score"][b]) / deviation(a, b))
            losses.append(1 - np.sqrt(p * q) - np.sqrt((1 - p) * (1 - q)))
        means.append(np.mean(losses))
    return np.mean(means)


def predictions_by_hand(folder, table, slope=1.0):
    """What `Smoothness` says of the centre crop of each row, from the prepared images alone."""
    store, scores = PreparedStore(folder / "store", PREPARATION), []
    for path in table["path"]:
        image = store.load(path).whole
        top, left = ((side - CROP + 1) // 2 for side in image.shape[:2])
        crop = image[top : top + CROP, left : left + CROP].astype(np.float64)
        scores.append(-slope * np.abs(np.diff(crop, axis=1)).mean())
    return np.array(scores)


def test_the_loss_is_the_mean_over_groups_of_the_mean_over_pairs():
    batch = a_batch()
    predicted = torch.randn(len(batch["score"]), generator=torch.Generator().manual_seed(0)) / 2
    loss = RankingTask(Smoothness()).loss(predicted, batch)
    assert loss.item() == pytest.approx(loss_by_hand(predicted, batch), abs=1e-6)


def test_the_published_loss_is_there_by_name():
    batch = a_batch(groups=(2,))
    predicted = torch.tensor([3.0, -3.5])
    loss = RankingTask(Smoothness(), loss="published").loss(predicted, batch)
    expected = published_fidelity_loss(predicted[:1] - predicted[1:], batch["score"][:1] - batch["score"][1:])
    assert loss.item() == pytest.approx(expected.item(), abs=1e-7)


def test_the_target_can_count_in_units_of_the_scores_uncertainty():
    batch = a_batch()
    predicted = torch.randn(len(batch["score"]), generator=torch.Generator().manual_seed(1)) / 2
    std = batch["score_std"].numpy()
    loss = RankingTask(Smoothness(), target="score_std").loss(predicted, batch)
    by_hand = loss_by_hand(predicted, batch, lambda a, b: float(np.hypot(std[a], std[b])))
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)
    assert abs(loss.item() - loss_by_hand(predicted, batch)) > 1e-3


def test_a_target_by_uncertainty_needs_the_column(tmp_path):
    write_csv_dataset(tmp_path, SCENES, IMAGES)
    task = RankingTask(Smoothness(), target="score_std")
    with pytest.raises(InputError, match="needs a score_std column"):
        trainer_of().fit(task, data_of(tmp_path))


def test_processes_average_to_the_gradient_of_every_whole_step():
    scenes = np.repeat(["a", "b", "c", "d"], [7, 9, 4, 11]).tolist()
    score = torch.randn(len(scenes), generator=torch.Generator().manual_seed(2))
    task = RankingTask(Smoothness())

    def gradients(rank, world):
        for step in StepSampler(partial(scene_groups, scenes, 3), 5, rank=rank, world=world):
            rows = torch.tensor([draw.index for draw in step.draws])
            predicted = torch.linspace(-1, 1, len(scenes)).requires_grad_()
            group = torch.tensor([draw.group for draw in step.draws])
            batch = {"score": score[rows], "group": group, "groups": torch.tensor(step.groups)}
            task.loss(predicted[rows], batch).backward()
            yield predicted.grad

    for whole, *shares in zip(gradients(0, 1), *(gradients(rank, 3) for rank in range(3)), strict=True):
        torch.testing.assert_close(torch.stack(shares).mean(0), whole)
        assert whole.abs().max() > 0


class Recorder(Callback):
    """Notes what training and validation log, and which rows every epoch shows."""

    def __init__(self):
        self.losses, self.rows, self.logged = [], [], []

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule):
        self.rows.append([])

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, outputs, batch, number):
        self.losses.append((outputs["loss"].item(), {name: values.clone() for name, values in batch.items()}))
        self.rows[-1] += batch["index"].tolist()

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule):
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_a_training_steps_loss_is_that_of_its_pairs(folder):
    recorder, task = Recorder(), RankingTask(Smoothness(0.3), optimizer=partial(torch.optim.SGD, lr=0.0))
    trainer_of(callbacks=[recorder]).fit(task, data_of(folder))
    assert len(recorder.losses) == 2
    for loss, batch in recorder.losses:
        predicted = -0.3 * batch["whole"].double().diff(dim=-1).abs().mean(dim=(1, 2, 3))
        assert loss == pytest.approx(loss_by_hand(predicted, batch), abs=1e-5)
    losses = [loss for loss, _ in recorder.losses]
    assert min(losses) <= recorder.logged[0]["train/loss"] <= max(losses)


def test_every_epoch_shows_every_portrait_once_in_another_order(folder):
    recorder = Recorder()
    trainer_of(callbacks=[recorder], max_epochs=3).fit(RankingTask(Smoothness()), data_of(folder))
    assert [sorted(rows) for rows in recorder.rows] == [list(range(3 * IMAGES))] * 3
    assert len(set(map(tuple, recorder.rows))) == 3


def test_validation_logs_the_srocc_of_each_scene_and_its_mean(folder):
    task, data, trainer = RankingTask(Smoothness(1.0)), data_of(folder, validation=0.5), trainer_of()
    trainer.validate(task, data, verbose=False)
    table = data.splits["val"]
    table = table.assign(prediction=predictions_by_hand(folder, table))
    by_scene = {name: spearmanr(rows["score"], rows["prediction"]).statistic for name, rows in table.groupby("scene")}
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {name: value for name, value in logged.items() if name.startswith("val/srocc/")} == {
        f"val/srocc/{scene}": pytest.approx(value, abs=1e-6) for scene, value in by_scene.items()
    }
    assert len(by_scene) == 2
    assert logged["val/srocc"] == pytest.approx(np.mean(list(by_scene.values())), abs=1e-6)
    assert logged["val/srocc_median"] == pytest.approx(np.median(list(by_scene.values())), abs=1e-6)


def test_validation_logs_the_share_of_pairs_in_the_right_order(folder):
    task, data, trainer = RankingTask(Smoothness(1.0)), data_of(folder, validation=0.5), trainer_of()
    trainer.validate(task, data, verbose=False)
    table = data.splits["val"]
    table = table.assign(prediction=predictions_by_hand(folder, table))
    right = [
        (one.score - other.score) * (one.prediction - other.prediction) > 0
        for _, rows in table.groupby("scene")
        for one, other in itertools.combinations(rows.itertuples(), 2)
    ]
    assert float(trainer.callback_metrics["val/pair_accuracy"]) == pytest.approx(np.mean(right), abs=1e-6)


def test_constant_predictions_log_no_number_as_srocc(folder):
    trainer = trainer_of()
    trainer.validate(RankingTask(Constant(1.0)), data_of(folder), verbose=False)
    assert np.isnan(float(trainer.callback_metrics["val/srocc"]))
    assert float(trainer.callback_metrics["val/pair_accuracy"]) == 0.5


def test_predictions_that_are_no_numbers_stop_the_run(folder):
    with pytest.raises(InputError, match="not finite"):
        trainer_of().validate(RankingTask(Constant(float("nan"))), data_of(folder), verbose=False)


def test_each_test_image_is_predicted_once_and_in_the_tables_order(folder):
    network = Smoothness(1.0)
    task, data = RankingTask(network), data_of(folder, eval_batch_size=3)
    trainer_of().test(task, data, verbose=False)
    table = data.splits["test"]
    assert network.seen == [3, 3, 3, 1]
    pd.testing.assert_frame_equal(task.test_table.drop(columns="prediction"), table)
    np.testing.assert_allclose(task.test_table["prediction"], predictions_by_hand(folder, table), rtol=1e-5)


def test_a_second_test_forgets_the_first(folder):
    task, data, trainer = RankingTask(Smoothness(1.0)), data_of(folder), trainer_of()
    trainer.test(task, data, verbose=False)
    with torch.no_grad():
        task.network.slope.fill_(2.0)
    trainer.test(task, data, verbose=False)
    expected = predictions_by_hand(folder, data.splits["test"], slope=2.0)
    np.testing.assert_allclose(task.test_table["prediction"], expected, rtol=1e-5)


def test_the_loss_is_computed_in_float32_under_autocast(folder):
    task = RankingTask(DualBranch("resnet10t", ["whole"], CROP))
    features, losses, loss = [], [], task._loss
    task.network.backbones["whole"].net.register_forward_hook(lambda *call: features.append(call[-1].dtype))

    def recorded(difference, target):
        losses.append((difference.dtype, target.dtype, torch.is_autocast_enabled("cpu")))
        return loss(difference, target)

    task._loss = recorded
    trainer_of(precision="bf16-mixed", limit_val_batches=0).fit(task, data_of(folder))
    assert set(features) == {torch.bfloat16}
    assert set(losses) == {(torch.float32, torch.float32, False)}


def test_training_learns_an_easy_order(folder):
    torch.manual_seed(0)
    recorder = Recorder()
    task = RankingTask(DualBranch("resnet10t", ["whole"], CROP), optimizer=adam)
    trainer_of(callbacks=[recorder], max_epochs=6).fit(task, data_of(folder))
    losses = [logged["train/loss"] for logged in recorder.logged]
    assert np.mean(losses[-2:]) < 0.6 * losses[0]
    assert recorder.logged[-1]["val/pair_accuracy"] >= 0.8


def test_a_training_checkpoint_loads_as_the_network_it_holds(folder, tmp_path):
    network = DualBranch("mobilenetv3_small_050", ["whole", "face"], CROP)
    task, trainer = RankingTask(network, optimizer=adam), trainer_of()
    trainer.fit(task, data_of(folder))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again, card = load_model(tmp_path / "last.ckpt")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())
    assert card == task.card() and card.crop_size == CROP
    assert Preparation(**card.preparation) == PREPARATION


def test_resuming_goes_on_as_if_it_had_never_stopped(folder, tmp_path):
    def network_after(epochs, ckpt_path=None):
        task, trainer = RankingTask(Smoothness(), optimizer=partial(adam, lr=0.1)), trainer_of(max_epochs=epochs)
        trainer.fit(task, data_of(folder), ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return task.network.slope.item()

    through = network_after(4)
    network_after(2)
    assert network_after(4, tmp_path / "last.ckpt") == through


def test_the_published_schedule_is_a_tenth_less_every_two_epochs():
    optimizer = published_adam([nn.Parameter(torch.zeros(1))])
    schedule, rates = published_schedule(optimizer), []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-5 * 0.9 ** (epoch // 2) for epoch in range(10)])
    assert optimizer.defaults["weight_decay"] == 1e-7 and optimizer.defaults["betas"] == (0.9, 0.999)


def test_the_schedule_steps_once_an_epoch(folder):
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    task, trainer = RankingTask(Smoothness(), optimizer=adam, schedule=schedule), trainer_of(max_epochs=3)
    trainer.fit(task, data_of(folder))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3 * 0.5**3)


def test_collected_predictions_come_by_row_and_a_repeated_row_counts_once():
    predictions = Predictions()
    predictions.update(torch.tensor([4, 0]), torch.tensor([0.4, 0.0], dtype=torch.bfloat16))
    predictions.update(torch.tensor([2, 4]), torch.tensor([0.2, 9.0]))
    rows, values = predictions.compute()
    assert rows.tolist() == [0, 2, 4]
    assert values.dtype == np.float32
    assert values.tolist() == pytest.approx([0.0, 0.2, 0.4], abs=1e-2)  # as near as bfloat16 has them


def test_a_single_prediction_is_a_table_of_one_row():
    predictions = Predictions()
    predictions.update(torch.tensor([3]), torch.tensor([0.5]))
    assert [values.tolist() for values in predictions.compute()] == [[3], [0.5]]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric Predictions was called before")
def test_no_predictions_at_all_are_an_empty_table():
    assert [values.tolist() for values in Predictions().compute()] == [[], []]


def _gather(rank, folder):
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    predictions = Predictions()
    for row in ([0, 2, 4, 5], [1, 3, 0])[rank]:
        predictions.update(torch.tensor([row]), torch.tensor([row + rank / 10]))
    np.save(folder / f"{rank}.npy", np.stack(predictions.compute()))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="needs processes that start by forking")
def test_every_process_collects_the_predictions_of_all(tmp_path):
    start_processes(_gather, (tmp_path,), nprocs=2, start_method="fork")
    for rank in range(2):
        rows, values = np.load(tmp_path / f"{rank}.npy")
        assert rows.tolist() == [0, 1, 2, 3, 4, 5]
        assert values.tolist() == pytest.approx([0.0, 1.1, 2.0, 3.1, 4.0, 5.0])  # of row 0 the first process' value
