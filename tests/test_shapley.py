"""Shares of branches: exact Shapley values over the inputs of a network."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from piqa import Scorer
from piqa.explanation.explainer import Explainer
from piqa.explanation.parts import PartsScorer
from piqa.explanation.shapley import shapley_shares, subsets, values_of_sets
from piqa.models import DualBranch
from piqa.preparation.portrait import Preparation
from piqa.weights import state_dicts


def by_orders(names, value):
    """Shapley values as they are defined: the mean gain over all orders."""
    orders = list(itertools.permutations(names))
    gains = dict.fromkeys(names, 0.0)
    for order in orders:
        for place, name in enumerate(order):
            gains[name] += value[frozenset(order[: place + 1])] - value[frozenset(order[:place])]
    return {name: gain / len(orders) for name, gain in gains.items()}


@pytest.mark.parametrize("players", [1, 2, 3, 4])
def test_shares_are_the_mean_gains_over_all_orders(players):
    names = list("abcd"[:players])
    rng = np.random.default_rng(players)
    value = {one: float(rng.normal()) for one in subsets(names)}
    assert shapley_shares(names, value) == pytest.approx(by_orders(names, value))


def scorer_of(network, **preparation):
    return Scorer(network, Preparation(40, **{"face_rule": "none"} | preparation), 32, "cpu")


def random_image(seed, side=48):
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, side // 6, axis=0), side // 6, axis=1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DualBranch("test_resnet", ("whole", "face"), image_size=32)


def explained(scorer, references=3):
    explainer = Explainer(scorer)
    others = [explainer.features(random_image(seed)) for seed in range(1, references + 1)]
    return explainer.explain(random_image(0), others, maps=False), others


def test_shares_sum_to_the_score_less_the_mean_score_of_the_references(network):
    found, others = explained(scorer_of(network))
    assert set(found.shares) == {"whole", "face"}
    assert found.reference_score == pytest.approx(np.mean([one.score for one in others]), abs=1e-6)
    assert sum(found.shares.values()) == pytest.approx(found.score - found.reference_score, abs=1e-5)
    assert abs(found.score - found.reference_score) > 1e-3


def test_equal_branches_get_equal_shares(network):
    """Without a face both branches see the whole image; with equal weights they are equal."""
    network.backbones["face"].load_state_dict(network.backbones["whole"].state_dict())
    first = network.head[0]
    with torch.no_grad():
        first.weight[:, first.in_features // 2 :] = first.weight[:, : first.in_features // 2]
    found, _ = explained(scorer_of(network))
    assert found.shares["whole"] == pytest.approx(found.shares["face"], abs=1e-6) and abs(found.shares["face"]) > 1e-3


def test_a_branch_whose_weights_are_zero_gets_nothing(network):
    first = network.head[0]
    with torch.no_grad():
        first.weight[:, first.in_features // 2 :] = 0
    found, _ = explained(scorer_of(network))
    assert found.shares["face"] == pytest.approx(0, abs=1e-7)
    assert found.shares["whole"] == pytest.approx(found.score - found.reference_score, abs=1e-5)


def test_of_a_linear_head_a_share_is_the_weighted_difference_of_its_features(network):
    width = network.backbones["whole"].features
    weights = torch.randn(2 * width)
    network.head = nn.Linear(2 * width, 1, bias=False)
    with torch.no_grad():
        network.head.weight[:] = weights
    explainer = Explainer(scorer_of(network))
    own, other = (explainer.features(random_image(seed)) for seed in (0, 1))
    found = explainer.explain(own, [other], maps=False)
    for branch, name, part in (("whole", "whole", weights[:width]), ("face", "face_crop", weights[width:])):
        expected = float((own.parts[name].mean(dim=0) - other.parts[name].mean(dim=0)) @ part)
        assert found.shares[branch] == pytest.approx(expected, abs=1e-5)


def test_liqe_is_a_branch_of_its_own(monkeypatch):
    class Logits(nn.Module):
        """Stands for LIQE: logits that depend on the colours of the windows."""

        def window_logits(self, windows):
            return windows.float().mean(dim=(1, 3, 4)).repeat(1, 165) / 10

    monkeypatch.setattr(state_dicts, "load_liqe", lambda path: Logits())
    torch.manual_seed(0)
    network = DualBranch("test_resnet", image_size=32)
    found, _ = explained(scorer_of(network, liqe="some/LIQE.pt"))
    assert set(found.shares) == {"whole", "face", "liqe"} and abs(found.shares["liqe"]) > 1e-3
    assert sum(found.shares.values()) == pytest.approx(found.score - found.reference_score, abs=1e-5)


class Product(nn.Module):
    """A network whose inputs meet before any head: the product of the means of its two images."""

    inputs = ("whole", "face_crop")

    def forward(self, whole, face_crop):
        whole, face_crop = whole.float() / 255, face_crop.float() / 255
        return {"score": whole.mean(dim=(1, 2, 3)) * (1 + face_crop.mean(dim=(1, 2, 3)))}


def test_inputs_stand_for_features_where_these_cannot_be_had():
    found, others = explained(scorer_of(Product()))
    assert set(found.shares) == {"whole", "face"} and not others[0].parts
    assert sum(found.shares.values()) == pytest.approx(found.score - found.reference_score, abs=1e-5)
    assert found.reference_score == pytest.approx(np.mean([one.score for one in others]), abs=1e-6)


def test_both_ways_give_the_same_values(network):
    """A network explained by its features, and the same one as if these could not be had."""

    class Joint(nn.Module):
        inputs, image_size = ("whole", "face_crop"), 32

        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, whole, face_crop):
            return self.inner(whole, face_crop)

    by_features, _ = explained(scorer_of(network))
    by_inputs, _ = explained(scorer_of(Joint()))
    assert by_inputs.shares == pytest.approx(by_features.shares, abs=1e-5)


def test_a_subclass_with_another_forward_is_explained_by_its_inputs(network):
    """Its features no longer tell its scores."""

    class Doubled(DualBranch):
        def forward(self, whole=None, face_crop=None, liqe_logits=None):
            return {"score": 2 * super().forward(whole, face_crop)["score"]}

    torch.manual_seed(0)
    plain, doubled = (
        explained(scorer_of(one))[0] for one in (network, Doubled("test_resnet", ("whole", "face"), image_size=32))
    )
    assert doubled.score == pytest.approx(2 * plain.score, abs=1e-5)
    assert doubled.shares == pytest.approx({name: 2 * share for name, share in plain.shares.items()}, abs=1e-5)


def test_a_network_with_one_input_has_no_shares():
    torch.manual_seed(0)
    found, others = explained(scorer_of(DualBranch("test_resnet", ("whole",), image_size=32)))
    assert found.shares == {}
    assert found.reference_score == pytest.approx(np.mean([one.score for one in others]))


def test_without_references_there_is_nothing_to_compare_with(network):
    found = Explainer(scorer_of(network)).explain(random_image(0), maps=False)
    assert found.shares == {} and found.reference_score is None


def test_references_of_other_numbers_of_rows_are_taken_many_at_a_time(network):
    scorer = PartsScorer(scorer_of(network))
    width = network.backbones["whole"].features
    own, *others = ({name: torch.randn(5, width) for name in ("whole", "face_crop")} for _ in range(71))
    values = values_of_sets(scorer, own, others)
    one_by_one = np.mean([scorer.score({"whole": own["whole"], "face_crop": one["face_crop"]}) for one in others])
    assert values[frozenset({"whole"})] == pytest.approx(one_by_one, abs=1e-5)
