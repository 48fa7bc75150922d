# ruff: noqa: RUF001 - a minus and an en dash are meant
import json
import re
from dataclasses import replace
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from leaderboards import labels, leaderboard, noisy
from rich.console import Console

from piqa.errors import InputError
from piqa.evaluation.output.tables import as_latex, as_markdown, write_tables
from piqa.evaluation.output.terminal import print_board
from piqa.evaluation.output.text import footnotes, heading, number, p_value, warnings

NASTY = r"a_b & 50% {x} \y <script> | [z] *$#~^ `q`"


def printed(board, width=80):
    text = StringIO()
    print_board(board, Console(file=text, width=width))
    return text.getvalue()


def named(name):
    """A board with a model of this name."""
    table = labels()
    return leaderboard(table, {name: noisy(table, 0.5, 1), "peer": noisy(table, 1.0, 2)})


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


def official(board, model, measure="srocc"):
    rows = board.measures.query("model == @model and measure == @measure and protocol == 'official'")
    return rows.iloc[0]


def with_entry(board, model, **values):
    entries = board.entries.copy()
    for name, value in values.items():
        entries.loc[entries["model"] == model, name] = value
    return replace(board, entries=entries)


# On the terminal


def test_the_heading_names_table_split_and_attribute():
    assert printed(leaderboard()).splitlines()[0] == "PIQ23 overall, scene split · 24 test images · 3 test scenes"
    assert heading(leaderboard(table="mine.csv")) == "mine.csv · overall · scene split · 24 test images · 3 test scenes"
    assert heading(leaderboard(table=None, attribute=None, official_split=None, split=None)).startswith(
        "own table · 24"
    )


def test_lines_stand_in_the_order_of_the_entries():
    board = leaderboard()
    block = printed(board).split("authors:")[0]
    starts = [block.index(f"\n{model}") for model in board.entries["model"]]
    assert starts == sorted(starts)


def test_a_value_stands_above_its_interval():
    board = leaderboard()
    row = official(board, "peer")
    lines = printed(board).splitlines()
    at = lines.index(line_of(printed(board), "peer"))
    assert lines[at].split()[2] == f"{row['value']:.3f}"
    assert lines[at + 1].split()[0] == f"{row['low']:.2f}–{row['high']:.2f}"


def test_every_line_fits_into_80_columns():
    assert max(map(len, printed(named("a model with a rather long name, trained for a week")).splitlines())) <= 80


def test_published_lines_are_marked_and_said_to_be_chosen_on_the_test_set():
    text = " ".join(printed(leaderboard()).split())
    mark = re.search(r"MUSIQ \((\w)\)", text)[1]
    note = text.split(f"({mark}) published values")[1]
    assert note.startswith(", not measured here; checkpoint CHOSEN ON THE TEST SET; any mapping is not stated")


@pytest.mark.parametrize(
    ("selected_on", "said"),
    [
        ("val", "chosen on validation scenes"),
        ("test", "CHOSEN ON THE TEST SET"),
        (None, "is not known"),
        ("luck", "luck"),
    ],
)
def test_what_chose_a_checkpoint_is_said_at_its_line(selected_on, said):
    board = leaderboard(selected_on={"ours": selected_on, "peer": "val"})
    notes = [note for note in footnotes(board).values() if note.endswith("ours.csv")]
    assert len(notes) == 1
    assert said in notes[0]


def test_lines_of_one_note_share_a_letter_and_more_than_26_letters_are_told_apart():
    table = labels()
    many = footnotes(leaderboard(table, {f"model {i}": noisy(table, 1, i) for i in range(30)}))
    assert len(many) == 30 + 3  # the constant, the published lines together, the ceiling
    assert list(many)[24:28] == ["y", "z", "aa", "ab"]


