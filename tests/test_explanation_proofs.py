"""Proofs of explanations, shrunk: a small model that learnt local spoilings; scripts/explanation_proofs.py has all."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import explanation_proofs as proofs
import local_spoilings as local

SCENES = (24, 25)  # one of each sitter, which the model has not seen
STEPS, CONTROL_STEPS = 200, 30


@pytest.fixture(scope="module")
def model():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield local.scorer_of(local.trained(steps=STEPS))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def control(model):
    return local.scorer_of(local.trained(shuffled=True, steps=CONTROL_STEPS))


@pytest.fixture(scope="module")
def images():
    return local.drawn_for_test(60)


def test_the_model_knows_spoilt_images_of_scenes_that_it_has_not_seen(model, images):
    assert spearmanr(proofs.scores(model, images[0]), images[1]).statistic > 0.3


def test_deleting_in_the_order_of_the_map_lowers_the_score_faster_than_at_random(model, images):
    gains = proofs.deletion_test(model, images[0][:10])
    assert gains["random"][1] > 0 and gains["reverse"][1] > 0  # the lower ends of the 95 % intervals


def test_the_change_of_a_map_points_to_the_place_that_was_blurred(model):
    points = proofs.pointing_game(model, SCENES)
    assert points.rate >= 0.8 and points.counted >= points.places / 2 and points.chance < 0.2


def test_a_network_trained_on_shuffled_labels_loses_the_pointing_game(control):
    points = proofs.pointing_game(control, SCENES[:1])
    assert points.hits <= points.places / 5


def test_networks_that_learnt_nothing_have_other_maps(model, control, images):
    random = local.scorer_of(local.untrained(seed=1))
    own = proofs.stability(model, images[0][:6])
    for other in (random, control):
        assert abs(proofs.likeness(model, other, images[0][:6])) < 0.5 < own


def test_a_disc_is_spoilt_and_nothing_else():
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for kind in local.KINDS:
        changed = (local.spoilt(pixels, local.Disc(40, 60, 12, kind)) != pixels).any(axis=2)
        y, x = np.nonzero(changed)
        assert np.hypot(y + 0.5 - 40, x + 0.5 - 60).max() <= 13 and changed[36:44, 56:64].mean() > 0.9
