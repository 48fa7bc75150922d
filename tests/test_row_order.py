import numpy as np
import pytest
from refusals import refusal

from piqa.factors.factor import Factor
from piqa.factors.families import FACTORS
from piqa.scoring.row_order import RowOrder, row_order


def test_equal_values_keep_their_order_and_none_comes_last_either_way():
    values = [1.0, None, 3.0, 1.0, None, 2.0]
    assert RowOrder("score").of(values).tolist() == [2, 5, 0, 3, 1, 4]
    assert RowOrder("score", descending=False).of(iter(values)).tolist() == [0, 3, 5, 2, 1, 4]


def test_no_rows_have_an_order():
    assert RowOrder("score").of([]).tolist() == []


@pytest.mark.parametrize(("direction", "descending"), [("up", True), ("down", False), ("middle", False)])
def test_the_direction_of_a_factor_tells_what_comes_first(monkeypatch, direction, descending):
    factor = Factor("made_up", "t", "noise", "", direction, "whole", 1, lambda value: ("", ""))
    monkeypatch.setitem(FACTORS, "made_up", factor)
    assert row_order("made_up", ["score"], factors=True) == RowOrder("made_up", descending)


def test_without_a_column_rows_stay_in_the_order_of_the_images():
    assert row_order(None, ["score"], factors=False) is None


def test_outputs_of_the_network_come_from_the_highest():
    assert row_order("std", ["score", "std"], factors=False) == RowOrder("std")


def test_an_unknown_column_without_a_similar_one_is_told_what_there_is():
    assert "choose one of score, std, " in refusal(row_order, "zzz", ["score", "std"], False)


def test_a_million_rows_take_bytes_each_not_objects():
    import tracemalloc

    tracemalloc.start()
    order = RowOrder("score").of(float(number % 1000) for number in range(300_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 300_000 < 60 and np.array_equal(np.sort(order), np.arange(300_000))
