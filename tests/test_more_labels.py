"""Scores of further attributes and classes, from a label file to a batch."""

import numpy as np
import pandas as pd
import pytest
import torch
from data_options import portrait_data
from look_alike import write_csv_dataset
from refusals import refusal

from piqa.data.tables.csv_table import CSVTable
from piqa.data.tables.mix import Mix
from piqa.data.tables.more_labels import attributes_of
from piqa.data.tables.table import validate
from piqa.preparation.portrait import Preparation

NAN = float("nan")


def a_frame(**columns):
    """Four images of two scenes, all of them for the test."""
    names = [f"{number}.jpg" for number in range(4)]
    frame = pd.DataFrame({"image": names, "path": names, "score": 1.0, "scene": list("aabb"), "split": "test"})
    return frame.assign(**{name.replace("_of_", "."): values for name, values in columns.items()})


def checked(**columns):
    return validate(a_frame(**columns), "my.csv", required_splits=["test"], check_files=False)


def refused(**columns):
    return refusal(lambda: checked(**columns))


def write(tmp_path, content):
    (tmp_path / "my.csv").write_text(content)
    return tmp_path / "my.csv"


def test_scores_of_attributes_and_classes_become_numbers_and_empty_cells_nan():
    more = {"score_of_details": ["1.5", "", " ", "-2"], "score_std_of_details": ["0.5", "", "", "0"]}
    table = checked(**more, class_of_diagonal=["1", "0", None, 1])
    assert table.columns.tolist()[5:] == ["score.details", "score_std.details", "class.diagonal"]
    assert all(table[name].dtype == np.float64 for name in table.columns[5:])
    np.testing.assert_array_equal(table["score.details"], [1.5, NAN, NAN, -2])
    np.testing.assert_array_equal(table["class.diagonal"], [1, 0, NAN, 1])
    assert attributes_of(table) == ["details"]


def test_a_column_without_any_value_counts_as_absent():
    assert checked(score_of_details=["", None, NAN, " "]).columns.tolist() == checked().columns.tolist()


def test_columns_with_a_dot_of_another_kind_are_none_of_these():
    assert checked(note_of_details="x").columns.tolist() == checked().columns.tolist()


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"score_of_a": [1, "good", 2, "nan"]}, "the score.a in my.csv must be a finite number or empty in every row"),
        ({"score_of_a": [1, "good", 2, ""]}, "found 'good' (row 3)"),
        (
            {"score_of_a": 1, "score_std_of_a": [1, -1, 1, 1]},
            "a finite number >= 0 or empty in every row, found -1 (row",
        ),
        ({"score_std_of_a": 1}, "a score_std.a without the score that it belongs to, found 1.0 (row 2)"),
        ({"score_of_a": [1, "", 1, 1], "score_std_of_a": 1}, "found 1.0 (row 3); add score.a or remove them"),
        ({"class_of_a": [0, 1, 2, ""]}, "1 (of that class), 0 (not) or empty (unknown), found 2 (row 4)"),
        ({"score_of_a b": 1}, "must be one word, such as 'score.details'"),
        ({"class_of_": 1}, "must be one word, such as 'class.details'"),
    ],
)
def test_unfit_labels_are_refused_with_their_rows(columns, complaint):
    columns = {name: values if isinstance(values, list) else [values] * 4 for name, values in columns.items()}
    columns = {name: pd.Series(values, dtype=object) for name, values in columns.items()}
    assert complaint in refused(**columns)


def test_a_csv_brings_them_under_our_names_or_mapped(tmp_path):
    csv = write(tmp_path, "image;score;scene;Score.details;class.night;MOS_e\na;1;s;0,5;1;3,5\nb;2;s;;0;\n")
    table = CSVTable(csv, test_fraction=1, check_files=False, columns={"score.exposure": "MOS_e"}).load()
    np.testing.assert_array_equal(table["score.details"], [0.5, NAN])
    np.testing.assert_array_equal(table["score.exposure"], [3.5, NAN])
    np.testing.assert_array_equal(table["class.night"], [1, 0])


def test_a_csv_without_them_is_read_as_before(tmp_path):
    csv = write(tmp_path, 'image,score,scene,"a\nb",x.y\na,1,s,,\nb,2,s,,\n')
    table = CSVTable(csv, test_fraction=1, check_files=False).load()
    assert table.columns.tolist() == ["image", "path", "score", "scene", "split"]


def test_a_mix_leaves_them_empty_for_tables_without(tmp_path):
    for name, header in (("one", "score.details"), ("two", "note")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(f"image,score,scene,{header}\na,1,s,7\nb,2,s,8\n")
    tables = [CSVTable(tmp_path / name / "a.csv", test_fraction=0, check_files=False) for name in ("one", "two")]
    mixed = Mix(tables, names=["one", "two"]).load()
    np.testing.assert_array_equal(mixed["score.details"], [7, 8, NAN, NAN])
    assert "note" not in mixed


def test_batches_hold_them_under_the_names_of_the_columns(tmp_path):
    csv = write_csv_dataset(tmp_path, columns=("image", "score", "scene", "split"))
    labels = pd.read_csv(csv)
    details = np.where(np.arange(len(labels)) % 3 == 0, np.nan, np.arange(len(labels), dtype=float))
    labels.assign(**{"score.details": details, "class.night": 1}).to_csv(csv, index=False)
    data = portrait_data(CSVTable(csv), Preparation(short_side=48), tmp_path / "store", crop_size=40)
    data.prepare_data()
    data.setup("fit")
    loaders = {"train": data.train_dataloader(), "test": data.test_dataloader()}
    for split, loader in loaders.items():
        for batch in loader:
            expected = data.splits[split]["score.details"].to_numpy()[batch["index"]]
            torch.testing.assert_close(batch["score.details"], torch.tensor(expected).float(), equal_nan=True)
            assert batch["class.night"].tolist() == [1.0] * len(expected)
