import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from look_alike import write_gfiqa
from processes import checkpoint, end, start, wait_for_step
from refusals import one_line
from safetensors.torch import load_file
from videos import write_lsvq

from piqa import pretrain
from piqa.data.datamodule import PortraitData
from piqa.data.dataset import crops_of
from piqa.errors import InputError
from piqa.models import DualBranch, Regressor
from piqa.models.contract import score_crops
from piqa.preparation.store import PreparedStore
from piqa.preparation.video import ClipPreparation, decode_clip
from piqa.tasks import InitialWeights, RankingTask
from piqa.tasks.losses import plcc_loss
from piqa.tasks.regression import RegressionTask


def stage_config(name, table, init, **preparation):
    network = {"class_path": "piqa.models.Regressor", "init_args": {"backbone": "test_resnet", "image_size": 64}}
    return {
        "model": {"network": network, "init": init, "loss": {"lsvq": "plcc", "gfiqa": "mse"}[name]},
        "data": {
            "table": table,
            "store": {"folder": "store", "workers": 0, "max_failed": 0.2},
            "inputs": {"crop_size": 64, "test_crops": "one"},
            "sampling": {"groups_per_step": 1, "images_per_group": 6},
            "loading": {"workers": 0},
            **preparation,
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
        "out": f"runs/{name}",
        "backbone": f"weights/{name}.safetensors",
    }


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with tiny videos, faces and configs of both stages, found by their bare names."""
    folder = tmp_path_factory.mktemp("pretraining")
    write_lsvq(folder / "lsvq", videos=10)
    write_gfiqa(folder / "gfiqa")
    lsvq = {"class_path": "piqa.data.LSVQ", "init_args": {"root": "lsvq"}}
    gfiqa = {"class_path": "piqa.data.GFIQA", "init_args": {"root": "gfiqa", "val_fraction": 0.25}}
    faces = {"short_side": 72, "face_rule": "none"}
    (folder / "pretrain").mkdir()
    for name, config in {
        "lsvq": stage_config("lsvq", lsvq, "scratch", clip={"frames": 3, "short_side": 72}),
        "gfiqa": stage_config("gfiqa", gfiqa, "weights/lsvq.safetensors", preparation=faces),
    }.items():
        (folder / "pretrain" / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def both_stages(workplace):
    """What the command prints, which runs each stage in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "piqa.pretrain"], cwd=workplace, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run_both(workplace, monkeypatch, capsys):
    """Runs both stages in this process, and gives what they print."""

    def wait_for(arguments):
        assert arguments[:2] == ["-m", "piqa.pretrain"]
        try:
            pretrain.main(arguments[2:])
        except SystemExit as stop:
            return stop.code
        return 0

    def run(*arguments):
        monkeypatch.chdir(workplace)
        monkeypatch.setattr(pretrain, "_wait_for", wait_for)
        pretrain.main(list(arguments))
        return capsys.readouterr().out

    return run


def test_both_stages_run_in_order_and_say_who_uses_them(both_stages):
    lines = both_stages.splitlines()
    assert lines.index("Stage lsvq.yaml") < lines.index("Stage gfiqa.yaml")
    assert "model.init.whole" in lines[-1] and "configs/piqa.yaml" in lines[-1]


def test_a_backbone_has_a_card(both_stages, workplace):
    card = json.loads((workplace / "weights" / "lsvq.json").read_text())
    assert card["stage"] == "lsvq"
    assert card["backbone"] == {"name": "test_resnet", "image_size": 64}
    assert set(card["validation"]) == {"srocc", "plcc"}
    assert card["input"]["mean"] == pytest.approx([0.5, 0.5, 0.5])
    assert card["trained_on"]["data"]["val"]["images"] == 2


def test_fit_starts_from_the_saved_backbones(both_stages, workplace):
    files = {name: workplace / "weights" / f"{name}.safetensors" for name in ("lsvq", "gfiqa")}
    network = DualBranch("test_resnet", ["whole", "face"], image_size=64)
    RankingTask(network, InitialWeights(str(files["lsvq"]), str(files["gfiqa"]))).load_initial_weights()
    for branch, name in (("whole", "lsvq"), ("face", "gfiqa")):
        saved, held = load_file(files[name]), network.backbones[branch].state_dict()
        assert saved.keys() == held.keys() and all(torch.equal(saved[key], held[key]) for key in saved)


