"""Published layouts as networks: from files that look like them, against networks that are written out here."""

import pickle

import pytest
import timm
import torch
from model_server import Served
from named_models import TheirNIMA, nima_fields, saved_bytes
from refusals import refusal
from small_clip import RESNET, VIT
from small_networks import same_weights, saved, tiny
from torch.nn import functional

from piqa import Scorer
from piqa.models import LIQE, NIMA, Backbone, CLIPIQAPlus
from piqa.models.clip_iqa import encode_any_size
from piqa.tasks import InitialWeights
from piqa.weights import cache, download, model_file, published, state_dicts

HUB = {"host": "hf", "repo": "me/mine"}
LIQE_FIELDS = {"preparation": {"short_side": 768, "resize": "shrink", "face_rule": "none"}, "view": "windows"}


@pytest.fixture
def add(names):
    """Adds a name whose file holds this: add(name, content, **fields)."""

    def served(name, content, **fields):
        names.server.files[f"/me/mine/resolve/{name}.pth"] = Served(saved_bytes(content))
        return names.add(name, HUB | {"file": f"{name}.pth"}, **fields)

    return served


# NIMA


@pytest.mark.parametrize(
    ("backbone", "side", "more", "classes"),
    [
        ("resnet10t", 64, {}, 10),
        ("resnet10t", 64, {"output": "score"}, 1),
        ("vgg11", 64, {"wide_layers": False}, 10),
        pytest.param("inception_resnet_v2", 299, {}, 10, marks=pytest.mark.slow),
    ],
)
def test_a_nima_of_iqa_pytorch_scores_as_its_own_network(add, backbone, side, more, classes):
    torch.manual_seed(0)
    theirs = TheirNIMA(backbone, classes).eval()
    add("nima", {"params": theirs.state_dict()}, **nima_fields(backbone, side, **more))
    ours, card = model_file.load_model("nima")
    pixels = torch.rand(2, 3, side, side)
    config = timm.get_pretrained_cfg(backbone)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels)["score"], theirs((pixels - mean) / std), rtol=1e-4, atol=1e-5)
    assert isinstance(ours, NIMA) and not ours.training
    assert card.crop_size == side and card.licence["commercial"] == "unknown"


def test_wide_layers_are_left_out_of_nothing_else_than_a_vgg():
    assert "has no wide layers" in refusal(NIMA, "resnet10t", 64, wide_layers=False)


def test_a_network_of_another_size_is_refused_by_its_parts(add):
    theirs = TheirNIMA("resnet10t", 10)
    add("nima", {"params": theirs.state_dict()}, **nima_fields("resnet14t", 64))
    assert "does not fit this network" in refusal(model_file.load_model, "nima")


# LIQE


@pytest.mark.parametrize(("aspects", "outputs"), [(["scene", "distortion"], 495), ([], 5)])
def test_a_liqe_of_iqa_pytorch_is_read(add, aspects, outputs):
    source = LIQE(aspects, VIT).eval()
    params = {f"clip_model.{key}": value.half() for key, value in source.clip.state_dict().items()}
    network = {"class_path": "piqa.models.LIQE", "init_args": {"aspects": aspects, "architecture": VIT}}
    add("mix", {"params": params}, use="model", layout="pyiqa liqe", network=network, **LIQE_FIELDS)
    scorer = Scorer.load("mix", device="cpu")
    windows = torch.rand(1, 2, 3, 224, 224)
    with torch.inference_mode():
        found, expected = scorer.network(windows)["logits"], source(windows)["logits"]
    assert found.shape == (1, outputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.5)  # half precision, times 100
    assert scorer.view == "windows"


def test_a_liqe_of_iqa_pytorch_gives_the_logits_and_starts_training(add, tmp_path):
    source = LIQE(architecture=VIT)
    params = {f"clip_model.{key}": value for key, value in source.clip.state_dict().items()}
    target = LIQE(architecture=VIT)
    state_dicts.load_clip(target, saved(tmp_path / "mix.pt", {"params": params}))
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


# CLIP-IQA+


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return CLIPIQAPlus(architecture=RESNET).clip


def context_fields(**more):
    network = {"class_path": "piqa.models.CLIPIQAPlus", "init_args": {"architecture": RESNET, **more}}
    fields = {"use": "model", "layout": "clip-iqa+ context", "network": network, "needs": {"clip": "small-clip"}}
    return fields | {"preparation": {"resize": "keep", "face_rule": "none"}, "view": "whole"}


