import pandas as pd
import pytest

from piqa.errors import InputError
from piqa.evaluation.inputs import naive_candidates, named_paths, read_candidates

TABLE = pd.DataFrame(
    {
        "image": ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"],
        "scene": ["a", "a", "b", "b"],
        "score": [1.0, 2.0, 3.0, 5.0],
        "split": ["train", "train", "test", "test"],
    }
)


def write(path, rows, header="image,prediction"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_paths_are_named_by_hand_by_stem_or_by_the_runs_folder(tmp_path):
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "model.safetensors").touch()
    run = str(tmp_path / "my run")
    assert named_paths(["ours=x/a.csv", "y/peer.csv"]) == {"ours": "x/a.csv", "peer": "y/peer.csv"}
    assert named_paths([run]) == {"my run": run}
    assert named_paths([f"{run}/model.safetensors"]) == {"my run": f"{run}/model.safetensors"}


def test_an_equals_sign_in_an_existing_files_name_is_no_name(tmp_path):
    path = write(tmp_path / "epoch=3.csv", [])
    assert named_paths([path]) == {"epoch=3": path}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["x/a.csv", "y/a.csv"], "x/a.csv and y/a.csv are both called 'a'"),
        (["ours="], "'ours=' names no file"),
    ],
)
def test_names_that_say_nothing_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        named_paths(arguments)


def test_training_rows_are_kept_for_the_mapping_and_not_evaluated(tmp_path):
    rows = ["a/1.jpg,1", "b/2.jpg,4", "B\\9.jpg,9", "b/1.JPG,3"]
    (entry,) = read_candidates({"m": write(tmp_path / "m.csv", rows)}, TABLE, "test", selected_on={"m": "val"})
    assert entry.candidate.predictions.to_dict() == {"a/1.jpg": 1.0, "b/2.jpg": 4.0, "b/1.jpg": 3.0}
    assert entry.candidate.unmatched == ("B\\9.jpg",) and entry.candidate.selected_on == "val"
    assert entry.frame["image"].to_list() == ["b/2.jpg", "b/1.jpg"]
    assert entry.frame.attrs == {"missing": [], "unmatched": ["B\\9.jpg"]}


def test_without_a_table_the_first_file_has_the_labels_of_all(tmp_path):
    first = write(tmp_path / "a.csv", ["1.jpg,s,1,5", "2.jpg,s,2,6"], "image,scene,score,prediction")
    second = write(tmp_path / "b.csv", ["x/2.JPG,8", "x/1.jpg,7"])
    a, b = read_candidates({"a": first, "b": second}, None, "test")
    assert a.frame["prediction"].to_list() == [5, 6]
    assert b.candidate.predictions.to_dict() == {"2.jpg": 8.0, "1.jpg": 7.0}
    assert b.frame["score"].to_list() == [2, 1]


def test_other_labels_than_those_of_the_first_file_are_refused(tmp_path):
    first = write(tmp_path / "a.csv", ["1.jpg,s,1,5"], "image,scene,score,prediction")
    second = write(tmp_path / "b.csv", ["1.jpg,s,9,5"], "image,scene,score,prediction")
    with pytest.raises(InputError, match=r"b.csv: `score` is not the table's in row 2"):
        read_candidates({"a": first, "b": second}, None, "test")


def test_the_constant_is_the_mean_of_the_training_scores():
    test, train = TABLE[2:], TABLE[:2]
    (constant,) = naive_candidates(test, train)
    assert constant.predictions.to_dict() == dict.fromkeys(TABLE["image"], 1.5)
    assert "training" in constant.source and constant.kind == "naive"


def test_without_training_scores_the_constant_is_the_mean_of_the_evaluated_ones_and_says_so():
    (constant,) = naive_candidates(TABLE[2:], None)
    assert constant.predictions.to_dict() == {"b/1.jpg": 4.0, "b/2.jpg": 4.0}
    assert "evaluated" in constant.source


def test_a_constant_that_is_known_needs_no_mean():
    (constant,) = naive_candidates(TABLE[2:], TABLE[:2], constant=0.0)
    assert (constant.predictions == 0).all() and "centred" in constant.source


def test_other_scores_take_part_where_they_know_every_image():
    known = TABLE.set_index("image")["score"]
    found = naive_candidates(TABLE[2:], None, {"Exposure JOD": known, "Details JOD": known.iloc[:3]})
    assert [candidate.name for candidate in found] == ["constant", "Exposure JOD"]
