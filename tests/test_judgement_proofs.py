"""The simulations behind docs/judge.md, small: accuracy by the number of answers, savings, a wrong prior."""

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def proofs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module("judgement_proofs")


def mean_of(proofs, method, moments, runs, **settings):
    plays = [proofs.play(20, method, moments, np.random.default_rng([9, run]), **settings) for run in range(runs)]
    return proofs.means(plays)


def test_errors_fall_as_stated_and_intervals_cover_the_truth(proofs):
    few, many = mean_of(proofs, "random", (5, 20), runs=40)
    assert few.rmse == pytest.approx(0.68, rel=0.1)
    assert many.rmse == pytest.approx(0.36, rel=0.1)
    assert 0.92 <= many.covered <= 0.97
    assert many.srocc > few.srocc + 0.05


def test_the_active_choice_learns_more_where_most_pairs_are_clear(proofs, monkeypatch):
    monkeypatch.setattr(proofs, "TRUE_SD", 4.0)
    (random,), (active,) = (mean_of(proofs, method, (8,), runs=12) for method in ("random", "active"))
    assert active.srocc > random.srocc
    assert active.rmse < 0.9 * random.rmse


def test_a_wrong_prior_ruins_the_scale_of_neighbours_but_not_that_of_the_active_choice(proofs):
    found = {method: mean_of(proofs, method, (10,), 8, prior_sd=3.0)[0] for method in ("neighbours", "active")}
    assert found["neighbours"].rmse > 0.8
    assert found["active"].rmse < 0.75


def test_intervals_of_a_complete_design_cover_the_truth(proofs):
    _, (_, few, _), (_, many, _) = proofs.complete(60)
    assert 0.90 < float(few) < 0.98
    assert 0.92 < float(many) < 0.98


def test_the_page_states_what_the_script_writes(proofs):
    page = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")
    for name, (function, _) in proofs.TABLES.items():
        part = page.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0].strip().splitlines()
        assert len(part) > 2 and all(line.startswith("|") for line in part), name
        assert function.__doc__
    cells = [[cell.strip() for cell in line.split("|")] for line in page.splitlines()]
    rows = [row for row in cells if len(row) == 8 and row[1] in ("10", "20", "100")]
    shares = [float(share) for row in rows for share in row[5:7]]  # in batches and one by one
    assert len(shares) == 6 and max(shares) <= 0.85
