import json
import subprocess
import sys

import pandas as pd
import pytest
from portraits import collins, hopper
from refusals import one_line

from piqa import PIQ23, Scorer, evaluate, predict
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.models import DualBranch
from piqa.scoring.options import ScoringOptions
from piqa.scoring.resumable_csv import ScoreParts
from piqa.system.files import digest_of
from piqa.weights import model_file


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    collins().save(folder / "astronaut.png")
    (folder / "sub").mkdir()
    hopper().save(folder / "sub" / "hopper.JPG")
    (folder / "notes.txt").write_text("no image")
    return folder


def run_predict(run, out, *arguments):
    predict.main([*map(str, arguments), "--ckpt_path", str(run), "--out", str(out)])
    return pd.read_csv(out)


def test_a_folder_gives_a_row_for_each_of_its_images(tiny_run, images, tmp_path):
    table = run_predict(tiny_run, tmp_path / "scores.csv", images)
    assert table["file"].tolist() == [str(images / "astronaut.png"), str(images / "sub" / "hopper.JPG")]
    assert table["score"].notna().all() and table["face_found"].all() and table["error"].isna().all()
    assert (table["face_x2"] > table["face_x1"]).all()


def test_a_bad_image_costs_its_row_alone(tiny_run, images, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes((images / "sub" / "hopper.JPG").read_bytes()[:2000])
    table = run_predict(tiny_run, tmp_path / "scores.csv", images / "astronaut.png", bad, images / "sub")
    assert table["error"].notna().tolist() == [False, True, False]
    assert str(bad) in table["error"][1] and pd.isna(table["score"][1])


def test_figures_lie_beside_the_scores(tiny_run, images, tmp_path):
    run_predict(tiny_run, tmp_path / "scores.csv", images)
    figures = json.loads((tmp_path / "scores.json").read_text())
    assert figures["images"] == 2 and figures["failed"] == 0 and figures["no_face"] == 0


def test_scores_do_not_depend_on_the_batch(tiny_run, images):
    scorer = Scorer.load(tiny_run, device="cpu")
    files = [images / "astronaut.png", images / "sub" / "hopper.JPG", images / "astronaut.png"]
    together = scorer.score(files, batch_size=3)["score"]
    alone = scorer.score(files, batch_size=1)["score"]
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    assert together[0] == pytest.approx(together[2], abs=1e-6)


def test_worker_processes_give_the_same_scores(tiny_run, images):
    scorer = Scorer.load(tiny_run, device="cpu")
    files = [images / "astronaut.png", images / "notes.txt", images / "sub" / "hopper.JPG"]
    pd.testing.assert_frame_equal(scorer.score(files, workers=2), scorer.score(files), atol=1e-5)


def test_one_crop_is_the_centre_of_five(tiny_run, images):
    scorer = Scorer.load(tiny_run, device="cpu")
    five, one = (scorer.score([images / "astronaut.png"], test_crops=crops)["score"][0] for crops in ("five", "one"))
    assert five != one


def test_predict_and_evaluate_score_alike(tiny_config, tiny_run, tmp_path):
    evaluate.evaluate(
        str(tiny_run),
        out=str(tmp_path),
        scoring=ScoringOptions(str(tiny_config.parent / "store")),
        statistics=StatisticsOptions(20),
    )
    evaluated = pd.read_csv(tmp_path / "predictions.csv")
    paths = PIQ23(str(tiny_config.parent / "piq23")).load().set_index("image")["path"]
    table = run_predict(tiny_run, tmp_path / "scores.csv", *paths[evaluated["image"]])
    assert table["score"].tolist() == pytest.approx(evaluated["prediction"].tolist(), abs=1e-5)


def interrupt_after(monkeypatch, batches):
    """Lets predict keep so many batches of rows and stops it then, as Ctrl-C would."""
    append, kept = ScoreParts.append, []

    def stop(self, rows, stamps):
        append(self, rows, stamps)
        kept.extend([rows] if rows else [])
        if len(kept) == batches:
            raise KeyboardInterrupt

    monkeypatch.setattr(ScoreParts, "append", stop)


def test_an_interrupted_run_goes_on(tiny_run, images, tmp_path, monkeypatch, capsys):
    files = [images / "astronaut.png", images / "sub" / "hopper.JPG"]
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stop:
        interrupt_after(patched, 1)
        run_predict(tiny_run, tmp_path / "scores.csv", *files, "--batch_size", 1)
    assert stop.value.code == 130 and not (tmp_path / "scores.csv").exists()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("piqa:")]
    assert line == "piqa: stopped by Ctrl-C; what was scored is kept: give the command again to go on"
    table = run_predict(tiny_run, tmp_path / "scores.csv", *files, "--batch_size", 1)
    assert table["file"].tolist() == [str(file) for file in files] and table["score"].notna().all()
    assert "going on after 1 images" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 1
    assert not list(tmp_path.glob(".scores*"))


