from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import seed_everything
from rated_images import data_of, trainer_of, write_rated

from piqa import Scorer, fit
from piqa.errors import InputError
from piqa.models import NIMA, Regressor
from piqa.tasks import InitialWeights
from piqa.tasks.aesthetic import AestheticTask, TwoStages
from piqa.weights import model_file, state_dicts

TINY = {"backbone": "test_byobnet", "image_size": 64, "dropout": 0.1}


def pixels(count, seed=0):
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def tiny_task(schedule=None, lr=2e-3, network=None, dropout=0.1, **settings):
    seed_everything(0, verbose=False)
    one_stage = lambda optimizer: TwoStages(optimizer, head_epochs=0)  # noqa: E731
    make = lambda parameters: torch.optim.Adam(parameters, lr=lr)  # noqa: E731
    settings = {"score_range": (1, 10), **settings}
    return AestheticTask(
        network or NIMA(**TINY | {"dropout": dropout}), optimizer=make, schedule=schedule or one_stage, **settings
    )


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    return write_rated(tmp_path_factory.mktemp("rated"))


def test_score_and_std_are_those_of_the_distribution():
    answer = NIMA(**TINY).eval()(pixels(3))
    distribution, marks = answer["distribution"].detach().numpy(), np.arange(1, 11)
    assert distribution.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-6)
    means = distribution @ marks
    assert answer["score"].detach().numpy() == pytest.approx(means, abs=1e-5)
    variance = distribution @ marks**2 - means**2
    assert answer["std"].detach().numpy() == pytest.approx(np.sqrt(variance), abs=1e-4)


def test_a_score_does_not_depend_on_the_neighbours():
    network = NIMA(**TINY).eval()
    together = network(pixels(4))["score"]
    alone = torch.cat([network(image[None])["score"] for image in pixels(4)])
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-5)


def test_answers_are_single_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        answer = NIMA(**TINY).eval()(pixels(2))
    assert {values.dtype for values in answer.values()} == {torch.float32}


def test_votes_are_learnt_where_there_are_any_and_else_the_score():
    task = tiny_task()
    votes = torch.tensor([[0.0] * 9 + [4.0], [float("nan")] * 10])
    target = task.target({"votes": votes, "score": torch.tensor([3.0, 2.5])})
    assert target[0].tolist() == [0] * 9 + [1]
    assert (target[1] * torch.arange(1, 11)).sum().item() == pytest.approx(2.5, abs=1e-5)


def test_votes_of_another_scale_than_ten_are_refused():
    votes = np.zeros((4, 10))
    votes[[0, 1, 2, 3], [0, 2, 3, 4]] = 5  # as CADB has them: five raters, 1 to 5
    frame = pd.DataFrame(votes, columns=[f"votes_{mark}" for mark in range(1, 11)]).assign(image=list("abcd"))
    frame["score"] = [1.0, 3.0, 4.0, 5.0]
    data = SimpleNamespace(table=SimpleNamespace(name="CADB"), splits={"train": frame})
    five, ten = (tiny_task(score_range=given) for given in ((1, 5), (1, 10)))
    five._trainer = ten._trainer = SimpleNamespace(datamodule=data)
    ten.setup("fit")
    with pytest.raises(InputError, match=r"not of ratings from 1 to 10: their means lie 3\.1 from"):
        five.setup("fit")


def test_scores_are_marks_by_their_place_in_the_range():
    task = tiny_task(score_range=(-2, 2))
    assert task.ratings(np.array([-2, 0, 2])).tolist() == [1, 5.5, 10]
    assert tiny_task(score_range=(0, 1), loss="mse").ratings(np.array([0, 0.5, 1])).tolist() == [0, 5, 10]


def test_the_measures_are_those_of_a_hand_made_table():
    votes = np.zeros((3, 10))
    votes[0, [2, 4]], votes[1, [5, 6]], votes[2, [1, 9]] = 5, 5, 5  # means 4, 6.5, 6; spreads 1, 0.5, 4
    predicted = np.zeros((3, 10))
    predicted[[0, 1, 2], [3, 6, 4]] = 1  # means 4, 7, 5, without any spread
    table = pd.DataFrame({f"votes_{mark}": votes[:, mark - 1] for mark in range(1, 11)})
    table = table.assign(score=[4, 6.5, 6], prediction=[4, 7, 5], distribution=list(predicted.astype(np.float32)))
    measures = tiny_task().measures(table)
    assert measures["srocc"] == pytest.approx(1)
    assert measures["accuracy"] == pytest.approx(2 / 3)  # 5 is not above 5
    # Areas between the cumulative sums: 0.5 + 0.5 marks; 0.5; 1.5 + 2.5.
    assert measures["emd"] == pytest.approx((1.0 + 0.5 + 4.0) / 10 / 3, abs=1e-6)
    assert np.isnan(measures["srocc_std"])


def test_it_learns_what_the_untrained_network_does_not_know(csv):
    task, data, trainer = tiny_task(), data_of(csv), trainer_of(15)
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    after = trainer.validate(task, data, verbose=False)[0]
    # 24 images: a correlation of 0.8 has a chance of one in a million.
    assert abs(before["val/srocc"]) < 0.5 and after["val/srocc"] > 0.8
    assert after["val/emd"] < before["val/emd"] / 2 and after["val/accuracy"] > 0.75


