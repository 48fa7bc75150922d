"""LIQE's losses against hand-computed values and a plain second form; its weights, measures and training."""

import math

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from graded_images import SCENES as SEEN_SCENES
from graded_images import GradedData, quiet_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from scipy.stats import norm, spearmanr
from small_clip import VIT

from piqa.errors import InputError
from piqa.models import LIQE
from piqa.models.liqe import DISTORTIONS, SCENES, scene_labels
from piqa.tasks.liqe import LIQETask, distortion_accuracy, liqe_adamw, liqe_schedule, scene_accuracy
from piqa.tasks.liqe_losses import DynamicWeightAverage, distortion_loss, quality_loss, scene_loss
from piqa.weights import model_file

EPS = 1e-8

# Quality


def quality_by_hand(predicted, score, group):
    means = []
    for database in sorted(set(group)):
        rows = [row for row, own in enumerate(group) if own == database]
        losses = []
        for place, i in enumerate(rows):
            for j in rows[place + 1 :]:
                g = 0.5 * (np.sign(score[i] - score[j]) + 1)
                p = norm.cdf(predicted[i] - predicted[j])
                losses.append(1 - math.sqrt(p * g + EPS) - math.sqrt((1 - p) * (1 - g) + EPS))
        means.append(np.mean(losses))
    return np.mean(means)


def test_quality_loss_is_the_mean_over_pairs_then_over_databases():
    rng = np.random.default_rng(0)
    predicted, score = rng.uniform(1, 5, 14), rng.integers(0, 4, 14).astype(float)  # with ties
    group = [0] * 4 + [1] * 8 + [2] * 2
    loss = quality_loss(torch.tensor(predicted), torch.tensor(score), torch.tensor(group), 3)
    assert loss.item() == pytest.approx(quality_by_hand(predicted, score, group), abs=1e-9)


@pytest.mark.parametrize(
    ("difference", "order", "expected"),
    [
        (0.0, 1, 1 - math.sqrt(0.5)),
        (0.0, 0, 0.0),  # a tie that is predicted as one
        (1.0, 1, 1 - math.sqrt(0.8413447)),
        (1.0, -1, 1 - math.sqrt(0.1586553)),
        (1.0, 0, 1 - math.sqrt(0.5 * 0.8413447) - math.sqrt(0.5 * 0.1586553)),
    ],
)
def test_quality_loss_of_one_pair_is_the_hand_computed_one(difference, order, expected):
    loss = quality_loss(torch.tensor([2.0 + difference, 2.0]), torch.tensor([float(order), 0.0]), torch.zeros(2), 1)
    assert loss.item() == pytest.approx(expected, abs=2e-4)  # the epsilon adds up to 1e-4


def test_pairs_of_different_databases_are_not_compared():
    predicted, score, group = torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.arange(4.0), torch.tensor([0, 0, 1, 1])
    shifted = quality_loss(predicted - torch.tensor([0.0, 0, 3, 3]), score * torch.tensor([1.0, 1, 9, 9]), group, 2)
    assert torch.equal(quality_loss(predicted, score, group, 2), shifted)


def test_quality_loss_teaches_even_the_worst_pair_that_there_can_be():
    predicted = torch.tensor([1.0, 5.0], requires_grad=True)
    quality_loss(predicted, torch.tensor([1.0, 0.0]), torch.zeros(2), 1).backward()
    assert predicted.grad[0] < -5e-3
    assert torch.isfinite(predicted.grad).all()


# Scene and distortion


def test_scene_loss_is_the_binary_fidelity_of_every_scene():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(9), 5)
    g = scene_labels(["human;indoor", "night", "animal;plant;others", "", "human"]).numpy()
    by_hand = [
        np.mean([1 - math.sqrt(a * b + EPS) - math.sqrt((1 - a) * (1 - b) + EPS) for a, b in zip(*row, strict=True)])
        for row in zip(p, g, strict=True)
    ]
    expected = np.mean([by_hand[row] for row in (0, 1, 2, 4)])  # the fourth has no tag
    assert scene_loss(torch.tensor(p), torch.tensor(g)).item() == pytest.approx(expected, abs=1e-9)


def test_distortion_loss_is_the_fidelity_to_the_one_that_is_there():
    rng = np.random.default_rng(2)
    p, labels = rng.dirichlet(np.ones(11), 4), [3, -1, 0, 10]
    by_hand = [
        1 - sum(math.sqrt(p[row, d] * (d == labels[row]) + EPS) for d in range(11)) for row in range(4) if row != 1
    ]
    loss = distortion_loss(torch.tensor(p), torch.tensor(labels))
    assert loss.item() == pytest.approx(np.mean(by_hand), abs=1e-9)


