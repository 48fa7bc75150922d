"""The published way from an image to its score, step by step: resize, face crop, five crops, LIQE, mean."""

import numpy as np
import pytest
import torch
from inputs import crc, normalised_chw, test_image
from PIL import Image

from piqa.data.dataset import crops_of
from piqa.models import DualBranch
from piqa.models.contract import as_scoring_network, score_crops
from piqa.preparation.faces import Face
from piqa.preparation.portrait import Preparation, Preparer
from piqa.weights.state_dicts import load_model_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(official_checkpoint):
    network = DualBranch()
    load_model_weights(network, official_checkpoint("dn_piqa"))
    return network.eval()


@pytest.fixture(scope="module")
def cases(golden, official_checkpoint):
    """Each case with its Portrait; the detector answers with the box for which the numbers were computed."""
    preparer = Preparer(Preparation(liqe=str(official_checkpoint("liqe"))))
    prepared = []
    for case in golden["five_crop"]["cases"]:
        spec, box = case["image"], case["face_box"]
        pixels = test_image(spec["height"], spec["width"], spec["seed"])
        assert crc(pixels) == spec["crc32"], "the input differs, not the preparation"
        faces = [] if box is None else [Face(tuple(box), 0.99)]
        preparer._detector.detect = lambda image, faces=faces: faces
        prepared.append((case, preparer.prepare(Image.fromarray(pixels))))
    return prepared


def crop_mean(crop):
    return normalised_chw(crop.permute(1, 2, 0).numpy()).mean(dtype=np.float64)


def test_the_five_crops_equal_the_published(golden, cases):
    for case, portrait in cases:
        crops = crops_of(portrait, golden["five_crop"]["crop"], "five")
        for name, published in (("whole", "whole_crop_means"), ("face_crop", "face_crop_means")):
            means = [crop_mean(crop) for crop in crops[name]]
            np.testing.assert_allclose(means, case[published], rtol=0, atol=1e-6, err_msg=f"{case['name']} {name}")


def test_the_liqe_logits_equal_the_published(cases):
    for case, portrait in cases:
        expected = case["liqe_logits"]["values"]
        np.testing.assert_allclose(portrait.liqe_logits, expected, rtol=0, atol=1e-4, err_msg=case["name"])


def test_the_scores_of_the_crops_and_their_mean_equal_the_published(golden, cases, network):
    for case, portrait in cases:
        crops = crops_of(portrait, golden["five_crop"]["crop"], "five")
        crop_scores = []

        def listened_to(whole, face_crop, liqe_logits, heard=crop_scores):
            outputs = network(whole, face_crop, liqe_logits)
            heard.append(outputs["score"])
            return outputs

        with torch.inference_mode():
            batch = {name: values.unsqueeze(0) for name, values in crops.items()}
            mean = score_crops(as_scoring_network(listened_to), batch)
        expected = case["crop_scores"]
        np.testing.assert_allclose(torch.cat(crop_scores), expected, rtol=0, atol=1e-5, err_msg=case["name"])
        np.testing.assert_allclose(mean, [case["score"]], rtol=0, atol=1e-5, err_msg=case["name"])
