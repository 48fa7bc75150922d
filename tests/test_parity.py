"""Equality with the published code, in numbers: tests/parity/README.md says how they were computed and how close."""

import numpy as np
import pytest
import torch
from inputs import crc, test_image, test_vector

from piqa.models import Backbone, DualBranch
from piqa.models.liqe import DISTORTIONS, SCENES
from piqa.models.liqe_windows import WINDOWS, cut_windows, window_corners
from piqa.weights.state_dicts import load_backbone, load_liqe, load_model_weights

pytestmark = pytest.mark.slow


def pixels_of(spec):
    pixels = test_image(spec["height"], spec["width"], spec["seed"])
    assert crc(pixels) == spec["crc32"], "the input differs, not the model"
    return pixels


def network_input(*specs):
    """Floats in [0, 1], which the networks normalise themselves."""
    return torch.from_numpy(np.stack([pixels_of(spec) for spec in specs])).permute(0, 3, 1, 2) / 255


@pytest.fixture(scope="module")
def dual_branch(official_checkpoint):
    network = DualBranch()
    load_model_weights(network, official_checkpoint("dn_piqa"))
    return network.eval()


@pytest.fixture(scope="module")
def liqe(official_checkpoint):
    return load_liqe(official_checkpoint("liqe"))


@pytest.mark.parametrize("branch", ["whole", "face"])
def test_branch_features_equal_the_published(golden, dual_branch, branch):
    case = golden["branch_features"][branch]
    with torch.inference_mode():
        features = dual_branch.backbones[branch](network_input(case["image"]))[0]
    np.testing.assert_allclose(features, case["values"], rtol=0, atol=1e-5)


def test_bytes_give_the_features_of_floats(golden, dual_branch):
    spec = golden["branch_features"]["whole"]["image"]
    pixels = torch.from_numpy(pixels_of(spec)).permute(2, 0, 1).unsqueeze(0)
    with torch.inference_mode():
        features = dual_branch.backbones["whole"](pixels)[0]
    np.testing.assert_allclose(features, golden["branch_features"]["whole"]["values"], rtol=0, atol=1e-5)


def test_scores_equal_the_published(golden, dual_branch):
    case = golden["full_model"]
    logits = np.stack([test_vector(spec["length"], spec["seed"]) for spec in case["vector"]])
    with torch.inference_mode():
        scores = dual_branch(
            whole=network_input(*case["whole"]),
            face_crop=network_input(*case["face"]),
            liqe_logits=torch.from_numpy(logits),
        )["score"]
    np.testing.assert_allclose(scores, case["score"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_lsvq_backbone_equals_the_published(golden, official_checkpoint, prefix):
    backbone = Backbone().eval()
    load_backbone(backbone, official_checkpoint("lsvq", prefix))
    with torch.inference_mode():
        features = backbone(network_input(golden["lsvq"]["image"]))[0]
    np.testing.assert_allclose(features, golden["lsvq"]["features"]["values"], rtol=0, atol=1e-5)


def test_gfiqa_backbone_equals_the_published(golden, official_checkpoint):
    backbone = Backbone().eval()
    load_backbone(backbone, official_checkpoint("gfiqa"))
    with torch.inference_mode():
        features = backbone(network_input(*golden["gfiqa"]["images"]))
    np.testing.assert_allclose(features[0], golden["gfiqa"]["features_of_first"]["values"], rtol=0, atol=1e-5)


def test_text_features_equal_the_published(golden, liqe):
    case = golden["liqe"]["prompts"]
    assert crc(liqe.tokens.numpy().astype(np.int64)) == case["tokens_crc32_int64"]
    with torch.inference_mode():
        features = liqe.text_features()
    for row, name in ((0, "text_features_first"), (-1, "text_features_last")):
        np.testing.assert_allclose(features[row][:16], case[name]["first_16"], rtol=0, atol=1e-6)


def test_windows_are_the_published_ones(golden):
    for case in golden["liqe"]["cases"]:
        height, width, columns = case["image"]["height"], case["image"]["width"], case["patches"]["cols"]
        expected = [(k // columns * 32, k % columns * 32) for k in case["patches"]["selected"]]
        corners = window_corners(height, width)
        assert corners * (WINDOWS // len(corners)) == expected, case["name"]


def test_liqe_logits_equal_the_published(golden, liqe):
    from PIL import Image

    for case in golden["liqe"]["cases"]:
        image = Image.fromarray(pixels_of(case["image"]))
        with torch.inference_mode():
            answers = liqe(cut_windows(image).unsqueeze(0))
        for logits in (liqe.logits(image), answers["logits"][0]):
            np.testing.assert_allclose(logits, case["logits"]["values"], rtol=0, atol=1e-4, err_msg=case["name"])
        assert answers["score"].item() == pytest.approx(case["quality"], abs=1e-5)
        assert SCENES[answers["scene"]] == case["scene"]
        assert DISTORTIONS[answers["distortion"]] == case["distortion"]


def test_liqe_logits_do_not_depend_on_the_batch(golden, liqe):
    from PIL import Image

    cases = [case for case in golden["liqe"]["cases"] if case["name"] in ("small_a", "small_b")]
    windows = torch.stack([cut_windows(Image.fromarray(pixels_of(case["image"]))) for case in cases])
    with torch.inference_mode():
        together = liqe(windows)["logits"]
    for row, case in zip(together, cases, strict=True):
        np.testing.assert_allclose(row, case["logits"]["values"], rtol=0, atol=1e-4)