def test_what_is_certain_and_right_costs_nothing_but_the_epsilons():
    scene = scene_labels(["human"])
    assert scene_loss(scene, scene).item() == pytest.approx(0, abs=2e-4)
    assert distortion_loss(torch.eye(11), torch.arange(11)).item() == pytest.approx(-1e-3, abs=1e-6)


def test_without_labels_there_is_no_loss():
    assert scene_loss(torch.full((2, 9), 1 / 9), scene_labels(["", ""])) is None
    assert distortion_loss(torch.full((2, 11), 1 / 11), torch.tensor([-1, -1])) is None


@pytest.mark.parametrize("sure", [0.0, 1.0])
def test_gradients_are_finite_where_a_probability_is_0_or_1(sure):
    p = torch.full((1, 9), sure, requires_grad=True)
    q = torch.full((1, 11), sure, requires_grad=True)
    (scene_loss(p, scene_labels(["human"])) + distortion_loss(q, torch.tensor([2]))).backward()
    assert torch.isfinite(p.grad).all()
    assert torch.isfinite(q.grad).all()


# Weights


def average(*epochs, names=("quality", "scene", "distortion")):
    """A dynamic weight average after some epochs, each a list of steps' losses."""
    made = DynamicWeightAverage(names)
    for number, steps in enumerate(epochs):
        made.begin(number)
        for losses in steps:
            made.add({name: torch.tensor(value) for name, value in losses.items()})
    made.begin(len(epochs))
    return made


FIRST = [{"quality": 0.4, "scene": 0.3, "distortion": 0.8}, {"quality": 0.2, "scene": 0.3, "distortion": 0.8}]
SECOND = [{"quality": 0.3, "scene": 0.1, "distortion": 0.2}, {"quality": 0.3, "scene": 0.2, "distortion": 0.2}]


def test_weights_follow_the_formula_from_the_third_epoch_on():
    ratios = np.array([0.3 / 0.3, 0.15 / 0.3, 0.2 / 0.8])
    expected = 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum()
    assert list(average(FIRST, SECOND).weights().values()) == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("epochs", [[], [FIRST]])
def test_weights_are_1_in_the_first_two_epochs(epochs):
    assert set(average(*epochs).weights().values()) == {1.0}


def test_only_the_last_two_epochs_count():
    assert average(SECOND, FIRST, SECOND).weights() == average(FIRST, SECOND).weights()


def test_a_loss_that_was_absent_has_weight_1_and_the_others_share_theirs():
    weights = average([{"quality": 0.4, "scene": 0.2}], [{"quality": 0.2, "scene": 0.2}]).weights()
    expected = 2 * np.exp([0.25, 0.5]) / np.exp([0.25, 0.5]).sum()
    assert [weights["quality"], weights["scene"]] == pytest.approx(expected.tolist(), abs=1e-6)
    assert weights["distortion"] == 1


def test_a_loss_at_its_least_gives_finite_weights():
    weights = average([{"quality": 0.1, "distortion": -1e-3}], [{"quality": 0.1, "distortion": 0.2}]).weights()
    assert all(math.isfinite(weight) for weight in weights.values())
    assert weights["quality"] + weights["distortion"] == pytest.approx(2)


def test_weights_sum_over_processes():
    alone = average(FIRST, SECOND)
    one, two = (DynamicWeightAverage(("quality", "scene", "distortion")) for _ in range(2))
    for number, steps in enumerate([FIRST, SECOND, []]):
        both = one._sums + two._sums
        for process in (one, two):
            process.begin(number, lambda _, both=both: both)
        for process, losses in zip((one, two), steps, strict=False):
            process.add({name: torch.tensor(value) for name, value in losses.items()})
    assert one.weights() == two.weights()
    assert list(one.weights().values()) == pytest.approx(list(alone.weights().values()), abs=1e-9)


def test_weights_go_on_from_a_checkpoint_in_the_middle_of_an_epoch(tmp_path):
    whole = average(FIRST, SECOND)
    begun = DynamicWeightAverage(("quality", "scene", "distortion"))
    for number, steps in enumerate([FIRST, SECOND[:1]]):
        begun.begin(number)
        for losses in steps:
            begun.add({name: torch.tensor(value) for name, value in losses.items()})
    torch.save(begun.state_dict(), tmp_path / "state.pt")
    again = DynamicWeightAverage(("quality", "scene", "distortion"))
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    again.begin(1)
    again.add({name: torch.tensor(value) for name, value in SECOND[1].items()})
    again.begin(2)
    assert again.weights() == whole.weights()


