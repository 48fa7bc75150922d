"""`piqa distil`: a teacher's scores made once, a student that learns its preferences, a run folder like any other."""

import json
import math
import shutil
from itertools import combinations

import pandas as pd
import pytest
import torch
from refusals import one_line, refusal
from scipy.stats import norm, pearsonr

from piqa import Scorer, distil
from piqa.data.distillation import DistillationData, PictureFolders
from piqa.data.tables.csv_table import CSVTable
from piqa.evaluation.metrics import srocc
from piqa.models import LightStudent
from piqa.scoring.file_list import expand
from piqa.scoring.kept_scores import KeepingOptions, KeptScores
from piqa.tasks.distillation import DistillationTask, matched_squares
from piqa.weights.licences import require_commercial
from piqa.weights.model_file import load_model

SIDE = 48


@pytest.fixture(scope="module")
def pictures(tiny_run, tmp_path_factory):
    """Five folders of six pictures, one of a single picture, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    images = sorted((tiny_run.parent / "piq23/Overall").iterdir())
    for number, image in enumerate(images[:30]):
        place = folder / f"day {number // 6}"
        place.mkdir(exist_ok=True)
        shutil.copy(image, place / image.name)
    (folder / "alone").mkdir()
    shutil.copy(images[0], folder / "alone")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def config(tiny_run):
    """A config of a tiny student; its teacher is the run of `tiny_config`."""
    folder = tiny_run.parent
    path = folder / "light.yaml"
    path.write_text(
        f"""
model:
  network:
    class_path: piqa.models.LightStudent
    init_args: {{backbone: test_resnet, image_size: {SIDE}}}
  init: {{whole: scratch}}
  optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: 1.0e-3}}}}
data:
  preparation: {{short_side: {SIDE}, resize: stretch}}
  store: {{folder: {folder / "store"}, workers: 0}}
  inputs: {{crop_size: {SIDE}}}
  loading: {{workers: 0}}
