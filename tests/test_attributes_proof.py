"""One network for three attributes against three single ones, shrunk; scripts/attributes_proof.py has all."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import attributes_proof as proof

from piqa.data.demo import write_demo


def found(gains, seeds=2, noise=0.0, scenes=20):
    """SROCCs of which one network's are higher than the single networks' by these gains."""
    rng = np.random.default_rng(0)
    rows = []
    for name, gain in zip(proof.NAMES, gains, strict=True):
        for seed in range(seeds):
            for scene in range(scenes):
                single = 0.7 + 0.1 * rng.normal()
                rows.append((seed, scene, name, "three", single))
                rows.append((seed, scene, name, "one", single + gain + noise * rng.normal()))
    return pd.DataFrame(rows, columns=["seed", "scene", "attribute", "way", "srocc"])


def test_the_difference_is_the_mean_over_scenes_and_seeds_with_its_interval():
    table = found((0.05, 0.0, 0.0), noise=0.1)
    own = table[table["attribute"] == proof.OVERALL].pivot(index=["seed", "scene"], columns="way", values="srocc")
    gain = (own["one"] - own["three"]).groupby("scene").mean()
    mean, low, high = proof.differences(table, proof.OVERALL)
    assert mean == pytest.approx(gain.mean())
    half = 1.96 * gain.std() / np.sqrt(len(gain))
    assert (low, high) == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.01)


@pytest.mark.parametrize(
    ("gains", "noise", "words"),
    [
        ((0.0, 0.01, 0.1), 0.0, "no worse in any attribute"),
        ((0.0, -0.1, 0.0), 0.0, "worse in detail: the whole interval lies below 0"),
        ((0.0, 0.0, 0.0), 0.5, "Not decided in overall, detail, exposure"),
    ],
)
def test_the_words_say_what_the_intervals_do(gains, noise, words):
    lines = proof.told(found(gains, noise=noise), {"one": 1.0, "three": 3.0})
    assert words in "\n".join(lines)
    assert ("no worse in any" in "\n".join(lines)) == (noise == 0 and min(gains) >= 0)


@pytest.mark.slow
def test_one_network_learns_all_attributes_of_the_demo_as_single_ones_do(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_demo(tmp_path, scenes=11, test_scenes=4)
    table, seconds = proof.compare(tmp_path, seeds=1, epochs=8)
    torch.set_num_threads(threads)
    assert table.groupby(["attribute", "way"]).size().tolist() == [4] * 6
    assert set(seconds) == {"one", "three"}
    means = table.groupby("way")["srocc"].mean()  # over three attributes and four scenes: of one alone it is chance
    assert means["one"] > 0.2 and means["three"] > 0.2