# The published recipe


def test_the_learning_rate_goes_down_and_up_and_is_never_0():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = liqe_adamw([weight])
    schedule = liqe_schedule(optimizer)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    expected = [5e-6 * 0.5 * (1 + math.cos(math.pi * t / 5)) for t in range(24) if t % 10 != 5][:20]
    assert rates == pytest.approx(expected, abs=1e-12)
    assert optimizer.param_groups[0]["weight_decay"] == 1e-3


def test_the_learning_rate_is_torchs_cosine_with_the_epochs_at_0_passed_over():
    optimizer = liqe_adamw([torch.nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
    rates = []
    for _ in range(12):
        optimizer.step()
        schedule.step()
        if schedule.get_last_lr()[0] < 1e-12:  # as the published loop does
            schedule.step()
        rates.append(schedule.get_last_lr()[0])
    other = liqe_adamw([torch.nn.Parameter(torch.zeros(1))])
    ours = liqe_schedule(other)
    for rate in rates:
        other.step()
        ours.step()
        assert ours.get_last_lr()[0] == pytest.approx(rate, abs=1e-9)


# Measures


def rows(**columns):
    return pd.DataFrame(columns)


def towards(*places, of):
    """Probabilities in which the given places are the most likely, in that order."""
    values = np.full(of, 0.01)
    for rank, place in enumerate(places):
        values[place] = 0.5 - 0.1 * rank
    return values


def test_an_image_of_k_scenes_has_k_guesses_and_every_tag_counts():
    human, indoor, night = (SCENES.index(name) for name in ("human", "indoor", "night"))
    table = rows(
        scene_tags=["human;indoor", "human", "", "night"],
        scene_probabilities=[
            towards(night, human, indoor, of=9),  # 1 of 2
            towards(indoor, human, of=9),  # 0 of 1
            towards(human, of=9),  # unknown
            towards(night, of=9),  # 1 of 1
        ],
    )
    assert scene_accuracy(table) == pytest.approx(2 / 4)


def test_distortion_accuracy_is_the_share_of_right_guesses_among_known_ones():
    noise, blur = DISTORTIONS.index("noise"), DISTORTIONS.index("blur")
    table = rows(
        distortion=["noise", "blur", "", "blur"],
        distortion_probabilities=[towards(place, of=11) for place in (noise, noise, blur, blur)],
    )
    assert distortion_accuracy(table) == pytest.approx(2 / 3)


def test_accuracies_without_labels_are_not_defined():
    assert math.isnan(scene_accuracy(rows(scene_tags=["", ""], scene_probabilities=[np.ones(9)] * 2)))
    assert math.isnan(distortion_accuracy(rows(score=[1.0])))


def test_measures_are_means_over_databases_and_then_over_the_three():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "database": ["A"] * 8 + ["B"] * 5,
            "scene": ["A/1"] * 4 + ["A/2"] * 4 + ["B"] * 5,
            "score": rng.normal(size=13),
            "prediction": rng.normal(size=13),
            "distortion": ["noise"] * 8 + [""] * 5,
            "distortion_probabilities": [towards(2 if row < 6 else 3, of=11) for row in range(13)],
            "scene_tags": ["human"] * 8 + ["night"] * 5,
            "scene_probabilities": [towards(SCENES.index("human"), of=9)] * 13,
        }
    )
    measures = LIQETask(LIQE(architecture=VIT)).measures(table)
    srocc = [
        spearmanr(table["score"][rows], table["prediction"][rows])[0] for rows in (slice(4), slice(4, 8), slice(8, 13))
    ]
    assert measures["srocc/A"] == pytest.approx((srocc[0] + srocc[1]) / 2)
    assert measures["srocc"] == pytest.approx(((srocc[0] + srocc[1]) / 2 + srocc[2]) / 2)
    assert (measures["scene_accuracy"], measures["distortion_accuracy"]) == (0.5, 0.75)
    assert "distortion_accuracy/B" not in measures
    assert measures["mean_of_three"] == pytest.approx((measures["srocc"] + 0.5 + 0.75) / 3)