def test_the_face_stage_starts_from_the_video_stage(both_stages, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    task = RegressionTask(Regressor("test_resnet", 64), init="weights/lsvq.safetensors")
    task.load_initial_weights()
    saved = load_file(workplace / "weights" / "lsvq.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in task.network.backbone.state_dict().items())


def test_finished_stages_are_skipped_and_changed_ones_are_not(both_stages, workplace, run_both):
    before = {file: file.stat().st_mtime_ns for file in (workplace / "weights").glob("*.safetensors")}
    assert run_both().count("is there already") == 2
    assert before == {file: file.stat().st_mtime_ns for file in before}
    config = workplace / "pretrain" / "gfiqa.yaml"
    config.write_text(config.read_text().replace("loss: mse", "loss: ranking\n  unit: 0.1"))
    again = run_both("--overwrite", "true")
    assert again.count("is there already") == 1
    assert before != {file: file.stat().st_mtime_ns for file in before}


def stage_settings(workplace, monkeypatch, *arguments):
    """The settings of the first stage, as a plain table."""
    monkeypatch.chdir(workplace)

    class Reader(pretrain.PretrainCLI):
        def before_instantiate_classes(self):
            pass

        def instantiate_classes(self):
            pass

        def after_instantiate_classes(self):
            pass

    cli = Reader(RegressionTask, PortraitData, ["--config", "lsvq.yaml", *arguments])
    return yaml.safe_load(cli.parser.dump(cli.config))


def test_whatever_shapes_the_result_tells_two_stages_apart(workplace, monkeypatch):
    def digest(*arguments):
        return pretrain._settings_digest(stage_settings(workplace, monkeypatch, *arguments))

    usual = digest()
    incidental = ["--out", "x", "--data.store.folder", "x", "--data.loading.workers", "3", "--trainer.devices", "2"]
    assert digest(*incidental) == usual
    shaping = [
        ["--trainer.limit_train_batches", "1"],
        ["--trainer.max_epochs", "2"],
        ["--trainer.gradient_clip_val", "1"],
        ["--data.store.max_failed", "0.5"],
        ["--seed_everything", "1"],
    ]
    assert usual not in [digest(*settings) for settings in shaping]


def test_a_stage_whose_labels_have_changed_is_not_skipped(both_stages, workplace, monkeypatch, tmp_path, capsys):
    table = workplace / "lsvq" / "labels_train_test.csv"
    again = ["--skip_finished", "true", "--backbone", "weights/lsvq.safetensors", "--out", "runs/lsvq"]
    with pytest.raises(SystemExit) as done:
        run_lsvq(workplace, monkeypatch, tmp_path, *again)
    assert done.value.code == 0 and "the same settings and labels" in capsys.readouterr().out
    kept, rows = table.read_bytes(), pd.read_csv(table)
    rows.assign(mos=rows["mos"] + 1.0).to_csv(table, index=False)
    try:
        message = one_line(capsys, lambda: run_lsvq(workplace, monkeypatch, tmp_path, *again))
    finally:
        table.write_bytes(kept)
    assert "already holds a run" in message


@pytest.mark.parametrize("theirs", ["b.safetensors", "b.json"])
def test_a_backbone_of_others_is_left_alone(workplace, monkeypatch, tmp_path, capsys, theirs):
    (tmp_path / theirs).write_text('{"title": "precious"}')
    message = one_line(capsys, lambda: run_lsvq(workplace, monkeypatch, tmp_path))
    assert f"{theirs} is there and is no backbone of piqa's" in message
    assert [path.name for path in tmp_path.iterdir()] == [theirs]


def test_a_backbone_that_was_changed_since_is_left_alone(workplace, monkeypatch, tmp_path, capsys):
    (tmp_path / "b.safetensors").write_text("precious")
    card = {"format": "piqa 1", "backbone": {}, "weights_digest": "0" * 32}
    (tmp_path / "b.json").write_text(json.dumps(card))
    assert "was changed since" in one_line(capsys, lambda: run_lsvq(workplace, monkeypatch, tmp_path))
    assert (tmp_path / "b.safetensors").read_text() == "precious"


@pytest.mark.slow
def test_sigterm_to_both_stages_stops_the_one_under_way(workplace, tmp_path, monkeypatch, request):
    monkeypatch.chdir(workplace)
    out = ["--out", str(tmp_path / "run"), "--backbone", str(tmp_path / "b.safetensors")]
    often = ["--trainer.max_epochs", "10000", "--checkpoint_every", "1"]
    process = start([sys.executable, "-m", "piqa.pretrain", *out, *often])
    request.addfinalizer(lambda: end(process))
    wait_for_step(tmp_path / "run", 1, process)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("piqa:")]
    assert f"after step {checkpoint(tmp_path / 'run')['global_step']}; resume" in line


def run_lsvq(workplace, monkeypatch, tmp_path, *arguments):
    monkeypatch.chdir(workplace)
    out = ["--out", str(tmp_path / "run"), "--backbone", str(tmp_path / "b.safetensors")]
    pretrain.main(["--config", "lsvq.yaml", *out, *map(str, arguments)])


def test_a_broken_video_costs_itself_alone(workplace, monkeypatch, tmp_path, capsys):
    shutil.copytree(workplace / "lsvq", tmp_path / "lsvq")
    video = sorted((tmp_path / "lsvq").rglob("*.mp4"))[0]
    video.write_bytes(video.read_bytes()[:100])
    store = tmp_path / "store"
    run_lsvq(workplace, monkeypatch, tmp_path, "--data.table.root", tmp_path / "lsvq", "--data.store.folder", store)
    assert "9 prepared, 0 reused, 0 no face, 1 failed" in capsys.readouterr().out
    listing = pd.read_csv(next(store.glob("*/failed.csv")))
    assert listing["image"].tolist() == [str(video)]


def test_motion_features_go_into_the_head(workplace, monkeypatch, tmp_path):
    for video in (workplace / "lsvq").rglob("*.mp4"):
        array = tmp_path / "motion" / video.parent.name / f"{video.stem}.npy"
        array.parent.mkdir(parents=True, exist_ok=True)
        np.save(array, np.random.default_rng(0).normal(size=(3, 256)).astype(np.float32))
    motion = ["--data.clip.motion", tmp_path / "motion", "--model.network.motion", 256]
    run_lsvq(workplace, monkeypatch, tmp_path, *motion)
    assert "head" not in "".join(load_file(tmp_path / "b.safetensors"))


MISTAKES = {
    "motion features for a head without": (["--data.clip.motion", "features"], "model.network.motion"),
    "a missing folder": (["--data.table.root", "/no/lsvq"], "/no/lsvq"),
    "initial weights that are not there": (["--model.init", "/no/weights.pth"], "/no/weights.pth"),
    "an unknown loss": (["--model.loss", "hinge"], "hinge"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(workplace, monkeypatch, tmp_path, capsys, mistake):
    arguments, named = MISTAKES[mistake]
    assert named in one_line(capsys, lambda: run_lsvq(workplace, monkeypatch, tmp_path, *arguments))
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("encoding", ["raw", "webp"])
def test_a_stored_clip_equals_the_decoded_one(workplace, tmp_path, encoding):
    settings = ClipPreparation(frames=3, short_side=72, encoding=encoding)
    videos = sorted((workplace / "lsvq").rglob("*.mp4"))
    store = PreparedStore(tmp_path / "store", settings)
    store.build(videos, workers=0, progress=False)
    for video in videos:
        assert np.array_equal(store.load(video).frames, decode_clip(video, settings).frames)


def test_a_clips_score_is_the_mean_over_its_frames(workplace):
    clip = decode_clip(sorted((workplace / "lsvq").rglob("*.mp4"))[0], ClipPreparation(frames=3, short_side=72))
    network = Regressor("test_resnet", 64).eval()
    crops = crops_of(clip, 64, "one")
    assert crops["whole"].shape == (3, 3, 64, 64)
    with torch.no_grad():
        each = network(crops["whole"])["score"]
        mean = score_crops(network, {"whole": crops["whole"].unsqueeze(0)})
    assert mean.item() == pytest.approx(each.mean().item(), abs=1e-6)


def test_a_store_too_large_for_the_disk_is_refused_before_it_is_built(tmp_path, monkeypatch):
    from portraits import collins

    from piqa.preparation.portrait import Preparation

    for number in range(120):
        collins().resize((40 + number, 40)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0.1e6}))
    store = PreparedStore(tmp_path / "store", Preparation(short_side=48, face_rule="none"))
    with pytest.raises(InputError, match=r"112 files would take about .* GB are free"):
        store.build(tmp_path.glob("*.png"), workers=0, progress=False)
    assert len(list(store.folder.glob("*/*.safetensors"))) == 8  # the sample, which a restart reuses


def test_plcc_loss_is_zero_at_any_scale_and_half_at_the_reverse():
    score = torch.tensor([1.0, 2.0, 4.0, 3.0])
    assert plcc_loss(5 * score - 7, score).item() == pytest.approx(0, abs=1e-6)
    assert plcc_loss(-score, score).item() == pytest.approx(0.5, abs=1e-6)


def test_plcc_loss_equals_its_closed_form():
    rng = np.random.default_rng(0)
    for _ in range(20):
        predicted, score = rng.normal(size=(2, 9))
        r = np.corrcoef(predicted, score)[0, 1]
        loss = plcc_loss(torch.from_numpy(predicted), torch.from_numpy(score)).item()
        assert loss == pytest.approx((1 - r) * (3 + r) / 8, abs=1e-6)


def test_plcc_loss_by_hand():
    # a = (-1, 1) and b = (-1, 1) after standardising 0, 2 and 3, 9: r = 1; reversed, r = -1.
    assert plcc_loss(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 9.0])).item() == pytest.approx(0, abs=1e-7)
    assert plcc_loss(torch.tensor([2.0, 0.0]), torch.tensor([3.0, 9.0])).item() == pytest.approx(0.5, abs=1e-7)


