import json
import math
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
import wandb
import yaml
from processes import checkpoint, end, fit_command, start, wait_for_step
from refusals import one_line

from piqa import fit, prepare
from piqa.preparation.portrait import Preparer
from piqa.system.ownership import locked
from piqa.tasks import RankingTask
from piqa.weights.model_file import load_model


def run_fit(config, *arguments):
    fit.main(["--config", str(config), *map(str, arguments)])


def epochs_of(run):
    return sorted(pd.read_csv(run / "metrics.csv")["epoch"].unique())


def test_a_run_leaves_model_report_config_and_record(tiny_config, tiny_run):
    card = json.loads((tiny_run / "model.json").read_text())
    record = json.loads((tiny_run / "record.json").read_text())
    metrics = json.loads((tiny_run / "test" / "metrics.json").read_text())
    assert card["network"]["init_args"]["backbone"] == "test_resnet"
    assert card["preparation"]["short_side"] == 72 and card["crop"] == 64
    assert record["data"]["test"] == {"images": 12, "scenes": 2, "digest": record["data"]["test"]["digest"]}
    assert record["packages"]["torch"] == torch.__version__.split("+")[0]
    assert yaml.safe_load((tiny_run / "config.yaml").read_text())["model"]["loss"] == "fidelity"
    assert metrics["facts"]["selected_on"] == "val" and metrics["images"] == 12
    assert metrics["facts"]["selected_srocc"] == pytest.approx(pd.read_csv(tiny_run / "metrics.csv")["val/srocc"].max())
    assert record["status"] == "finished" and record["started"] <= record["ended"] and record["earlier"] == []
    assert record["command"] == f"python -m piqa.fit --config {tiny_config}"
    assert record["left_out"] == {"not_prepared": 0, "alone_in_scene": 0}
    assert (tiny_run / "test" / "scatter.png").stat().st_size > 0


def test_each_epoch_logs_loss_pair_accuracy_and_srocc_of_every_validation_scene(tiny_run):
    log = pd.read_csv(tiny_run / "metrics.csv")
    per_scene = [name for name in log if name.startswith("val/srocc/")]
    assert len(per_scene) == 1  # 15 % of 4 training scenes
    for name in ["train/loss_epoch", "val/srocc", "val/pair_accuracy", *per_scene]:
        assert log[name].notna().sum() == 2, name


def test_validation_scenes_are_neither_trained_on_nor_tested(tiny_run):
    record = json.loads((tiny_run / "record.json").read_text())
    assert {name: facts["scenes"] for name, facts in record["data"].items()} == {"train": 3, "val": 1, "test": 2}


