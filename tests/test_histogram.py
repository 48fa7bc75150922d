"""The learnable histogram: a second implementation in numpy, its gradients, what holds whatever is learnt."""

import numpy as np
import pytest
import torch

from piqa.errors import InputError
from piqa.factors.cielab import lab
from piqa.models.colour import ColourHistograms, LabColours
from piqa.models.histogram import JointHistogram, LearnableHistogram, TriangularBins


def learnt(bins, seed=0):
    """The bins as after some training: distances and place drawn at random."""
    torch.manual_seed(seed)
    for values in bins.parameters():
        torch.nn.init.normal_(values, std=0.7)
    return bins


def in_numpy(values, centres, circular):
    """Memberships by interpolation between neighbouring centres."""
    if circular:
        order = np.argsort(centres % 1)
        rows = [np.interp(values, (centres % 1)[order], np.eye(len(centres))[order][:, k], period=1) for k in order]
        return np.stack(rows)[np.argsort(order)]
    return np.stack([np.interp(values, centres, one) for one in np.eye(len(centres))])


@pytest.mark.parametrize("circular", [False, True])
def test_memberships_are_those_of_linear_interpolation(circular):
    bins = learnt(TriangularBins(6, circular))
    values = np.random.default_rng(1).uniform(size=200)
    found = bins(torch.tensor(values[None], dtype=torch.float32)).detach().numpy()[0]
    assert found == pytest.approx(in_numpy(values, bins.centres().detach().numpy(), circular), abs=1e-5)


@pytest.mark.parametrize("circular", [False, True])
def test_bins_of_any_value_sum_to_one_whatever_is_learnt(circular):
    bins, values = learnt(TriangularBins(5, circular), seed=4), torch.linspace(0, 1, 101)[None]
    assert bins(values).sum(dim=1).flatten().tolist() == pytest.approx([1] * 101, abs=1e-5)
    assert (bins(values) >= 0).all() and (bins.centres().diff() > 0).all()


def test_bins_more_than_half_a_turn_apart_sum_to_one_too():
    bins, values = TriangularBins(3, circular=True), np.linspace(0, 1, 51)
    with torch.no_grad():
        bins.distances.copy_(torch.tensor([3.0, 0.0, 0.0]))
    found = bins(torch.tensor(values[None], dtype=torch.float32)).detach().numpy()[0]
    assert found == pytest.approx(in_numpy(values, bins.centres().detach().numpy(), True), abs=1e-5)


def test_fixed_values_fall_into_the_bins_of_numpys_histogram():
    # At the centres themselves nothing is shared with a neighbour: a hard histogram.
    values = np.random.default_rng(2).integers(0, 5, 300) / 4
    expected = np.histogram(values, bins=5, range=(-0.125, 1.125))[0] / 300
    found = LearnableHistogram(5)(torch.tensor(values[None], dtype=torch.float32)).detach()
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_hue_wraps_around():
    around = LearnableHistogram(4, circular=True)(torch.tensor([[0.99, 0.01]])).detach()[0]
    assert around.tolist() == pytest.approx([0.96, 0.02, 0, 0.02], abs=1e-6)
    shifted = LearnableHistogram(4, circular=True)(torch.tensor([[-0.01, 1.01]])).detach()[0]
    assert shifted.tolist() == pytest.approx(around.tolist(), abs=1e-6)


@pytest.mark.parametrize("circular", [False, True])
def test_gradients_by_values_and_bins_are_those_of_differences(circular):
    histogram = learnt(LearnableHistogram(4, circular).double())
    values = torch.rand(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5), requires_grad=True)
    parameters = dict(histogram.named_parameters())

    def counted(values, *weights):
        return torch.func.functional_call(histogram, dict(zip(parameters, weights, strict=True)), values)

    assert torch.autograd.gradcheck(counted, (values, *parameters.values()))


def test_the_joint_histogram_is_numpys_at_the_centres():
    rng = np.random.default_rng(3)
    hue, chroma = rng.integers(0, 6, 200), rng.integers(0, 3, 200)
    expected = np.zeros((6, 3))
    np.add.at(expected, (hue, chroma), 1 / 200)
    histogram = JointHistogram((6, 3), (True, False))
    found = histogram(torch.tensor(hue[None] / 6).float(), torch.tensor(chroma[None] / 2).float()).detach()
    assert found[0].numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("bins", "circular"), [(1, False), (2, True)])
def test_too_few_bins_are_refused(bins, circular):
    with pytest.raises(InputError, match=f"{bins} bins"):
        TriangularBins(bins, circular)


def test_colours_are_those_of_the_measured_factors():
    pixels = np.random.default_rng(6).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    encoded = pixels.astype(np.float32) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    expected = lab(linear.astype(np.float32)).reshape(-1, 3)
    found = LabColours(16)(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None])
    assert torch.stack(found, dim=-1)[0].numpy() == pytest.approx(expected, abs=0.05)


def test_black_and_grey_have_finite_gradients():
    histograms = ColourHistograms(64, 6, 8)
    grey = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    black = torch.zeros(1, 3, 64, 64, requires_grad=True)
    for image in (grey, black):
        (histograms(image).square().sum()).backward()
        assert image.grad.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in histograms.parameters())
