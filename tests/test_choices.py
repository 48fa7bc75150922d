"""Choices of a person against the picks: what counts, the interval, and chance."""

from __future__ import annotations

import pytest
from ranked_moments import measured, moment
from scipy.stats import binomtest

from piqa.errors import InputError
from piqa.evaluation.statistics.preference import Preference
from piqa.moments.choices import compare_choices, read_choices, wilson
from piqa.moments.ranking import Ranker


def ranked(files, scores, kind="burst"):
    own = dict(zip(files, scores, strict=True))
    return Ranker(lambda file: measured(), own, {}, Preference(1.0)).rank(moment(*files, kind=kind))


MOMENTS = [
    ranked(["a1", "a2"], [3.0, 0.0]),
    ranked(["b1", "b2", "b3", "b4"], [3.0, 2.95, 0.0, 0.0]),  # too close to call
    ranked(["c1", "c2", "c3"], [3.0, 0.0, 0.0]),
    ranked(["d1", "d2"], [3.0, 0.0]),
    ranked(["e1"], [3.0], "single"),
    ranked(["f1", "f2", "f3"], [1.0, 2.0, 3.0], "bracket"),
]


def compare(**kept):
    return compare_choices(MOMENTS, {name: bool(one) for name, one in kept.items()}, str, "choices.csv")


def test_by_hand():
    found = compare(a1=1, a2=0, b2=1, b3=1, c1=1, c2=1, d1=1, d2=1, e1=1, f3=1, gone=1)
    # d: both are kept, which tells nothing; single shots and brackets have no first.
    assert (found.moments, found.agreed, found.left_out, found.unknown) == (3, 2, 1, 1)
    assert found.share == pytest.approx(2 / 3)
    assert found.chance == pytest.approx((1 / 2 + 2 / 4 + 2 / 3) / 3)
    assert (found.clear, found.clear_agreed) == (2, 2)
    assert "2 of 3 moments: 0.67" in found.in_words() and "chance 0.56" in found.in_words()
    assert "2 of the 2 that were not too close" in found.in_words()


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (3, 7), (10, 10), (412, 700)])
def test_the_interval_is_wilsons(successes, trials):
    known = binomtest(successes, trials).proportion_ci(0.95, "wilson")
    assert wilson(successes, trials) == pytest.approx((known.low, known.high))


def test_choices_of_another_folder_are_refused():
    with pytest.raises(InputError, match="none of its 2 files is among the images"):
        compare(x=1, y=0)
    with pytest.raises(InputError, match="some kept and others not"):
        compare(a1=0, a2=0)


def test_choices_are_read_as_the_sheet_writes_them_and_as_spreadsheets_do(tmp_path):
    file = tmp_path / "choices.csv"
    file.write_text("\ufefffile;moment;pick\r\n1/a.jpg;x;1\r\n1/b.jpg;x;FALSE\r\nc.jpg;x;\r\n", encoding="utf-8")
    assert read_choices(file) == {"1/a.jpg": True, "1/b.jpg": False, "c.jpg": False}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,kept\na,1\n", "no column `pick`"),
        ("file,pick\na,maybe\n", "row 2 of .* has the pick 'maybe'"),
        ("file,pick\na,1\na,0\n", "row 3 of .* a second time"),
    ],
)
def test_what_is_no_choice_is_refused(tmp_path, text, told):
    file = tmp_path / "choices.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=told):
        read_choices(file)
