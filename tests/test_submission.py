"""The challenge's zip: what lies in it, what it does alone, and what its check tells apart."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from portraits import collins, hopper
from refusals import one_line
from torch import nn

from piqa import Scorer, evaluate
from piqa.errors import InputError
from piqa.models import DualBranch
from piqa.preparation.portrait import Preparation
from piqa.submission.check import (
    FRESH,
    SIZES,
    TOLERANCE,
    check_result,
    count_flops,
    lay_out_images,
    run_alone,
)
from piqa.submission.command import plain, submit
from piqa.submission.pack import NOT_FOR_SCORING, SOURCE, pack, weights_file
from piqa.submission.run import fill, run
from piqa.weights import model_file, state_dicts

NAME = "Nunez_Ana"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two folders of samples with the kit's extensions, one file of which is no image."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("a", "b"):
        (folder / name).mkdir()
    collins().resize((128, 160)).save(folder / "a" / "one.jpg")
    (folder / "a" / "broken.jpg").write_bytes(b"no image")
    hopper().resize((160, 128)).save(folder / "a" / "two.TIF", format="TIFF")
    hopper().resize((128, 160)).save(folder / "b" / "one.jpeg")
    (folder / "b" / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def submission(tiny_run, images, tmp_path_factory):
    """A zip of the tiny run and the findings of its check on the samples."""
    return submit(["Núñez", "Ana"], str(tiny_run), str(tmp_path_factory.mktemp("out")), images=str(images))


@pytest.fixture
def unpacked(submission, images, tmp_path):
    """The zip in a folder of its own, beside the samples as the challenge lays them out."""
    with zipfile.ZipFile(submission[0]) as file:
        file.extractall(tmp_path)
    lay_out_images(tmp_path, images)
    return tmp_path


@pytest.fixture(scope="module")
def scorer(tiny_run):
    return Scorer.load(tiny_run, device="cpu")


def score_rows(root, *lines):
    """Runs the submission in this process on an images.csv of these lines; its result and its log."""
    (root / "images.csv").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    run(root, NAME)
    result = pd.read_csv(root / "results" / f"result_{NAME}.csv", dtype=str, keep_default_na=False)
    return result, (root / "logs" / f"log_{NAME}.log").read_text(encoding="utf-8")


# The zip


def test_the_zip_has_the_folders_and_names_of_the_kit(submission):
    archive, _ = submission
    assert archive.name == "submission_Nunez_Ana.zip"
    names = zipfile.ZipFile(archive).namelist()
    assert {"models/model_Nunez_Ana.py", "weights/weights_Nunez_Ana.ckpt"} <= set(names)
    assert all(name.startswith("assets/assets_Nunez_Ana/") for name in names[1:-1])
    assert f"assets/assets_{NAME}/__init__.py" in names


def test_it_passes_where_all_is_well(submission):
    _, findings = submission
    assert all(finding.passed for finding in findings)
    assert [finding.what for finding in findings[:6]] == [
        "runs without piqa",
        "result file",
        "seconds an image",
        "peak RAM, GB",
        "TFLOPs an image",
        "weights, GB",
    ]


def test_the_wheel_is_this_package_with_what_is_known_of_it(submission):
    (wheel,) = (name for name in zipfile.ZipFile(submission[0]).namelist() if name.endswith(".whl"))
    archive = zipfile.ZipFile(io.BytesIO(zipfile.ZipFile(submission[0]).read(wheel)))
    own = {f"piqa/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.rglob("*.py")}
    (facts,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    assert wheel.endswith(f"{facts.removesuffix('.dist-info')}-py3-none-any.whl")
    assert "Name: dn-piqa" in archive.read(f"{facts}/METADATA").decode().splitlines()
    assert own | {f"{facts}/METADATA", f"{facts}/WHEEL", f"{facts}/RECORD"} <= set(archive.namelist())
    assert not [name for name in archive.namelist() if name.endswith(".pyc")]
    assert len(archive.read(f"{facts}/RECORD").splitlines()) == len(archive.namelist())


def test_the_same_model_gives_the_same_zip(scorer, tmp_path):
    for name in ("one", "two"):
        pack(weights_file(scorer, half=False), NAME, tmp_path / name, "one", "32")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_its_script_takes_its_own_piqa_though_another_is_installed(unpacked):
    (unpacked / "installed" / "piqa").mkdir(parents=True)
    (unpacked / "installed" / "piqa" / "__init__.py").write_text("raise RuntimeError('the installed one')")
    script = unpacked / "models" / f"model_{NAME}.py"
    code = f"import runpy; runpy.run_path({str(script)!r}); import piqa; print(piqa.__file__)"
    environment = os.environ | {"PYTHONPATH": str(unpacked / "installed")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert Path(done.stdout.strip()).is_relative_to(unpacked / "assets")


def test_its_requirements_are_the_installed_libraries(submission):
    text = zipfile.ZipFile(submission[0]).read(f"assets/assets_{NAME}/requirements.txt").decode()
    required = dict(line.split("==") for line in text.split())
    assert required["torch"] == torch.__version__.partition("+")[0]
    assert {"timm", "facenet-pytorch", "pandas", "pillow"} <= set(required)
    assert not {"lightning", "jsonargparse", "wandb"} & set(required)  # training is left out


def test_scoring_imports_no_library_that_the_requirements_leave_out():
    names = {"scikit-image": "skimage"}
    code = "import sys, piqa.submission.run, piqa.models; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    left_out = {names.get(library, library) for library in NOT_FOR_SCORING - {"wandb"}}  # timm looks for wandb itself
    assert not left_out & set(done.stdout.split())


def test_the_card_keeps_where_the_model_was_trained_to_itself(scorer):
    assert scorer.card.trained_on
    card = weights_file(scorer, half=False)["piqa"]
    assert set(card) == {"format", "network", "preparation", "view", "crop"}


def test_a_failed_write_leaves_the_old_zip(submission, tiny_run, images, tmp_path, monkeypatch):
    old = Path(shutil.copy(submission[0], tmp_path))
    before = old.read_bytes()

    def full(content, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        submit(["Nunez", "Ana"], str(tiny_run), str(tmp_path), images=str(images))
    assert old.read_bytes() == before and list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("content", ["no zip", "a zip of others"])
def test_a_zip_of_others_is_left_alone(tmp_path, content):
    theirs = tmp_path / f"submission_{NAME}.zip"
    theirs.write_bytes(b"precious")
    if content == "a zip of others":
        with zipfile.ZipFile(theirs, "w") as archive:
            archive.writestr("notes.txt", "precious")
    before = theirs.read_bytes()
    with pytest.raises(InputError, match="was not written by piqa"):
        submit(["Nunez", "Ana"], "no model is looked for", str(tmp_path))
    assert theirs.read_bytes() == before


# What the script does


def test_scores_are_the_scorers_own(unpacked, images, scorer):
    result, _ = score_rows(unpacked, "IMAGE,CLASS,CONDITION", "images/0/one.jpg,0,INDOOR", "images/1/one.jpeg,1,NIGHT")
    expected = scorer.score([images / "a" / "one.jpg", images / "b" / "one.jpeg"])["score"]
    assert result["SCORE"].astype(float).tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_semicolons_and_backslashes_give_the_same_scores(unpacked):
    commas, _ = score_rows(unpacked, "IMAGE,CLASS,CONDITION", "images/0/one.jpg,0,INDOOR")
    semicolons, _ = score_rows(unpacked, "IMAGE;CLASS;CONDITION", "images\\0\\one.jpg;0;INDOOR")
    assert semicolons["IMAGE"].tolist() == ["images\\0\\one.jpg"]
    assert semicolons.drop(columns="IMAGE").equals(commas.drop(columns="IMAGE"))


def test_all_metadata_is_kept_as_it_was_written(unpacked):
    given = ["NOTE,IMAGE,CLASS,CONDITION,EV", '"a, b",images/0/one.jpg,007,INDOOR,', "NA,images/0/two.TIF,007,,1.50"]
    result, _ = score_rows(unpacked, *given)
    assert list(result) == ["NOTE", "IMAGE", "CLASS", "CONDITION", "EV", "SCORE"]
    assert result.drop(columns=["SCORE", "IMAGE"]).to_numpy().tolist() == [
        ["a, b", "007", "INDOOR", ""],
        ["NA", "007", "", "1.50"],
    ]


def test_a_broken_image_gets_the_median_of_its_class_and_a_line_in_the_log(unpacked):
    rows = ["images/0/one.jpg,0", "images/0/broken.jpg,0", "images/0/two.TIF,0", "images/1/one.jpeg,1"]
    result, log = score_rows(unpacked, "IMAGE,CLASS", *rows)
    scores = result["SCORE"].astype(float)
    assert scores[1] == pytest.approx((scores[0] + scores[2]) / 2)
    assert "images/0/broken.jpg gets the median of its class" in log and "is not an image" in log


def test_a_missing_image_still_has_its_row(unpacked):
    result, log = score_rows(unpacked, "IMAGE,CLASS", "images/0/one.jpg,0", "images/0/nowhere.jpg,0")
    assert result["SCORE"].tolist()[0] == result["SCORE"].tolist()[1]
    assert "nowhere.jpg gets the median" in log


def test_a_file_of_another_extension_of_the_kit_is_found(unpacked):
    result, log = score_rows(unpacked, "IMAGE,CLASS", "images/0/two.TIF,0", "images/0/two.jpg,0")
    assert result["SCORE"].tolist()[0] == result["SCORE"].tolist()[1]
    assert "median" not in log


@pytest.mark.parametrize(
    ("scores", "filled"),
    [([1, 3, np.nan, 8], [1, 3, 2, 8]), ([1, 3, 7, np.nan], [1, 3, 7, 3]), ([np.nan] * 4, [0] * 4)],
)
def test_gaps_are_filled_by_the_median_of_class_then_of_all_then_nought(scores, filled):
    assert fill(pd.Series(scores), pd.Series(list("aaab"))).tolist() == filled


@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "images.csv"), ("IMAGE,CLASS\n", "names no image"), ("FILE\na.jpg\n", "IMAGE"), ("", "empty")],
)
def test_an_images_csv_that_will_not_do_is_told_in_one_line_and_logged(unpacked, capsys, content, named):
    (unpacked / "images.csv").unlink()
    if content is not None:
        (unpacked / "images.csv").write_text(content)
    assert named in one_line(capsys, lambda: run(unpacked, NAME))
    assert named in (unpacked / "logs" / f"log_{NAME}.log").read_text(encoding="utf-8")
    assert not (unpacked / "results").exists()


# The check


def test_the_fresh_process_cannot_import_piqa(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import piqa\nfigures = {}\n")
    done = subprocess.run(
        [sys.executable, "-I", str(FRESH), str(script), "figures.json"], capture_output=True, text=True
    )
    assert done.returncode and "No module named 'piqa'" in done.stderr


def test_the_fresh_process_reports_its_own_peak_memory(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("len(b'x' * 300_000_000)\nfigures = {'images': 1}\n")
    subprocess.run([sys.executable, "-I", str(FRESH), str(script), str(tmp_path / "f.json")], check=True)
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["images"] == 1 and 300_000_000 < figures["ram_bytes"] < 400_000_000


def test_a_zip_that_lacks_a_module_fails(unpacked):
    (wheel,) = (unpacked / "assets" / f"assets_{NAME}").glob("*.whl")
    with zipfile.ZipFile(wheel) as whole:
        files = {name: whole.read(name) for name in whole.namelist() if name != "piqa/preparation/faces.py"}
    with zipfile.ZipFile(wheel, "w") as rest:
        for name, content in files.items():
            rest.writestr(name, content)
    figures, (finding,) = run_alone(unpacked, NAME, images=1)
    assert not finding.passed and "piqa.preparation.faces" in finding.value and figures == {}


def test_a_zip_without_its_wheel_fails(unpacked):
    (wheel,) = (unpacked / "assets" / f"assets_{NAME}").glob("*.whl")
    wheel.unlink()
    figures, (finding,) = run_alone(unpacked, NAME, images=1)
    assert not finding.passed and "is missing" in finding.value and figures == {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda frame: frame, "2 rows"),
        (lambda frame: frame[:1], "not the rows"),
        (lambda frame: frame.assign(CLASS="9"), "not the rows"),
        (lambda frame: frame.drop(columns="CLASS"), "not the rows"),
        (lambda frame: frame.drop(columns="SCORE"), "none that can be read"),
        (lambda frame: frame.assign(SCORE=[0.5, None]), "none that can be read"),
        (lambda frame: frame.assign(SCORE=[0.5, np.inf]), "1 scores are no numbers"),
        (lambda frame: frame.assign(SCORE=[0.5 + 2 * TOLERANCE, 1]), "differ by 0.0002"),
    ],
)
def test_a_result_file_passes_only_if_whole_and_true(tmp_path, change, named):
    given = pd.DataFrame({"IMAGE": ["a", "b"], "CLASS": ["0", "1"]})
    given.to_csv(tmp_path / "images.csv", index=False)
    (tmp_path / "results").mkdir()
    change(given.assign(SCORE=[0.5, 7.0])).to_csv(tmp_path / "results" / f"result_{NAME}.csv", index=False)
    finding = check_result(tmp_path, NAME, np.array([0.5, np.nan]))  # the second image could not be read
    assert named in finding.value and finding.passed == (named == "2 rows")


def test_the_default_samples_are_of_the_challenges_sizes_and_kinds(tmp_path):
    from piqa.preparation.image_file import open_image

    files = lay_out_images(tmp_path, None)
    assert {open_image(file).size for file in files} == set(SIZES)
    assert {file.suffix for file in files} == {".jpg", ".tiff"}
    lines = (tmp_path / "images.csv").read_bytes().split(b"\r\n")
    assert lines[0] == b"IMAGE,CLASS,CONDITION" and lines[1].endswith(b".jpg,0,INDOOR") and len(lines) == 4 + 2


class Attention(nn.Module):
    """Self-attention over 16 tokens of width 12: the first crop's first row of pixels."""

    inputs = ("whole",)

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, whole):
        tokens = whole[:, 0, :16, :12].float()
        attended = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return {"score": attended.mean(dim=(1, 2))}


