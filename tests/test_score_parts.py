import csv
import json
from pathlib import Path

import pytest

from piqa.errors import InputError
from piqa.scoring.image_batches import stamp_of
from piqa.scoring.resumable_csv import ScoreParts

COLUMNS = ["file", "score", "face_found", "error"]


@pytest.fixture
def files(tmp_path):
    names = [str(tmp_path / f"{number}.jpg") for number in range(4)]
    for name in names:
        Path(name).write_text(name)
    return names


def parts_of(tmp_path, settings="of a model"):
    return ScoreParts(tmp_path / "scores.csv", COLUMNS, {"settings": settings})


def keep(parts, files, score=0.5):
    rows = [{"file": file, "score": score, "face_found": True, "error": None} for file in files]
    with parts.writing():
        parts.append(rows, [stamp_of(file) for file in files])


def the_part(tmp_path):
    (path,) = (tmp_path / ".scores.csv.parts").iterdir()
    return path


def written(tmp_path):
    with (tmp_path / "scores.csv").open(newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_rows_come_out_in_the_order_of_the_input(tmp_path, files):
    parts = parts_of(tmp_path)
    assert parts.left(files) == files
    keep(parts, [files[2], files[0]])
    keep(parts_of(tmp_path), [files[3], files[1]])  # another process
    counts = parts.finish(files)
    assert [row["file"] for row in written(tmp_path)] == files
    assert counts.images == 4 and not (tmp_path / ".scores.csv.parts").exists()


def test_what_has_a_row_is_not_left(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[1:3])
    assert parts_of(tmp_path).left(files) == [files[0], files[3]]


def test_a_last_line_cut_short_anywhere_costs_its_row_alone(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:2])
    whole = the_part(tmp_path).read_bytes()
    header, first, _ = whole.splitlines(keepends=True)
    for size in range(len(whole)):
        the_part(tmp_path).write_bytes(whole[:size])
        rows = (size >= len(header + first)) if size >= len(header) else 0
        assert parts_of(tmp_path).left(files) == files[rows:], size


def test_a_run_after_a_torn_line_keeps_both_its_rows_and_those_before(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:2])
    path = the_part(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    again = parts_of(tmp_path)
    keep(again, again.left(files))
    assert again.finish(files).images == 4
    assert [row["file"] for row in written(tmp_path)] == files


def test_a_damaged_line_costs_its_row_alone(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files)
    lines = the_part(tmp_path).read_bytes().splitlines(keepends=True)
    lines[2] = b"\x00" * (len(lines[2]) - 1) + b"\n"
    the_part(tmp_path).write_bytes(b"".join(lines))
    assert parts_of(tmp_path).left(files) == [files[1]]


def test_a_changed_image_is_scored_again_and_its_new_row_counts(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files, score=0.5)
    Path(files[1]).write_text("retouched")
    again = parts_of(tmp_path)
    assert again.left(files) == [files[1]]
    keep(again, [files[1]], score=0.75)
    again.finish(files)
    assert [row["score"] for row in written(tmp_path)] == ["0.5", "0.75", "0.5", "0.5"]


def test_an_image_that_was_missing_and_came_back_is_scored_again(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    image = Path(files[0])
    content = image.read_bytes()
    image.unlink()
    keep(parts, files)
    assert parts_of(tmp_path).left(files) == []
    image.write_bytes(content)
    assert parts_of(tmp_path).left(files) == [files[0]]


def test_rows_of_other_settings_are_not_used_but_stay_until_the_end(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:3])
    other = parts_of(tmp_path, "of another model")
    assert other.left(files) == files
    keep(other, files[:1])
    assert parts_of(tmp_path).left(files) == files[3:]  # the first settings were right after all


def test_images_added_and_removed_between_runs_cost_no_row(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files[1:])
    keep(parts, files[1:])
    changed = [files[0], *files[2:]]
    assert parts_of(tmp_path).left(changed) == [files[0]]


def test_a_table_with_an_image_missing_is_not_written(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:3])
    with pytest.raises(InputError, match=r"1 of 4 images have no row yet.* give the command again"):
        parts.finish(files)
    assert not (tmp_path / "scores.csv").exists() and parts_of(tmp_path).left(files) == files[3:]


def test_odd_names_of_files_come_out_as_they_went_in(tmp_path):
    names = [
        "comma, and ; more",
        'a "quoted"\nname',
        "ünïcödé 人",
        b"not utf-8 \xff\xfe".decode(errors="surrogateescape"),
    ]
    parts = parts_of(tmp_path)
    parts.left(names)
    keep(parts, names)
    parts.finish(names)
    assert [row["file"] for row in written(tmp_path)] == names
    assert b"not utf-8 \xff\xfe" in (tmp_path / "scores.csv").read_bytes()


def test_scores_keep_their_last_digit_and_nothing_stays_empty(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files[:2])
    with parts.writing():
        parts.append([{"file": files[0], "score": 0.1 + 0.2, "face_found": False, "error": None}], [None])
        parts.append([dict.fromkeys(COLUMNS) | {"file": files[1], "error": "torn"}], [None])
    counts = parts.finish(files[:2])
    first, second = written(tmp_path)
    assert first == {"file": files[0], "score": "0.30000000000000004", "face_found": "False", "error": ""}
    assert second == {"file": files[1], "score": "", "face_found": "", "error": "torn"}
    assert (counts.images, counts.failed, counts.no_face) == (2, 1, 1)


def test_a_part_tells_its_settings_first(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:1])
    header, row = map(json.loads, the_part(tmp_path).read_text().splitlines())
    assert header == {"columns": COLUMNS, "settings": {"settings": "of a model"}}
    assert row == [list(stamp_of(files[0])), files[0], 0.5, True, None]


def test_a_folder_in_the_place_of_the_table_is_told_before_anything_is_scored(tmp_path, files):
    with pytest.raises(InputError, match="is a folder; name the CSV"):
        ScoreParts(tmp_path, COLUMNS, {}).left(files)
