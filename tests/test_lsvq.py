import json
import warnings

import jsonargparse
import pandas as pd
import pytest
from refusals import refusal
from videos import KINDS, write_lsvq

from piqa.data.tables.lsvq import LSVQ
from piqa.data.tables.table import Table

HEADER = "name,p1,height,width,mos,frame_number,is_test,is_valid\n"
BOX = '"[15, 527, 421, 709, 0, 200]"'


def row(name, mos, is_test=False):
    return f"{name},{BOX},720,1280,{mos},200,{is_test},True\n"


def write(root, content, name="labels_train_test.csv"):
    root.mkdir(exist_ok=True)
    (root / name).write_text(content)
    return root


def write_training(root, count=10, name="labels_train_test.csv"):
    """Labels of `count` training videos v0, v1, ... without the videos."""
    return write(root, HEADER + "".join(row(f"yfcc-batch1/v{number}", number) for number in range(count)), name)


def add_videos(root, *names):
    for name in names:
        path = root / f"yfcc-batch1/{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.touch()


def refused(root, **settings):
    return refusal(lambda: LSVQ(root, **settings).load())


def test_the_authors_labels_load_with_their_videos(tmp_path):
    root = write_lsvq(tmp_path, videos=12, kinds=KINDS[:1])
    labels = pd.read_csv(root / "labels_train_test.csv")
    table = LSVQ(root).load()
    assert table.columns.tolist() == ["image", "path", "score", "scene", "split"]
    assert table["image"].tolist() == labels["name"].tolist()
    assert table["path"].tolist() == [str(root / f"{name}.mp4") for name in labels["name"]]
    assert table["score"].tolist() == pytest.approx(labels["mos"].tolist(), abs=0)
    assert set(table["scene"]) == {"LSVQ"}
    assert (table["split"] == "test").tolist() == labels["is_test"].tolist()


def test_the_last_fifth_of_the_training_rows_is_for_validation(tmp_path):
    training = [row(f"yfcc-batch1/v{number}", number) for number in range(10)]
    test = [row("ia-batch1/t0", 1, True), row("ia-batch1/t1", 1, True)]
    root = write(tmp_path, HEADER + test[0] + "".join(training) + test[1])
    table = LSVQ(root, check_files=False).load()
    assert table["split"].tolist() == ["test", *["train"] * 8, "val", "val", "test"]


def test_the_published_counts_come_out(tmp_path):
    lines = [f"yfcc-batch{number % 40}/{number}.mp4, -1, -1, 76.84375\n" for number in range(28056)]
    root = write(tmp_path, "".join(lines), "train_labels.txt")
    table = LSVQ(root, labels="train_labels.txt", check_files=False).load()
    assert table["split"].value_counts().to_dict() == {"train": 22444, "val": 5612}
    assert table["split"].is_monotonic_increasing  # train before val, in the order of the rows


def test_the_list_of_fast_vqa_gives_the_same_table(tmp_path):
    rows = [("yfcc-batch1/725", 76.84375), ("ia-batch9/x.mp4", 40.5), ("ia-batch9/a, b", 50), ("ia-batch9/c", 60)]
    csv = "".join(row(f'"{name}"', mos) for name, mos in rows)
    listing = "".join(f"{name}.mp4, -1, -1, {mos}\n" for name, mos in rows)
    root = write(write(tmp_path, HEADER + csv), listing, "list.txt")
    settings = {"check_files": False, "val_fraction": 0.5}
    pd.testing.assert_frame_equal(LSVQ(root, labels="list.txt", **settings).load(), LSVQ(root, **settings).load())


def test_a_name_that_ends_in_mp4_has_a_file_that_ends_so_twice(tmp_path):
    root = write(tmp_path, HEADER + row("ia-batch9/x.mp4", 1) + row("ia-batch9/y", 2))
    table = LSVQ(root, val_fraction=0, check_files=False).load()
    assert table["image"].tolist() == ["ia-batch9/x.mp4", "ia-batch9/y"]
    assert table["path"].tolist() == [str(root / "ia-batch9/x.mp4.mp4"), str(root / "ia-batch9/y.mp4")]


def test_lists_of_test_videos_are_for_the_test(tmp_path):
    root = write_training(tmp_path)
    write(root, HEADER + row("ia-batch1/a", 1, True) + row("ia-batch1/b", 2, True), "test.csv")
    write(root, "ia-batch1/c.mp4, -1, -1, 3\nia-batch1/d.mp4, -1, -1, 4\n", "1080p.txt")
    table = LSVQ(root, tests=["test.csv", "1080p.txt"], check_files=False).load()
    assert table["split"].tolist() == ["train"] * 8 + ["val"] * 2 + ["test"] * 4
    assert table["score"].tolist()[-4:] == [1, 2, 3, 4]


