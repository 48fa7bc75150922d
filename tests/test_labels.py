import pytest
from refusals import refusal

from piqa.system.csv_text import read_labels


def write(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path):
    return refusal(read_labels, path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_every_usual_separator_is_recognised(tmp_path, separator):
    labels = read_labels(write(tmp_path, "image,score\na.jpg,1.5\n".replace(",", separator)))
    assert labels.to_dict("records") == [{"image": "a.jpg", "score": "1.5"}]


def test_numeric_looking_cells_stay_text(tmp_path):
    labels = read_labels(write(tmp_path, "image,scene\n007,1\nNA,1e3\n"))
    assert labels["image"].tolist() == ["007", "NA"]
    assert labels["scene"].tolist() == ["1", "1e3"]


def test_byte_order_mark_and_stray_spaces_are_dropped(tmp_path):
    labels = read_labels(write(tmp_path, "\ufeff image , score\n a.jpg , 1\n"))
    assert labels.columns.tolist() == ["image", "score"]
    assert labels["image"].tolist() == ["a.jpg"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_index_counts_rows_as_a_spreadsheet_does(tmp_path, line_end):
    content = 'image,score\na.jpg,1\n\n,,\n"two\nlines.jpg",2\nc.jpg,3\n'.replace("\n", line_end)
    assert read_labels(write(tmp_path, content)).index.tolist() == [2, 5, 6]


def test_an_index_column_without_name_is_left_out(tmp_path):
    labels = read_labels(write(tmp_path, ",image,score\n0,a.jpg,1\n"))
    assert labels.to_dict("records") == [{"image": "a.jpg", "score": "1"}]


def test_quoted_cells_may_hold_the_separator(tmp_path):
    assert read_labels(write(tmp_path, 'image,score\n"a, b.jpg",1\n'))["image"].tolist() == ["a, b.jpg"]


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path, content):
    path = write(tmp_path, content)
    assert refused(path) == f"{path} is empty; it needs a header and one row an image."


def test_an_absent_file_is_refused(tmp_path):
    path = tmp_path / "absent.csv"
    assert refused(path) == f"Cannot read the labels {path}: No such file or directory; check the path."


def test_a_folder_is_refused(tmp_path):
    assert refused(tmp_path) == f"Cannot read the labels {tmp_path}: Is a directory; check the path."


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 image", "image,score\ncafé.jpg,1\n".encode("latin-1")])
def test_a_file_that_is_not_utf8_is_refused(tmp_path, content):
    path = write(tmp_path, content)
    assert refused(path) == f"{path} is not text in UTF-8; save it as CSV (UTF-8)."


@pytest.mark.parametrize(("row", "cells"), [("b.jpg", 1), ("b.jpg,1,2", 3)])
def test_a_row_of_another_length_is_refused_by_number(tmp_path, row, cells):
    path = write(tmp_path, f"image,score\na.jpg,1\n{row}\n")
    assert refused(path).startswith(f"Row 3 of {path} has {cells} cells where the header names 2 columns; put a value")


def test_empty_cells_behind_the_last_column_do_no_harm(tmp_path):
    assert read_labels(write(tmp_path, "image,score\na.jpg,1,,\n"))["score"].tolist() == ["1"]


def test_an_open_quotation_mark_is_refused(tmp_path):
    path = write(tmp_path, 'image,score\n"a.jpg,1\nb.jpg,2\n')
    message = refused(path)
    assert message.startswith(f"Line 3 of {path} is not CSV")
    assert message.endswith("check the quotation marks.")


def test_a_column_that_is_named_twice_is_refused(tmp_path):
    path = write(tmp_path, "image,score,score\na.jpg,1,2\n")
    assert refused(path) == f"{path} names the column score more than once; rename or remove one."