def test_constant_predictions_give_a_finite_plcc_loss_and_gradient():
    predicted = torch.full((6,), 0.5, requires_grad=True)  # a number whose mean is itself, to the last bit
    loss = plcc_loss(predicted, torch.arange(6.0))
    loss.backward()
    assert loss.item() == pytest.approx(0.25, abs=1e-6) and torch.isfinite(predicted.grad).all()


def test_a_plcc_loss_of_one_image_is_refused():
    with pytest.raises(ValueError, match="two vectors"):
        plcc_loss(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("loss", ["plcc", "mse", "ranking"])
def test_every_loss_teaches_the_order(loss):
    torch.manual_seed(0)
    task = RegressionTask(Regressor("test_resnet", 64), init="scratch", loss=loss)
    score = torch.linspace(-1, 1, 8)
    predicted = torch.randn(8, requires_grad=True)
    optimizer = torch.optim.Adam([predicted], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        task.loss(predicted, {"score": score, "group": torch.zeros(8), "groups": torch.tensor(1.0)}).backward()
        optimizer.step()
    assert torch.equal(predicted.argsort(), score.argsort())


@pytest.mark.parametrize("loss", ["plcc", "mse", "ranking"])
def test_a_steps_loss_is_the_mean_over_its_groups_however_they_are_shared_out(loss):
    task = RegressionTask(Regressor("test_resnet", 64), init="scratch", loss=loss)
    predicted, score = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    group = torch.tensor([5, 5, 5, 5, 1, 1, 7, 7, 7])
    each = [task._loss_in(predicted[group == number], score[group == number]) for number in (5, 1, 7)]
    batch = {"score": score, "group": group, "groups": torch.tensor(3.0)}
    assert task.loss(predicted, batch).item() == pytest.approx(float(sum(each)) / 3, abs=1e-6)
    shares = [
        task.loss(predicted[own], {"score": score[own], "group": group[own], "groups": torch.tensor(1.5)}).item()
        for own in (group == 5, group != 5)
    ]
    assert sum(shares) / 2 == pytest.approx(float(sum(each)) / 3, abs=1e-6)
