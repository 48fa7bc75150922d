"""`piqa export`: what is written scores as PyTorch does, in each format; what would not is not written."""

import errno
import json
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from demo_portraits import spoilt_folder
from difference_network import Difference
from small_clip import RESNET, VIT
from tiny_models import write_images, write_tiny_model
from torch import nn

from piqa import Scorer, export
from piqa.conversion import check, formats, onnx_file
from piqa.conversion.document import document_of, metadata_of
from piqa.conversion.formats import writer_of
from piqa.conversion.graph_module import GraphModule, takes_any_size
from piqa.conversion.int8 import Quantiser
from piqa.conversion.onnx_file import onnx_model
from piqa.conversion.spoilt_portraits import Portraits
from piqa.engines.exported import METADATA_KEY
from piqa.engines.exported_network import load_exported
from piqa.errors import InputError
from piqa.models import (
    CLIPIQA,
    LIQE,
    NIMA,
    CLIPIQAPlus,
    ColourNet,
    CompositionNet,
    DualBranch,
    ExposureMap,
    Focus,
    MultiScaleNet,
    NoiseNet,
    Regressor,
    TANet,
)
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.preparation.portrait import Preparation
from piqa.system.ownership import claim_folder
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

SIDE = 64
NETWORKS = {
    "whole and face": lambda: DualBranch("test_byobnet", ("whole", "face"), SIDE),
    "all branches": lambda: DualBranch("test_byobnet", ("whole", "face", "liqe"), SIDE),
    "face": lambda: DualBranch("test_byobnet", ("face",), SIDE),
    "liqe": lambda: DualBranch("test_byobnet", ("liqe",), SIDE),
    "a transformer": lambda: DualBranch("test_vit", ("whole",), 160),
    "Regressor": lambda: Regressor("test_byobnet", SIDE),
    "NIMA": lambda: NIMA("test_byobnet", SIDE),
    "TANet": lambda: TANet(backbone="test_byobnet", image_size=100),
    "ColourNet": lambda: ColourNet("test_byobnet", SIDE),
    "MultiScaleNet": lambda: MultiScaleNet("test_byobnet", SIDE),
    "MultiScaleNet, any size": lambda: MultiScaleNet("test_byobnet"),
    "CompositionNet": lambda: CompositionNet("test_byobnet", SIDE),
    "CompositionNet, face": lambda: CompositionNet("test_byobnet", SIDE, face=True),
    "ExposureMap": lambda: ExposureMap(width=4, image_size=SIDE),
    "LIQE, scenes": lambda: LIQE(["scene"], architecture=VIT),
    "CLIP-IQA": lambda: CLIPIQA(["quality", "happy"], architecture=RESNET),
    "CLIP-IQA+": lambda: CLIPIQAPlus(architecture=RESNET),
    "CLIP-IQA+, positions": lambda: CLIPIQAPlus(architecture=RESNET, positions=True),
}


def built(name):
    torch.manual_seed(1)
    network = NETWORKS[name]().eval()
    return network, small_liqe() if "liqe_logits" in network.inputs else None


@cache
def small_liqe():
    """LIQE, whose 495 prompts are encoded once."""
    torch.manual_seed(2)
    return LIQE(architecture=VIT).eval()


def scorer_of(network):
    view = "windows" if network.pools_windows else "whole" if takes_any_size(network) else "crops"
    side = network.image_size or 224
    return Scorer(network, Preparation(short_side=side + 8, face_rule="none"), side, "cpu", view=view)


def random_batch(network, images, crops, seed, sizes=(70, 90)):
    """Bytes for a network, and LIQE's windows."""
    draw = torch.Generator().manual_seed(seed)
    sides = (224, 224) if network.pools_windows else [network.image_size] * 2 if network.image_size else sizes
    shape = (images, crops, 3, *sides)
    batch = {name: torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw) for name in ("whole", "face_crop")}
    windows = torch.randint(0, 256, (images, 4, 3, 224, 224), dtype=torch.uint8, generator=draw)
    batch["face_box"] = 2 * torch.rand((images, crops, 4), generator=draw).sort().values - 0.5  # some pass the border
    batch["face_box"][0] = 0  # no face
    return batch, windows


def written(path, name, crops="inside", precision="32"):
    """A network, LIQE, and the network as a file, opened in its engine."""
    network, liqe = built(name)
    scorer = scorer_of(network)
    side = None if takes_any_size(network) else scorer.crop_size
    graph = GraphModule(network, liqe, side, crops)
    kind = {".onnx": "onnx", ".xml": "openvino", ".ts": "torchscript"}[path.suffix]
    document = document_of(scorer, graph, precision, "piqa export", {})
    writer_of(kind, graph, precision).write(path, metadata_of(document))
    return network, liqe, load_exported(path, device="cpu")