def in_mmedit(context):
    frozen = {"generator.prompt_learner.token_prefix": torch.zeros(2, 1, 64), "generator.prompt_learner.ctx": context}
    return {"meta": {"iter": 80000, "time": "today"}, "state_dict": frozen, "optimizer": {"state": {}}}


WRAPPED = {
    "alone": lambda context: context,
    "mmedit": in_mmedit,
    "params": lambda c: {"params": {"prompt_learner.ctx": c}},
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("shape", [(16, 64), (2, 16, 64)])
def test_a_learned_context_is_read_from_whatever_holds_it(add, clip, wrapper, shape):
    add("small-clip", clip.state_dict(), use="part", layout="liqe")
    context = torch.randn(shape) * 0.02
    add("plus", WRAPPED[wrapper](context), **context_fields())
    network, card = model_file.load_model("plus")
    assert torch.equal(network.context, context)
    assert all(torch.equal(value, clip.state_dict()[key]) for key, value in network.clip.state_dict().items())
    assert card.weights == "small-clip"
    with torch.inference_mode():
        features = network.text_features()
        for place in range(2):
            alone = CLIPIQAPlus(architecture=RESNET)
            own = context if context.ndim == 2 else context[place]
            alone.load_state_dict({f"clip.{k}": v for k, v in clip.state_dict().items()} | {"context": own})
            torch.testing.assert_close(features[place], alone.text_features()[place], rtol=0, atol=1e-6)


def test_positions_are_stretched_and_added_as_iqa_pytorch_does(clip):
    visual, pixels = clip.visual.eval(), torch.rand(2, 3, 96, 160)
    pool = visual.attnpool
    with torch.inference_mode():
        maps = visual.stem(pixels)
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            maps = stage(maps)
        tokens = maps.flatten(2).permute(2, 0, 1)  # (positions, images, channels)
        tokens = torch.cat([tokens.mean(dim=0, keepdim=True), tokens])
        table = functional.interpolate(
            pool.positional_embedding[None, None], size=(len(tokens), tokens.shape[2]), mode="bicubic"
        )
        tokens = tokens + table[0, 0][:, None]
        bias = torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias])
        weights = {f"{name}_proj_weight": getattr(pool, f"{name}_proj").weight for name in "qkv"}
        expected, _ = functional.multi_head_attention_forward(
            tokens,
            tokens,
            tokens,
            tokens.shape[2],
            pool.num_heads,
            None,
            bias,
            None,
            None,
            False,
            0.0,
            pool.c_proj.weight,
            pool.c_proj.bias,
            training=False,
            need_weights=False,
            use_separate_proj_weight=True,
            **weights,
        )
        found = encode_any_size(visual, pixels, positions_added=True)
        torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, encode_any_size(visual, pixels), atol=1e-3)


def test_a_context_needs_its_network(add, clip):
    add("small-clip", clip.state_dict(), use="part", layout="liqe")
    entry = add("plus", torch.zeros(16, 64), **context_fields())
    assert "fills a CLIPIQAPlus, not a DualBranch" in refusal(published.fill, tiny(), entry)


# Starts and parts


def test_topiqs_swin_starts_a_backbone_without_what_stands_above_it(add):
    target = Backbone("swin_tiny_patch4_window7_224", 224)
    state = target.net.state_dict()
    old = {}
    for key, value in state.items():
        stage, _, rest = key.removeprefix("layers.").partition(".")
        moved = f"layers.{int(stage) - 1}.{rest}" if key.startswith("layers.") and rest.startswith("down") else key
        old[f"semantic_model.{moved}"] = torch.full_like(value, 0.5)
    old |= {"semantic_model.head.weight": torch.zeros(1000, 768), "semantic_model.head.bias": torch.zeros(1000)}
    old |= {"h_emb": torch.zeros(1, 128, 32, 1), "attn_pool.linear1.weight": torch.zeros(3, 3)}
    add("topiq-small", {"params": old}, layout="topiq")
    state_dicts.load_backbone(target, "topiq-small")
    assert all((value == 0.5).all() for value in target.net.state_dict().values())


def test_training_starts_by_names(add):
    network = tiny()
    for seed, branch in enumerate(("whole", "face"), start=1):
        state = tiny(seed=seed).backbones[branch].state_dict()
        add(f"start-{branch}", state, layout="piqa backbone")
    InitialWeights("start-whole", "start-face").load(network)
    for seed, branch in enumerate(("whole", "face"), start=1):
        expected = tiny(seed=seed).backbones[branch].state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in network.backbones[branch].state_dict().items())


