import pytest
from refusals import refusal

from piqa.system.csv_text import as_numbers, read_csv, read_text


def write(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path):
    return refusal(read_csv, path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_every_usual_separator_is_recognised(tmp_path, separator):
    labels = read_csv(write(tmp_path, "image,score\na.jpg,1.5\n".replace(",", separator)))
    assert labels.to_dict("records") == [{"image": "a.jpg", "score": "1.5"}]


def test_numeric_looking_cells_stay_text(tmp_path):
    labels = read_csv(write(tmp_path, "image,scene\n007,1\nNA,1e3\n"))
    assert labels["image"].tolist() == ["007", "NA"]
    assert labels["scene"].tolist() == ["1", "1e3"]


def test_byte_order_mark_and_stray_spaces_are_dropped(tmp_path):
    labels = read_csv(write(tmp_path, "\ufeff image , score\n a.jpg , 1\n"))
    assert labels.columns.tolist() == ["image", "score"]
    assert labels["image"].tolist() == ["a.jpg"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_index_counts_rows_as_a_spreadsheet_does(tmp_path, line_end):
    content = 'image,score\na.jpg,1\n\n,,\n"two\nlines.jpg",2\nc.jpg,3\n'.replace("\n", line_end)
    assert read_csv(write(tmp_path, content)).index.tolist() == [2, 5, 6]


def test_an_index_column_without_name_is_left_out(tmp_path):
    labels = read_csv(write(tmp_path, ",image,score\n0,a.jpg,1\n"))
    assert labels.to_dict("records") == [{"image": "a.jpg", "score": "1"}]


def test_quoted_cells_may_hold_the_separator(tmp_path):
    assert read_csv(write(tmp_path, 'image,score\n"a, b.jpg",1\n'))["image"].tolist() == ["a, b.jpg"]


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path, content):
    path = write(tmp_path, content)
    assert refused(path) == f"{path} is empty; it needs a header and one row an image"


def test_an_absent_file_is_refused(tmp_path):
    path = tmp_path / "absent.csv"
    assert refused(path) == f"cannot read {path}: No such file or directory; check the path"


def test_a_folder_is_refused(tmp_path):
    assert refused(tmp_path) == f"cannot read {tmp_path}: Is a directory; check the path"


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 image", "image,score\ncafé.jpg,1\n".encode("latin-1")])
def test_a_file_that_is_not_utf8_is_refused(tmp_path, content):
    path = write(tmp_path, content)
    assert refused(path) == f"{path} is not text in UTF-8; save it in UTF-8"


@pytest.mark.parametrize(("row", "cells"), [("b.jpg", 1), ("b.jpg,1,2", 3)])
def test_a_row_of_another_length_is_refused_by_number(tmp_path, row, cells):
    path = write(tmp_path, f"image,score\na.jpg,1\n{row}\n")
    assert refused(path).startswith(f"Row 3 of {path} has {cells} cells where the header names 2 columns; put a value")


def test_empty_cells_behind_the_last_column_do_no_harm(tmp_path):
    assert read_csv(write(tmp_path, "image,score\na.jpg,1,,\n"))["score"].tolist() == ["1"]


def test_an_open_quotation_mark_is_refused(tmp_path):
    path = write(tmp_path, 'image,score\n"a.jpg,1\nb.jpg,2\n')
    message = refused(path)
    assert message.startswith(f"Line 3 of {path} is not CSV")
    assert message.endswith("check the quotation marks")


def test_a_column_that_is_named_twice_is_refused(tmp_path):
    path = write(tmp_path, "image,score,score\na.jpg,1,2\n")
    assert refused(path) == f"{path} names the column score more than once; rename or remove one"


# What spreadsheets of other countries write

EXCEL = "image;score;scene\r\na.jpg;4,5;s 1,5\r\nb.jpg;-,25;s\r\nc.jpg;4;t\r\n"
SCORES = [4.5, -0.25, 4.0]


def scores(path):
    return as_numbers(read_csv(path, numbers=("score", "score_std"))["score"], path).tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("first", ["", "sep=;\r\n", '"sep=;"\r\n', "Sep=;;;\n"])
def test_decimal_commas_are_read_where_no_comma_separates(tmp_path, encoding, first):
    path = write(tmp_path, (first + EXCEL).encode(encoding))
    labels = read_csv(path, numbers=("score",))
    assert labels["scene"].tolist() == ["s 1,5", "s", "t"]  # not a number
    assert labels.index.tolist() == [2, 3, 4]  # a spreadsheet does not show the line `sep=;`
    assert scores(path) == SCORES


def test_decimal_commas_are_read_in_tables_of_tabs(tmp_path):
    assert scores(write(tmp_path, EXCEL.replace(";", "\t"))) == SCORES


@pytest.mark.parametrize("number", ["1.234,5", "1,234,567", ",", "1,5 m"])
def test_what_is_no_number_with_a_decimal_comma_is_refused(tmp_path, number):
    path = write(tmp_path, f"image;score\na.jpg;{number}\n")
    assert f"must be finite numbers, found '{number}' (row 2)" in refusal(scores, path)


def test_a_comma_is_no_decimal_comma_where_commas_separate(tmp_path):
    path = write(tmp_path, 'image,score\na.jpg,"1,234"\n')  # which may be a thousand
    assert "found '1,234' (row 2)" in refusal(scores, path)


def test_decimal_commas_of_text_columns_stay(tmp_path):
    assert read_csv(write(tmp_path, "image;scene\n1,5;2,5\n")).to_dict("records") == [{"image": "1,5", "scene": "2,5"}]


def test_a_declared_separator_counts_more_than_the_header(tmp_path):
    labels = read_csv(write(tmp_path, "sep=\t\na,b\tc,d\n1\t2\n"))
    assert labels.to_dict("records") == [{"a,b": "1", "c,d": "2"}]


def test_separators_in_quotes_do_not_count(tmp_path):
    labels = read_csv(write(tmp_path, '"image, as on disk, or below";score\na.jpg;1\n'))
    assert labels.to_dict("records") == [{"image, as on disk, or below": "a.jpg", "score": "1"}]


def test_blank_lines_before_the_header_count_as_rows(tmp_path):
    assert read_csv(write(tmp_path, "\n\nimage,score\na.jpg,1\n")).index.tolist() == [4]


def test_the_case_of_the_header_is_dropped_on_request(tmp_path):
    path = write(tmp_path, "Image;SCORE\nA.jpg;1,5\n")
    assert read_csv(path, numbers=("score",), lower_case_header=True).to_dict("records") == [
        {"image": "A.jpg", "score": "1.5"}
    ]
    path = write(tmp_path, "score,Score\n1,2\n")
    assert read_csv(path).columns.tolist() == ["score", "Score"]
    assert "names the column score more than once" in refusal(read_csv, path, lower_case_header=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_every_unicode_encoding_that_says_which_it_is(tmp_path, encoding):
    assert read_text(write(tmp_path, "caf\u00e9\n\u732b".encode(encoding))) == "caf\u00e9\n\u732b"


def test_a_byte_order_mark_and_no_whole_characters_are_refused(tmp_path):
    path = write(tmp_path, b"\xff\xfea")
    assert refusal(read_text, path) == f"{path} is not text in UTF-8; save it in UTF-8"
