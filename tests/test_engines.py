"""Exported models, run by ONNX Runtime, OpenVINO and TorchScript, score as PyTorch does; what is wrong is told."""

import json
import os
import shlex
import subprocess
import sys
from functools import partial
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from exported_models import change_document, write_exported, write_openvino
from packaging.requirements import Requirement
from PIL import Image
from portraits import collins, hopper
from refusals import refusal
from small_clip import VIT
from tiny_models import write_images, write_tiny_model

from piqa.conversion import converted
from piqa.conversion.converted import load_scorer
from piqa.conversion.face_networks import face_networks
from piqa.engines.exported import FACES_KEY, METADATA_KEY, ExportedModel, read_faces
from piqa.engines.exported_network import ExportedNetwork, load_exported
from piqa.engines.graph import ENGINES
from piqa.engines.requirements import LEAN
from piqa.errors import Stopped
from piqa.explanation.explainer import Explainer
from piqa.models import LIQE, DualBranch
from piqa.models.contract import ScoringModule, network_outputs
from piqa.predict import predict
from piqa.preparation.portrait import Preparation
from piqa.scoring.options import ScoringOptions
from piqa.scoring.runtime_engine import RuntimeEngine
from piqa.scoring.scorer import Scorer
from piqa.scoring.table_scores import score_files
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.model_places import EXPORTED

SIDE = 32
SETTINGS = {"short_side": 40, "face_rule": "largest"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DualBranch("resnet10t", ("whole", "face"), image_size=SIDE).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network):
    """Two portraits, noise, what is no image, and the network exported."""
    folder = tmp_path_factory.mktemp("exported")
    collins().save(folder / "1.png")
    hopper().save(folder / "2.png")
    write_images(folder, 1)
    (folder / "3.jpg").write_bytes(b"no image")
    write_exported(folder / "model.onnx", network, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def files(folder):
    return [str(folder / name) for name in ("00000.jpg", "1.png", "2.png", "3.jpg")]


@pytest.fixture(scope="module")
def expected(network, files):
    return Scorer(network, Preparation(**SETTINGS), SIDE, device="cpu").score(files)


def assert_same(table, expected):
    assert list(table) == list(expected) and table.dtypes.equals(expected.dtypes)
    for name in expected:
        if expected[name].dtype == "float64":
            np.testing.assert_allclose(table[name], expected[name], atol=1e-5 if name == "score" else 0.01)
        else:
            assert table[name].equals(expected[name]), name


@pytest.mark.parametrize("engine", [None, "openvino"])
def test_an_onnx_file_gives_the_rows_of_the_model(folder, files, expected, engine):
    scorer = Scorer.load(folder / "model.onnx", engine=engine)
    assert expected["face_found"].fillna(False).tolist() == [False, True, True, False]
    assert_same(scorer.score(files), expected)
    streamed = [row for table in scorer.stream(files, batch_size=3) for row in table["file"]]
    assert streamed == files and scorer.columns == list(expected) and scorer.numbers == ["score"]
    one = scorer.score(files[:2], test_crops="one")["score"]
    assert np.abs(one - expected["score"][:2]).max() > 1e-6  # another crop, another score


def test_an_openvino_file_does(folder, files, expected):
    texts = {one.key: one.value for one in onnx.load(folder / "model.onnx").metadata_props}
    write_openvino(folder / "model.onnx", folder / "model.xml", texts)
    scorer = Scorer.load(folder / "model.xml")
    assert_same(scorer.score(files), expected)
    assert scorer.settings(folder / "model.xml")["model"].count("-") == 1  # of both files


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_file_does(folder, files, expected, network):
    path = write_exported(folder / "model.ts", network, SETTINGS)
    assert_same(Scorer.load(path, device="cpu").score(files), expected)


@pytest.mark.parametrize("outside", [False, True])
def test_liqe_is_inside_whatever_the_sizes_of_images(tmp_path, monkeypatch, outside):
    torch.manual_seed(1)
    liqe = LIQE(architecture=VIT).eval()
    network = DualBranch("resnet10t", ("whole", "liqe"), image_size=SIDE)
    sizes = [(100, 90), (300, 280), (260, 700), (100, 90)]
    files = [str(tmp_path / f"{number}.png") for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        Image.effect_noise(size, 80).convert("RGB").save(file)
    monkeypatch.setattr(state_dicts, "load_liqe", lambda path: liqe)
    settings = {"short_side": 40, "face_rule": "none"}
    expected = Scorer(network, Preparation(**settings, liqe="some/LIQE.pt"), SIDE, device="cpu").score(files)
    scorer = Scorer.load(write_exported(tmp_path / "model.onnx", network, settings, liqe, outside))
    assert_same(scorer.score(files), expected)
    assert not scorer.takes_portraits  # whose windows are gone: an evaluation scores the files
    missing = str(tmp_path / "missing.png")
    scores, broken = score_files(scorer, [*files, missing], ScoringOptions())
    assert scores["score"].loc[files].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-5)
    assert [file for file, _ in broken] == [missing]


class Votes(ScoringModule):
    inputs, classes = ("whole",), {"kind": ["a", "b", "c"]}

    def forward(self, whole):
        return {"score": whole[:, 0, 0, 0].float() / 7, "kind": whole[:, 1, 0, 0].long() % 3}


class VotesGraph:
    """The same as a graph, whose crops are averaged outside."""

    engine, device, threads = "test", "cpu", 1
    inputs, outputs = ("whole",), ("score", "kind")

    def run(self, inputs):
        assert inputs["whole"].ndim == 4
        return {name: values.numpy() for name, values in Votes()(torch.from_numpy(inputs["whole"])).items()}

    def metadata(self, key):
        if key != METADATA_KEY:
            return None
        card = ModelCard(ClassSpec("piqa.models.Votes"))
        classes = {"kind": ["a", "b", "c"]}
        return ExportedModel(card, {}, self.inputs, self.outputs, classes=classes, crops="outside").text()


def test_crops_are_averaged_and_vote_as_with_pytorch():
    network = ExportedNetwork(VotesGraph(), "votes", "onnxruntime")
    random = np.random.default_rng(0)
    same = random.integers(0, 256, (40, 5, 3, 2, 2), dtype=np.uint8)
    differing = [random.integers(0, 256, (crops, 3, 2, 2), dtype=np.uint8) for crops in (5, 1, 5, 2)]
    for whole in (same, differing):
        tensors = torch.from_numpy(whole) if isinstance(whole, np.ndarray) else [*map(torch.from_numpy, whole)]
        expected = network_outputs(Votes(), {"whole": tensors})
        found = network.outputs({"whole": whole})
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-6)
        assert found["kind"].tolist() == expected["kind"].tolist()