def test_training_starts_from_a_whole_published_model(add):
    torch.manual_seed(0)
    theirs = TheirNIMA("resnet10t", 10)
    add("nima", {"params": theirs.state_dict()}, **nima_fields("resnet10t", 64))
    network = NIMA("resnet10t", 64)
    InitialWeights(model="nima").load(network)
    assert torch.equal(network.head[1].weight, theirs.classifier[2].weight)


def test_the_theme_stream_of_tanet_has_a_name(add):
    from torchvision.models import resnet18

    source, target = resnet18(num_classes=365), resnet18(num_classes=365)
    state = {f"module.{key}": value for key, value in source.state_dict().items() if "num_batches" not in key}
    add("places", {"epoch": 9, "arch": "resnet18", "state_dict": state}, use="part", layout="places365")
    state_dicts.load_places365(target, "places")
    assert torch.equal(target.fc.weight, source.fc.weight)
    assert "no model that scores images" in refusal(model_file.load_model, "places")


@pytest.mark.parametrize("use", ["start", "part"])
def test_what_is_no_model_is_not_loaded_as_one(add, use):
    add("start", {"feature_extraction.norm.weight": torch.zeros(3)}, use=use)
    assert "is no model that scores images" in refusal(Scorer.load, "start")


def test_published_tanets_are_known_and_say_why_they_are_not_run():
    for given in ("tanet-ava", "tanet-tad66k"):
        assert "scores an image by its neighbours in the batch" in refusal(Scorer.load, given)


def test_a_published_file_without_its_name_is_answered_with_the_way_to_name_it(tmp_path):
    file = saved(tmp_path / "NIMA.pth", {"params": {"base_model.conv1.weight": torch.zeros(1)}})
    told = refusal(model_file.load_model, file)
    assert "has the layout 'pyiqa nima'" in told and "`piqa models` lists the names" in told


def test_no_name_runs_code_that_a_file_holds(names, tmp_path):
    class Malice:
        def __reduce__(self):
            return (open, (str(tmp_path / "trace"), "w"))

    for name, protocol in (("zipped", None), ("plain", 2)):
        content = saved_bytes({"params": Malice()}) if protocol is None else pickle.dumps(Malice(), protocol)
        names.server.files[f"/{name}.pth"] = Served(content)
        assert "cannot be read as weights" in refusal(download.fetch, names.plain(name))
    assert not (tmp_path / "trace").exists()


# DN-PIQA

DN_PIQA = {"use": "model", "layout": "dn_piqa", "preparation": dict(model_file.PUBLISHED_PREPARATION)}


def test_dn_piqa_brings_its_liqe_unless_another_is_named(add, tmp_path):
    network = tiny()
    state = {}
    for branch, prefix in (("whole", state_dicts.WHOLE), ("face", state_dicts.FACE)):
        state |= {f"{prefix}{key}": value for key, value in network.backbones[branch].net.state_dict().items()}
    state |= {f"quality.{key}": value for key, value in network.head.state_dict().items()}
    needed = add("their-liqe", {"token_embedding.weight": torch.zeros(1)}, use="part", layout="liqe")
    spec = {"class_path": "piqa.models.DualBranch", "init_args": network.init_args}
    add("dn-small", state, network=spec, needs={"liqe": "their-liqe"}, **DN_PIQA)
    other = saved(tmp_path / "LIQE.pt", {})
    scorer = Scorer.load("dn-small", liqe=other, device="cpu")
    assert scorer.preparation.liqe == str(other) and cache.cached_file(needed) is None
    scorer = Scorer.load("dn-small", device="cpu")
    assert scorer.preparation.liqe == str(cache.cached_file(needed))
    assert scorer.preparation.face_rule == "most_confident"
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in scorer.network.state_dict().items())
    assert Scorer.load("dn-small", liqe="their-liqe", device="cpu").preparation.liqe == scorer.preparation.liqe


@pytest.mark.slow
def test_the_full_dn_piqa_comes_from_drive_as_it_is(official_checkpoint, names):
    file = official_checkpoint("dn_piqa")
    names.server.files["/drive/1y3T"] = Served(file.read_bytes())
    source = {"host": "gdrive", "id": "1y3T", "file": "PIQ_model.pth"}
    names.add("full", source, network={"class_path": "piqa.models.DualBranch"}, **DN_PIQA)
    found, card = model_file.load_model("full")
    expected, of_file = model_file.load_model(file)
    assert same_weights(found, expected)
    assert (card.network, card.preparation, card.crop_size) == (of_file.network, of_file.preparation, of_file.crop_size)