def test_constant_predictions_choose_no_checkpoint():
    table = rows(scene=["A"] * 4, score=[1.0, 2, 3, 4], prediction=[1.0] * 4)
    measures = LIQETask(LIQE(architecture=VIT)).measures(table)
    assert math.isnan(measures["srocc"])
    assert math.isnan(measures["mean_of_three"])


# Training


def constant(optimizer):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def small_task(**arguments):
    torch.manual_seed(0)
    fast = {"optimizer": lambda weights: torch.optim.AdamW(weights, lr=1e-3), "schedule": constant}
    return LIQETask(LIQE(architecture=VIT), "scratch", **fast | arguments)


@pytest.fixture(scope="module")
def data():
    return GradedData(windows=True)


@pytest.mark.slow
def test_training_learns_quality_scene_and_distortion(data):
    task = small_task()
    trainer = quiet_trainer(max_epochs=10, check_val_every_n_epoch=10)
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    after = {name: float(value) for name, value in trainer.callback_metrics.items()}
    # Over 48 images of each of two databases, luck has a spread of 0.1 in SROCC.
    assert abs(before["val/srocc"]) < 0.4
    assert after["val/srocc"] > 0.7
    # 96 images of three scenes and two distortions: who knew no more would guess 1/3 and 1/2, with a spread of 0.05.
    assert len(SEEN_SCENES) == 3
    assert after["val/scene_accuracy"] > 0.55
    assert after["val/distortion_accuracy"] > 0.7


def test_a_step_trains_both_towers_and_not_the_scale(data):
    task = small_task()
    before = {name: weight.clone() for name, weight in task.network.named_parameters()}
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(task, data)
    same = {name for name, weight in task.network.named_parameters() if torch.equal(weight, before[name])}
    assert same == {"clip.logit_scale"}


def test_images_without_tags_train_the_quality_alone(data):
    task = small_task()
    batch = next(iter(data.train_dataloader()))
    answers = task.network(batch["whole"])
    assert list(task.losses(answers, batch)) == ["quality", "scene", "distortion"]
    untagged = batch | {"scene_labels": torch.zeros_like(batch["scene_labels"])}
    untagged["distortion_label"] = torch.full_like(batch["distortion_label"], -1)
    assert list(task.losses(answers, untagged)) == ["quality"]
    known = {name: values for name, values in batch.items() if name not in ("scene_labels", "distortion_label")}
    assert list(task.losses(answers, known)) == ["quality"]


def test_a_network_of_fewer_aspects_has_fewer_losses(data):
    batch = next(iter(data.train_dataloader()))
    task = LIQETask(LIQE(["distortion"], architecture=VIT))
    assert list(task.losses(task.network(batch["whole"]), batch)) == ["quality", "distortion"]


@pytest.mark.slow
def test_a_resumed_run_weighs_its_losses_as_one_that_was_not_stopped(data, tmp_path):
    def run(epochs, folder, **fit):
        task = small_task()
        last = ModelCheckpoint(tmp_path / folder, "last", save_on_exception=True, enable_version_counter=False)
        trainer = quiet_trainer(
            max_epochs=epochs, limit_train_batches=2, limit_val_batches=1, enable_checkpointing=True, callbacks=[last]
        )
        trainer.fit(task, data, **fit)
        return task, tmp_path / folder / "last.ckpt"

    lightning.seed_everything(0, verbose=False)
    whole, _ = run(4, "whole")
    _, checkpoint = run(3, "begun")
    resumed, path = run(4, "resumed", ckpt_path=checkpoint, weights_only=True)
    assert resumed._loss_weights.weights() == pytest.approx(whole._loss_weights.weights(), abs=1e-6)
    assert set(whole._loss_weights.weights().values()) != {1.0}
    network, card = model_file.load_model(path)  # the weights' state does not keep it from being read
    assert card.network.class_path == "piqa.models.LIQE"
    torch.testing.assert_close(network.state_dict(), resumed.network.state_dict())


def test_initial_weights_come_from_a_file_of_clips_layout(tmp_path):
    source = LIQE(architecture=VIT)
    torch.save({name: values.half() for name, values in source.clip.state_dict().items()}, tmp_path / "CLIP.pth")
    task = LIQETask(LIQE(architecture=VIT), init=str(tmp_path / "CLIP.pth"))
    task.load_initial_weights()
    assert torch.equal(task.network.clip.text_projection, source.clip.text_projection.half().float())


def test_absent_initial_weights_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="no weights file"):
        LIQETask(LIQE(architecture=VIT), init=str(tmp_path / "CLIP.pth")).load_initial_weights()
