"""Occlusion maps: where they lie, their sign, and that every kind of network gets them."""

import numpy as np
import pytest
import torch
from torch import nn

from piqa import Scorer
from piqa.data.cuts import crop_corners
from piqa.data.transforms import scoring_crops
from piqa.explanation.explainer import NO_FACE, Explainer, one_scale
from piqa.explanation.geometry import MOST_WINDOWS, WindowGrid, image_values, profiles
from piqa.explanation.occlusion import occluded
from piqa.explanation.seen_image import Seer
from piqa.models import DualBranch
from piqa.preparation.faces import Face, Found
from piqa.preparation.portrait import Preparation, Preparer

# Geometry


@pytest.mark.parametrize("crops", ["five", "one"])
@pytest.mark.parametrize("shape", [(40, 57), (61, 40), (40, 40)])
def test_crops_lie_where_they_are_cut(crops, shape):
    rows, columns = np.indices(shape, dtype=np.uint8)
    cut = scoring_crops(np.stack([rows, columns, columns], axis=-1), 32, crops)
    assert crop_corners(*shape, 32, crops) == [(int(crop[0, 0, 0]), int(crop[1, 0, 0])) for crop in cut]


@pytest.mark.parametrize("shape", [(384, 384), (160, 160), (64, 100), (300, 40), (33, 47)])
def test_windows_cover_every_pixel_and_none_by_more_than_four(shape):
    grid = WindowGrid.over(*shape)
    masks = grid.masks()
    assert len(masks) == grid.windows and min(grid.rows, grid.columns) == 7
    assert max(grid.rows, grid.columns) <= MOST_WINDOWS
    assert masks.max(axis=0).min() > 0.45 and (masks > 0).sum(axis=0).max() <= 4


def test_windows_of_384_pixels_are_96_and_fade_inside_of_the_image_alone():
    first, second = profiles(np.arange(384) + 0.5, 384, 7).T[:2]
    assert np.flatnonzero(first).tolist() == list(range(96)) and first[0] == 1 and 0 < first[95] < 0.01
    assert np.flatnonzero(second).tolist() == list(range(48, 144)) and second[48] < 0.01
    assert np.all(second[72:120] == 1)


def test_a_map_has_the_effect_of_a_window_at_its_place_and_nothing_where_no_window_lies():
    grid = WindowGrid.over(40, 40)
    effects = np.zeros((7, 7), np.float32)
    effects[3, 5] = 2.0  # the middle in height, three quarters of the width
    values = image_values([effects], [(40, 20, 80, 60)], [grid], 80, 120)
    y, x = np.unravel_index(np.nanargmax(values), values.shape)
    assert abs(y - 40) <= 2 and abs(x - 70) <= 2 and 1.5 < np.nanmax(values) <= 2
    assert np.isnan(values[:20]).all() and np.isnan(values[:, :40]).all() and np.isnan(values[:, 80:]).all()
    assert np.isfinite(values[20:60, 40:80]).all() and values[22, 42] == 0


def test_where_crops_overlap_a_map_has_their_mean():
    grid = WindowGrid.over(40, 40)
    effects = [np.full((7, 7), value, np.float32) for value in (1.0, 3.0)]
    values = image_values(effects, [(0, 0, 40, 40), (20, 0, 60, 40)], [grid, grid], 40, 60)
    assert (values[20, 10], values[20, 30], values[20, 50]) == pytest.approx((1, 2, 3))


# What is measured


class Detail(nn.Module):
    """A network that likes detail, or dislikes it: the mean step between neighbouring columns."""

    inputs = ("whole",)

    def __init__(self, liking=1.0):
        super().__init__()
        self.liking = liking

    def forward(self, whole):
        return {"score": self.liking * whole.float().diff(dim=3).abs().mean(dim=(1, 2, 3))}


def with_detail_at(top, left, side=24, shape=(96, 128)):
    """A grey image with a chequered square."""
    pixels = np.full((*shape, 3), 128, np.uint8)
    chequered = np.indices((side, side)).sum(axis=0) % 2 * 200
    pixels[top : top + side, left : left + side] = chequered[..., None]
    return pixels


def scorer_of(network, crop=96, view="crops", **preparation):
    return Scorer(network, Preparation(96, **{"face_rule": "none"} | preparation), crop, "cpu", view=view)


def centre_of(values):
    weight = np.where(np.isfinite(values), np.abs(values), 0)
    return [float(np.average(at, weights=weight)) for at in np.indices(values.shape)]


@pytest.mark.parametrize("view", ["crops", "whole"])
@pytest.mark.parametrize("liking", [1, -1])
def test_a_map_points_to_the_detail_that_makes_the_score(view, liking):
    scorer = scorer_of(Detail(liking), view=view)
    found = Explainer(scorer, map_crops="five").explain(with_detail_at(10, 90)).maps["score_whole"]
    y, x = centre_of(found.values)
    assert found.values.shape == (96, 128) and abs(y - 22) < 12 and abs(x - 102) < 12
    strongest = found.values.flat[np.nanargmax(np.abs(found.values))]
    assert np.sign(strongest) == liking  # blurring what is liked lowers the score
    assert found.limits[0] == -found.limits[1] < 0 and found.palette == "diverging"