def test_labels_may_stand_elsewhere(tmp_path):
    write_training(tmp_path / "labels", name="mine.csv")
    table = LSVQ(tmp_path / "videos", labels=tmp_path / "labels" / "mine.csv", check_files=False).load()
    assert table["path"].iloc[0] == str(tmp_path / "videos" / "yfcc-batch1/v0.mp4")


def test_training_rows_in_a_list_of_test_videos_are_refused(tmp_path):
    root = write(write_training(tmp_path), HEADER + row("t0", 1, True) + row("t1", 2), "test.csv")
    assert f"row 3 of {root / 'test.csv'} is for training" in refused(root, tests=["test.csv"], check_files=False)


def test_a_video_that_is_learnt_and_judged_is_refused(tmp_path):
    content = HEADER + row("yfcc-batch1/v3", 1, True) + row("other", 1, True)
    root = write(write_training(tmp_path), content, "test.csv")
    message = refused(root, tests=["test.csv"], check_files=False)
    assert "1 video(s), such as yfcc-batch1/v3, are in more than one of" in message


def test_missing_videos_are_counted_and_named(tmp_path):
    root = write_training(tmp_path)
    add_videos(root, *[f"v{number}" for number in (0, 1, 4, 6, 7, 9)])
    message = refused(root)
    assert "4 of 10 files named in" in message
    assert "yfcc-batch1/v2 (row 4), yfcc-batch1/v3 (row 5), yfcc-batch1/v5 (row 7) and 1 more" in message
    assert f"the first should be {root / 'yfcc-batch1/v2.mp4'}" in message


def test_missing_videos_are_left_out_when_asked_for(tmp_path):
    root = write_training(tmp_path)
    add_videos(root, *[f"v{number}" for number in range(10) if number != 3])
    with pytest.warns(UserWarning, match=r"1 of 10 files .* yfcc-batch1/v3 \(row 5\); they are left out"):
        table = LSVQ(root, max_missing=0.1).load()
    assert table["image"].tolist() == [f"yfcc-batch1/v{number}" for number in range(10) if number != 3]
    assert table["split"].tolist() == ["train"] * 7 + ["val"] * 2  # the others stay where they were


def test_more_missing_videos_than_allowed_are_refused(tmp_path):
    root = write_training(tmp_path)
    add_videos(root, *[f"v{number}" for number in range(8)])
    assert "2 of 10 files" in refused(root, max_missing=0.1)


def test_complete_videos_load_without_a_warning(tmp_path):
    root = write_training(tmp_path)
    add_videos(root, *[f"v{number}" for number in range(10)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(LSVQ(root).load()) == 10


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (HEADER + row("a", "good") + row("b", 1), "must be finite numbers, found 'good' (row 2)"),
        (HEADER + row("a", "") + row("b", 1), "has no score in row 2"),
        (HEADER + row("", 1) + row("b", 1), "has no image in row 2"),
        (HEADER + row("a", 1) + row("a", 2), "more than once: a in rows 2, 3"),
        (HEADER + row("a", 1) + row("b", 2, "maybe"), "has is_test 'maybe'"),
        ("video,MOS\na,1\n", "lacks the column name (found: video, mos)"),
        ("", "is empty"),
        ("a.mp4, -1, -1, 5\nb.mp4, 5\n", "is not `<file>.mp4, -1, -1, <mos>` as the first"),
        ("a.mp4, -1, -1, 5\n\nb.mp4, -1, -1, bad\n", "found 'bad' (row 3)"),
        (HEADER + row("a", 1, True) + row("b", 1, True), "no image in the split train, val"),
    ],
)
def test_unfit_labels_are_refused(tmp_path, content, complaint):
    message = refused(write(tmp_path, content), check_files=False)
    assert complaint in message
    assert "labels_train_test.csv" in message


def test_absent_labels_are_refused(tmp_path):
    assert f"cannot read {tmp_path / 'labels_train_test.csv'}" in refused(tmp_path)


@pytest.mark.parametrize("shares", [{"val_fraction": 1}, {"val_fraction": -0.1}, {"max_missing": 1.1}])
def test_shares_out_of_range_are_refused(tmp_path, shares):
    assert "must lie in" in refused(tmp_path, **shares)


def test_a_config_can_name_it(tmp_path):
    root = write_training(tmp_path)
    config = {"class_path": "piqa.data.tables.lsvq.LSVQ", "init_args": {"root": str(root), "check_files": False}}

    def load(table: Table):
        return table.load()

    assert len(jsonargparse.CLI(load, args=[f"--table={json.dumps(config)}"], as_positional=False)) == 10
