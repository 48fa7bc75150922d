import numpy as np
import pandas as pd
import pytest
from refusals import refusal

from piqa.data.tables.splits import hold_out_scenes
from piqa.data.tables.table import validate
from piqa.errors import InputError


def a_frame(scenes=4, images_per_scene=3):
    """A good table; the first half of its scenes is for training. Its images are not on disk."""
    count = scenes * images_per_scene
    scene = np.repeat(np.arange(scenes), images_per_scene)
    return pd.DataFrame(
        {
            "image": [f"{row}.jpg" for row in range(count)],
            "path": [f"images/{row}.jpg" for row in range(count)],
            "score": np.linspace(-1, 1, count),
            "scene": [f"scene_{number}" for number in scene],
            "split": np.where(scene < scenes // 2, "train", "test"),
        }
    )


def refused(frame, **settings):
    return refusal(validate, frame, "my.csv", **{"check_files": False, **settings})


def changed(column, values):
    """A good table with some cells replaced: {row of the frame: value}."""
    frame = a_frame().astype({column: object})
    for row, value in values.items():
        frame.loc[row, column] = value
    return frame


def test_a_good_table_passes_unchanged():
    frame = a_frame()
    pd.testing.assert_frame_equal(validate(frame, "my.csv", check_files=False), frame, check_dtype=False)


def test_columns_get_their_types_and_others_are_dropped():
    frame = a_frame().assign(score="1.25", score_std="0.5", condition="Night", note="x")
    table = validate(frame, "my.csv", check_files=False)
    assert table.columns.tolist() == ["image", "path", "score", "scene", "split", "score_std", "condition"]
    assert table["score"].dtype == table["score_std"].dtype == np.float64
    assert table["score"].tolist() == [1.25] * 12


def test_text_scores_are_read_to_the_last_digit():
    frame = a_frame().astype({"score": object})
    frame["score"] = [repr(score) for score in np.random.default_rng(0).normal(size=12).tolist()]
    table = validate(frame, "my.csv", check_files=False)
    assert [repr(score) for score in table["score"].tolist()] == frame["score"].tolist()


def test_the_index_of_the_result_counts_from_zero():
    shuffled = a_frame().sample(frac=1, random_state=0)
    table = validate(shuffled, "my.csv", check_files=False)
    assert table.index.tolist() == list(range(12))
    assert table["image"].tolist() == shuffled["image"].tolist()


def test_the_caller_s_frame_is_left_alone():
    frame = a_frame().assign(split="Train")
    before = frame.copy()
    validate(frame, "my.csv", check_files=False, required_splits=["train"])
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("spelling", "split"),
    [("Train", "train"), ("TRAINING", "train"), (" valid", "val"), ("Validation", "val"), ("testing", "test")],
)
def test_splits_are_understood_in_several_spellings(spelling, split):
    table = validate(a_frame().assign(split=spelling), "my.csv", check_files=False, required_splits=[])
    assert set(table["split"]) == {split}


@pytest.mark.parametrize("empty", [None, float("nan"), ""])
def test_an_optional_column_without_values_counts_as_absent(empty):
    table = validate(a_frame().assign(device=empty, score_std=empty), "my.csv", check_files=False)
    assert not {"device", "score_std"} & set(table.columns)


def test_a_device_that_is_missing_in_some_rows_is_unknown():
    devices = ["Alpha", None, ""] * 4
    table = validate(a_frame().assign(device=devices), "my.csv", check_files=False)
    assert table["device"].tolist() == ["Alpha", "unknown", "unknown"] * 4


def test_missing_columns_are_named_with_those_found():
    message = refused(a_frame().drop(columns=["score", "scene"]))
    assert message == (
        "my.csv lacks the column score, scene (found: image, path, split); tell which columns hold them with `columns`"
    )


def test_a_table_without_rows_is_refused():
    assert refused(a_frame().iloc[:0]) == "my.csv has no rows below its header; it needs one row per image"


def test_empty_cells_are_refused_by_row():
    frame = changed("scene", {0: "", 4: None, 7: " ", 9: ""})
    assert refused(frame) == "my.csv has no scene in rows 2, 6, 9 and 1 more; fill it in or delete them"


@pytest.mark.parametrize(
    ("value", "shown"), [("good", "'good'"), ("1,5", "'1,5'"), (float("inf"), "inf"), ("nan", "'nan'")]
)
def test_a_score_that_is_no_finite_number_is_refused(value, shown):
    assert refused(changed("score", {5: value})) == (
        f"the score in my.csv must be finite numbers, found {shown} (row 7); correct or remove them"
    )


@pytest.mark.parametrize("value", ["-0.1", "", "inf"])
def test_a_score_std_that_is_no_deviation_is_refused(value):
    frame = a_frame().assign(score_std=["0.4"] * 11 + [value])
    assert refused(frame) == (
        f"the score_std in my.csv must be finite numbers >= 0 in every row or in none, found '{value}' (row 13); "
        "correct or remove them"
    )


def test_an_unknown_split_is_refused():
    assert refused(changed("split", {2: "holdout"})) == (
        "the split in my.csv must be train, val or test, found 'holdout' (row 4); correct them"
    )


def test_duplicate_images_are_counted_and_located():
    frame = pd.concat([a_frame(), a_frame().iloc[:4], a_frame().iloc[:1]])
    assert refused(frame) == (
        "my.csv lists 4 image(s) more than once: 0.jpg in rows 2, 14, 18; 1.jpg in rows 3, 15; 2.jpg in rows 4, 16 "
        "and 1 more; keep one row of each"
    )


