import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
from rated_images import data_of, trainer_of, write_rated
from refusals import one_line
from test_nima import TINY, tiny_task

from piqa import personalise
from piqa.data.tables.ratings import read_ratings
from piqa.errors import InputError
from piqa.models import NIMA
from piqa.system.ownership import claim_folder, locked
from piqa.tasks.personalisation import TuningRecipe, fine_tune
from piqa.weights import model_file

RECIPE = ["--recipe.lr", "1e-3", "--recipe.epochs", "15"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A model that has learnt to dislike noise; two people who look at the tint alone; one with few ratings."""
    folder = tmp_path_factory.mktemp("personal")
    csv = write_rated(folder / "images")
    task = tiny_task()
    trainer_of(10).fit(task, data_of(csv))
    model_file.save(task.network, folder / "generic.safetensors", task.card())
    images = pd.read_csv(csv)
    tastes = {"likes red": 1 + 4 * images["redness"], "likes blue": 5 - 4 * images["redness"]}
    parts = [images[["image"]].assign(score=score.round(1), user=user)[:50] for user, score in tastes.items()]
    parts.append(images[["image", "score"]].assign(user="busy")[:8])
    pd.concat(parts).to_csv(folder / "images" / "ratings.csv", index=False)
    return folder


def run(workplace, out, *arguments):
    ratings, model = workplace / "images" / "ratings.csv", workplace / "generic.safetensors"
    options = ["--ckpt_path", model, "--out", out, "--store", workplace / "images" / "store", "--device", "cpu"]
    personalise.main([str(argument) for argument in (ratings, *options, *RECIPE, *arguments)])
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def result(workplace):
    out = workplace / "out"
    return run(workplace, out, "--k=[10]", "--draws=2", "--save=true"), pd.read_csv(out / "users.csv")


def test_it_learns_private_tastes_that_the_generic_model_does_not_know(result):
    summary, users = result
    found = summary["by_k"]["10"]
    # Two opposite tastes: no one ranking suits both. 40 images each: 0.6 has a chance below one in ten thousand.
    assert abs(found["srocc_before"]) < 0.3
    assert users.groupby("user")["personal"].mean().min() > 0.6


def test_mean_and_spread_are_those_of_the_users_table(result):
    summary, users = result
    found = summary["by_k"]["10"]
    by_draw = users.groupby("draw")["personal"].mean()
    by_user = users.groupby("user")["personal"].mean()
    assert found["srocc"] == pytest.approx(by_draw.mean())
    assert found["srocc_std_of_draws"] == pytest.approx(np.std(by_draw))
    assert found["srocc_std_of_users"] == pytest.approx(np.std(by_user))
    assert users["tested_on"].tolist() == [40] * 4


def test_users_with_too_few_ratings_are_counted_and_left_out(result):
    summary, users = result
    assert summary["users_left_out"] == {"10": 1} and set(users["user"]) == {"likes red", "likes blue"}


def test_a_k_for_which_nobody_rated_enough_is_said(workplace, tmp_path, capsys):
    summary = run(workplace, tmp_path, "--k=[10, 100]", "--draws=1", "--recipe.epochs=1")
    assert "100 images a user: no SROCC is defined; 3 users" in capsys.readouterr().out
    assert set(summary["by_k"]) == {"10"} and summary["users_left_out"] == {"10": 1, "100": 3}


def test_a_user_s_model_can_be_kept(result, workplace):
    from piqa import Scorer

    images = [workplace / "images" / f"{number}.png" for number in range(50, 72)]
    scores = {
        taste: Scorer.load(workplace / "out" / "models" / f"likes%20{taste}-10.safetensors", device="cpu").score(images)
        for taste in ("red", "blue")
    }
    assert scores["red"]["score"].corr(scores["blue"]["score"], method="spearman") < -0.3


def test_an_interrupted_run_goes_on_with_the_next_user_and_ends_alike(result, workplace, tmp_path, monkeypatch):
    written = personalise._write_rows

    def stop_after_the_first(folder, rows):
        written(folder, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(personalise, "_write_rows", stop_after_the_first)
    with pytest.raises(SystemExit, match="130"):
        run(workplace, tmp_path, "--k=[10]", "--draws=2")
    assert not (tmp_path / "summary.json").exists()
    tuned = []
    monkeypatch.setattr(personalise, "_write_rows", written)
    monkeypatch.setattr(personalise, "fine_tune", lambda *a: (tuned.append(1), fine_tune(*a)))
    run(workplace, tmp_path, "--k=[10]", "--draws=2")
    assert len(tuned) == 2  # the second user's two draws
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "users.csv"), result[1], rtol=1e-6)


def test_results_of_other_settings_are_not_mixed(result, workplace, capsys):
    arguments = ["--k=[10]", "--draws=3"]
    assert "--overwrite true" in one_line(capsys, lambda: run(workplace, workplace / "out", *arguments))


def test_the_folder_of_another_run_or_of_others_is_left_alone(workplace, tmp_path, capsys):
    for name in ("notes.txt", "model.safetensors"):
        out = tmp_path / name
        out.mkdir()
        if name != "notes.txt":
            claim_folder(out, "training run")
        (out / name).write_text("precious")
        assert "left alone" in one_line(capsys, lambda out=out: run(workplace, out, "--k=[10]", "--overwrite=true"))
        assert (out / name).read_text() == "precious" and not (out / "settings.json").exists()


def test_a_second_run_at_once_is_refused(workplace, tmp_path, capsys):
    with locked(tmp_path, folder=True):
        assert "is being written by" in one_line(capsys, lambda: run(workplace, tmp_path, "--k=[10]", "--draws=2"))


def test_only_the_head_changes_if_asked():
    torch.manual_seed(0)
    network = NIMA(**TINY).eval()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    images = {"whole": torch.randint(0, 256, (6, 1, 3, 64, 64), dtype=torch.uint8)}
    fine_tune(network, images, np.arange(6.0), TuningRecipe("head", 1), random.Random(0))
    changed = {name for name, values in network.state_dict().items() if not torch.equal(values, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}


def test_the_scale_on_which_a_person_rates_does_not_matter():
    images = {"whole": torch.randint(0, 256, (6, 1, 3, 64, 64), dtype=torch.uint8)}
    heads = []
    for score in (np.arange(6.0), 20 + 3 * np.arange(6.0)):
        torch.manual_seed(0)
        network = NIMA(**TINY).eval()
        fine_tune(network, images, score, TuningRecipe("head", 3), random.Random(0))
        heads.append(network.head[1].weight)
    assert torch.allclose(*heads, atol=1e-5)


def test_a_network_without_a_head_cannot_train_it_alone():
    network = torch.nn.Linear(3, 1)
    with pytest.raises(InputError, match=r"--recipe\.train head"):
        fine_tune(network, {}, np.arange(4.0), TuningRecipe("head"), random.Random(0))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("image,score\na.png,1\n", "lacks the column user"),
        ("image;score;user\na.png;1,5;u\nb.png;1.234,5;u\n", r"found '1.234,5' \(row 3\)"),
        ("image,score,user\na.png,good,u\n", r"found 'good' \(row 2\)"),
        ("image,score,user\na.png,1,u\na.png,2,u\n", "row 3.*repeats"),
        ("image,score,user\na.png,1,\n", "row 2.*no user"),
    ],
)
def test_faults_in_the_ratings_are_named_with_their_row(text, named, tmp_path):
    (tmp_path / "ratings.csv").write_text(text)
    with pytest.raises(InputError, match=named):
        read_ratings(tmp_path / "ratings.csv")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--k=[100]"], "at most 50"), (["--k=[1]"], "`k`"), (["--recipe.batch_size=2"], "batch_size")],
)
def test_mistakes_end_with_one_line(arguments, named, workplace, tmp_path, capsys):
    assert named in one_line(capsys, lambda: run(workplace, tmp_path, *arguments))


def test_ratings_of_flickr_aes_are_read_as_they_are_written(tmp_path):
    (tmp_path / "a.png").touch()
    ratings = pd.DataFrame({"image": [str(tmp_path / "a.png")], "score": [4.0], "user": ["007"]})
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    read = read_ratings(tmp_path / "ratings.csv")
    assert read["path"].tolist() == [str(tmp_path / "a.png")] and read["user"].tolist() == ["007"]