BLOCKED = ["torch", "torchvision", "facenet_pytorch", "timm", "cv2", "scipy", "safetensors", "lightning", "onnx"]


LEAN_RUN = """
import sys
from importlib.metadata import packages_distributions
from piqa import Scorer, predict
predict.main(sys.argv[1:])
Scorer.load(sys.argv[sys.argv.index("--ckpt_path") + 1]).score(sys.argv[2])
homes = packages_distributions()
print(*{name.lower() for module in {one.partition(".")[0] for one in sys.modules} for name in homes.get(module, ())})
"""


def test_prediction_needs_no_pytorch(tmp_path, folder, files, expected):
    for name in BLOCKED:  # in worker processes, too
        (tmp_path / "blocked").mkdir(exist_ok=True)
        (tmp_path / "blocked" / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    more = [str(tmp_path / "blocked"), str(Path(__file__).parents[1])]
    out = ["--ckpt_path", str(folder / "model.onnx"), "--out", str(tmp_path / "scores.csv"), "--try_turns", "false"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(more), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LEAN_RUN, *files, *out, "--workers", "1", "--batch_size", "2"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    asked = {Requirement(one).name.lower() for one in requires("dn-piqa")} - {"dn-piqa"}
    assert asked & {*done.stdout.splitlines()[-1].split()} == {*LEAN}
    table = pd.read_csv(tmp_path / "scores.csv")
    np.testing.assert_allclose(table["score"], expected["score"], atol=1e-5)
    np.testing.assert_allclose(table["face_x1"], expected["face_x1"], atol=0.01)


OF_TWO_THE_FIRST_GOES_FIRST = """
import signal, sys
from pathlib import Path
from piqa.engines.openvino_graph import OpenVINOGraph
heard = []
signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
first, second = OpenVINOGraph(Path(sys.argv[1])), OpenVINOGraph(Path(sys.argv[1]))
del first
del second
signal.raise_signal(signal.SIGUSR1)
print(len(heard))
"""


def test_signals_are_handled_when_openvino_is_done(folder):
    command = [sys.executable, "-c", OF_TWO_THE_FIRST_GOES_FIRST, str(folder / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_prediction_goes_on_where_it_stopped(tmp_path, folder, files, expected, monkeypatch):
    values, calls = RuntimeEngine.values, iter(range(2))

    def stops(self, *arguments):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return values(self, *arguments)

    command = partial(predict, files, str(folder / "model.onnx"), str(tmp_path / "scores.csv"), batch_size=1)
    with monkeypatch.context() as patch:
        patch.setattr(RuntimeEngine, "values", stops)
        with pytest.raises(Stopped):
            command()
    command()
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 2
    table = pd.read_csv(tmp_path / "scores.csv")
    np.testing.assert_allclose(table["score"], expected["score"], atol=1e-5)


def test_any_model_by_any_engine_converted_once(tmp_path, monkeypatch, files):
    monkeypatch.setenv("PIQA_HOME", str(tmp_path / "home"))
    model = write_tiny_model(tmp_path / "run")
    expected = Scorer.load(model).score(files)
    assert_same(load_scorer(model, "onnxruntime").score(files), expected)
    (kept,) = (tmp_path / "home").rglob("*.onnx")
    before = kept.stat().st_mtime_ns
    monkeypatch.setattr(converted, "GraphModule", None)  # it is not made again
    assert_same(load_scorer(model, "openvino").score(files), expected)
    predict(files[:2], str(model), str(tmp_path / "scores.csv"), engine="onnxruntime")
    assert kept.stat().st_mtime_ns == before
    halved = load_scorer(model, "openvino", precision="bf16")
    assert halved.settings(model / "model.safetensors")["precision"] == "bf16"
    scores = halved.score(files)
    assert 0 < np.abs(scores["score"] - expected["score"]).max() < 0.1 * expected["score"].std() + 0.05
    assert scores["face_x1"].equals(load_scorer(model, "openvino").score(files)["face_x1"])  # faces stay in float32
    assert "only 32 and bf16" in refusal(load_scorer, model, "openvino", precision="16")
    assert "only 32;" in refusal(load_scorer, model, "onnxruntime", precision="bf16")
    assert "export" in refusal(Scorer.load, model, engine="onnxruntime")


def document(**changes):
    card = ModelCard(ClassSpec("os.system", {"command": "false"}), {"short_side": 40})
    written = json.loads(ExportedModel(card, {"short_side": 40}, ("whole",), ("score",)).text())
    return json.dumps({name: value for name, value in {**written, **changes}.items() if value != "left out"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "was not exported by piqa"),
        ("[" * 100_000, "no JSON"),
        ('{"format": NaN}', "no JSON"),
        ("[]", "no table"),
        (" " * 10_000_001, "million letters"),
        (document(format="piqa export 2"), "no export of this version"),
        (document(more=1), "unknown entry `more`"),
        (document(card="left out"), "lacks the entry `card`"),
        (document(card={"format": "piqa 1", "network": {}}), "class_path"),
        (document(inputs=["whole", "motion"]), "motion"),
        (document(inputs=[]), "list of names"),
        (document(inputs=["face_crop"]), "lacks `whole`"),
        (document(outputs=["quality"]), "lacks `score`"),
        (document(outputs=["score", "score"]), "twice"),
        (document(outputs="score"), "list of names"),
        (document(inputs=["whole", "liqe_windows"]), "`liqe`"),
        (document(preparation={"yunet": "/etc/passwd"}), "a path"),
        (document(preparation={"liqe": "/etc/passwd"}), "`liqe`"),
        (document(preparation=[]), "a table is needed"),
        (document(view="all"), "`view`"),
        (document(crops=True), "`crops`"),
        (document(precision="64"), "`precision`"),
        (document(crop_size=10**9), "`crop_size`"),
        (document(crop_size=True), "`crop_size`"),
        (document(classes={"kind": ["a"]}), "no output"),
        (document(classes={"score": [1]}), "list of names"),
    ],
)
def test_a_document_that_cannot_be_is_refused(text, reason):
    message = refusal(ExportedModel.from_text, text, "x.onnx")
    assert reason in message and "x.onnx" in message and len(message) < 400


def test_a_document_is_read_as_it_was_written_and_its_network_never_built():
    facts = ExportedModel.from_text(document(checks={"bf16": {"images": 3}}), "x.onnx")
    assert facts.card.network.class_path == "os.system" and facts.checks == {"bf16": {"images": 3}}
    assert ExportedModel.from_text(facts.text(), "x.onnx") == facts


@pytest.mark.parametrize(
    "text", ["{}", "5", '{"pnet": 1, "rnet": "", "onet": ""}', '{"pnet": "?", "rnet": "", "onet": ""}']
)
def test_a_damaged_face_detector_is_refused(text):
    text = text if isinstance(text, str) else json.dumps(text)
    assert FACES_KEY in refusal(read_faces, text, "x.onnx")


def test_what_a_file_cannot_be_is_told_in_one_line(tmp_path, folder, monkeypatch):
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(face_networks()["pnet"])
    assert "was not exported by piqa" in refusal(Scorer.load, plain)
    (tmp_path / "damaged.onnx").write_bytes((folder / "model.onnx").read_bytes()[:5000])
    assert "cannot be run by ONNX Runtime" in refusal(Scorer.load, tmp_path / "damaged.onnx")
    assert "cannot be run by OpenVINO" in refusal(Scorer.load, tmp_path / "damaged.onnx", engine="openvino")
    assert "no model at" in refusal(Scorer.load, tmp_path / "missing.onnx")
    model = folder / "model.onnx"
    assert "by onnxruntime or openvino, not by torch" in refusal(Scorer.load, model, engine="torch")
    assert "choose one of" in refusal(Scorer.load, model, engine="tensorrt")
    assert "OpenVINO scores on the CPU" in refusal(Scorer.load, model, engine="openvino", device="cuda")
    assert "has no device 'tpu'" in refusal(Scorer.load, model, device="tpu")
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "piqa.engines.openvino_graph", raising=False)
    assert 'pip install "dn-piqa[openvino]"' in refusal(Scorer.load, model, engine="openvino")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": ["whole"]}, "not what its document says"),
        ({"outputs": ["score", "kind"]}, "not what its document says"),
        ({"preparation": {"short_side": 10**9}}, "`short_side`"),
        ({"preparation": {"side": 40}}, "no argument"),
        ({"crop_size": 64}, "crops of 64 px in images prepared to 40 px"),
    ],
)
def test_a_document_that_does_not_fit_its_graph_is_refused(tmp_path, folder, changes, reason):
    path = tmp_path / "model.onnx"
    path.write_bytes((folder / "model.onnx").read_bytes())
    assert reason in refusal(Scorer.load, change_document(path, **changes))