def test_two_names_of_one_file_are_a_duplicate():
    frame = changed("path", {6: "images/../images/./0.jpg"})
    assert refused(frame).startswith("my.csv lists 1 image(s) more than once: images/0.jpg in rows 2, 8;")


def test_a_scene_with_a_single_image_in_its_split_is_refused():
    frame = a_frame()
    frame.loc[0, "split"] = "test"
    frame.loc[11, "scene"] = "lonely"
    assert refused(frame) == (
        "my.csv has 2 scene(s) with a single image in a split, which cannot be ranked: test scene scene_0 (row 2), "
        "test scene lonely (row 13); add images, merge scenes or remove them"
    )


def test_an_empty_split_is_refused():
    assert refused(a_frame().assign(split="test")) == (
        "my.csv has no image in the split train (found: 12 test); check its split column, or name the splits that "
        "you need in `required_splits`"
    )


def test_a_table_for_evaluation_needs_no_training_split():
    table = validate(a_frame().assign(split="test"), "my.csv", check_files=False, required_splits=["test"])
    assert set(table["split"]) == {"test"}


def test_missing_files_are_counted_and_located(tmp_path):
    frame = a_frame().assign(path=[str(tmp_path / f"{row}.jpg") for row in range(12)])
    for row in (0, 5):
        (tmp_path / f"{row}.jpg").touch()
    assert refused(frame, check_files=True) == (
        f"10 of 12 images named in my.csv are missing, looked for in {tmp_path}: 1.jpg (row 3), 2.jpg (row 4), "
        "3.jpg (row 5) and 7 more; check `root`"
    )


def test_a_missing_folder_is_called_missing(tmp_path):
    frame = a_frame().assign(path=[f"{tmp_path}/{part}/{row}.jpg" for row, part in enumerate(["a", "b", "c"] * 4)])
    message = refused(frame, check_files=True)
    assert f"looked for in {tmp_path}/a and 2 more folder(s), which does not exist: 0.jpg (row 2)" in message


def test_a_folder_is_no_image(tmp_path):
    frame = a_frame().assign(path=[str(tmp_path / f"{row}.jpg") for row in range(12)])
    for row in range(12):
        (tmp_path / f"{row}.jpg").mkdir() if row == 3 else (tmp_path / f"{row}.jpg").touch()
    assert refused(frame, check_files=True).startswith("1 of 12 images named in my.csv are missing")


def test_rows_of_the_label_file_are_named_where_they_are_given():
    message = refused(changed("score", {1: "x"}), rows=range(100, 112))
    assert "found 'x' (row 101)" in message


def test_a_name_with_a_line_break_leaves_the_message_on_one_line():
    assert "a b.jpg in rows 2, 3" in refused(changed("image", {0: "a\nb.jpg", 1: "a\nb.jpg"}))


def moved_scenes(frame, **settings):
    held_out = hold_out_scenes(frame, **{"fraction": 0.25, "seed": 0, **settings})
    return set(held_out.loc[held_out["split"] != frame["split"], "scene"])


def all_train(scenes):
    return a_frame(scenes=scenes).assign(split="train")


@pytest.mark.parametrize(("fraction", "count"), [(0.01, 1), (0.25, 2), (0.5, 4), (0.99, 7)])
def test_the_fraction_of_scenes_held_out_is_rounded_and_leaves_one_on_either_side(fraction, count):
    assert len(moved_scenes(all_train(8), fraction=fraction)) == count


def test_scenes_are_held_out_whole():
    held_out = hold_out_scenes(all_train(8), fraction=0.25, seed=0)
    assert (held_out.groupby("scene")["split"].nunique() == 1).all()


def test_held_out_scenes_do_not_depend_on_the_order_of_rows():
    frame = all_train(8)
    assert moved_scenes(frame.sample(frac=1, random_state=1)) == moved_scenes(frame)


def test_held_out_scenes_depend_on_the_seed():
    assert len({frozenset(moved_scenes(all_train(20), seed=seed)) for seed in range(10)}) > 5


@pytest.mark.parametrize(("seed", "numbers"), [(0, [6, 9, 11]), (3, [2, 9, 10])])
def test_held_out_scenes_are_those_of_version_0_1_0(seed, numbers):
    assert moved_scenes(all_train(12), seed=seed) == {f"scene_{number}" for number in numbers}


def test_only_the_source_split_gives_scenes():
    frame = a_frame(scenes=8)
    held_out = hold_out_scenes(frame, fraction=0.5, seed=0)
    assert held_out["split"].value_counts().to_dict() == {"test": 12, "train": 6, "val": 6}
    assert (held_out.loc[frame["split"] == "test", "split"] == "test").all()


def test_a_scene_in_two_splits_moves_within_its_source_only():
    frame = a_frame(scenes=4, images_per_scene=4)
    frame["split"] = ["train", "train", "test", "test"] * 4
    held_out = hold_out_scenes(frame, fraction=0.5, seed=0, target="val")
    assert held_out["split"].value_counts().to_dict() == {"test": 8, "train": 4, "val": 4}


def test_holding_out_leaves_the_given_table_alone():
    frame = all_train(8)
    hold_out_scenes(frame, fraction=0.5, seed=0)
    assert set(frame["split"]) == {"train"}


def test_a_single_scene_cannot_be_held_out():
    with pytest.raises(InputError) as caught:
        hold_out_scenes(all_train(1), fraction=0.5, seed=0)
    assert str(caught.value) == (
        "cannot hold out scenes for val: the train split has 1, at least two are needed; add scenes or mark the val "
        "images in a split column"
    )


@pytest.mark.parametrize("fraction", [0, 1, 20, -0.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(InputError, match=r"must lie between 0 and 1, such as 0.2, not"):
        hold_out_scenes(all_train(4), fraction=fraction, seed=0)