def test_missing_images_and_unmatched_predictions_are_counted_and_named():
    names = [f"{i}.jpg" for i in range(7)]
    board = with_entry(
        leaderboard(missing={"peer": names}, unmatched={"peer": ["x.jpg"]}), "peer", missing=7, unmatched=1
    )
    text = " ".join(printed(board, width=200).split())
    assert "peer: images of the table without a prediction: 7 (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 2 more)" in text
    assert "peer: predictions for images that are not in the table, left out: 1 (x.jpg)" in text


def test_undefined_scenes_and_failed_fits_of_a_model_are_warned_of_but_not_those_of_a_constant():
    board = with_entry(leaderboard(), "ours", undefined_scenes=1, failed_fits=2)
    found = warnings(board)
    assert "ours: no correlation is defined in 1 of 3 scenes, which are left out of it" in found
    assert any(text.startswith("ours: no logistic could be fitted in 2 of 3 scenes") for text in found)
    assert not any(text.startswith("constant") for text in found)


def test_a_protocol_that_is_not_available_says_why_and_for_whom():
    assert "not available for peer: no predictions of training images" in printed(leaderboard())


def test_models_are_compared_with_interval_and_adjusted_p():
    board = leaderboard()
    row = board.comparisons.iloc[0]
    ends = f"[{number(row['low'])}, {number(row['high'])}]"
    assert f"ours − peer = {number(row['difference'])} {ends}, p < 0.001 (Holm 0.004)" in printed(board, 120)


def test_the_worst_scenes_of_a_model_are_named_worst_first():
    board = leaderboard()
    worst = board.scenes.query("model == 'peer'").sort_values("srocc").iloc[0]
    assert f"peer: lowest SROCC in {worst['scene']} {worst['srocc']:.3f}, " in printed(board)


def test_a_name_is_printed_as_it_is():
    assert "[red]ours[/x]" in printed(named("[red]ours[/x]"), width=120)


# Numbers in words


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-0.5, "−0.500"), (-0.0001, "0.000"), (float("nan"), "–"), (None, "–")]
)
def test_numbers_have_three_digits_a_true_minus_and_no_nan(value, text):
    assert number(value) == text


def test_a_small_p_is_not_called_zero():
    assert [p_value(0.0), p_value(0.0009), p_value(0.04), p_value(float("nan"))] == ["< 0.001", "< 0.001", "0.040", "–"]


# Files


def test_four_files_are_written_and_nothing_else(tmp_path):
    paths = write_tables(leaderboard(), tmp_path / "board")
    assert sorted(paths) == ["csv", "json", "md", "tex"]
    assert sorted((tmp_path / "board").iterdir()) == sorted(paths.values())


def test_json_holds_every_digit_and_null_for_what_is_not_defined(tmp_path):
    board = leaderboard()
    text = write_tables(board, tmp_path)["json"].read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    measures = pd.DataFrame(content["measures"])
    np.testing.assert_array_equal(measures["value"].astype(float), board.measures["value"])
    assert content["measures"][0] == {
        **{"model": "constant", "protocol": "official", "measure": "srocc"},
        **{"value": None, "low": None, "high": None, "best": False, "significant": False},
    }
    assert content["facts"]["bootstrap_samples"] == 2000
    assert [entry["model"] for entry in content["entries"]] == list(board.entries["model"])
    assert len(content["failures"]) == len(board.failures)


def test_csv_names_protocol_split_attribute_and_choice_beside_every_number(tmp_path):
    board = leaderboard()
    frame = pd.read_csv(write_tables(board, tmp_path)["csv"])
    assert len(frame) == len(board.measures)
    np.testing.assert_allclose(frame["value"], board.measures["value"], rtol=1e-14)
    assert (frame["split"] == "test").all() and (frame["attribute"] == "overall").all()
    assert set(frame["protocol"]) == {"official", "authors", "calibrated"}
    assert (frame.loc[frame["kind"] == "published", "selected_on"] == "test").all()
    assert "nan" not in (tmp_path / "leaderboard.csv").read_text().lower()


