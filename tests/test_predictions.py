import numpy as np
import pandas as pd
import pytest

from piqa.errors import InputError
from piqa.evaluation.predictions import read_predictions
from piqa.system.csv_text import write_csv

LABELS = pd.DataFrame(
    {
        "image": ["1_A.jpg", "2_A.JPG", "3_B.tiff", "4_B.jpg"],
        "path": ["/images/x.jpg"] * 4,
        "score": [1.5, -0.5, 0.25, 2.0],
        "scene": ["A", "A", "B", "B"],
        "split": ["test"] * 4,
        "score_std": [0.3, 0.4, 0.5, 0.6],
    },
    index=[10, 11, 20, 21],  # a table cut down to one split keeps its index
)


def csv(folder, text, encoding="utf-8"):
    path = folder / "scores.csv"
    path.write_text(text, encoding=encoding, newline="")
    return path


def complaint(*arguments, **options):
    with pytest.raises(InputError) as error:
        read_predictions(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# A file with its own labels


def test_a_file_with_labels_needs_no_table(tmp_path):
    frame = read_predictions(
        csv(tmp_path, "image,scene,score,prediction,device\na.jpg,S,1,0.5,Pixel\nb.jpg,S,2,1e-3,iPhone\n")
    )
    assert list(frame.columns) == ["image", "scene", "score", "prediction", "device"]
    assert frame["score"].to_list() == [1.0, 2.0]
    assert frame["prediction"].to_list() == [0.5, 0.001]
    assert frame["device"].to_list() == ["Pixel", "iPhone"]


def test_names_that_look_like_numbers_or_gaps_stay_text(tmp_path):
    frame = read_predictions(csv(tmp_path, "image,scene,score,prediction\n007,NA,1,2\n008,01,1,2\n"))
    assert frame["image"].to_list() == ["007", "008"]
    assert frame["scene"].to_list() == ["NA", "01"]


@pytest.mark.parametrize(
    "text, encoding",
    [
        ("image;scene;score;prediction\na.jpg;S;1;0.5\n", "utf-8"),
        ("image,scene,score,prediction\r\na.jpg,S,1,0.5\r\n", "utf-8-sig"),
        (" IMAGE , Scene,score ,Prediction\n a.jpg , S, 1 , 0.5\n\n\n", "utf-8"),
        ("image;scene;score;prediction\na.jpg;S;1,0;0,5\n", "utf-8"),
        ("sep=;\nimage;scene;score;prediction\na.jpg;S;1;0,5\n", "utf-16"),
        ("image\tscene\tscore\tprediction\na.jpg\tS\t1\t0.5\n", "utf-8"),
        ("\nimage,scene,score,prediction\na.jpg,S,1,0.5\n", "utf-8"),
    ],
    ids=[
        "semicolons",
        "byte order mark and CRLF",
        "spaces, case and blank lines",
        "decimal commas",
        "declared separator",
        "tabs",
        "blank first line",
    ],
)
def test_dialects_are_read(tmp_path, text, encoding):
    frame = read_predictions(csv(tmp_path, text, encoding))
    assert frame.to_dict("records") == [{"image": "a.jpg", "scene": "S", "score": 1.0, "prediction": 0.5}]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("image,prediction\n", "has a header and no rows"),
        ("file,score\na.jpg,1\n", r"lacks the column image, prediction \(found: file, score\); add it or rename one"),
        ("image,prediction\na.jpg,1\n", "lacks the column scene, score .* table that has the labels"),
        ("image,scene,score,prediction\na,S,1,1\nb,S,1,\n", "`prediction` is empty in row 3; every image needs it"),
        (
            "image,scene,score,prediction\na,S,1,good\n",
            "the prediction in .* must be finite numbers, found 'good' .row 2.; correct",
        ),
        (
            "image,scene,score,prediction\na,S,1,1\n\nb,S,nan,2\n",
            "the score in .* must be finite numbers, found 'nan' .row 4.; correct",
        ),
        (
            "image,scene,score,prediction\na,S,1,inf\n",
            "the prediction in .* must be finite numbers, found 'inf' .row 2.",
        ),
        ("image,scene,score,prediction\na,S,1\n", "Row 2 of .* has 3 cells where the header names 4 columns"),
        (
            "image,scene,score,prediction\na,S,1,1\na,S,1,2\n",
            "images with several rows: 1 .first: a in rows 2, 3.; keep one",
        ),
        ("image,scene,score,prediction\n,S,1,1\n", "`image` is empty in row 2"),
        ("image,scene,score,prediction\na,,1,1\n", "`scene` is empty in row 2"),
        ("image,scene,score,prediction,prediction\na,S,1,1,2\n", "names the column prediction more than once"),
        (
            "image,scene,score,prediction\na,S,1,1\nb,S,1,1,9\n",
            "Row 3 of .* has 5 cells where the header names 4 columns",
        ),
    ],
)
def test_a_file_that_cannot_be_evaluated_is_refused_in_one_line(tmp_path, text, message):
    path = csv(tmp_path, text)
    with pytest.raises(InputError, match=message) as error:
        read_predictions(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert complaint(tmp_path / "none.csv") == (
        f"cannot read {tmp_path / 'none.csv'}: No such file or directory; check the path"
    )
    assert "Is a directory" in complaint(tmp_path)


def test_an_image_is_not_a_csv(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    assert "is not text in UTF-8" in complaint(path)


def test_many_bad_rows_are_counted(tmp_path):
    rows = "".join(f"{i}.jpg,S,1,?\n" for i in range(9))
    assert "found '?' (row 2), '?' (row 3), '?' (row 4) and 6 more" in complaint(
        csv(tmp_path, "image,scene,score,prediction\n" + rows)
    )


# Labels from a table


@pytest.mark.parametrize(
    "names",
    [
        ["1_A.jpg", "2_A.JPG", "3_B.tiff", "4_B.jpg"],
        ["1_A.JPG", "2_A.jpg", "./3_B.TIFF", "4_B.jpg"],
        ["Overall\\1_A.jpg", "Overall/2_A.jpg", "/data/Overall/3_B.tiff", "4_B.jpg"],
    ],
    ids=["exact", "case of the extension", "folders"],
)
def test_labels_are_joined_by_image_name(tmp_path, names):
    rows = "".join(f"{name},{i}\n" for i, name in enumerate(names))
    frame = read_predictions(csv(tmp_path, "image,prediction\n" + rows), LABELS)
    expected = LABELS.drop(columns="path").reset_index(drop=True).assign(prediction=[0.0, 1.0, 2.0, 3.0])
    pd.testing.assert_frame_equal(frame[expected.columns], expected, check_dtype=False)
    assert frame.attrs == {"missing": [], "unmatched": []}


def test_names_that_differ_only_in_the_case_of_the_extension_are_two_images(tmp_path):
    table = LABELS.iloc[:2].assign(image=["a.jpg", "a.JPG"])
    frame = read_predictions(csv(tmp_path, "image,prediction\na.JPG,2\na.jpg,1\n"), table)
    assert frame["score"].to_list() == [-0.5, 1.5]


def test_rows_keep_the_order_of_the_file(tmp_path):
    frame = read_predictions(csv(tmp_path, "image,prediction\n4_B.jpg,4\n2_A.JPG,2\n1_A.jpg,1\n3_B.tiff,3\n"), LABELS)
    assert frame["score"].to_list() == [2.0, -0.5, 1.5, 0.25]
    assert list(frame.index) == [0, 1, 2, 3]


def test_the_same_file_name_in_other_scenes_is_not_mixed_up(tmp_path):
    names = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]
    rows = "".join(f"/images/{name},{i}\n" for i, name in enumerate([*names, "c/1.jpg"]))
    table = LABELS.assign(image=names)
    frame = read_predictions(csv(tmp_path, "image,prediction\n" + rows), table)
    assert dict(zip(frame["image"], frame["prediction"], strict=True)) == dict(zip(names, range(4), strict=True))
    assert frame.attrs["unmatched"] == ["/images/c/1.jpg"]


def test_a_stranger_with_a_known_file_name_does_not_take_its_place(tmp_path):
    table = LABELS.assign(image=["t/1.jpg", "t/2.jpg", "t/3.jpg", "t/4.jpg"])
    rows = "image,prediction\nt/1.jpg,1\nt/2.jpg,2\nt/3.jpg,3\nother/4.jpg,4\n"
    assert "3 of the 4 images to be evaluated, without t/4.jpg; rows that fit no image: other/4.jpg; " in complaint(
        csv(tmp_path, rows), table
    )


def test_file_names_alone_count_where_no_folder_agrees(tmp_path):
    table = LABELS.assign(image="Overall/" + LABELS["image"])
    rows = "".join(f"mine/{name},1\n" for name in LABELS["image"])
    assert len(read_predictions(csv(tmp_path, "image,prediction\n" + rows), table)) == 4


def test_a_name_that_fits_two_images_is_not_guessed(tmp_path):
    table = LABELS.assign(image=["a/1.jpg", "b/1.jpg", "a/2.jpg", "a/3.jpg"])
    message = complaint(csv(tmp_path, "image,prediction\n1.jpg,1\n2.jpg,1\n3.jpg,1\n"), table)
    assert "2 of the 4 images to be evaluated, without a/1.jpg, b/1.jpg; " in message
    assert "rows that fit no image: 1.jpg; " in message


def test_two_rows_for_one_image_of_the_table_are_refused(tmp_path):
    rows = "image,prediction\nDetails/1_A.jpg,1\nOverall/1_A.jpg,1\n2_A.JPG,1\n3_B.tiff,1\n4_B.jpg,1\n"
    assert "images with several rows: 1 (first: 1_A.jpg in rows 2, 3)" in complaint(csv(tmp_path, rows), LABELS)


def test_missing_images_are_counted_and_named(tmp_path):
    message = complaint(csv(tmp_path, "image,prediction\n1_A.jpg,1\nz.jpg,2\n"), LABELS)
    assert "predicts 1 of the 4 images to be evaluated, without 2_A.JPG, 3_B.tiff, 4_B.jpg; " in message
    assert "rows that fit no image: z.jpg; add them, or raise `max_missing`" in message


def test_a_share_of_the_images_may_be_missing_and_is_listed(tmp_path):
    path = csv(tmp_path, "image,prediction\n1_A.jpg,1\n2_A.JPG,1\n3_B.tiff,1\nz.jpg,1\n")
    frame = read_predictions(path, LABELS, max_missing=0.25)
    assert len(frame) == 3
    assert frame.attrs == {"missing": ["4_B.jpg"], "unmatched": ["z.jpg"]}
    assert "raise `max_missing` (now 0.24)" in complaint(path, LABELS, max_missing=0.24)


def test_a_file_that_fits_no_image_is_refused_whatever_may_be_missing(tmp_path):
    message = complaint(csv(tmp_path, "image,prediction\nz.jpg,1\n"), LABELS, max_missing=0.99)
    assert "predicts 0 of the 4 images" in message


@pytest.mark.parametrize("share", [1, -1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    path = csv(tmp_path, "image,prediction\n1_A.jpg,1\n")
    assert "at least 0 and below 1" in complaint(path, LABELS, max_missing=share)


def test_only_images_of_the_split_must_be_predicted_and_others_are_kept(tmp_path):
    table = LABELS.assign(split=["train", "train", "test", "test"])
    path = csv(tmp_path, "image,prediction\n1_A.jpg,1\n3_B.tiff,1\n4_B.jpg,1\n")
    frame = read_predictions(path, table, split="test")
    assert frame["split"].to_list() == ["train", "test", "test"]
    assert frame.attrs == {"missing": [], "unmatched": []}
    assert "predicts 1 of the 2 images to be evaluated, without 2_A.JPG" in complaint(path, table, split="train")


def test_scores_of_another_attribute_are_refused(tmp_path):
    rows = "image,score,prediction\n1_A.jpg,1.5,1\n2_A.JPG,-0.5,1\n3_B.tiff,0.9,1\n4_B.jpg,2,1\n"
    message = complaint(csv(tmp_path, rows), LABELS)
    assert "`score` is not the table's in row 4 (0.9 where the table has 0.25)" in message


def test_other_scenes_than_the_tables_are_refused(tmp_path):
    rows = "image,scene,prediction\n1_A.jpg,A,1\n2_A.JPG,A,1\n3_B.tiff,A,1\n4_B.jpg,B,1\n"
    assert "`scene` is not the table's in row 4 (A where the table has B)" in complaint(csv(tmp_path, rows), LABELS)


def test_scores_rounded_to_nine_digits_are_the_same_scores(tmp_path):
    table = LABELS.assign(score=LABELS["score"] + 4e-10)
    rows = "image,score,prediction\n1_A.jpg,1.5,1\n2_A.JPG,-0.5,1\n3_B.tiff,0.25,1\n4_B.jpg,2,1\n"
    assert read_predictions(csv(tmp_path, rows), table)["score"].to_list() == table["score"].to_list()


# Writing


def test_every_number_reads_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "image": [f"{i}, é.jpg" for i in range(200)],
            "scene": "S",
            "score": rng.normal(size=200) * 10.0 ** rng.integers(-20, 20, 200),
            "prediction": rng.normal(size=200).astype(np.float32),
        }
    )
    write_csv(frame, tmp_path / "new" / "predictions.csv")
    back = read_predictions(tmp_path / "new" / "predictions.csv")
    pd.testing.assert_frame_equal(back, frame.astype({"prediction": "float64"}), check_exact=True, check_dtype=False)


def test_a_write_that_fails_midway_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    def half_written(cells, **options):
        raise OSError(28, "No space left on device")

    path = tmp_path / "predictions.csv"
    path.write_text("old")
    monkeypatch.setattr("piqa.system.csv_text.csv_line", half_written)
    with pytest.raises(InputError, match="No space left"):
        write_csv(LABELS, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*results/predictions.csv: "):
        write_csv(LABELS, tmp_path / "results" / "predictions.csv")


# What `piqa.predict` writes

PREDICTED = "file,score,face_found,face_x1,face_y1,face_x2,face_y2,error,scene\n"


def predicted(tmp_path, *rows, header=PREDICTED):
    return csv(
        tmp_path, header + "".join(f"{file},{score},True,1,2,3,4,{error},indoor\n" for file, score, error in rows)
    )


@pytest.mark.parametrize("folder", ["", "./", "/photos/", "C:\\photos\\", "../photos/"])
def test_the_scores_of_predict_are_taken_as_they_are(tmp_path, folder):
    path = predicted(tmp_path, *((f"{folder}{name}", value, "") for value, name in enumerate(LABELS["image"])))
    frame = read_predictions(path, LABELS.drop(columns="path"))
    assert frame["prediction"].to_list() == [0, 1, 2, 3] and frame["score"].to_list() == LABELS["score"].to_list()
    assert frame["scene"].to_list() == LABELS["scene"].to_list() and "face_found" not in frame


def test_a_new_column_of_predict_does_no_harm(tmp_path):
    header = "file,score,face_found,turned,face_x1,face_y1,face_x2,error,scene\n"
    path = predicted(tmp_path, *((name, 1, "") for name in LABELS["image"]), header=header)
    assert len(read_predictions(path, LABELS)) == 4


def test_images_that_predict_could_not_score_are_missing(tmp_path):
    rows = [(name, value, "") for value, name in enumerate(LABELS["image"])]
    path = predicted(tmp_path, *rows[:3], (rows[3][0], "", "cannot be read"))
    assert "predicts 3 of the 4 images to be evaluated, without 4_B.jpg" in complaint(path, LABELS)
    assert read_predictions(path, LABELS, max_missing=0.3).attrs["missing"] == ["4_B.jpg"]


def test_the_scores_of_predict_need_a_table(tmp_path):
    path = predicted(tmp_path, ("a.jpg", 1, ""))
    assert "it holds scores by piqa.predict; name the table that has the experts' labels" in complaint(path)


def test_an_absolute_path_is_the_image_of_that_path_and_no_other(tmp_path):
    table = LABELS.assign(path=[f"/one/{name}" for name in LABELS["image"]])
    rows = [(f"/{place}/{name}", value, "") for value, place in enumerate(("two", "one")) for name in LABELS["image"]]
    frame = read_predictions(predicted(tmp_path, *rows), table)
    assert frame["prediction"].to_list() == [1] * 4 and len(frame.attrs["unmatched"]) == 4


def test_accents_and_case_may_be_spelled_otherwise_where_that_is_unambiguous(tmp_path):
    table = LABELS.assign(image=["caf\u00e9.jpg", "B.jpg", "x/C.jpg", "x/c.jpg"])
    path = csv(tmp_path, "image,prediction\ncafe\u0301.jpg,1\nb.JPG,2\nx/C.jpg,3\nX/c.jpg,4\n")
    frame = read_predictions(path, table, max_missing=0.3)
    assert frame["image"].to_list() == ["caf\u00e9.jpg", "B.jpg", "x/C.jpg"]
    assert frame.attrs["unmatched"] == ["X/c.jpg"]