@pytest.mark.parametrize("option", ["--test_crops=one", "--precision=bf16"])
def test_rows_of_other_settings_are_not_used(tiny_run, images, tmp_path, monkeypatch, capsys, option):
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        interrupt_after(patched, 1)
        run_predict(tiny_run, tmp_path / "scores.csv", images, "--batch_size", 1)
    run_predict(tiny_run, tmp_path / "scores.csv", images, option)
    assert "going on" not in capsys.readouterr().out


def test_reduced_precision_scores_nearly_alike(tiny_run, images):
    files = [images / "astronaut.png", images / "sub" / "hopper.JPG"]
    full = Scorer.load(tiny_run, device="cpu").score(files)["score"]
    half = Scorer.load(tiny_run, device="cpu", precision="bf16").score(files)["score"]
    assert half.tolist() == pytest.approx(full.tolist(), abs=0.05)


MISTAKES = {
    "an image that is not there": (["nosuch.jpg"], [], "nosuch.jpg"),
    "an unknown device": (["{images}"], ["--device", "warp"], "warp"),
    "an unknown option": (["{images}"], ["--crop", "five"], "--crop"),
    "an empty batch": (["{images}"], ["--batch_size", "0"], "batch_size"),
    "a model that is not there": (["{images}"], ["--ckpt_path", "/no/model"], "/no/model"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(tiny_run, images, tmp_path, capsys, mistake):
    files, options, named = MISTAKES[mistake]
    files = [file.format(images=images) for file in files]
    arguments = [*files, "--ckpt_path", str(tiny_run), "--out", str(tmp_path / "scores.csv"), *options]
    assert named in one_line(capsys, lambda: predict.main(arguments))
    assert not (tmp_path / "scores.csv").exists()


def test_a_folder_without_images_is_named(tiny_run, tmp_path, capsys):
    assert str(tmp_path) in one_line(capsys, lambda: run_predict(tiny_run, tmp_path / "scores.csv", tmp_path))


def test_a_text_file_is_no_model(images, tmp_path, capsys):
    model = tmp_path / "model.pth"
    model.write_text("these are not the weights")
    assert str(model) in one_line(capsys, lambda: run_predict(model, tmp_path / "scores.csv", images))


def test_other_liqe_weights_than_in_training_are_refused(tmp_path, images, capsys):
    liqe = tmp_path / "LIQE.pt"
    liqe.write_text("trained with these")
    card = {
        "network": {
            "class_path": "piqa.models.DualBranch",
            "init_args": {"backbone": "resnet10t", "branches": ["whole", "liqe"], "image_size": 64},
        },
        "preparation": {"short_side": 72, "liqe": str(liqe)},
        "crop": 64,
        "liqe_digest": digest_of(liqe),
    }
    model_file.save(DualBranch(**card["network"]["init_args"]), tmp_path / "model.safetensors", card)
    Scorer.load(tmp_path)
    liqe.write_text("but these are others")
    message = one_line(capsys, lambda: run_predict(tmp_path, tmp_path / "scores.csv", images))
    assert str(liqe) in message and "trained with" in message


def test_an_unwritable_output_is_named(tiny_run, images, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "scores.csv"
    assert str(out) in one_line(capsys, lambda: run_predict(tiny_run, out, images))


def test_the_console_script_knows_all_commands():
    done = subprocess.run([sys.executable, "-m", "piqa", "--help"], capture_output=True, text=True, check=True)
    for name in ("prepare", "pretrain", "fit", "evaluate", "predict"):
        assert name in done.stdout


def test_an_unknown_command_is_named():
    done = subprocess.run([sys.executable, "-m", "piqa", "frobnicate"], capture_output=True, text=True)
    assert done.returncode == 2 and "frobnicate" in done.stderr and "Traceback" not in done.stderr