def test_the_effect_of_a_window_is_the_score_less_that_of_the_image_with_the_window_blurred():
    scorer = scorer_of(Detail())
    pixels = with_detail_at(30, 30, shape=(96, 96))
    seer = Seer(scorer, "one")
    image = seer(seer.label(pixels))
    (view,) = image.views
    explainer = Explainer(scorer, test_crops="one", batch_size=5)
    effects = explainer._occlusion.effects(view, image.inputs)
    changed = [one.permute(1, 2, 0).numpy() for one in occluded(view.pixels, WindowGrid.over(96, 96).masks())]
    scores = scorer.score([pixels, *changed], test_crops="one")["score"].to_numpy()
    np.testing.assert_allclose(effects.ravel(), scores[0] - scores[1:], atol=1e-5)
    assert effects.max() > 1


def test_the_centre_crop_alone_leaves_the_border_without_values():
    explainer = Explainer(scorer_of(Detail(), crop=72))
    values = explainer.explain(with_detail_at(40, 40)).maps["score_whole"].values
    assert np.isnan(values[:12]).all() and np.isnan(values[:, :28]).all() and np.isfinite(values[12:84, 28:100]).all()


def test_progress_counts_every_window_of_every_branch():
    torch.manual_seed(0)
    scorer = scorer_of(DualBranch("test_resnet", ("whole", "face"), image_size=64), crop=64)
    told = []
    Explainer(scorer, batch_size=20).explain(
        with_detail_at(0, 0), progress=lambda done, total: told.append((done, total))
    )
    assert told == [(19, 98), (39, 98), (49, 98), (68, 98), (88, 98), (98, 98)]


# Branches


class Joint(nn.Module):
    """A network as one whose inputs cannot be told apart."""

    def __init__(self, network):
        super().__init__()
        self.network, self.inputs = network, tuple(network.inputs)

    def forward(self, whole, face_crop):
        return self.network(whole, face_crop)


@pytest.fixture
def with_face(monkeypatch):
    """Every image has a face in its right half, and lies on its side where `turn` says so."""

    def set_face(turn=0):
        face = Face((70, 20, 110, 70), 1.0)
        monkeypatch.setattr(Preparer, "find_face", lambda self, image: Found(face, turn, 0))

    set_face()
    return set_face


def test_features_that_are_computed_once_give_the_maps_of_the_whole_network(with_face):
    torch.manual_seed(0)
    network = DualBranch("test_resnet", ("whole", "face"), image_size=64).eval()
    once, naive = (
        Explainer(scorer_of(one, crop=64)).explain(with_detail_at(30, 80)) for one in (network, Joint(network))
    )
    assert set(once.maps) == set(naive.maps) == {"score_whole", "score_face"}
    for name, one in once.maps.items():
        np.testing.assert_allclose(one.values, naive.maps[name].values, atol=1e-5)
        assert np.nanstd(one.values) > 1e-5


def test_the_map_of_the_face_lies_where_the_face_lies(with_face):
    class OfFace(nn.Module):
        inputs = ("whole", "face_crop")

        def forward(self, whole, face_crop):
            return {"score": face_crop.float().diff(dim=3).abs().mean(dim=(1, 2, 3))}

    maps = Explainer(scorer_of(OfFace(), face_margin=0), map_crops="five").explain(with_detail_at(30, 90, 16)).maps
    assert np.nanmax(np.abs(maps["score_whole"].values)) == 0
    y, x = centre_of(maps["score_face"].values)
    assert abs(y - 38) < 6 and abs(x - 98) < 6
    assert np.isnan(maps["score_face"].values[:, :69]).all() and np.isnan(maps["score_face"].values[71:]).all()


def test_a_map_lies_over_the_image_as_it_was_turned(with_face):
    with_face(turn=90)
    found = Explainer(scorer_of(Detail()), map_crops="five").explain(with_detail_at(10, 90))
    y, x = centre_of(found.maps["score_whole"].values)
    assert found.turned == 90 and found.maps["score_whole"].values.shape == (128, 96)
    assert abs(y - 102) < 12 and abs(x - 74) < 12  # turned clockwise: the top is now on the right
    y, x = centre_of(found.maps_turned(0)["score_whole"].values)
    assert abs(y - 22) < 12 and abs(x - 102) < 12


def test_without_a_face_the_explanation_says_what_its_branch_sees():
    torch.manual_seed(0)
    scorer = scorer_of(DualBranch("test_resnet", ("whole", "face"), image_size=64), crop=64)
    assert NO_FACE in Explainer(scorer).explain(with_detail_at(0, 0), maps=False).notes


def test_maps_that_are_compared_have_one_scale_of_colours():
    explainer = Explainer(scorer_of(Detail()), map_crops="five")
    strong, weak = with_detail_at(10, 10, 48), with_detail_at(10, 10, 8)
    alone = [explainer.explain(one).maps for one in (strong, weak)]
    assert alone[0]["score_whole"].limits[1] > 1.5 * alone[1]["score_whole"].limits[1]
    first, second = one_scale(*alone)
    assert first["score_whole"].limits == second["score_whole"].limits