def expected(network, liqe, batch, windows):
    with torch.no_grad():
        logits = {} if liqe is None else {"liqe_logits": liqe.window_logits(windows)}
        return network_outputs(network, batch | logits)


def largest_difference(one, other):
    return max(
        float(np.abs(one[name].numpy().astype(float) - other[name]).max()) for name in one if one[name].ndim == 1
    )


def assert_scores_alike(network, liqe, exported, most=1e-4):
    """Batches of other numbers of images and crops than the file was traced with."""
    for images, crops, seed in ((1, 1, 2), (3, 5, 3)):
        batch, windows = random_batch(network, images, crops, seed)
        given = {name: values.numpy() for name, values in batch.items()} | {"liqe_windows": windows.numpy()}
        found = exported.outputs(given)
        right = expected(network, liqe, batch, windows)
        assert set(found) == {name for name, values in right.items() if values.ndim == 1}
        assert largest_difference(right, found) < most


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_scores_alike_in_onnx_runtime(name, tmp_path):
    assert_scores_alike(*written(tmp_path / "m.onnx", name))


@pytest.mark.slow
def test_a_network_of_patches_takes_images_of_any_size_also_smaller_than_a_patch(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "NoiseNet", lambda: NoiseNet("test_byobnet", patch=64, patches=4))
    network, _, exported = written(tmp_path / "m.onnx", "NoiseNet")
    for size in ((64, 64), (200, 260), (129, 40), (50, 200)):
        batch, _ = random_batch(network, 2, 1, 3, size)
        found = exported.outputs({name: values.numpy() for name, values in batch.items()})
        assert largest_difference(expected(network, None, batch, None), found) < 1e-4


@pytest.mark.parametrize("name", ["all branches", "LIQE, scenes", "CLIP-IQA", "CompositionNet, face"])
@pytest.mark.parametrize("suffix", [".xml", ".ts"])
def test_other_formats_score_alike(name, suffix, tmp_path):
    assert_scores_alike(*written(tmp_path / f"m{suffix}", name))


@pytest.mark.parametrize("name", ["all branches", "face", "liqe", "LIQE, scenes", "CLIP-IQA"])
def test_crops_may_be_averaged_by_whoever_runs_the_file(name, tmp_path):
    network, liqe, exported = written(tmp_path / "m.onnx", name, "outside")
    assert exported.facts.crops == ("inside" if network.pools_windows else "outside")
    assert_scores_alike(network, liqe, exported)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".ts"])
def test_half_weights_take_less_room_and_cost_little(suffix, tmp_path):
    (tmp_path / "32").mkdir()
    (tmp_path / "16").mkdir()
    sizes = {}
    for precision in ("32", "16"):
        path = tmp_path / precision / f"m{suffix}"
        network, liqe, exported = written(path, "whole and face", precision=precision)
        sizes[precision] = sum(file.stat().st_size for file in path.parent.iterdir() if file.suffix != ".xml")
        assert_scores_alike(network, liqe, exported, 1e-4 if precision == "32" else 1e-2)
    weights = 4 * sum(values.numel() for values in network.state_dict().values())
    assert sizes["32"] - sizes["16"] > 0.4 * weights


def test_the_original_network_is_not_changed():
    network, _ = built("CLIP-IQA+")
    before = {name: values.clone() for name, values in network.state_dict().items()}
    GraphModule(network)
    assert network.clip.transformer is not None
    after = network.state_dict()
    assert all(torch.equal(after[name], values) for name, values in before.items()) and len(after) == len(before)


def test_a_network_that_takes_motion_is_refused():
    with pytest.raises(InputError, match="motion features scores videos"):
        GraphModule(Regressor("test_byobnet", SIDE, motion=256), side=SIDE)


@pytest.mark.parametrize(("network", "advice"), [(ExposureMap(width=4), "`image_size`"), (Focus(), "`focus_gap`")])
def test_a_network_that_depends_on_the_size_is_refused(network, advice):
    for kind in ("onnx", "torchscript"):
        with pytest.raises(InputError, match=rf"^(an E|F)[^\n]* cannot be exported: [^\n]*{advice}[^\n]*$"):
            writer_of(kind, GraphModule(network.eval()), "32")


def test_a_network_without_its_liqe_is_refused():
    with pytest.raises(InputError, match="takes LIQE's logits"):
        GraphModule(built("all branches")[0], side=SIDE)


def test_a_network_that_no_exporter_writes_is_refused(monkeypatch):
    def exported(*_):  # torch's newer exporter, which takes seconds to refuse it, too
        raise ValueError("no such operator")

    monkeypatch.setattr(onnx_file, "_exported", exported)

    class Spectral(nn.Module):
        def forward(self, whole):
            grey = whole.float().mean(dim=1)
            return {"score": torch.linalg.eigvalsh(grey + grey.transpose(1, 2)).sum(dim=1)}

    with pytest.raises(InputError, match=r"cannot write this network as ONNX .*eigvalsh.*then ValueError: no such"):
        onnx_model(GraphModule(as_scoring_network(Spectral()), side=SIDE))


