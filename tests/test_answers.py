"""The table of answers: spellings, files with mistakes, images that are the same."""

import shutil

import pytest
from tiny_models import write_images

from piqa.errors import InputError
from piqa.judgement.answers import answers_table, identical_images, read_answers
from piqa.judgement.ratings import read_ratings

HEAD = "image_a,image_b,winner,scene,rater"


def read(folder, *lines, head=HEAD, **settings):
    (folder / "pairs.csv").write_text("\n".join([head, *lines]) + "\n")
    return read_answers(folder / "pairs.csv", **settings)


def test_a_winner_is_a_side_an_image_or_the_same(tmp_path):
    rows = [
        "x.jpg,y.jpg,a,hall,kim",
        "x.jpg,y.jpg,y.jpg,hall,kim",
        "x.jpg,y.jpg,SAME,hall,kim",
        "x.jpg,y.jpg,tie,hall,7",
    ]
    answers = read(tmp_path, *rows)
    assert answers["winner"].tolist() == ["a", "b", "same", "same"]
    assert answers["rater"].tolist() == ["kim", "kim", "kim", "7"]
    assert answers.index.tolist() == [2, 3, 4, 5]


def test_optional_columns_have_their_types_and_defaults(tmp_path):
    answers = read(tmp_path, "x,y,a,s,r,y,1.5,Repeat", "x,y,b,s,r,,,", head=f"{HEAD},left,seconds,kind")
    assert answers["left"].tolist() == ["b", ""]
    assert answers["kind"].tolist() == ["repeat", "new"]
    assert answers["seconds"].isna().tolist() == [False, True]


def test_columns_of_other_names_are_mapped(tmp_path):
    answers = read(tmp_path, "x,y,a,s,kim", head="image_a,image_b,winner,scene,observer", columns={"rater": "observer"})
    assert answers["rater"].tolist() == ["kim"]
    swapped = {"image_a": "image_b", "image_b": "image_a", "scene": "rater", "rater": "rater"}
    answers = read(tmp_path, "x,y,a,s,kim", columns=swapped)
    shown = answers[["image_a", "image_b", "winner", "scene", "rater"]].to_numpy().tolist()
    assert shown == [["y", "x", "a", "kim", "kim"]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("x.jpg,x.jpg,a,hall,kim", "compares an image with itself: x.jpg (row 3)"),
        ("x.jpg,y.jpg,z.jpg,hall,kim", "found 'z.jpg' (row 3)"),
        ("x.jpg,y.jpg,,hall,kim", "the winner in"),
        ("x.jpg,,a,hall,kim", "has no image_b in row 3"),
        ("x.jpg,y.jpg,a,,kim", "has no scene in row 3"),
        ("x.jpg,y.jpg,a,hall,", "has no rater in row 3"),
        ("b,a,a,hall,kim", "names an image and a side: 'a' (row 3)"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_in_one_line(tmp_path, row, words):
    with pytest.raises(InputError) as error:
        read(tmp_path, "x.jpg,y.jpg,a,hall,kim", row)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_image_may_be_called_a_where_no_doubt_arises(tmp_path):
    assert read(tmp_path, "a,b,a,hall,kim", "a,b,b,hall,kim")["winner"].tolist() == ["a", "b"]


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(InputError, match="lacks the column rater"):
        read(tmp_path, "x,y,a,s", head="image_a,image_b,winner,scene")
    with pytest.raises(InputError, match="maps who, which is none of"):
        read(tmp_path, "x,y,a,s,r", columns={"who": "rater"})


def test_files_with_the_same_content_are_no_pair(tmp_path):
    first, second = write_images(tmp_path, 2)
    shutil.copy(first, tmp_path / "copy.png")
    names = [first.split("/")[-1], second.split("/")[-1]]
    assert len(read(tmp_path, f"{names[0]},{names[1]},a,s,r", root=tmp_path)) == 1
    with pytest.raises(InputError, match=r"same content: .* and copy.png \(row 2\)"):
        read(tmp_path, f"{names[0]},copy.png,a,s,r", root=tmp_path)
    for root, words in (("nowhere", "nowhere is no folder"), ("elsewhere", "none of the images")):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=words):
            read(tmp_path, f"{names[0]},copy.png,a,s,r", root=tmp_path / root)
    assert identical_images({"one": first, "two": second, "three": tmp_path / "copy.png"}) == [["one", "three"]]


def test_rows_of_a_database_are_checked_alike():
    rows = [{"image_a": "x", "image_b": "y", "winner": "b", "scene": "s", "rater": "r", "left": None, "seconds": 2.0}]
    table = answers_table(rows)
    assert table.loc[1, ["winner", "left", "kind"]].tolist() == ["b", "", "new"]
    assert answers_table([]).empty
    with pytest.raises(InputError, match="row 2"):
        answers_table([*rows, {**rows[0], "kind": "odd"}])


def test_ratings_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "r.csv").write_text("image,scene,rater,rating\nx,s,kim,5\ny,s,kim,good\n")
    with pytest.raises(InputError, match=r"'good' \(row 3\)"):
        read_ratings(tmp_path / "r.csv")
    (tmp_path / "r.csv").write_text("image,scene,rater,opinion\nx,s,kim,5\n")
    assert read_ratings(tmp_path / "r.csv", {"rating": "opinion"})["rating"].tolist() == [5.0]
