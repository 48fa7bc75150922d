"""Every command of the documentation is run as it stands, on look-alike data and with networks of the smallest size.

What is not run, and why, is listed in `ELSEWHERE`; its arguments are parsed by tests/test_docs.py.
"""

import copy
import importlib
import shutil
from contextlib import suppress
from pathlib import Path

import open_clip
import pandas as pd
import pytest
import timm
import torch
from comparisons import write_documented
from documentation import PAGES, commands, runs_on_the_demo
from exported_models import write_exported
from judgements import write_judged
from look_alike import write_gfiqa, write_piq23
from look_alike_databases import (
    write_bid,
    write_clive,
    write_csiq,
    write_kadid,
    write_koniq,
    write_live,
    write_spaq,
)
from rated_images import write_rated
from tiny_models import write_images
from videos import write_lsvq

from piqa.__main__ import module_of
from piqa.data import noise_pairs
from piqa.data.noise_sources import PairOptions
from piqa.models import LIQE, Backbone, DualBranch
from piqa.models.clip import PromptedCLIP
from piqa.weights import model_file

pytestmark = pytest.mark.slow

ONE_EPOCH = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.num_sanity_val_steps=0"]
ONE_EPOCH += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
SHORT = {
    "fit": [*ONE_EPOCH, "--data.store.workers=0", "--data.loading.workers=0"],
    "pretrain": [*ONE_EPOCH, "--data.store.workers=0", "--data.loading.workers=0", "--data.store.max_failed=0.5"],
    "prepare": ["--data.store.workers=0"],
    "personalise": ["--draws=1", "--device=cpu"],
    "predict": ["--device=cpu"],
    "data.noise_pairs": ["--scenes=3", "--exposures=2", "--patches=2", "--reduce=1", "--side=32"],
    "explain": ["--device=cpu", "--workers=0"],
    "pick": ["--device=cpu", "--workers=0"],
    "models": [],
    "models check": ["--device=cpu"],
    "compare": ["--examples=0", "--device=cpu", "--workers=0"],
    "scale": ["--splits=2"],
}
NO_FACES = "--data.preparation.face_rule=none"  # looking for faces takes longest, and there are none in these images
ELSEWHERE = {  # a word of the command -> where it is tried instead
    "8": "on eight devices; tests/test_distributed.py and test_predict_distributed.py use two processes",
    "torchrun": "the same",
    "srun": "the same",
    "submission": "tests/test_submission.py, as the zip runs in a process of its own, where networks have their size",
    "exposure_map.yaml": "tests/test_learned.py, on networks and images that take less time",
    "composition.yaml": "the same",
    "--learned.exposure": "the same",
    "piqa.predict_ray": "tests/test_predict_ray.py, as it names a cluster",
    "--factor": "tests/test_comparison_folders.py, as measuring takes long",
    "--pdf": "tests/test_pdf.py, as it needs a browser",
    "piqa.distil": "tests/test_distil.py, as it needs several folders of pictures",
    "runs/light": "the same",
    "piqa.evaluate": "tests/test_docs.py, on the demo's model",
    "runs/demo": "the same",
    "get": "tests/test_models_command.py, from a server of its own, as it fetches",
    "liqe": "tests/test_published.py, likewise",
    "dn-piqa-lsvq": "the same",
    "hf:somebody/portraits": "tests/test_hub.py, likewise",
    "check": "tests/test_check_precision.py, on a network that takes less time",
    "--sidd": "tests/test_noise_net.py, in the layout of SIDD",
    "data/noise_sidd/noise.csv": "tests/test_factor_configs.py, on other patches",
    "push": "tests/test_push.py, to a server of its own",
    "piqa.serve": "tests/test_serve.py, as it serves until it is stopped",
}
CASES = {
    command.words: command
    for page in PAGES
    for command in commands(page)
    if command.name and command.arguments and not set(command.words) & set(ELSEWHERE) and not runs_on_the_demo(command)
}


def small_clip(name):
    """open_clip's description of a network, in its smallest size."""
    text = {"context_length": 77, "vocab_size": 49408, "layers": 1, "width": 64, "heads": 2}
    transformer = {"image_size": 224, "layers": 1, "width": 64, "head_width": 32, "patch_size": 32}
    residual = {"image_size": 224, "layers": [1, 1, 1, 1], "width": 8}
    image = transformer if name.startswith("ViT") else residual
    return copy.deepcopy({"embed_dim": 64, "vision_cfg": image, "text_cfg": text, "quick_gelu": True})