def test_a_file_says_nothing_of_this_machine(tmp_path):
    network, _ = built("NIMA")
    preparation = {"short_side": 72, "face_rule": "none", "liqe": "/home/me/LIQE.pt"}
    facts = {"checkpoint": "/home/me/run/best.ckpt", "command": "python -m piqa.fit --out /home/me/run"}
    card = ModelCard(ClassSpec.of(network), preparation, crop_size=SIDE, trained_on=facts)
    scorer = Scorer(network, Preparation(short_side=72, face_rule="none"), SIDE, "cpu", card=card)
    graph = GraphModule(network, side=SIDE)
    text = document_of(scorer, graph, "32", "python -m piqa.export --out /home/me/m.onnx", {}).text()
    assert "/home" not in text and "best.ckpt" in text


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run's folder with a network whose head was fitted to how bright and sharp a portrait is."""
    torch.manual_seed(0)
    network = DualBranch("test_byobnet", ("whole",), SIDE).eval()
    folder = tmp_path_factory.mktemp("run")
    claim_folder(folder, "training run")
    preparation = {"short_side": SIDE + 8, "face_rule": "none"}
    card = ModelCard(ClassSpec.of(network), preparation, crop_size=SIDE)
    scorer = Scorer(network, Preparation(**preparation), SIDE, "cpu", card=card)
    portraits = check.prepared_portraits(scorer, Portraits().calibrated(96), 96, "preparing", "one")
    pixels = torch.cat([torch.from_numpy(one.batch.crops["whole"][0]) for one in portraits])
    grey = pixels.float().mean(dim=1) / 255
    wanted = 3 * grey.mean(dim=(1, 2)) + 20 * grey.diff(dim=2).abs().mean(dim=(1, 2))
    with torch.no_grad():
        features = torch.cat([backbone(pixels) for backbone in network.backbones.values()], dim=1)
        first, last = network.head[0], network.head[3]
        hidden = first(features).relu()
        spread = hidden.std() * len(hidden) ** 0.5
        square = hidden.T @ hidden + 0.05 * spread**2 * torch.eye(hidden.shape[1])
        last.weight[:] = torch.linalg.solve(square, hidden.T @ (wanted - wanted.mean()))
    model_file.save(network, folder / "model.safetensors", card)
    return folder


def exported(model, out, *more):
    export.main(["--ckpt_path", str(model), "--out", str(out), "--check_images", "12", *more])


def test_an_exported_run_scores_as_the_run_does(model, tmp_path, capsys):
    out = tmp_path / "m.onnx"
    exported(model, out)
    assert "onnx-32" in capsys.readouterr().out
    images = write_images(tmp_path / "images", 3)
    ours, theirs = (Scorer.load(path, device="cpu").score(images) for path in (model, out))
    np.testing.assert_allclose(theirs["score"], ours["score"], atol=1e-4)
    assert list(theirs) == list(ours)
    kept = json.loads((model / "model.json").read_text())["checks"]["onnx-32"]
    assert kept["images"] == 12 and kept["spearman"] > 0.999 and kept["largest"] < 1e-4 and kept["seconds"] > 0
    document = json.loads({one.key: one.value for one in onnx.load(out).metadata_props}[METADATA_KEY])
    assert document["checks"]["onnx-32"] == kept
    assert [one.name for one in tmp_path.iterdir() if one.name != "images"] == ["m.onnx"]


def test_int8_is_written_where_ranks_hold(model, tmp_path, capsys):
    out = tmp_path / "m.onnx"
    export.main(["--ckpt_path", str(model), "--out", str(out), "--precision", "int8", "--calibration_images", "64"])
    text = capsys.readouterr().out
    assert "taken: static int8" in text
    kept = json.loads((model / "model.json").read_text())["checks"]["onnx-int8"]
    assert kept["images"] == 48 and kept["spearman"] >= 0.999
    kinds = [node.op_type for node in onnx.load(out).graph.node]
    assert kinds.count("QuantizeLinear") > 4


def test_int8_is_refused_where_ranks_are_lost_and_leaves_nothing(tmp_path, capsys):
    network = as_scoring_network(Difference())
    preparation = {"short_side": SIDE + 8, "face_rule": "none"}
    card = ModelCard(ClassSpec("difference_network.Difference"), preparation, crop_size=SIDE)
    model_file.save(network, tmp_path / "model.safetensors", card)
    out = tmp_path / "out"
    out.mkdir()
    arguments = ["--ckpt_path", str(tmp_path), "--out", str(out / "m.onnx"), "--precision", "int8"]
    arguments += ["--calibration_images", "48", "--trust", "[difference_network]"]
    with pytest.raises(SystemExit) as stop:
        export.main(arguments)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and "int8 was not written: Spearman 0." in line
    assert not list(out.iterdir())
    export.main([*arguments, "--min_spearman", "0.5"])
    assert (out / "m.onnx").is_file()