def test_the_saved_model_is_the_best_checkpoint(tiny_run):
    network, card = load_model(tiny_run)
    best, best_card = load_model(tiny_run / "checkpoints" / "best.ckpt")
    assert best_card.network == card.network
    for (name, ours), theirs in zip(network.state_dict().items(), best.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_run_resumes_where_it_stopped(tiny_config, tiny_run, tmp_path):
    run_fit(
        tiny_config,
        *["--out", tmp_path / "more", "--trainer.max_epochs", 4],
        *["--ckpt_path", tiny_run / "checkpoints" / "last.ckpt"],
    )
    assert epochs_of(tmp_path / "more") == [2, 3]


def test_resuming_in_place_keeps_the_metrics_so_far(tiny_config, tmp_path):
    out = tmp_path / "run"
    run_fit(tiny_config, "--out", out, "--trainer.max_epochs", 1)
    before = (out / "metrics.csv").read_text()
    run_fit(tiny_config, "--out", out, "--ckpt_path", out / "checkpoints" / "last.ckpt")
    assert (out / "metrics-1.csv").read_text() == before and epochs_of(out) == [1]
    record = json.loads((out / "record.json").read_text())
    assert record["resumed_from"] == str(out / "checkpoints" / "last.ckpt")
    assert [session["status"] for session in record["earlier"]] == ["finished"]


def test_the_same_seed_gives_the_same_model(tiny_config, tiny_run, tmp_path):
    run_fit(tiny_config, "--out", tmp_path / "again")
    first, again = load_model(tiny_run)[0].state_dict(), load_model(tmp_path / "again")[0].state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_choosing_on_the_test_split_is_labelled(tiny_config, tmp_path, capsys):
    run_fit(
        tiny_config, "--out", tmp_path / "run", "--data.checkpoint_selection_split", "test", "--trainer.max_epochs", 1
    )
    facts = json.loads((tmp_path / "run" / "test" / "metrics.json").read_text())["facts"]
    assert facts["selected_on"] == "test"
    assert "chosen on the test" in capsys.readouterr().out


def test_reference_pairs_train(tiny_config, tmp_path):
    run_fit(
        tiny_config,
        *["--out", tmp_path / "run", "--trainer.max_epochs", 1],
        *["--data.sampling.pairs", "reference", "--data.sampling.groups_per_step", 6, "--model.loss", "published"],
    )
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["step"].max() == 5  # 18 portraits, 36 pairs, 6 a step


def test_prepare_fills_the_store_that_fit_uses(tiny_config, tmp_path, capsys):
    arguments = ["--config", str(tiny_config), "--data.store.folder", str(tmp_path / "store")]
    prepare.main(arguments)
    assert "36 prepared, 0 reused" in capsys.readouterr().out
    prepare.main(arguments)
    assert "0 prepared, 36 reused" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_to_resume_from(tiny_config, tmp_path, request):
    out = tmp_path / "run"
    process = start(fit_command(tiny_config, "--out", out, "--trainer.max_epochs", 10000, "--checkpoint_every", 1))
    request.addfinalizer(lambda: end(process))
    wait_for_step(out, 1, process)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "Traceback" not in error
    done = checkpoint(out)
    assert f"stopped by SIGINT after step {done['global_step']}; resume with" in error
    run_fit(tiny_config, "--out", out, "--ckpt_path", "last", "--trainer.max_epochs", done["epoch"] + 2)
    assert (out / "model.safetensors").is_file()


@pytest.mark.slow
def test_weights_and_biases_offline_needs_no_account(tiny_config, tmp_path):
    run_fit(tiny_config, "--out", tmp_path / "run", "--wandb", "offline", "--trainer.max_epochs", 1)
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert wandb.run is None  # an open run would take the log of the next training in this process
    assert (tmp_path / "run" / "metrics.csv").is_file()


MISTAKES = {
    "a config that is not there": (["--config", "nosuch.yaml"], "no config nosuch.yaml"),
    "a missing data folder": (["--data.table.root", "/no/such/folder"], "/no/such/folder"),
    "an unknown attribute": (["--data.table.attribute", "colour"], "colour"),
    "a misspelled option": (["--data.inputs.corp_size", "64"], "--data.inputs.corp_size"),
    "a batch of no images": (["--data.loading.eval_batch_size", "0"], "eval_batch_size` must be at least 1 image"),
    "a crop of another size": (["--data.inputs.crop_size", "32"], "64 px"),
    "a branch without its weights": (["--model.network.branches", "[whole,face,liqe]"], "data.preparation.liqe"),
    "an unknown backbone": (["--model.network.backbone", "resnet10x"], "resnet10x"),
    "initial weights that are not there": (["--model.init.whole", "/no/lsvq.pth"], "/no/lsvq.pth"),
    "a checkpoint that is not there": (["--ckpt_path", "/no/last.ckpt"], "/no/last.ckpt"),
    "more validation scenes than scenes": (["--data.validation_fraction", "1.5"], "1.5"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(tiny_config, tmp_path, capsys, mistake):
    arguments, named = MISTAKES[mistake]
    assert named in one_line(capsys, lambda: run_fit(tiny_config, "--out", tmp_path / "run", *arguments))


def test_a_typo_in_a_config_is_named(tiny_config, tmp_path, capsys):
    config = tmp_path / "typo.yaml"
    config.write_text(tiny_config.read_text().replace("crop_size: 64", "corp_size: 64"))
    assert "'inputs.corp_size'" in one_line(capsys, lambda: run_fit(config, "--out", tmp_path / "run"))


def test_a_checkpoint_of_another_network_is_not_resumed(tiny_config, tiny_run, tmp_path, capsys):
    last = tiny_run / "checkpoints" / "last.ckpt"
    arguments = ["--out", tmp_path / "run", "--ckpt_path", last, "--model.network.hidden", 32]
    message = one_line(capsys, lambda: run_fit(tiny_config, *arguments))
    assert str(last) in message and "another shape" in message and "head.0.weight" in message


@pytest.mark.parametrize("content", ["a model", "text"])
def test_what_is_no_training_checkpoint_is_not_resumed(tiny_config, tiny_run, tmp_path, capsys, content):
    path = tmp_path / "last.ckpt"
    if content == "text":
        path.write_text("these are not the weights")
    else:
        torch.save(load_model(tiny_run)[0].state_dict(), path)
    message = one_line(capsys, lambda: run_fit(tiny_config, "--out", tmp_path / "run", "--ckpt_path", path))
    assert str(path) in message


def test_an_empty_csv_and_one_without_the_columns_are_named(tiny_config, tmp_path, capsys):
    table = ["--data.table", "piqa.data.CSVTable", "--data.table.csv"]
    for content, named in (("", "empty.csv"), ("image,score,scene\na.jpg,1,x\n", "image")):
        (tmp_path / "empty.csv").write_text(content)
        arguments = ["--config", str(tiny_config), *table, str(tmp_path / "empty.csv")]
        assert named in one_line(capsys, lambda: prepare.main(arguments))  # noqa: B023 (called at once)


def test_a_run_is_not_overwritten_unasked(tiny_config, tiny_run, capsys):
    message = one_line(capsys, lambda: run_fit(tiny_config))
    assert "--ckpt_path" in message and "--overwrite" in message


@pytest.mark.parametrize("overwrite", ["false", "true"])
def test_a_folder_of_others_is_left_alone(tiny_config, tmp_path, capsys, overwrite):
    theirs = {"checkpoints/my_other_model.ckpt": "precious", "metrics.csv": "a,b\n1,2\n", "config.yaml": "mine: true\n"}
    for name, content in theirs.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(content)
    message = one_line(capsys, lambda: run_fit(tiny_config, "--out", tmp_path / "run", "--overwrite", overwrite))
    assert "are left alone" in message and ("only a run of piqa's" in message) == (overwrite == "true")
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "run")): path.read_text() for path in files} == theirs