def test_what_needs_pytorch_says_so(folder, tmp_path):
    model = folder / "model.onnx"
    scorer = Scorer.load(model)
    for needs in (lambda: Explainer(scorer), lambda: scorer.to("cpu"), lambda: scorer.network, scorer.inference):
        assert "an exported model scores and does nothing else" in refusal(needs)
    for given in ({"liqe": "LIQE.pt"}, {"precision": "16"}, {"prompts": {"a": ["b", "c"]}}):
        assert "export it again" in refusal(Scorer.load, model, **given)
    assert "takes `engine` openvino" in refusal(Scorer.load, model, precision="bf16")
    assert "one device" in refusal(predict, ["a.jpg"], str(model), str(tmp_path / "s.csv"), devices=2)
    assert "is not known to allow commercial use" in refusal(
        predict, [str(folder / "1.png")], str(model), str(tmp_path / "s.csv"), commercial=True
    )


def test_endings_are_known_to_all_rooms():
    assert set(ENGINES) == set(EXPORTED)


def test_score_portraits(folder, files, expected):
    settings = Preparation(**SETTINGS)
    portraits = [settings.preparer()(file) for file in files[:3]]
    scores = Scorer.load(folder / "model.onnx").score_portraits(portraits)
    assert scores == pytest.approx(expected["score"][:3].tolist(), abs=1e-5)
    assert load_exported(folder / "model.onnx").faces == face_networks()


def test_the_smallest_installation_that_is_documented_is_the_one_that_is_needed():
    text = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("pip install numpy ")]
    assert {Requirement(one).name for one in shlex.split(line)[2:]} == {*LEAN}