def cells(line):
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_markdown_tables_have_as_many_cells_in_every_row():
    tables = re.findall(r"(?:^\|.*\|$\n?)+", as_markdown(named(NASTY)), flags=re.M)
    assert len(tables) == 4  # three protocols and the pairs
    for table in tables:
        assert len({len(cells(line)) for line in table.splitlines()}) == 1


def test_markdown_shows_best_significant_interval_and_unknown():
    board = leaderboard()
    row = official(board, "ours")
    lines = [cells(line) for line in as_markdown(board).splitlines() if line.startswith("|")]
    ours, musiq = (next(line for line in lines if line[0].strip().startswith(name)) for name in ("ours", "MUSIQ"))
    assert ours[2].strip() == f"**{row['value']:.3f}**† [{number(row['low'])}, {number(row['high'])}]"
    assert musiq[6].strip() == "–"
    assert "nan" not in as_markdown(board)


def test_markdown_escapes_names():
    text = as_markdown(named("<script>*a*|b"))
    assert r"&lt;script&gt;\*a\*\|b" in text
    assert "<script>" not in text


def test_latex_tables_are_booktabs_with_as_many_cells_in_every_row():
    text = as_latex(named(NASTY))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    for table in re.findall(r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", text, flags=re.S):
        columns, body = table
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
        assert body.split()[0] == r"\toprule" and body.split()[-1] == r"\bottomrule"
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


def test_latex_escapes_names():
    escaped = r"a\_b \& 50\% \{x\} \textbackslash{}y \textless{}script\textgreater{} \textbar{} {[}z{]} {*}\$\#"
    assert escaped in as_latex(named(NASTY))


def test_latex_shows_best_bold_significant_with_a_dagger_and_explains_it():
    board = leaderboard()
    value = f"{official(board, 'ours')['value']:.3f}"
    text = as_latex(board)
    assert rf"\textbf{{{value}}}$^{{\dagger}}$ &" in text
    assert r" & {\scriptsize[" in text
    assert r"$^{\dagger}$: significantly better than every other entry that it was compared with (Holm" in text
    assert "nan" not in text and "CHOSEN ON THE TEST SET" in text


def test_latex_tables_are_scaled_to_the_page_and_hold_intervals_in_rows_of_their_own():
    text = as_latex(leaderboard())
    assert text.count(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%") == 3
    assert text.count("\\end{tabular}}\n") == 3 and "graphicx" in text.splitlines()[0]
    longest = max(len(line) for line in text.splitlines() if line.endswith(r"\\"))
    assert longest < 200  # a value and its interval in one cell made rows of 133 to 227 pt more than a page


def test_json_and_pages_hold_no_path_of_an_image(tmp_path):
    board = leaderboard(paths={name: f"/home/me/{name}" for name in labels()["image"]})
    write_tables(board, tmp_path)
    assert not any("/home/me" in file.read_text() for file in tmp_path.iterdir())


def test_cells_of_the_csv_that_a_spreadsheet_might_run_are_marked_unless_that_is_switched_off(tmp_path):
    board = named("=SUM(A1)")
    for safe, cell in ((True, "'=SUM(A1)"), (False, "=SUM(A1)")):
        text = write_tables(board, tmp_path, spreadsheet_safe=safe)["csv"].read_text()
        assert f",{cell},model," in text


def test_broken_images_are_told_apart_from_images_without_a_prediction():
    names = ["0.jpg", "1.jpg", "2.jpg"]
    board = with_entry(leaderboard(missing={"peer": names}, failed={"peer": names[:1]}), "peer", missing=3)
    found = warnings(board)
    assert "peer: broken images, left out: 1 (0.jpg)" in found
    assert "peer: images of the table without a prediction: 2 (1.jpg, 2.jpg)" in found


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "board").write_text("a file")
    with pytest.raises(InputError, match="board"):
        write_tables(leaderboard(), tmp_path / "board")
