"""One network for several attributes: what it learns from, and what it is judged by."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refusal
from scipy.stats import norm, spearmanr
from torch import nn

from piqa.evaluation.attributes import attribute_table, partial_srocc
from piqa.evaluation.inputs import CandidateTable
from piqa.evaluation.leaderboard.build import LeaderboardOptions
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.evaluation.leaderboard.facts import Subject
from piqa.evaluation.metrics import per_scene
from piqa.evaluation.output.all_files import Results
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.models import DualBranch
from piqa.tasks import AttributesTask, RankingTask
from piqa.training.grad_norm import summed

NAN = float("nan")


class Numbers(nn.Module):
    """Answers a learnt number for each image and output."""

    inputs = ("whole",)
    attributes = ("detail", "exposure")

    def __init__(self, count, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        values = {name: torch.randn(count, generator=generator) for name in ("score", *self.attributes)}
        self.values = nn.ParameterDict({name: nn.Parameter(value) for name, value in values.items()})

    def forward(self, whole):
        return {name: self.values[name] for name in ("score", *self.attributes)}


def a_batch(detail, exposure, group=(0, 0, 0, 0, 1, 1, 1)):
    scores = {"score": torch.linspace(-1, 1, len(group)), "score.detail": detail, "score.exposure": exposure}
    numbers = {name: torch.as_tensor(values, dtype=torch.float32) for name, values in scores.items()}
    stds = {f"score_std{name[5:]}": torch.linspace(0.3, 0.9, len(group)) for name in numbers}
    return {**numbers, **stds, "group": torch.tensor(group), "groups": torch.tensor(2.0)}


def by_hand(predicted, score, group, groups, std=None):
    """The loss of one attribute, pair by pair."""
    predicted, score, group = predicted.numpy(), score.numpy(), group.numpy()
    std = None if std is None else std.numpy()
    means = []
    for one in sorted(set(group.tolist())):
        rows = [row for row in range(len(score)) if group[row] == one and np.isfinite(score[row])]
        losses = []
        for place, a in enumerate(rows):
            for b in rows[place + 1 :]:
                deviation = 1.0 if std is None else np.hypot(std[a], std[b])
                p = norm.cdf(float(predicted[a] - predicted[b]))
                q = norm.cdf(float(score[a] - score[b]) / deviation)
                losses.append(1 - np.sqrt(p * q) - np.sqrt((1 - p) * (1 - q)))
        means += [np.mean(losses)] if losses else []
    return sum(means) / groups


DETAIL = [0.5, NAN, -1.0, 0.2, NAN, NAN, 0.3]  # the second group has no pair
EXPOSURE = [NAN, 0.1, 0.7, -0.4, 1.0, -1.0, 0.0]


@pytest.mark.parametrize("target", ["published", "score_std"])
def test_the_loss_is_the_weighted_mean_of_those_of_the_pairs_with_labels(target):
    network, batch = Numbers(7), a_batch(DETAIL, EXPOSURE)
    task = AttributesTask(network, weights={"detail": 3.0, "overall": 0.5}, loss="published", target=target)
    outputs = network(None)
    losses = task.task_losses(outputs, batch)
    expected = {}
    for name, output in (("overall", "score"), ("detail", "detail"), ("exposure", "exposure")):
        column = "score" if name == "overall" else f"score.{name}"
        std = batch[column.replace("score", "score_std", 1)] if target == "score_std" else None
        expected[name] = by_hand(outputs[output].detach(), batch[column], batch["group"], 2.0, std)
        assert losses[name].item() == pytest.approx(expected[name], abs=1e-5), name
    total = (0.5 * expected["overall"] + 3 * expected["detail"] + expected["exposure"]) / 3
    assert task.loss_of(outputs, batch).item() == pytest.approx(total, abs=1e-5)


def test_the_overall_loss_is_that_of_a_single_network():
    network, batch = Numbers(7), a_batch(DETAIL, EXPOSURE)
    outputs = network(None)
    single = RankingTask(network).loss_of(outputs, batch)
    assert AttributesTask(network).task_losses(outputs, batch)["overall"] == single


def test_a_batch_without_labels_of_an_attribute_gives_zero_and_keeps_its_graph():
    network, batch = Numbers(7), a_batch([NAN] * 7, [NAN] * 6 + [1.0])
    task = AttributesTask(network)
    losses = task.task_losses(network(None), batch)
    assert losses["detail"].item() == losses["exposure"].item() == 0
    task.loss_of(network(None), batch).backward()
    for name in ("detail", "exposure"):
        assert network.values[name].grad.tolist() == [0] * 7
    assert network.values["score"].grad.abs().min() > 0


def test_no_gradient_comes_from_images_without_a_label():
    network, batch = Numbers(7), a_batch(DETAIL, EXPOSURE)
    AttributesTask(network).loss_of(network(None), batch).backward()
    assert (network.values["detail"].grad != 0).tolist() == [True, False, True, True, False, False, False]
    assert (network.values["exposure"].grad != 0).tolist() == [False] + [True] * 6


def test_a_deviation_that_is_not_known_leaves_its_image_out_only_where_it_is_the_target():
    network, batch = Numbers(7), a_batch(EXPOSURE, EXPOSURE)
    batch["score_std.detail"][1] = NAN
    for target, learnt in (("published", True), ("score_std", False)):
        network.zero_grad()
        AttributesTask(network, target=target).task_losses(network(None), batch)["detail"].backward()
        assert bool(network.values["detail"].grad[1] != 0) is learnt


def test_a_callback_may_combine_the_losses_and_sees_the_weights_that_all_tasks_share():
    network, batch = (
        DualBranch("test_resnet", ("whole",), 32, attributes=("detail", "exposure")),
        a_batch(DETAIL, EXPOSURE),
    )
    task = AttributesTask(network)
    outputs = network(whole=torch.rand(7, 3, 32, 32))
    seen = []

    def combine(losses):
        seen.extend(losses)
        (shared,) = task.shared_weights()
        assert all(torch.autograd.grad(loss, shared, retain_graph=True)[0].abs().max() > 0 for loss in losses.values())
        return losses["detail"]

    task.combine_losses = combine
    assert task.loss_of(outputs, batch) == task.task_losses(outputs, batch)["detail"]
    assert seen == ["overall", "detail", "exposure"]


def a_table(scenes=3, images=8, seed=0):
    rng = np.random.default_rng(seed)
    count = scenes * images
    table = pd.DataFrame({"image": map(str, range(count)), "scene": np.repeat(list("abc")[:scenes], images)})
    numbers = rng.normal(size=(count, 6))
    names = ["score", "prediction", "score.detail", "prediction.detail", "score.exposure", "prediction.exposure"]
    return table.assign(**dict(zip(names, numbers.T, strict=True)))


def test_an_attribute_is_measured_on_the_images_that_have_it():
    table = a_table()
    table.loc[[0, 3, *range(9, 16)], "score.detail"] = NAN  # one image of scene b is left, alone
    found = AttributesTask(Numbers(1)).measures(table)
    scenes = [table[table["scene"] == "a"].dropna(), table[table["scene"] == "c"]]
    ranks = [spearmanr(scene["score.detail"], scene["prediction.detail"]).statistic for scene in scenes]
    assert found["detail_srocc"] == pytest.approx(np.mean(ranks))
    whole = [spearmanr(s["score.exposure"], s["prediction.exposure"]).statistic for _, s in table.groupby("scene")]
    assert found["exposure_srocc"] == pytest.approx(np.mean(whole))
    assert found["srocc"] == pytest.approx(per_scene(table)["srocc"].mean())
    assert found["mean_srocc"] == pytest.approx((found["srocc"] + np.mean(ranks) + np.mean(whole)) / 3)


def test_a_table_without_labels_of_an_attribute_has_no_measure_of_it_and_no_mean():
    found = AttributesTask(Numbers(1)).measures(a_table().drop(columns="score.detail"))
    assert np.isnan(found["detail_srocc"]) and np.isnan(found["mean_srocc"])
    assert np.isfinite(found["exposure_srocc"])


@pytest.mark.parametrize(
    ("selection", "measure"), [("mean", "mean_srocc"), ("overall", "srocc"), ("detail", "detail_srocc")]
)
def test_the_checkpoint_is_chosen_by_what_the_config_says(selection, measure):
    task = AttributesTask(Numbers(1), selection=selection)
    assert task.monitor == measure
    assert measure in task.measures(a_table())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"attributes": ()}, "there is no attribute to learn"),
        ({"attributes": ("overall",)}, "an attribute is called 'overall', which has a meaning here"),
        ({"selection": "colour"}, "`model.selection` names 'colour'; choose of mean, overall, detail, exposure"),
        ({"weights": {"colour": 1}}, "`model.weights` names 'colour'; choose of overall, detail, exposure"),
        ({"weights": {"detail": -1.0}}, "the weight of detail in `model.weights` is -1.0"),
        ({"weights": {"detail": NAN}}, "the weight of detail in `model.weights` is nan"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, complaint):
    assert complaint in refusal(AttributesTask, Numbers(1), **settings)


def set_up(task, train, val):
    table = SimpleNamespace(name="a table")
    task._trainer = SimpleNamespace(datamodule=SimpleNamespace(table=table, splits={"train": train, "val": val}))
    task.setup("fit")


def test_an_attribute_of_which_no_pair_can_be_learnt_or_chosen_by_is_refused():
    whole = a_table()
    one_a_scene = whole.assign(**{"score.detail": whole["score.detail"].where(whole.index % 8 == 0)})
    alike = whole.assign(**{"score.detail": 3.0})
    for poor in (one_a_scene, alike):
        assert "no training scene of a table has two" in refusal(set_up, AttributesTask(Numbers(1)), poor, whole)
        assert "by which the checkpoint is chosen" in refusal(set_up, AttributesTask(Numbers(1)), whole, poor)
        set_up(AttributesTask(Numbers(1), selection="overall"), whole, poor)


def test_weights_that_a_callback_would_replace_are_refused():
    task = AttributesTask(Numbers(1), weights={"detail": 3.0})
    set_up(task, a_table(), a_table())
    task.combine_losses = summed
    assert "`model.weights` would do nothing beside GradNorm" in refusal(set_up, task, a_table(), a_table())


def test_a_network_without_an_output_that_is_to_be_learnt_is_refused():
    task = AttributesTask(Numbers(7), attributes=["detail", "colour"])
    batch = a_batch(DETAIL, EXPOSURE) | {"score.colour": torch.zeros(7)}
    assert "returns score, detail, exposure but no `colour`" in refusal(task.loss_of, Numbers(7)(None), batch)


def test_the_table_of_an_attribute_has_its_labels_as_score():
    table = a_table().assign(**{"score_std": 1.0, "score_std.detail": 0.5})
    own = attribute_table(table, "detail")
    assert own.columns.tolist() == ["image", "scene", "score", "prediction", "score_std"]
    assert own["score"].tolist() == table["score.detail"].tolist()
    assert own["prediction"].tolist() == table["prediction.detail"].tolist()
    assert set(own["score_std"]) == {0.5}


def test_an_attribute_that_no_evaluated_image_has_gets_no_board(tmp_path):
    table = a_table().drop(columns=["score.exposure", "prediction.exposure"])
    table = table.assign(split=np.where(table["scene"] == "a", "train", "test"))
    one = CandidateTable(Candidate("ours", table.set_index("image")["prediction"]), table[table["split"] == "test"])
    settings = LeaderboardOptions(StatisticsOptions(10))
    boards = {}
    for known in ("test", "train"):
        labels = table.assign(**{"score.detail": table["score.detail"].where(table["split"] == known)})
        scored = labels[labels["split"] == "test"].reset_index(drop=True)
        candidate = CandidateTable(one.candidate, scored, labels)
        results = Results(labels.drop(columns=["prediction", "prediction.detail"]), {}, settings, preference=False)
        written = results.write([candidate], Subject(split="test"), tmp_path / known)
        boards[known] = results.write_attributes(
            [candidate], ["detail"], Subject(split="test"), tmp_path / known, written.board
        )
    frame, files = boards["test"]
    assert boards["train"] is None and not (tmp_path / "train" / "by_attribute").exists()
    assert frame["attribute"].tolist() == ["overall", "detail"] and all(file.is_file() for file in files)


def test_what_follows_the_overall_score_alone_knows_nothing_of_the_attribute():
    rng = np.random.default_rng(0)
    scenes, images = 30, 60
    overall, own = rng.normal(size=(2, scenes * images))
    table = pd.DataFrame({"scene": np.repeat(np.arange(scenes), images), "score": overall})
    table["score.detail"] = overall + 0.3 * own
    follows = table.assign(**{"prediction.detail": overall + 0.3 * rng.normal(size=len(overall))})
    knows = table.assign(**{"prediction.detail": own})
    assert per_scene(attribute_table(follows, "detail"))["srocc"].median() > 0.85
    assert abs(partial_srocc(follows, "detail")) < 0.1
    assert partial_srocc(knows, "detail") > 0.85


def test_the_partial_correlation_is_that_of_the_residuals_of_ranks():
    table = a_table(scenes=1, images=40, seed=3)
    ranks = table[["score.detail", "prediction.detail", "score"]].rank().to_numpy()
    z = np.column_stack([np.ones(40), ranks[:, 2]])
    x, y = (column - z @ np.linalg.lstsq(z, column, rcond=None)[0] for column in ranks[:, :2].T)
    assert partial_srocc(table, "detail") == pytest.approx(np.corrcoef(x, y)[0, 1])
