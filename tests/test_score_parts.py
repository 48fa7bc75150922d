import csv
import json
from pathlib import Path

import pytest
from refusals import refusal

from piqa.errors import FileAccessError, InputError
from piqa.scoring.image_batches import stamp_of
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.score_output import ScoreOutput
from piqa.system.ownership import MARKER

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
    (path,) = (tmp_path / ".scores.csv.parts").glob("*.jsonl")
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


def test_an_image_that_could_not_be_read_is_tried_again_by_the_next_run(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    image = Path(files[0])
    content = image.read_bytes()
    image.unlink()
    keep(parts, files, score=None)
    assert parts_of(tmp_path).left(files) == [files[0]]
    counts = parts.finish(files)
    assert (counts.images, counts.passing) == (4, 1) and len(written(tmp_path)) == 4
    image.write_bytes(content)  # even though it has a row in the table
    again = parts_of(tmp_path)
    assert again.left(files) == [files[0]]
    keep(again, [files[0]])
    assert again.finish(files).passing == 0
    assert [row["score"] for row in written(tmp_path)] == ["0.5", "", "", ""]
    assert not (tmp_path / ".scores.csv.parts").exists()


def test_a_row_of_an_image_that_is_gone_by_now_is_kept(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files, score=0.25)
    for file in files[:2]:
        Path(file).unlink()
    again = parts_of(tmp_path)
    assert again.left(files) == files[:2]
    keep(again, files[:2], score=None)  # in vain
    again.finish(files)
    assert [row["score"] for row in written(tmp_path)] == ["0.25"] * 4


def test_a_disk_that_is_gone_is_told_as_such(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:1])
    for file in files:
        Path(file).unlink()
    with parts.writing():
        parts.append([dict.fromkeys(COLUMNS) | {"file": files[1], "error": f"cannot read {files[1]}: gone"}], [None])
    with pytest.raises(FileAccessError, match=rf"no longer be read: cannot read {files[1]}: gone. 3 of 4 are not"):
        parts.finish(files)


def test_the_order_of_rows_does_not_rest_on_the_clock(tmp_path, files, monkeypatch):
    for moment, score, content in ((2e9, 0.25, "at first"), (1e9, 0.75, "retouched")):  # the clock is set back between
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        monkeypatch.setattr("time.time_ns", lambda moment=moment: int(moment * 1e9))
        Path(files[1]).write_text(content)
        again = parts_of(tmp_path)
        keep(again, again.left(files), score=score)
    again.finish(files)
    assert [row["score"] for row in written(tmp_path)] == ["0.25", "0.75", "0.25", "0.25"]


def test_an_old_row_of_a_changed_image_is_never_used(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files)
    Path(files[2]).write_text("retouched while the others were scored")
    with pytest.raises(InputError, match=r"1 of 4 images have no row yet: .* changed"):
        parts.finish(files)
    assert parts_of(tmp_path).left(files) == [files[2]]


def test_parts_are_numbered_and_named_after_the_run(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    for file in files[:3]:
        keep(parts, [file])
    names = sorted(path.name for path in (tmp_path / ".scores.csv.parts").glob("*.jsonl"))
    assert names == [f"{number:06d}-{parts.run}.jsonl" for number in range(3)] and len(parts.run) == 32


def test_parts_of_version_0_1_0_go_on(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:3])
    folder = tmp_path / ".scores.csv.parts"
    the_part(tmp_path).rename(folder / f"{1_700_000_000_000_000_000:020d}-{'0a' * 16}.jsonl")
    (folder / MARKER).unlink()
    again = parts_of(tmp_path)
    assert again.left(files) == files[3:]
    keep(again, files[3:])
    again.finish(files)
    assert not folder.exists()


def test_a_folder_of_others_in_the_place_of_the_parts_is_left_alone(tmp_path, files):
    folder = tmp_path / ".scores.csv.parts"
    folder.mkdir()
    (folder / "mine.jsonl").write_text("precious")
    with pytest.raises(InputError, match="are left alone"):
        parts_of(tmp_path).left(files)
    assert [path.name for path in folder.iterdir()] == ["mine.jsonl"]


def test_what_others_put_beside_the_parts_stays(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files)
    note = tmp_path / ".scores.csv.parts" / "note.jsonl"
    note.write_text("mine")
    parts.finish(files)
    assert note.read_text() == "mine" and not list(note.parent.glob("0*.jsonl"))
    again = parts_of(tmp_path)
    assert again.left(files) == files


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "[[1, 2], [3], 0.5, true, null]", '[null, {"a": 1}, 0.5, true, null]', "7"]
)
def test_an_odd_line_costs_itself_alone(tmp_path, files, line):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files[:2])
    with the_part(tmp_path).open("a") as file:
        file.write(f"{line}\n")
    again = parts_of(tmp_path)
    assert again.left(files) == files[2:]
    keep(again, files[2:])
    assert again.finish(files).images == 4


# The output


def finished(tmp_path, files):
    parts = parts_of(tmp_path)
    parts.left(files)
    keep(parts, files)
    parts.finish(files)
    return parts


def test_a_table_of_ours_is_replaced_and_one_that_was_edited_is_not(tmp_path, files):
    finished(tmp_path, files)
    ScoreOutput(tmp_path / "scores.csv").check()
    with (tmp_path / "scores.csv").open("a") as file:
        file.write("my own remark\n")
    assert "was changed since piqa wrote it" in refusal(ScoreOutput(tmp_path / "scores.csv").check)


def test_a_run_that_was_killed_between_table_and_summary_goes_on(tmp_path, files, monkeypatch):
    finished(tmp_path, files[:1])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ScoreOutput, "write_summary", lambda self, summary: (_ for _ in ()).throw(KeyboardInterrupt))
        finished(tmp_path, files)
    ScoreOutput(tmp_path / "scores.csv").check()
    again = parts_of(tmp_path)
    assert again.left(files) == []
    again.finish(files)
    assert json.loads((tmp_path / "scores.json").read_text())["images"] == 4
    assert not (tmp_path / ".scores.csv.parts").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("scores.json", "which is no .json"),
        ("photo.JPG", "has the name of an image"),
        ("photo.heic", "has the name of an image"),
        ("scores.parquet", "which is no .parquet"),
        (".", "it is a folder"),
    ],
)
def test_an_output_that_can_be_no_table_is_refused(tmp_path, name, reason):
    assert reason in refusal(ScoreOutput, tmp_path / name)


@pytest.mark.parametrize("device", ["/dev/stdout", "/dev/null", "/dev/new.csv", "/dev/fd/1"])
def test_a_device_is_refused(device):
    assert "device" in refusal(ScoreOutput, device)


def test_the_summary_of_another_table_is_not_replaced(tmp_path, files):
    finished(tmp_path, files)
    assert "scores.json is the summary of scores.csv" in refusal(ScoreOutput(tmp_path / "scores.txt").check)


def test_an_empty_file_is_written(tmp_path, files):
    (tmp_path / "scores.csv").touch()
    ScoreOutput(tmp_path / "scores.csv").check()
    finished(tmp_path, files)
    assert len(written(tmp_path)) == 4


def test_a_link_is_written_through(tmp_path, files):
    (tmp_path / "disk").mkdir()
    (tmp_path / "scores.csv").symlink_to(tmp_path / "disk" / "of_today.csv")
    finished(tmp_path, files)
    assert (tmp_path / "scores.csv").is_symlink() and len(written(tmp_path)) == 4
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["of_today.csv", "of_today.json"]


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
    with pytest.raises(InputError, match="is a folder; name a file"):
        ScoreParts(tmp_path, COLUMNS, {}).left(files)