def test_stages_have_their_own_rates():
    optimizer = torch.optim.SGD(
        [{"params": [torch.zeros(1)], "name": "head"}, {"params": [torch.zeros(1)], "name": "backbone"}], lr=1e-2
    )
    schedule = TwoStages(optimizer, head_epochs=2, head_lr=0.5, backbone_rate=0.1, gamma=0.5, step_size=2)
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    expected = [[0.5, 0], [0.5, 0], [1e-2, 1e-3], [1e-2, 1e-3], [5e-3, 5e-4]]
    assert np.array(rates) == pytest.approx(np.array(expected))


def two_stages(optimizer):
    return TwoStages(optimizer, head_epochs=1, head_lr=1e-2)


def test_the_first_stage_changes_the_head_alone(csv):
    task = tiny_task(two_stages)
    before = {name: values.clone() for name, values in task.network.state_dict().items()}
    trainer_of(1).fit(task, data_of(csv))
    changed = {name for name, values in task.network.state_dict().items() if not torch.equal(values, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}


def test_a_resumed_run_ends_as_an_uninterrupted_one(csv, tmp_path):
    whole, first, second = (tiny_task(two_stages, dropout=0.0) for _ in range(3))
    trainer_of(3).fit(whole, data_of(csv))
    trainer = trainer_of(1)
    trainer.fit(first, data_of(csv))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trainer_of(3).fit(second, data_of(csv), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    backbone = "backbones.whole.net.stem.conv.weight"
    assert not torch.equal(second.network.state_dict()[backbone], first.network.state_dict()[backbone])
    for name, values in whole.network.state_dict().items():
        assert torch.allclose(second.network.state_dict()[name], values, atol=1e-6), name
    rates = [[group["lr"] for group in task.trainer.optimizers[0].param_groups] for task in (whole, second)]
    assert rates[0] == rates[1]


def test_initial_weights_default_to_imagenet_also_where_one_is_named():
    from piqa.system.command_line import Parser

    parser = Parser()
    parser.add_class_arguments(AestheticTask, "model")
    parsed = parser.parse_args(["--model.network=piqa.models.NIMA", "--model.init.theme=scratch"])
    assert parsed.model.init.whole == "imagenet" and parsed.model.init.theme == "scratch"


def test_a_table_without_a_range_must_be_told_one(csv):
    task = tiny_task(score_range=None)
    with pytest.raises(InputError, match="score_range"):
        trainer_of(1).fit(task, data_of(csv))


def test_scores_beyond_the_range_are_refused(csv):
    with pytest.raises(InputError, match=r"lie outside 1 \.\. 3"):
        trainer_of(1).fit(tiny_task(score_range=(1, 3)), data_of(csv))


def test_a_network_without_distribution_cannot_learn_by_emd(csv):
    task = tiny_task(network=Regressor("test_byobnet", 64))
    with pytest.raises(InputError, match="outputs a distribution"):
        trainer_of(1).fit(task, data_of(csv))


def test_a_trained_network_is_saved_and_scores_images(csv, tmp_path):
    task, data = tiny_task(), data_of(csv)
    trainer_of(1).fit(task, data)
    model_file.save(task.network, tmp_path / "nima.safetensors", task.card())
    again = NIMA(**TINY)
    InitialWeights(model=str(tmp_path / "nima.safetensors")).load(again)
    images = [csv.parent / f"{number}.png" for number in range(3)]
    scores = Scorer.load(tmp_path / "nima.safetensors", device="cpu").score(images, test_crops="one")["score"]
    assert scores.between(1, 10).all()
    assert Scorer(again, data.preparation, 64, "cpu").score(images, test_crops="one")["score"].equals(scores)


def test_it_trains_on_portraits_by_scene_like_any_model(tiny_config, tmp_path):
    network = "{class_path: piqa.models.NIMA, init_args: {backbone: test_byobnet, image_size: 64}}"
    arguments = ["--model.network", network, "--model.init.whole", "scratch", "--trainer.max_epochs", "1"]
    fit.main(["--config", str(tiny_config), *arguments, "--out", str(tmp_path / "run")])
    predictions = pd.read_csv(tmp_path / "run" / "test" / "predictions.csv")
    assert predictions["prediction"].between(1, 10).all()


def test_a_config_names_the_stages(csv, tmp_path):
    from piqa.cli import PiqaCLI
    from piqa.data.datamodule import PortraitData

    (tmp_path / "nima.yaml").write_text(
        f"""
model:
  network: {{class_path: piqa.models.NIMA, init_args: {{backbone: test_byobnet, image_size: 64}}}}
  init: {{whole: scratch}}
  score_range: [1, 10]
  optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: 1.0e-3}}}}
  schedule: {{class_path: piqa.tasks.TwoStages, init_args: {{head_epochs: 1, backbone_rate: 0.1}}}}
data:
  table: {{class_path: piqa.data.CSVTable, init_args: {{csv: {csv}, required_splits: [train, val]}}}}
  preparation: {{short_side: 72, face_rule: none}}
  store: {{folder: {csv.parent / "store"}}}
  inputs: {{crop_size: 64}}
  loading: {{workers: 0}}
trainer: {{max_epochs: 2, accelerator: cpu, enable_progress_bar: false}}
out: {tmp_path / "run"}
"""
    )
    cli = PiqaCLI(AestheticTask, PortraitData, ["--config", str(tmp_path / "nima.yaml")])
    cli.model.load_initial_weights()
    cli.trainer.fit(cli.model, cli.datamodule)
    last = state_dicts.read_file(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["optimizer_states"][0]["param_groups"][1]["lr"] == pytest.approx(1e-4)
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert metrics["val/emd"].notna().sum() == 2
