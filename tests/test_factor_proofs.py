"""Each factor ranks its own graded spoilings and stays under others, on two portraits; docs/factors.md says so."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from piqa.data.demo import SITTERS
from piqa.factors.families import FACTORS
from piqa.factors.spoilings import SPOILINGS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "factors.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def proofs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module("factor_proofs")


def part(name):
    """The rows of a table of the page, split into cells."""
    table = PAGE.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


# One test for a portrait at a size, so that all factors are measured on the same spoilt pictures.
@pytest.mark.parametrize("size", [1.0, 0.75])
@pytest.mark.parametrize("sitter", [one.name for one in SITTERS])
def test_every_factor_ranks_its_own_spoilings_and_stays_under_others(proofs, sitter, size):
    assert [line for name in proofs.PROOFS for line in proofs.failures(name, sitter, size)] == []


def test_every_factor_has_a_proof_with_its_own_spoiling_and_three_others(proofs):
    assert set(proofs.PROOFS) | set(proofs.OTHER_PROOFS) == set(FACTORS)
    for name, proof in proofs.PROOFS.items():
        assert proof.own and len(proof.flat) >= 3, name
        assert set(proof.own) | set(proof.flat) <= set(SPOILINGS) and not set(proof.own) & set(proof.flat), name
        assert max(proof.flat.values()) <= 0.25, name


def test_the_proof_of_a_factor_that_no_spoiling_fits_is_a_test_that_exists(proofs):
    for factor, test in proofs.OTHER_PROOFS.items():
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), factor


def test_every_factor_is_measured_on_a_portrait_of_full_size(proofs):
    """No proof is empty because faces are too small for it."""
    distances = [proofs.portrait(one.name, 1.0)[1].eye_distance for one in SITTERS]
    assert all(proof.eye_distance <= max(distances) for proof in proofs.PROOFS.values())


def test_a_step_is_about_the_mean_change_of_a_level(proofs):
    for name, proof in proofs.PROOFS.items():
        faces = [one.name for one in SITTERS if proofs.portrait(one.name, 1.0)[1].eye_distance >= proof.eye_distance]
        mean = np.mean([proofs.own_range(name, sitter, 1.0) / 6 for sitter in faces])
        assert 0.6 * mean <= FACTORS[name].step <= 1.6 * mean, (name, mean)


def test_a_factor_that_does_not_rank_or_does_not_stay_is_found(proofs, monkeypatch):
    monkeypatch.setitem(proofs.PROOFS, "face_stops", proofs.Proof({"darker": 1}, {"brighter": 0.01}))
    found = proofs.failures("face_stops", "Hopper", 0.75)
    assert found[0].startswith("face_stops, Hopper at 0.75: -1.00 on darker, 0.95 is needed")
    assert "on brighter, at most 0.01" in found[1] and len(found) == 2


def test_the_bound_of_a_spoiling_in_pixels_grows_on_a_reduced_portrait(proofs, monkeypatch):
    monkeypatch.setattr(proofs, "cross_talk", lambda *_: 0.03)
    monkeypatch.setitem(proofs.PROOFS, "face_stops", proofs.Proof({}, {"blur": 0.02, "desat": 0.02}))
    assert len(proofs.failures("face_stops", "Hopper", 1.0)) == 2
    (left,) = proofs.failures("face_stops", "Hopper", 0.75)
    assert "on desat" in left


def test_the_page_names_every_factor_as_it_is(proofs):
    table = [f"| {' | '.join(row)} |" for row in part("factors")]
    assert table[0] == proofs.described().splitlines()[0]
    assert [" ".join(line.split()) for line in table[2:]] == [
        " ".join(line.split()) for line in proofs.described().splitlines()[2:]
    ], "run python scripts/factor_proofs.py --write docs/factors.md"


def test_the_matrix_of_the_page_has_every_proven_factor_and_every_spoiling(proofs):
    head, _, *rows = part("proofs")
    assert head[1:] == list(SPOILINGS)
    assert [row[0].strip("`") for row in rows] == [name for name in FACTORS if name in proofs.PROOFS]
    for name, *cells in rows:
        own = {spoiling for spoiling, cell in zip(head[1:], cells, strict=True) if cell.startswith("**")}
        assert own == set(proofs.PROOFS[name.strip("`")].own)


def test_what_another_spoiling_moves_by_a_quarter_has_a_caveat(proofs):
    rows = part("proofs")[2:]
    moved = {
        name.strip("`")
        for name, *cells in rows
        for cell in cells
        if re.fullmatch(r"[\d.]+", cell) and float(cell) > proofs.REACTS
    }
    assert moved and all(FACTORS[name].caveat for name in moved)


def test_tables_are_written_between_their_marks_and_nothing_else_changes(proofs):
    page = "a\n<!-- proofs: begin -->\nold\n<!-- proofs: end -->\nb\n"
    assert proofs.page_with(page, "proofs", "new") == ("a\n<!-- proofs: begin -->\n\nnew\n\n<!-- proofs: end -->\nb\n")
    with pytest.raises(SystemExit, match="the page needs the marks"):
        proofs.page_with("a page", "proofs", "new")


@pytest.mark.parametrize("arguments", [["face_stop"], ["face_stops", "--write", "docs/factors.md"]])
def test_the_script_refuses_what_it_cannot_do(proofs, arguments, capsys):
    with pytest.raises(SystemExit):
        proofs.main(arguments)
    assert re.search("no factor face_stop|all factors", capsys.readouterr().err)
