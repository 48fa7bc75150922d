import csv

import pandas as pd
import pytest
from refusals import refusal

from piqa.system.csv_text import as_numbers, read_csv, read_text, write_csv


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


@pytest.mark.parametrize("start", [b"PK\x03\x04\x14\x00", b"\xd0\xcf\x11\xe0\xa1\xb1"])
def test_a_workbook_under_the_name_of_a_csv_is_named(tmp_path, start):
    line = refused(write(tmp_path, start + bytes(20)))
    assert "is a workbook of a spreadsheet or an archive, no text; save its table as CSV" in line


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


def test_the_case_of_the_header_does_not_matter_for_known_columns(tmp_path):
    path = write(tmp_path, "Image;SCORE;Other\nA.jpg;1,5;x\n")
    labels = read_csv(path, numbers=("score",), names=("image", "score"))
    assert labels.to_dict("records") == [{"image": "A.jpg", "score": "1.5", "Other": "x"}]
    path = write(tmp_path, "score,Score\n1,2\n")
    assert read_csv(path).columns.tolist() == ["score", "Score"]
    assert "names the column score more than once" in refusal(read_csv, path, names=("score",))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_every_unicode_encoding_that_says_which_it_is(tmp_path, encoding):
    assert read_text(write(tmp_path, "caf\u00e9\n\u732b".encode(encoding))) == "caf\u00e9\n\u732b"


def test_a_byte_order_mark_and_no_whole_characters_are_refused(tmp_path):
    path = write(tmp_path, b"\xff\xfea")
    assert refusal(read_text, path) == f"{path} is not text in UTF-8; save it in UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_byte_order_mark_is_recognised(tmp_path, encoding):
    assert read_csv(write(tmp_path, "image,score\ncaf\u00e9.jpg,1\n".encode(encoding)))["image"].tolist() == [
        "caf\u00e9.jpg"
    ]


def test_a_nul_byte_is_told_with_its_row(tmp_path):
    path = write(tmp_path, b"image,score\na.jpg,1\nb\0.jpg,2\n")
    assert refused(path) == f"row 3 of {path} holds a NUL byte, which no text has; save it anew as text in UTF-8"


@pytest.mark.parametrize(
    "number", ["1_000", "\uff11", "\u0663", "nan", "inf", "-Infinity", "0x10", "1e", "1 000", "\u22121", ""]
)
def test_what_only_python_takes_for_a_number_is_refused(tmp_path, number):
    path = write(tmp_path, f"image,score\na.jpg,{number}\n")
    assert "(row 2)" in refusal(scores, path)


@pytest.mark.parametrize("number", ["1", "+1.", ".5", "-1.5e-3", "1E5", "007"])
def test_plain_numbers_are_read(tmp_path, number):
    assert scores(write(tmp_path, f"image,score\na.jpg,{number}\n")) == [float(number)]


@pytest.mark.parametrize("number", ["3.May", "Mai 03", "2026-05-03", "3/5/2026"])
def test_a_date_that_a_spreadsheet_made_of_a_number_is_named(tmp_path, number):
    path = write(tmp_path, f"image,score\na.jpg,{number}\n")
    assert "(a spreadsheet may have made a date of a number); correct" in refusal(scores, path)


@pytest.mark.parametrize("number", ["1.234,5", "1,234.5", "1 234,5", "1'234.5"])
def test_thousands_separators_are_named(tmp_path, number):
    path = write(tmp_path, f"image;score\na.jpg;{number}\n")
    assert "(write numbers without thousands separators); correct" in refusal(scores, path)


@pytest.mark.parametrize("other", ["1.234", "2.5"])
def test_decimal_commas_and_points_in_one_table_are_refused(tmp_path, other):
    """1.234 may be a thousand there."""
    path = write(tmp_path, f"image;score;score_std\na.jpg;{other};0,5\nb.jpg;{other};0,5\n")
    message = refusal(scores, path)
    assert f"with points, such as score '{other}' (rows 2, 3); write all with one decimal sign" in message


def test_commas_that_may_all_stand_between_thousands_are_refused_where_tabs_separate(tmp_path):
    path = write(tmp_path, "image\tscore\na.jpg\t1,234\nb.jpg\t12,345\n")
    assert "without thousands separators" in refusal(scores, path)
    assert scores(write(tmp_path, "image\tscore\na.jpg\t0,234\nb.jpg\t1,345\n")) == [0.234, 1.345]


@pytest.mark.parametrize("cell", ['="007"', '"=""007"""', '"""007"""', "007"])
def test_texts_that_a_spreadsheet_marks_are_read(tmp_path, cell):
    labels = read_csv(write(tmp_path, f"image,score\n{cell},'4.5\n'007b,1\n"))
    assert labels["image"].tolist() == ["007", "'007b"]
    assert as_numbers(labels["score"], "x").tolist() == [4.5, 1]


def test_an_apostrophe_before_every_cell_of_a_column_marks_text(tmp_path):
    labels = read_csv(write(tmp_path, "image,score\n'007,1\n'008,2\n"))
    assert labels["image"].tolist() == ["007", "008"]


def test_empty_columns_of_a_spreadsheet_do_no_harm(tmp_path):
    labels = read_csv(write(tmp_path, "image;score;;;\na.jpg;1;;;\nb.jpg;2\n;;;;\n"))
    assert labels.to_dict("records") == [{"image": "a.jpg", "score": "1"}, {"image": "b.jpg", "score": "2"}]


# Writing

NASTY = ["=1+1", "+1a", "-x.jpg", "@a", "\tb", "'=c", "''-d", "-3", "a\rb", 'q"u, o', "'plain", "\u00e9"]


@pytest.mark.parametrize("spreadsheet_safe", [True, False])
def test_every_name_comes_back_as_it_was(tmp_path, spreadsheet_safe):
    names = [
        name
        for name in NASTY
        if spreadsheet_safe or not name.lstrip("'").startswith(("=", "+", "-", "@")) or name[0] != "'"
    ]
    path = tmp_path / "out.csv"
    write_csv(pd.DataFrame({"image": names, "score": -0.5}), path, spreadsheet_safe=spreadsheet_safe)
    back = read_csv(path)
    assert back["image"].str.strip().tolist() == [name.strip() for name in names]
    assert set(back["score"]) == {"-0.5"}


def test_what_a_spreadsheet_might_run_is_marked_on_request_and_numbers_are_not(tmp_path):
    write_csv(pd.DataFrame({"image": NASTY, "score": -0.5}), tmp_path / "out.csv", spreadsheet_safe=True)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert not any(row[0][0] in "=+-@\t\r" for row in rows if row[0] != "-3")
    assert {row[1] for row in rows} == {"-0.5"} and rows[7][0] == "-3"


def test_a_carriage_return_is_quoted(tmp_path):
    write_csv(pd.DataFrame({"image": ["a\rb.jpg"], "score": [1.0]}), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b'image,score\n"a\rb.jpg",1.0\n'


def test_tables_are_written_as_pandas_writes_them(tmp_path):
    frame = pd.DataFrame(
        {"a": [1, 2], "b": [0.1, float("nan")], "c": ["x,y", None], "d": [True, False], "e": [1e-7, 1e20]}
    )
    frame["f"] = pd.array([1, None], dtype="Int64")
    write_csv(frame, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == frame.to_csv(index=False, lineterminator="\n")