def refused(capsys, model, out, *more):
    with pytest.raises(SystemExit) as stop:
        exported(model, out, *more)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code in (2, 130)
    return lines[-1]


def test_what_cannot_be_is_told_before_anything_is_computed(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Scorer, "load", None)
    assert "ends in .onnx" in refused(capsys, model, tmp_path / "m.pt")
    assert "does not exist" in refused(capsys, model, tmp_path / "none/m.onnx")
    assert "no `--precision int8`" in refused(
        capsys, model, tmp_path / "m.ts", "--format", "torchscript", "--precision", "int8"
    )
    assert "at least 48" in refused(capsys, model, tmp_path / "m.onnx", "--precision", "int8")
    assert "is no folder" in refused(capsys, model, tmp_path / "m.onnx", "--pictures", str(tmp_path / "none"))
    assert "format" in refused(capsys, model, tmp_path / "m.onnx", "--format", "tflite")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else True)
    assert 'onnx is not installed: `pip install "dn-piqa[export]"`' in refused(capsys, model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_only_what_piqa_exported_is_replaced_and_only_if_asked(model, tmp_path, capsys):
    theirs = tmp_path / "theirs.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), theirs)
    before = theirs.read_bytes()
    assert "was not written by piqa" in refused(capsys, model, theirs, "--overwrite", "true")
    assert theirs.read_bytes() == before
    weights = tmp_path / "m.bin"
    weights.write_bytes(b"theirs")
    assert "m.bin is there" in refused(capsys, model, tmp_path / "m.xml", "--format", "openvino", "--overwrite", "true")
    for suffix, kind in ((".ts", "torchscript"), (".xml", "openvino")):
        out = tmp_path / f"ours{suffix}"
        exported(model, out, "--format", kind)
        assert "--overwrite true" in refused(capsys, model, out, "--format", kind)
        assert formats.check_target(out, kind, overwrite=True) == out


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_is_stopped_leaves_nothing(fault, model, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise fault

    monkeypatch.setattr(formats.OnnxWriter, "write", fail)
    line = refused(capsys, model, tmp_path / "m.onnx")
    assert "nothing was written" in line or "No space left" in line
    assert not list(tmp_path.iterdir())


def test_a_published_file_keeps_its_folder_as_it_was(tmp_path):
    model = write_tiny_model(tmp_path / "model")
    before = (model / "model.json").read_text()
    exported(model, tmp_path / "m.onnx", "--min_spearman", "0")
    assert (model / "model.json").read_text() == before


# Portraits


def test_pictures_that_are_checked_on_are_not_calibrated_with(tmp_path):
    folder = spoilt_folder(tmp_path, 6)
    portraits = Portraits.of_folder(folder)
    checked, calibrated = list(portraits.checked(48)), list(portraits.calibrated(30))
    assert len(checked) == 48 and len(calibrated) == 30 and len({one.scene for one in checked}) == 3
    seen = {np.asarray(one.image).tobytes() for one in checked}
    assert not seen & {np.asarray(one.image).tobytes() for one in calibrated}
    assert len(seen) == 48


def test_generated_portraits_are_all_different_and_the_same_every_time():
    checked = [np.asarray(one.image).tobytes() for one in Portraits().checked(12)]
    assert len(set(checked)) == 12
    assert checked == [np.asarray(one.image).tobytes() for one in Portraits().checked(12)]


def test_products_of_two_activations_are_not_quantised(tmp_path):
    network, _ = built("a transformer")
    model = onnx_model(GraphModule(network, side=160))
    quantiser = Quantiser(model, tmp_path, [], 0)
    products = sum(node.op_type == "MatMul" for node in onnx.load(quantiser.in_float).graph.node)
    attention = 2 * len(network.backbones["whole"].net.blocks)  # queries with keys, and the result with values
    assert products - len([name for name in quantiser.layers("dynamic") if name.endswith("MatMul")]) == attention


def test_a_table_shows_ranks_and_seconds():
    timed = check.Timed(np.array([1.0, 2.0, 3.0]), 0.5, 0.25), check.Timed(np.array([1.0, 2.5, 3.0]), 0.25, 0.125)
    portraits = [check.PreparedPortrait(None, "a")] * 3
    text = check.checks_table({"onnx-32": check.compared(*timed, portraits)})
    assert text.splitlines()[1].split() == [
        *("onnx-32", "3", "0.5", "(std", "0.82)", "1.00000", "1.00000", "0.25", "0.5", "0.125", "0.25")
    ]