def test_operations_are_counted_in_fused_attention_too(images):
    scorer = Scorer(Attention().eval(), Preparation(short_side=64, face_rule="none"), crop_size=64, device="cpu")
    per_crop = 2 * (16 * 12 * 36 + 16 * 16 * 12 + 16 * 16 * 12 + 16 * 12 * 12)  # projection in, QK', AV, projection out
    image = images / "a" / "one.jpg"
    scorer.score([image])
    assert [count_flops(scorer, image, crops) for crops in ("one", "five")] == [per_crop, 5 * per_crop]


def test_too_heavy_weights_are_halved_and_what_still_exceeds_a_limit_fails(tiny_run, images, tmp_path, capsys):
    arguments = ["--ckpt_path", tiny_run, "--name", "Nunez", "Ana", "--out", tmp_path, "--images", images]
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["submission", *map(str, arguments), "--limits.weights_gb", "1e-6", "--test_crops", "one"])
    printed = capsys.readouterr().out
    assert stop.value.code == 1
    assert [line.split()[-2] for line in printed.splitlines() if "weights, GB" in line] == ["fail"]
    assert printed.count("fail") == 1 and "scores change by" in printed
    archive = tmp_path / f"submission_{NAME}.zip"
    with zipfile.ZipFile(archive) as file:
        file.extract(f"weights/weights_{NAME}.ckpt", tmp_path)
    state = state_dicts.read_file(tmp_path / "weights" / f"weights_{NAME}.ckpt")["state_dict"]
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {torch.float16}


