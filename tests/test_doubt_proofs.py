"""The parts of scripts/doubt_proofs.py that its numbers hang on."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from doubt_proofs import auc, auc_with_interval, out_of_range

from piqa.data.demo import SIZE


def test_auc_counts_pairs():
    generator = np.random.default_rng(0)
    outside, inside = generator.integers(0, 9, 30).astype(float), generator.integers(0, 6, 40).astype(float)
    pairs = np.sign(outside[:, None] - inside[None, :])
    assert auc(outside, inside) == pytest.approx(float((0.5 + 0.5 * pairs).mean()))
    assert auc(inside, inside) == 0.5


def test_its_interval_holds_it():
    generator = np.random.default_rng(1)
    value, low, high = auc_with_interval(generator.normal(1, 1, 40), generator.normal(0, 1, 60), np.arange(60) // 6)
    assert low < value < high and 0.6 < value < 0.9
    assert auc_with_interval(np.ones(5), np.zeros(6), np.arange(6) // 2) == [1.0, 1.0, 1.0]


def test_pictures_out_of_range_are_of_the_demos_size_and_differ():
    found = out_of_range(3)
    assert list(found) == ["no face", "drawing", "noise"]
    pixels = [np.asarray(image) for images in found.values() for image in images]
    assert {image.shape for image in pixels} == {(SIZE[1], SIZE[0], 3)}
    assert len({image.tobytes() for image in pixels}) == 9
