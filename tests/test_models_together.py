"""Every model through the one pipeline: its config trains; what it leaves predicts with its columns, and evaluates."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from look_alike import write_piq23
from look_alike_databases import write_ava, write_bid, write_csiq, write_koniq
from PIL import Image
from small_clip import RESNET, VIT
from torch import nn

from piqa import evaluate, fit, predict
from piqa.errors import InputError
from piqa.models.liqe import DISTORTIONS, SCENES
from piqa.scoring.scorer import COLUMNS, Scorer
from piqa.weights.model_file import load_model

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* images:UserWarning")

SMALL = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.precision=32-true"]
SMALL += ["--data.store.workers=0", "--data.loading.workers=0", "--trainer.enable_progress_bar=false"]
SMALL += ["--trainer.num_sanity_val_steps=0"]

TINY_LIQE = [f"--model.network.architecture={json.dumps(VIT)}", "--data.preparation.short_side=240"]
TINY_CLIP = [f"--model.network.architecture={json.dumps(RESNET)}"]
TINY_TIMM = ["--model.network.backbone=test_byobnet", "--model.network.image_size=64", "--model.init.whole=scratch"]
TINY_TIMM += ["--data.inputs.crop_size=64"]
TINY_TANET = [*TINY_TIMM, "--model.init.theme=scratch", "--data.preparation.short_side=64"]
TINY_NIMA = [*TINY_TIMM, "--data.preparation.short_side=72"]
ONE_GROUP = ["--data.sampling.groups_per_step=1", "--data.sampling.images_per_group=6"]
TWO_STEPS = ['--data.sampling.images_per_database={"BID": 4, "CSIQ": 4}', "--data.sampling.steps_per_epoch=2"]
NO_CLIP = ["--model.init.clip=scratch"]
ATTRIBUTES = ["quality", "brightness", "sharpness", "noisiness", "colorfulness", "contrast"]
ATTRIBUTES += ["aesthetic", "happy", "natural", "new", "scary", "complex"]

PUBLISHED = {  # config: the database that stands for its own, and what makes it small
    "liqe": ("mix", [*TINY_LIQE, "--model.init=scratch", *TWO_STEPS]),
    "clipiqa": ("koniq", [*TINY_CLIP, *NO_CLIP]),
    "clipiqa_plus": ("koniq", [*TINY_CLIP, "--model.init=scratch", *ONE_GROUP]),
    "nima": ("ava", [*TINY_NIMA, *ONE_GROUP]),
    "tanet": ("tanet", [*TINY_TANET, *ONE_GROUP]),
}
ON_PIQ23 = {
    "liqe_piq23": [*TINY_LIQE, *NO_CLIP],
    "clipiqa_plus_piq23": [*TINY_CLIP, *NO_CLIP, "--data.preparation.resize=keep"],
    "nima_piq23": TINY_NIMA,
    "tanet_piq23": TINY_TANET,
}
COLUMNS_OF = {
    "liqe": ["scene", "distortion"],
    "clipiqa": ATTRIBUTES,
    "clipiqa_plus": [],
    "nima": ["std"],
    "tanet": ["std"],
}


class OwnModel(nn.Module):
    """Somebody's own: knows nothing of piqa but that a portrait comes in and a score goes out."""

    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, 1)

    def forward(self, whole):
        features = self.layers(whole.float() / 255 - 0.5)
        return {"score": self.head(features).squeeze(1), "redness": whole[:, 0].float().mean(dim=(1, 2))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def tables(folder):
    """What `--data.table` is given, by name."""
    for name, write in {"bid": write_bid, "csiq": write_csiq, "koniq": write_koniq, "ava": write_ava}.items():
        (folder / name).mkdir()
        write(folder / name)
    write_piq23(folder / "piq23", scenes=6, images_per_scene=4)

    def table(name, root, **more):
        return {"class_path": f"piqa.data.{name}", "init_args": {"root": str(folder / root), **more}}

    return {
        "mix": {"class_path": "piqa.data.Mix", "init_args": {"tables": [table("BID", "bid"), table("CSIQ", "csiq")]}},
        "koniq": table("KonIQ", "koniq", split="official"),
        "ava": table("AVA", "ava", val_fraction=0.2),
        "tanet": table("AVA", "ava", split="tanet"),
        "piq23": table("PIQ23", "piq23"),
    }


@pytest.fixture(scope="module")
def run_of(folder, tables):
    """Trains a config once: run_of("nima") is the run's folder."""

    def run(config):
        out = folder / "runs" / config
        if not (out / "model.safetensors").is_file():
            table, small = PUBLISHED[config] if config in PUBLISHED else ("piq23", ON_PIQ23[config])
            where = [f"--data.table={json.dumps(tables[table])}", f"--data.store.folder={folder / 'store'}"]
            fit.main(["--config", f"{config}.yaml", f"--out={out}", *where, *SMALL, *small])
        return out

    return run


@pytest.fixture(scope="module")
def images(folder):
    """Images of four sizes, two of one of them."""
    (folder / "images").mkdir()
    files = []
    for number, size in enumerate([(64, 96), (300, 260), (64, 96), (90, 60), (400, 520)]):
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        files.append(folder / "images" / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    return files


def predicted(images, folder, *arguments):
    predict.main([*map(str, images), f"--out={folder / 'scores.csv'}", "--device=cpu", "--workers=0", *arguments])
    return pd.read_csv(folder / "scores.csv")


@pytest.mark.parametrize("config", PUBLISHED)
def test_a_published_recipe_trains_and_leaves_a_report_of_its_own_test(config, run_of):
    run = run_of(config)
    metrics = json.loads((run / "test" / "metrics.json").read_text())
    assert metrics["images"] > 0
    assert np.isfinite(pd.read_csv(run / "test" / "predictions.csv")["prediction"]).all()
    if config != "clipiqa":
        assert pd.read_csv(run / "metrics.csv")["train/loss_epoch"].notna().any()


@pytest.mark.parametrize("config", COLUMNS_OF)
def test_predict_writes_what_the_model_knows(config, run_of, images, tmp_path):
    table = predicted(images, tmp_path, f"--ckpt_path={run_of(config)}")
    assert table.columns.tolist() == [*COLUMNS, *COLUMNS_OF[config]]
    assert table["score"].notna().all() and table["error"].isna().all()
    if config == "liqe":
        assert set(table["scene"]) <= set(SCENES) and set(table["distortion"]) <= set(DISTORTIONS)
        assert table["score"].between(1, 5).all()
    if config == "clipiqa":
        assert (table["score"] == table["quality"]).all() and table[ATTRIBUTES].stack().between(0, 1).all()


@pytest.mark.parametrize("config", COLUMNS_OF)
def test_an_image_gets_the_same_answer_alone_and_among_others(config, run_of, images):
    scorer = Scorer.load(run_of(config), device="cpu")
    alone, among = scorer.score(images, batch_size=1), scorer.score(images[::-1], batch_size=5)[::-1]
    numbers = ["score", *(name for name in COLUMNS_OF[config] if name not in ("scene", "distortion"))]
    np.testing.assert_allclose(among[numbers], alone[numbers], rtol=0, atol=1e-4)


def test_evaluate_puts_all_of_them_in_one_table(run_of, tables, folder, tmp_path):
    models = [str(run_of(config)) for config in ON_PIQ23]
    where = [f"--table={json.dumps(tables['piq23'])}", f"--scoring.store={folder / 'store'}", f"--out={tmp_path}"]
    evaluate.main(
        [
            *where,
            "--scoring.device=cpu",
            "--statistics.bootstrap_samples=20",
            "--ckpt_path",
            *models,
            str(run_of("clipiqa")),
        ]
    )
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    assert {*ON_PIQ23, "clipiqa"} <= {line["model"] for line in board["entries"]}


def test_liqe_learns_quality_scene_and_distortion_from_the_labels_of_its_databases(run_of):
    log = pd.read_csv(run_of("liqe") / "metrics.csv")
    for name in ("quality", "scene", "distortion"):
        assert log[f"train/loss/{name}"].notna().any(), name
    assert log["val/scene_accuracy"].notna().any() and log["val/srocc/BID"].notna().any()


def test_nima_learns_from_the_votes(run_of):
    log = pd.read_csv(run_of("nima") / "metrics.csv")
    assert log["val/emd"].notna().any() and log["val/srocc_std"].notna().any()


def test_somebodys_own_module_joins_by_its_import_path(tables, folder, images, tmp_path):
    config = tmp_path / "own.yaml"
    table, store = json.dumps(tables["piq23"]), folder / "store"
    config.write_text(
        f"model: {{network: {{class_path: {__name__}.OwnModel, init_args: {{width: 6}}}}}}\n"
        f"data: {{table: {table}, store: {{folder: {store}}}, inputs: {{view: whole}},\n"
        "  preparation: {short_side: 64, face_rule: none}}\n"
    )
    fit.main(["--config", str(config), *SMALL, f"--out={tmp_path / 'own'}"])
    network, card = load_model(tmp_path / "own", trust=[__name__])
    assert type(network).__name__ == "OwnModel" and network.head.in_features == 6 and card.view == "whole"
    scores = predicted(images, tmp_path, f"--ckpt_path={tmp_path / 'own'}", f"--trust={__name__}")
    assert scores.columns.tolist() == [*COLUMNS, "redness"]
    assert scores["redness"].iloc[0] == pytest.approx(np.asarray(Image.open(images[0]))[..., 0].mean(), abs=2)


def test_scores_of_another_shape_are_refused_in_one_line():
    from piqa.models.contract import as_scoring_network, network_outputs

    own = as_scoring_network(OwnModel())
    own.forward = lambda whole: {"score": whole.float().mean(dim=(2, 3))[:, :1]}
    with pytest.raises(InputError, match=r"OwnModel returns scores of shape \(2, 1\) for 2 images; one number each"):
        network_outputs(own, {"whole": torch.zeros(2, 3, 8, 8)})


# Without training


@pytest.fixture(scope="module")
def zero_shot(folder):
    """A CLIP-IQA config with the weights of a small random CLIP."""
    from piqa.models import CLIPIQA

    torch.manual_seed(0)
    torch.save(CLIPIQA(architecture=RESNET).clip.state_dict(), folder / "clip.pt")
    config = folder / "small_clipiqa.yaml"
    config.write_text(
        f"model:\n  network: {{class_path: piqa.models.CLIPIQA, init_args: {{architecture: {json.dumps(RESNET)}}}}}\n"
        f"  init: {{clip: {folder / 'clip.pt'}}}\n"
        "data: {preparation: {resize: keep, face_rule: none}, inputs: {view: whole}}\n"
    )
    return config


def test_a_config_of_clip_iqa_is_a_model(zero_shot, images, tmp_path):
    table = predicted(images, tmp_path, f"--ckpt_path={zero_shot}")
    assert table["score"].between(0, 1).all() and table.columns.tolist() == [*COLUMNS, "quality"]


def test_a_pair_of_prompts_of_ones_own_gives_the_score(zero_shot, images, tmp_path):
    own, turned = (
        predicted(images, tmp_path, f"--ckpt_path={zero_shot}", f"--prompts={json.dumps({'pose': pair})}")
        for pair in (["A relaxed pose.", "A stiff pose."], ["A stiff pose.", "A relaxed pose."])
    )
    assert own.columns.tolist() == [*COLUMNS, "pose"] and (own["score"] == own["pose"]).all()
    np.testing.assert_allclose(own["score"] + turned["score"], 1, atol=1e-5)  # and it was scored anew


def test_pairs_are_refused_by_other_models(run_of):
    with pytest.raises(InputError, match="for CLIP-IQA only; the model is a NIMA"):
        Scorer.load(run_of("nima"), prompts={"pose": ["A relaxed pose.", "A stiff pose."]})


@pytest.mark.parametrize("config", ["piqa.yaml", "liqe.yaml", "clipiqa_plus.yaml"])
def test_a_config_that_must_be_trained_first_is_refused(config):
    with pytest.raises(InputError, match="must be trained first"):
        Scorer.load(config)


def test_a_former_setting_in_the_config_of_a_model_is_answered(zero_shot, tmp_path):
    former = tmp_path / "former.yaml"
    former.write_text(zero_shot.read_text().replace("inputs: {view: whole}", "view: whole"))
    with pytest.raises(InputError, match=r"`data.view` is now called `data.inputs.view`"):
        Scorer.load(former)


def test_an_image_too_small_to_be_seen_costs_its_row_alone(zero_shot, images, tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "small.png")
    table = predicted([tmp_path / "small.png", images[0]], tmp_path, f"--ckpt_path={zero_shot}")
    assert "40 x 20 pixels are too few" in table["error"].iloc[0] and table["error"].isna().iloc[1]


# The task


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        ([], "RankingTask"),
        (["--config", "liqe.yaml"], "LIQETask"),
        (["--config=nima.yaml", "--task", "piqa.tasks.RankingTask"], "RankingTask"),
        (["-c", "liqe.yaml", "-c", "tanet.yaml"], "AestheticTask"),
        (["-c", "liqe.yaml", "--config", "model: {init: scratch}"], "LIQETask"),
    ],
)
def test_the_last_config_with_a_task_names_it_unless_the_command_line_does(arguments, task):
    from piqa.cli import find_task

    assert find_task(arguments).__name__ == task


@pytest.mark.parametrize("task", ["piqa.tasks.NoTask", "nowhere.Task", "Task", "piqa.models.LIQE"])
def test_what_is_no_task_is_refused(task):
    from piqa.cli import find_task

    with pytest.raises(InputError, match="no task"):
        find_task(["--task", task])


def test_a_run_of_liqe_ends_where_the_loss_is_no_number(tables, folder, tmp_path, monkeypatch, capsys):
    from piqa.tasks import LIQETask

    def spoil(task):
        nn.init.constant_(task.network.clip.text_projection, float("nan"))

    monkeypatch.setattr(LIQETask, "load_initial_weights", spoil)
    small = PUBLISHED["liqe"][1]
    where = [f"--data.table={json.dumps(tables['mix'])}", f"--data.store.folder={folder / 'store'}"]
    with pytest.raises(SystemExit):
        fit.main(["--config", "liqe.yaml", f"--out={tmp_path}", *where, *SMALL, *small])
    assert "training stopped before step 1 (epoch 0) as the score of these images is not" in capsys.readouterr().err