@pytest.mark.parametrize("resume", [[], ["--ckpt_path", "last"]])
def test_a_run_without_its_last_checkpoint_is_still_a_run(tiny_config, tiny_run, tmp_path, capsys, resume):
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out, ignore=shutil.ignore_patterns("last.ckpt", "step-*.ckpt"))
    before = (out / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    assert "already holds a run" in one_line(capsys, lambda: run_fit(tiny_config, "--out", out, *resume))
    assert (out / "checkpoints" / "best.ckpt").stat().st_mtime_ns == before


def test_a_second_run_at_once_is_refused(tiny_config, tiny_run, capsys):
    last = tiny_run / "checkpoints" / "last.ckpt"
    with locked(tiny_run, folder=True):
        message = one_line(capsys, lambda: run_fit(tiny_config, "--ckpt_path", last))
    assert f"{tiny_run} is being written by process" in message


def test_a_second_preparation_at_once_is_refused_unless_there_is_nothing_to_do(tiny_config, tiny_run, tmp_path, capsys):
    key = next(path.name for path in (tiny_config.parent / "store").iterdir() if path.is_dir())
    arguments = ["--config", str(tiny_config), "--data.store.folder", str(tmp_path / "store")]
    with locked(tmp_path / "store" / key, folder=True):
        message = one_line(capsys, lambda: prepare.main(arguments))
    assert "is being written by process" in message and not list(tmp_path.rglob("*.safetensors"))
    with locked(tiny_config.parent / "store" / key, folder=True):
        prepare.main(arguments[:2])
    assert "36 reused" in capsys.readouterr().out


def no_constants(text):
    raise AssertionError(f"{text} is no JSON")


def test_an_undefined_measure_chooses_nothing_and_broken_images_are_counted(tiny_config, tmp_path, monkeypatch):
    shutil.copytree(tiny_config.parent / "piq23", tmp_path / "piq23")
    sorted((tmp_path / "piq23" / "Overall").glob("*.jpg"))[0].write_text("no image")
    broken = ["--data.table.root", tmp_path / "piq23", "--data.store.max_failed", 0.1]
    monkeypatch.setattr(RankingTask, "measures", lambda self, table: {"srocc": math.nan, "pair_accuracy": 0.5})
    with pytest.warns(UserWarning, match="no epoch had a defined SROCC"):
        run_fit(tiny_config, "--out", tmp_path / "run", "--trainer.max_epochs", 1, *broken)
    for file in (tmp_path / "run").rglob("*.json"):
        content = json.loads(file.read_text(), parse_constant=no_constants)
        if file.name == "model.json":
            trained_on = content["trained_on"]
        if file.name == "record.json":
            assert content["left_out"] == {"not_prepared": 1, "alone_in_scene": 0}
    assert trained_on["selected_srocc"] is None and "no epoch had a defined SROCC" in trained_on["selected_on"]
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    assert "nan" not in (tmp_path / "run" / "metrics.csv").read_text()


@pytest.mark.parametrize("moment", ["preparation", "training"])
def test_ctrl_c_ends_in_one_line_at_any_moment(tiny_config, tmp_path, monkeypatch, capsys, moment):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    where = {"preparation": (Preparer, "__call__"), "training": (RankingTask, "loss")}[moment]
    monkeypatch.setattr(*where, interrupt)
    store = ["--data.store.folder", tmp_path / "store"] if moment == "preparation" else []
    with pytest.raises(SystemExit) as stop:
        run_fit(tiny_config, "--out", tmp_path / "run", *store)
    assert stop.value.code == 130
    error = capsys.readouterr().err
    assert "piqa: stopped by Ctrl-C; images that were prepared are kept" in error and "KeyboardInterrupt" not in error
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "stopped" and "Ctrl-C" in record["reason"]
    assert not (tmp_path / "run" / ".piqa.lock").exists()


def test_an_unwritable_folder_is_named(tiny_config, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in one_line(capsys, lambda: run_fit(tiny_config, "--out", tmp_path / "file" / "run"))


def test_every_config_in_the_project_can_be_read():
    from piqa.cli import TaskCLI
    from piqa.data.datamodule import PortraitData

    class Reader(TaskCLI):
        def before_instantiate_classes(self):
            pass

        def instantiate_classes(self):
            pass

        def after_instantiate_classes(self):
            pass

    configs = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
    configs = [config for config in configs if config.name != "liqe_official.yaml"]  # a model, not a training
    configs = [config for config in configs if not config.name.startswith("light")]  # of `distil`
    assert len(configs) >= 16
    for config in configs:
        assert Reader(PortraitData, ["--config", config.name]).config.out == f"runs/{config.stem}"