scoring: {{folder: {folder / "teacher_scores"}, device: cpu}}
trainer: {{max_epochs: 1, accelerator: cpu, precision: 32-true, enable_progress_bar: false}}
teacher: {tiny_run}
"""
    )
    return path


@pytest.fixture(scope="module")
def student(config, pictures):
    """The folder of a student of pictures alone."""
    distil.main(["--config", str(config), "--pictures", str(pictures), "--out", str(config.parent / "student")])
    return config.parent / "student"


def test_a_student_is_a_run_like_any_other_and_its_card_names_the_teacher(student, tiny_run, pictures):
    network, card = load_model(student)
    assert isinstance(network, LightStudent) and card.preparation["resize"] == "stretch"
    assert card.trained_on["teacher"]["model"] == str(tiny_run)
    assert card.trained_on["teacher"]["network"]["class_path"] == "piqa.models.DualBranch"
    assert card.trained_on["arithmetic"]["crops"] == 1 and card.trained_on["pictures"] == str(pictures)
    record = json.loads((student / "record.json").read_text())
    assert record["status"] == "finished" and record["teacher"]["digest"] == card.trained_on["teacher"]["digest"]
    assert {name: facts["scenes"] for name, facts in record["data"].items()} == {"train": 3, "val": 1, "test": 1}
    log = pd.read_csv(student / "metrics.csv")
    assert log["val/srocc"].dropna().tolist() == log["val/teacher_srocc"].dropna().tolist()  # there is no other truth
    found = Scorer.load(student, device="cpu").score(expand([str(pictures)], tell=lambda line: None))
    assert found["score"].notna().all() and len(found) == 31


def test_the_labels_are_the_teachers_scores_with_its_own_preparation_and_lead_back_to_the_data(
    student, tiny_run, pictures
):
    labels = pd.read_csv(student / "labels.csv")
    assert len(labels) == 30 and set(labels["scene"]) == {f"day {number}" for number in range(5)}
    teacher = Scorer.load(tiny_run, device="cpu", try_turns=False)
    expected = teacher.score([str(pictures / image) for image in labels["image"]])["score"]
    assert labels["score"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)
    table = json.loads((student / "model.json").read_text())["trained_on"]["data"]["table"]
    frame = CSVTable(**table["init_args"]).load()
    assert table["class_path"] == "piqa.data.CSVTable" and len(frame) == 30


def test_scores_are_made_once_and_only_what_is_new_is_scored(config, student, tiny_run, pictures, tmp_path):
    options = KeepingOptions(str(config.parent / "teacher_scores"), device="cpu")
    kept = KeptScores(tiny_run, config.parent / "store", options)
    paths = expand([str(pictures)], tell=lambda line: None)
    known = [path for path in paths if "alone" not in path]
    before = kept.table.read_bytes()
    assert "0 scored, 30 kept" in kept.make(known, workers=0) and kept.table.read_bytes() == before
    image = tmp_path / "new.png"
    shutil.copy(next((tiny_run.parent / "piq23/Details").glob("*.jpg")), image)
    assert "1 scored, 30 kept" in kept.make([*known, str(image)], workers=0)
    again = KeptScores(tiny_run, config.parent / "store", options)
    assert again.of([str(image), *known]).keys() == {str(image), *known}
    assert again.of(["absent.jpg"]) == {}
    other = KeptScores(tiny_run, config.parent / "store", KeepingOptions(options.folder, test_crops="one"))
    assert other.table != kept.table  # other scores
    kept.table.write_text("digest,score\nabc,none\n")
    assert "delete it" in refusal(KeptScores(tiny_run, config.parent / "store", options).of, known)
    kept.table.write_bytes(before)


def test_what_was_scored_before_a_stop_is_kept(config, student, tiny_run, pictures, tmp_path, monkeypatch):
    options = KeepingOptions(str(tmp_path / "scores"), device="cpu", batch_size=4)
    kept = KeptScores(tiny_run, config.parent / "store", options)
    paths = [path for path in expand([str(pictures)], tell=lambda line: None) if "alone" not in path]
    score, calls = Scorer.score_portraits, []

    def stopped(self, *given, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, *given, **settings)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Scorer, "score_portraits", stopped)
        kept.make(paths, workers=0)
    assert len(pd.read_csv(kept.table)) == 8
    assert "22 scored, 8 kept" in KeptScores(tiny_run, config.parent / "store", options).make(paths, workers=0)


def test_a_table_tests_the_student_and_the_teacher_scores_nothing_of_the_test(config, tiny_run, pictures, tmp_path):
    out = tmp_path / "both"
    piq23 = ["--data.table", "piqa.data.PIQ23", "--data.table.root", str(tiny_run.parent / "piq23")]
    more = ["--model.label_weight", "0.5", "--model.score_weight", "0.1", "--scoring.folder", str(tmp_path / "scores")]
    for image in sorted((tiny_run.parent / "piq23/Details").iterdir())[:6]:  # other pixels than those of Overall
        (tmp_path / "new").mkdir(exist_ok=True)
        shutil.copy(image, tmp_path / "new" / f"new {image.name}")
    copied = next((tiny_run.parent / "piq23/Overall").glob("*_Indoor_Scene_1.*"))  # of the test
    shutil.copy(copied, tmp_path / "new" / f"again {copied.name}")
    arguments = ["--config", str(config), *piq23, *more, "--pictures", str(tmp_path / "new"), "--out", str(out)]
    distil.main(arguments)
    record = json.loads((out / "record.json").read_text())
    assert {name: facts["images"] for name, facts in record["data"].items()} == {"train": 24, "val": 6, "test": 12}
    assert record["left_out"]["copies_of_the_table"] == 1
    assert not (out / "labels.csv").exists()
    card = json.loads((out / "model.json").read_text())
    assert card["trained_on"]["data"]["table"]["class_path"] == "piqa.data.PIQ23"
    (scores,) = (tmp_path / "scores").glob("*.csv")
    assert len(pd.read_csv(scores)) == 24 + 7  # of the table what is not for its test


def test_a_student_takes_over_what_its_teachers_licence_forbids(config, tiny_run, pictures, student, tmp_path, capsys):
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    for name in ("model.safetensors", "model.json"):
        shutil.copy(tiny_run / name, teacher)
    card = json.loads((teacher / "model.json").read_text())
    card["licence"] = {"weights": "cc-by-nc-4.0", "commercial": "no"}
    (teacher / "model.json").write_text(json.dumps(card))
    distil.main(
        ["--config", str(config), "--pictures", str(pictures), "--teacher", str(teacher), "--out", str(tmp_path / "s")]
    )
    assert "cc-by-nc-4.0" in refusal(require_commercial, str(tmp_path / "s"))
    assert "cc-by-nc-4.0" in json.loads((tmp_path / "s/model.json").read_text())["licence"]["line"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limits.gflop", "0.000001"], "more than the limits of 1e-06 GFLOP and 5 M parameters"),
        (["--pictures", "nowhere"], "there is no folder nowhere"),
        (["--teacher", "nowhere"], "nowhere"),
        (["--model.label_weight", "2"], "must lie between 0 and 1"),
        (["--model.label_weight", "0.5"], "needs true scores"),
        (["--data.test_fraction", "1"], "below 1"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(arguments, message, config, pictures, tmp_path, capsys):
    given = ["--config", str(config), "--pictures", str(pictures), "--out", str(tmp_path / "run")]
    assert message in one_line(capsys, lambda: distil.main([*given, *arguments]))


def test_a_student_does_not_replace_its_teacher(config, pictures, tmp_path, capsys):
    teacher = tmp_path / "run"
    teacher.mkdir()
    (teacher / "model.safetensors").write_bytes(b"precious")
    for named in (teacher, teacher / "model.safetensors", tmp_path / "run" / ".." / "run"):
        given = ["--config", str(config), "--pictures", str(pictures), "--out", str(teacher), "--overwrite", "true"]
        told = one_line(capsys, lambda given=given, named=named: distil.main([*given, "--teacher", str(named)]))
        assert "choose another `--out`" in told
    assert [path.name for path in teacher.iterdir()] == ["model.safetensors"]


def test_nothing_to_learn_from_is_told(config, tmp_path, capsys):
    given = ["--config", str(config), "--out", str(tmp_path / "run")]
    assert "`--pictures`, or a `data.table`" in one_line(capsys, lambda: distil.main(given))
    with pytest.warns(UserWarning, match="alone in their folder"):
        folder = tmp_path / "few"
        folder.mkdir()
        (folder / "a.jpg").touch()
        one = PictureFolders(folder)
        one.find = lambda named: [str(folder / "a.jpg")]
        assert "no folder with two pictures" in refusal(one.load)


@pytest.mark.parametrize("folders", [1, 2])
def test_too_few_folders_are_told_as_folders(folders, tmp_path):
    names = [str(tmp_path / f"{folder}" / f"{number}.jpg") for folder in range(folders) for number in range(2)]
    data = DistillationData(pictures=str(tmp_path))
    data.unscored.find = lambda named: names
    told = refusal(lambda: data._assigned(choosing=True))
    assert f"too few folders with two pictures or more ({folders})" in told and "split column" not in told


def test_configs_of_a_student_can_be_read():
    class Reader(distil.DistilCLI):
        def before_instantiate_classes(self):
            pass

        instantiate_classes = after_instantiate_classes = before_instantiate_classes

    for name in ("light", "light_demo"):
        read = Reader(["--config", f"{name}.yaml", "--teacher", "t", "--pictures", "p"])
        assert read.config.out == f"runs/{name}" and read.config.data.pictures == "p"


# The loss


def batch_of(groups, teacher, score=None):
    batch = {"group": torch.tensor(groups), "groups": torch.tensor(2.0), "teacher_score": torch.tensor(teacher)}
    return batch | {"score": torch.full((len(groups),), math.nan) if score is None else torch.tensor(score)}


def fidelity(difference, target):
    p, q = norm.cdf(difference), norm.cdf(target)
    return 1 - math.sqrt(p * q) - math.sqrt((1 - p) * (1 - q))


def test_the_loss_is_the_fidelity_of_students_and_teachers_preferences_within_groups_alone():
    predicted, teacher = [0.1, 0.5, -0.2, 3.0, 2.0], [4.0, 6.0, 1.0, 7.0, 8.0]
    task = DistillationTask(LightStudent("test_resnet", 32), unit=2.0)
    loss = task.loss(torch.tensor(predicted), batch_of([7, 7, 7, 9, 9], teacher))
    means = []
    for rows in ([0, 1, 2], [3, 4]):
        pairs = list(combinations(rows, 2))
        own = [fidelity(predicted[a] - predicted[b], (teacher[a] - teacher[b]) / 2) for a, b in pairs]
        means.append(sum(own) / len(own))
    assert float(loss) == pytest.approx(sum(means) / 2, abs=1e-6)
    shifted = torch.tensor(predicted) + torch.tensor([9.0, 9.0, 9.0, -5.0, -5.0])  # a zero of each scene's own
    assert float(task.loss(shifted, batch_of([7, 7, 7, 9, 9], teacher))) == pytest.approx(float(loss), abs=1e-5)


def test_true_scores_count_by_their_weight_where_there_are_some():
    predicted, teacher = torch.tensor([0.3, -0.3, 1.0, 0.0]), [1.0, 0.0, 0.5, 0.0]
    score = [0.0, 2.0, math.nan, math.nan]  # the second group has none
    groups = [0, 0, 1, 1]
    of_teacher = [fidelity(0.6, 1.0), fidelity(1.0, 0.5)]
    of_people = fidelity(0.6, -2.0)
    for weight in (0.25, 1.0):
        task = DistillationTask(LightStudent("test_resnet", 32), label_weight=weight)
        expected = ((1 - weight) * of_teacher[0] + weight * of_people + of_teacher[1]) / 2
        assert float(task.loss(predicted, batch_of(groups, teacher, score))) == pytest.approx(expected, abs=1e-6)
    alone = DistillationTask(LightStudent("test_resnet", 32))
    assert float(alone.loss(predicted, batch_of(groups, teacher, score))) == pytest.approx(
        sum(of_teacher) / 2, abs=1e-6
    )


def test_a_teacher_on_another_scale_is_told_with_the_unit_that_would_do():
    train = pd.DataFrame({"scene": list("aabb"), "teacher_score": [70.0, 42.0, 30.0, 58.0]})
    network = LightStudent("test_resnet", SIDE)
    with pytest.warns(UserWarning, match=r"deviation of 14 units.* nearly all 0 or 1; try `--model.unit 10`"):
        DistillationTask(network)._check_spread(train)
    small = train.assign(teacher_score=train["teacher_score"] / 1000)
    with pytest.warns(UserWarning, match=r"nearly all 1/2; try `--model.unit 0.01`"):
        DistillationTask(network)._check_spread(small)
    DistillationTask(network, unit=10.0)._check_spread(train)
    alike = train.assign(teacher_score=[1.0, 1.0, 3.0, 3.0])
    assert "nothing can be learnt" in refusal(DistillationTask(network)._check_spread, alike)


def test_matched_squares_are_free_of_mean_and_scale_and_follow_pearsons_correlation():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(9, generator=generator) for _ in range(2))
    group = torch.tensor([3] * 5 + [1] * 4)
    squares = matched_squares(student, teacher, group)
    assert torch.allclose(squares, matched_squares(2 * student + 5, teacher, group), atol=1e-5)
    for own in (group == 3, group == 1):
        r = pearsonr(student[own], teacher[own]).statistic
        expected = 2 * (1 - r) * float(teacher[own].var(unbiased=False))
        assert float(squares[own].mean()) == pytest.approx(expected, rel=1e-4)
    assert matched_squares(student, torch.ones(9), group).abs().max() < 1e-6
    constant = torch.zeros(9, requires_grad=True)
    matched_squares(constant, teacher, group).sum().backward()
    assert constant.grad.isfinite().all()


def test_a_group_to_which_the_teacher_gives_one_score_has_no_squares_and_a_gradient_of_zero():
    student = torch.tensor([0.0, 1.0, 2.0, 0.5, 0.7], requires_grad=True)
    teacher, group = torch.tensor([1.0, 1.0, 1.0, 2.0, 3.0]), torch.tensor([0, 0, 0, 1, 1])
    matched_squares(student, teacher, group).sum().backward()
    assert student.grad.isfinite().all() and (student.grad[:3] == 0).all()


def test_a_student_learns_its_teachers_order_and_none_from_a_shuffled_teacher():
    """Pixels of one number each: the brighter, the better to the teacher. Held-out images of the same kind decide."""
    generator = torch.Generator().manual_seed(1)

    def images(count):
        level = torch.rand(count, generator=generator)
        noise = torch.rand(count, 3, 32, 32, generator=generator)
        return (0.2 * noise + 0.8 * level[:, None, None, None]).mul(255).byte(), 4 * level

    held, truth = images(40)

    def learnt(shuffled):
        torch.manual_seed(0)
        task = DistillationTask(LightStudent("test_byobnet", 32, dropout=0.0))
        optimizer = torch.optim.Adam(task.network.parameters(), lr=3e-3)
        task.network.train()
        for _ in range(30):
            pixels, teacher = images(24)
            teacher = teacher[torch.randperm(24, generator=generator)] if shuffled else teacher
            loss = task.loss(task.network(pixels, pixels)["score"], batch_of([0] * 12 + [1] * 12, teacher.tolist()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return srocc(truth.numpy(), task.network.eval()(held, held)["score"].numpy())

    assert learnt(shuffled=False) > 0.9
    assert abs(learnt(shuffled=True)) < 0.8


def test_data_without_table_and_pictures_are_refused():
    assert "nothing to learn from" in refusal(DistillationData)