def test_a_weight_beyond_half_precision_is_named():
    network = DualBranch("resnet10t", ["whole"], 64)
    nn.init.constant_(network.head[0].bias, 1e5)
    with pytest.raises(InputError, match=r"head\.0\.bias exceeds float16"):
        weights_file(Scorer(network, Preparation(), device="cpu"), half=True)


def test_a_face_detector_that_the_zip_cannot_hold_is_named():
    scorer = Scorer(DualBranch("resnet10t", ["whole"], 64), Preparation(detector="yunet"), device="cpu")
    with pytest.raises(InputError, match="YuNet, whose model file the zip has no place for"):
        weights_file(scorer, half=False)


# Names and mistakes


@pytest.mark.parametrize(("name", "kept"), [("Núñez", "Nunez"), ("van der Berg", "vanderBerg"), ("O'Hara-7", "OHara7")])
def test_names_become_plain_letters(name, kept):
    assert plain(name) == kept


@pytest.mark.parametrize("name", ["李", "", "-", "a/b", "Søren"])
def test_a_name_without_plain_letters_is_refused(name):
    with pytest.raises(InputError, match="plain Latin letters"):
        plain(name)


def test_mistakes_are_told_in_one_line_and_write_nothing(tiny_run, tmp_path, capsys):
    for mistake, named in [
        (["--ckpt_path", str(tmp_path / "none"), "--name", "A", "B"], "no model at"),
        (["--ckpt_path", str(tiny_run), "--name", "A", "李", "--half"], "Latin letters"),
        (["--ckpt_path", str(tiny_run), "--name", "A", "B", "--images", str(tmp_path / "no")], "no folder"),
        (["--ckpt_path", str(tiny_run), "--name", "A"], "--name"),
    ]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            assert named in one_line(capsys, lambda given=mistake: evaluate.main(["submission", *given]))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_only_claims_to_carry_liqe_is_refused(tmp_path):
    torch.save({"liqe": torch.zeros(3)}, tmp_path / "weights.ckpt")
    with pytest.raises(InputError, match="layout 'unknown', not that of LIQE"):
        state_dicts.load_liqe(tmp_path / "weights.ckpt")


@pytest.mark.slow
def test_a_model_that_uses_liqe_carries_its_weights(official_checkpoint, images, tmp_path):
    torch.manual_seed(0)
    network = DualBranch("resnet10t", ["whole", "liqe"], 64)
    card = {
        "network": {"class_path": "piqa.models.DualBranch", "init_args": network.init_args},
        "preparation": {"short_side": 72, "liqe": str(official_checkpoint("liqe"))},
        "crop": 64,
    }
    model = model_file.save(network, tmp_path / "model.safetensors", card)
    _, findings = submit(["Nunez", "Ana"], str(model), str(tmp_path), images=str(images / "b"))
    assert all(finding.passed for finding in findings)
    tflops = next(float(finding.value) for finding in findings if finding.what.startswith("TFLOPs"))
    # ViT-B/32 at 224 px: 4.41 billion multiplications and additions a window (CLIP's published size), of which the
    # small image has one; without LIQE the count of detector and network stays below 0.002.
    assert 0.0088 < tflops < 0.0108
    shutil.rmtree(tmp_path)