@pytest.fixture(scope="module")
def small_networks():
    """Sizes alone are changed: each backbone is timm's smallest, each CLIP has one layer; nothing is downloaded."""
    create, known = timm.create_model, timm.get_pretrained_cfg
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            timm, "create_model", lambda name, num_classes, **_: create("test_byobnet", num_classes=num_classes)
        )
        patch.setattr(timm, "get_pretrained_cfg", lambda name: known("test_byobnet"))
        patch.setattr(open_clip, "get_model_config", small_clip)
        patch.setattr(PromptedCLIP, "load_openai_weights", lambda self: None)
        yield


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, small_networks):
    """A folder with all that the commands name."""
    folder = tmp_path_factory.mktemp("commands")
    data = folder / "data"
    write_piq23(data / "piq23", scenes=6, images_per_scene=4)
    write_lsvq(data / "lsvq")
    write_gfiqa(data / "gfiqa")
    for name, write in {
        "databaserelease2": write_live,
        "csiq": write_csiq,
        "bid": write_bid,
        "clive": write_clive,
        "koniq-10k": write_koniq,
        "kadid": write_kadid,
        "spaq": write_spaq,
    }.items():
        write(data / name)
    (data / "weights").mkdir()
    for name in ("lsvq", "gfiqa"):  # as `piqa.pretrain` leaves them, which it may replace
        model_file.save(Backbone(), data / f"weights/{name}.safetensors", {"stage": name, "backbone": {}})
    torch.save(LIQE().clip.state_dict(), data / "weights/LIQE.pt")
    for file, name in zip(write_images(folder / "photos", 2), ("a.jpg", "b.jpg"), strict=True):
        shutil.copy(file, folder / name)
    labels = []
    for scene in ("garden", "hall", "lake"):
        for file in write_images(folder / "mine" / scene, 4):
            labels.append((f"{scene}/{Path(file).name}", len(labels), scene))
    mine = pd.DataFrame(labels, columns=["image", "score", "scene"])
    mine.to_csv(folder / "mine/scores.csv", index=False)
    mine.rename(columns={"image": "file", "score": "MOS"}).to_csv(folder / "mine/ratings.csv", index=False)
    rated = pd.read_csv(write_rated(folder / "rated", count=20))
    rated.assign(image="rated/" + rated["image"], user="somebody").to_csv(folder / "ratings.csv", index=False)
    write_documented(folder)
    noise_pairs.write_noise_pairs(data / "noise", PairOptions(scenes=3, exposures=2, patches=2))
    write_judged(folder)
    small = DualBranch("resnet10t", ("whole",), image_size=32)
    write_exported(folder / "model.onnx", small, {"short_side": 40, "face_rule": "none"})
    return folder


@pytest.fixture(scope="module")
def trained(workshop):
    """The folder, with the runs that some commands start from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workshop)
        for config in ("piqa.yaml", "nima_piq23.yaml"):
            run("fit", ["--config", config, "--out", f"runs/{config.partition('_')[0].partition('.')[0]}"])
    return workshop


def run(name, arguments):
    more = list(SHORT[name])
    if name == "fit":
        more += [] if "--ckpt_path" in arguments else ["--overwrite=true"]
    if name in ("fit", "prepare") and "liqe.yaml" not in arguments:
        more.append(NO_FACES)
    importlib.import_module(module_of(name)).main([*arguments, *more])


@pytest.mark.parametrize("command", CASES.values(), ids=str)
def test_a_documented_command_runs_as_it_stands(command, trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Path("scores.csv").unlink(missing_ok=True)
    if "--print_config" in command.words:
        with pytest.raises(SystemExit) as end:
            run(command.name, command.arguments)
        assert end.value.code == 0
        return
    if "--fail_if" in command.words:
        with suppress(SystemExit):  # the answer of a gate, which is a random network's
            run(command.name, command.arguments)
    else:
        run(command.name, command.arguments)
    if command.name == "compare":
        assert Path(command.words[command.words.index("--out") + 1], "comparison.html").is_file()
    if command.name == "scale":
        assert len(pd.read_csv(command.words[command.words.index("--out") + 1])) == 12
    if command.name == "predict":
        assert pd.read_csv("scores.csv")["score"].notna().all()
    if command.name == "explain":
        assert Path(command.words[command.words.index("--out") + 1], "index.html").is_file()
    if command.name == "fit" and "--out" in command.words:
        out = Path(command.words[command.words.index("--out") + 1])
        assert (out / "model.safetensors").is_file()


def test_each_reason_not_to_run_a_command_still_has_its_command():
    words = {word for page in PAGES for command in commands(page) for word in command.words}
    assert set(ELSEWHERE) <= words
