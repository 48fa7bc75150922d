"""The explainer: every network that a scorer loads, the scorer's own scores, and two images."""

from functools import partial

import numpy as np
import pytest
import torch
from small_clip import RESNET, VIT
from test_shapley import Product, random_image, scorer_of
from tiny_models import write_images, write_tiny_model

from piqa import Scorer
from piqa.errors import FileAccessError, InputError
from piqa.explanation.explainer import MOST_REFERENCES_SEEN, Explainer
from piqa.models import LIQE, NIMA, CLIPIQAPlus, DualBranch, ExposureMap, Regressor, TANet
from piqa.preparation.portrait import Preparation

SMALL = {"backbone": "test_resnet", "image_size": 64}
NETWORKS = {
    "one branch": (partial(DualBranch, branches=("whole",), **SMALL), "crops", {"short_side": 72}),
    "two branches": (partial(DualBranch, branches=("whole", "face"), **SMALL), "crops", {"short_side": 72}),
    "pretraining": (partial(Regressor, **SMALL), "crops", {"short_side": 72}),
    "NIMA": (partial(NIMA, **SMALL), "whole", {"resize": "stretch", "short_side": 64}),
    "TANet": (partial(TANet, **SMALL), "whole", {"resize": "stretch", "short_side": 64}),
    "exposure map": (partial(ExposureMap, width=4), "whole", {"resize": "keep"}),
    "LIQE": (partial(LIQE, architecture=VIT), "windows", {"resize": "keep"}),
    "CLIP-IQA+": (partial(CLIPIQAPlus, architecture=RESNET), "whole", {"resize": "keep"}),
    "foreign": (Product, "crops", {"short_side": 72}),
}


@pytest.fixture(params=NETWORKS)
def scorer(request):
    build, view, preparation = NETWORKS[request.param]
    torch.manual_seed(0)
    return Scorer(build(), Preparation(face_rule="none", **preparation), 64, "cpu", view=view)


def test_every_network_is_explained_and_has_the_score_of_its_scorer(scorer):
    images = [random_image(seed, side=66) for seed in range(2)]
    explainer = Explainer(scorer, batch_size=50)
    features = [explainer.features(image) for image in images]
    np.testing.assert_allclose([one.score for one in features], scorer.score(images)["score"], atol=1e-5)
    found = explainer.explain(features[0], features[1:])
    assert found.score == features[0].score and found.reference_score == pytest.approx(features[1].score, abs=1e-6)
    assert list(found.maps) == [f"score_{'face' if name == 'face_crop' else name}" for name in scorer.network.inputs]
    for one in found.maps.values():
        assert np.isfinite(one.values).any() and np.nanstd(one.values) > 0
    if len(scorer.network.inputs) > 1:
        assert sum(found.shares.values()) == pytest.approx(found.score - found.reference_score, abs=1e-5)


def test_files_and_precisions_are_those_of_the_scorer(tmp_path):
    files = write_images(tmp_path / "images", 2)
    scorer = Scorer.load(write_tiny_model(tmp_path, branches=["whole", "face"]), device="cpu", precision="bf16")
    explainer = Explainer(scorer, test_crops="one")
    scores = [explainer.features(file).score for file in files]
    np.testing.assert_allclose(scores, scorer.score(files, test_crops="one")["score"], atol=1e-3)


def test_an_image_that_cannot_be_read_is_refused_as_by_the_scorer(tmp_path):
    explainer = Explainer(scorer_of(Product()))
    with pytest.raises(FileAccessError, match=r"absent\.jpg"):
        explainer.features(tmp_path / "absent.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"text\.jpg"):
        explainer.explain(tmp_path / "text.jpg")


def test_a_score_that_is_no_number_is_refused():
    torch.manual_seed(0)
    network = DualBranch("test_resnet", ("whole", "face"), image_size=32)
    torch.nn.init.constant_(network.head[0].weight, torch.nan)
    with pytest.raises(InputError, match="the network's score is nan, no number"):
        Explainer(scorer_of(network)).features(random_image(0))


def test_references_that_are_read_again_are_few_and_spread_evenly():
    explainer = Explainer(scorer_of(Product()))
    others = [explainer.features(random_image(seed)) for seed in range(2 * MOST_REFERENCES_SEEN - 1)]
    found = explainer.explain(random_image(99), others, maps=False)
    assert found.reference_score == pytest.approx(np.mean([one.score for one in others[::2]]), abs=1e-6)
    assert f"Shares are against {MOST_REFERENCES_SEEN} other images." in found.notes


def test_the_difference_of_two_images_is_shared_out_exactly(tmp_path):
    files = write_images(tmp_path, 2)
    torch.manual_seed(0)
    explainer = Explainer(scorer_of(DualBranch("test_resnet", ("whole", "face"), image_size=32)))
    there, back = (explainer.compare(*order, maps=False) for order in (files, files[::-1]))
    assert sum(there.shares.values()) == pytest.approx(there.score_a - there.score_b, abs=1e-6)
    assert back.shares == pytest.approx({name: -share for name, share in there.shares.items()}, abs=1e-6)
    assert there.factors and [one.steps for one in there.factors] == [-one.steps for one in back.factors]


def test_the_maps_of_two_images_share_their_colours(tmp_path):
    files = write_images(tmp_path, 2)
    torch.manual_seed(0)
    found = Explainer(scorer_of(DualBranch("test_resnet", ("whole",), image_size=32))).compare(*files)
    (first,), (second,) = found.maps_a.values(), found.maps_b.values()
    assert first.limits == second.limits and not np.array_equal(first.values, second.values, equal_nan=True)


def test_an_image_has_no_difference_to_itself(tmp_path):
    (file,) = write_images(tmp_path, 1)
    torch.manual_seed(0)
    scorer = scorer_of(DualBranch("test_resnet", ("whole", "face"), image_size=32))
    found = Explainer(scorer).compare(file, file, maps=False)
    assert found.score_a == found.score_b and found.shares == pytest.approx({"whole": 0, "face": 0}, abs=1e-6)
    assert all(one.steps == 0 for one in found.factors)
