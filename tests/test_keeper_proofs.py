"""The proofs of picks: series with a known best shot, and what is measured on them and on PhotoTriage."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from keeper_proofs import chance, recall, reliability, sharpness
from keeper_series import Series, _spoilt, write_series
from phototriage import IMAGES, judged, read_pairs

from piqa.errors import InputError
from piqa.evaluation.statistics.preference import Preference

SERIES = [
    Series("0", "noise", {"a": 0.5, "b": 0.1, "c": 0.9}),
    Series("1", "noise", {"d": 0.2, "e": 0.3}),
    Series("2", "focus", {"f": 0.8, "g": 0.4}),
]
SCORES = {"a": 2.0, "b": 3.0, "c": 1.0, "d": 0.0, "e": 1.0, "f": 0.0, "g": 5.0}


def test_recall_and_chance_by_hand():
    found = recall(SERIES, SCORES)
    assert (found.first, found.series, found.top_two) == (2, 3, 3)
    assert found.by_kind == {"noise": 0.5, "focus": 1.0}
    assert chance(SERIES) == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)


def test_reliability_counts_all_pairs_of_a_series_and_none_across():
    found = reliability(SERIES, SCORES, Preference(1.0))
    assert found.pairs == 3 + 1 + 1
    right = {one.low: one.agreed * one.pairs for one in found.bands}
    assert right == {0.8: 2.0, 0.9: 2.0}  # b-a, a-c at 0.84 are right, d-e is wrong; b-c and g-f are right


def test_series_are_the_same_each_time_and_their_best_is_spoilt_least(tmp_path):
    one, other = (write_series(tmp_path / name, 2, seed=77) for name in ("one", "other"))
    assert one == other
    for series in one:
        assert series.strength[series.best] == min(series.strength.values())
        for file in series.strength:
            first, second = (np.asarray(Image.open(tmp_path / name / series.name / file)) for name in ("one", "other"))
            assert (first == second).all()
    # Out of focus the whole image loses its sharpness with the strength, as far as the face goes.
    focus = next(series for series in one if series.kind == "focus")
    values = sharpness([tmp_path / "one" / focus.name / file for file in focus.strength])
    assert max(values, key=values.__getitem__) == focus.best


@pytest.mark.parametrize("kind", ["focus", "motion", "exposure", "noise"])
def test_more_strength_spoils_more(kind):
    view = np.asarray(Image.effect_noise((80, 100), 60).convert("RGB"))
    rng = np.random.default_rng
    change = [
        float(np.abs(_spoilt(view, kind, s, (20, 20, 60, 70), True, rng(1)).astype(float) - view).mean())
        for s in (0.2, 0.5, 0.9)
    ]
    assert 0 < change[0] < change[1] < change[2]


# --- PhotoTriage ---

# Series 7 has three photographs, of which the second is the best; in series 12 the votes are tied.
LINES = """7 1 2 0.2 2 1
7 1 3 0.9 2 3
7 2 3 0.7 1 3
12 1 2 0.5 1 1
"""


@pytest.fixture
def phototriage(tmp_path):
    (tmp_path / IMAGES).mkdir(parents=True)
    (tmp_path / "val_pairlist.txt").write_text(LINES)
    return tmp_path


def test_pairs_name_photographs_from_one_and_ranks_are_no_photographs(phototriage):
    pairs = read_pairs(phototriage, "val")
    assert [one.name for one in pairs.files(phototriage).values()] == [
        "000007-01.JPG",
        "000007-02.JPG",
        "000007-03.JPG",
        "000012-01.JPG",
        "000012-02.JPG",
    ]
    assert pairs.ranks[7] == {(7, 1): 2, (7, 2): 1, (7, 3): 3}


def test_the_best_order_reaches_the_ceiling_and_no_more(phototriage):
    pairs = read_pairs(phototriage, "val")
    best = judged(pairs, {(7, 1): 1.0, (7, 2): 2.0, (7, 3): 0.0, (12, 1): 0.0, (12, 2): 1.0})
    assert (best.series, best.top, best.majority, best.pairs) == (2, 2, 1.0, 3)
    assert best.chance == pytest.approx((1 / 3 + 2 / 2) / 2)
    assert best.votes == pytest.approx(best.ceiling) == pytest.approx((0.8 + 0.9 + 0.7 + 0.5) / 4)
    worst = judged(pairs, {(7, 1): 1.0, (7, 2): 0.0, (7, 3): 2.0, (12, 1): 0.0, (12, 2): 0.0})
    assert (worst.top, worst.majority) == (1, 0.0)
    assert worst.votes == pytest.approx(1 - best.votes)
    assert f"ceiling {best.ceiling:.3f}" in str(best) and f"chance {best.chance:.3f}" in str(best)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("7 1 2 0.2 1 2\n", "columns 5 and 6 are ranks"),  # as if they were the photographs' numbers
        ("7 1 2 0.2 2\n", "not the six columns"),
        ("7 1 1 0.2 2 1\n", "no pair"),
        ("\n", "holds no pairs"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused(phototriage, line, told):
    (phototriage / "val_pairlist.txt").write_text(line)
    with pytest.raises(InputError, match=told):
        read_pairs(phototriage, "val")
