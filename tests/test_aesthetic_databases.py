"""AVA, TAD66K and FLICKR-AES: votes, themes, single people."""

import numpy as np
import pandas as pd
import pytest
from look_alike_databases import qualities, votes_for, write_ava, write_flickr_aes, write_tad66k
from refusals import refusal

from piqa.data import AVA, TAD66K, FlickrAES
from piqa.data.tables.database import VOTES
from piqa.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* images:UserWarning")
FEW = {"ratings_of_test_users": (6, 8)}  # of the look-alike's ten people, three


def refused(table):
    return refusal(table.load)


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_ava_s_score_is_the_mean_of_its_votes_and_keeps_them(tmp_path):
    (tmp_path / "AVA.txt").write_text(
        "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n2 12 10 0 0 0 0 0 0 0 0 10 0 0 1\n"  # AVA's own first image
        "3 13 0 0 0 0 7 0 0 0 0 0 0 0 1\n4 14 1 0 0 0 7 0 0 0 0 0 0 0 1\n"
    )
    (tmp_path / "aesthetics_image_lists").mkdir()
    (tmp_path / "aesthetics_image_lists" / "generic_test.jpgl").write_text("12\n953619\n")
    table = AVA(tmp_path, val_fraction=0, check_files=False).load().set_index("image")
    marks = np.repeat(np.arange(1, 11), [0, 1, 5, 17, 38, 36, 15, 6, 5, 1])
    assert table.loc["953619.jpg", "score"] == pytest.approx(marks.mean())
    assert table.loc["953619.jpg", "score_std"] == pytest.approx(marks.std())
    assert table.loc["953619.jpg", list(VOTES)].tolist() == [0, 1, 5, 17, 38, 36, 15, 6, 5, 1]
    assert table.loc["12.jpg", ["score", "score_std"]].tolist() == [5.5, 4.5]
    assert table.loc["13.jpg", ["score", "score_std"]].tolist() == [5, 0]
    assert table["split"].tolist() == ["test", "test", "train", "train"]


def test_ava_s_official_test_is_the_listed_one_and_validation_comes_from_the_rest(tmp_path):
    table = AVA(write_ava(tmp_path), val_fraction=0.125).load()
    assert table["split"].value_counts().to_dict() == {"train": 28, "test": 8, "val": 4}
    listed = (tmp_path / "aesthetics_image_lists" / "generic_test.jpgl").read_text().split()
    assert set(table.loc[table["split"] == "test", "image"]) == {
        f"{name}.jpg" for name in listed if name != "999999999"
    }


def test_tanet_s_columns_are_numbered_by_their_place_in_ava_s_file(tmp_path):
    table = AVA(write_ava(tmp_path), split="tanet").load()
    assert table["split"].tolist() == ["train"] * 30 + ["val"] * 5 + ["test"] * 5
    official = AVA(tmp_path).load()
    pd.testing.assert_frame_equal(
        table.drop(columns="split").sort_values("image", ignore_index=True),
        official.drop(columns="split").sort_values("image", ignore_index=True),
    )


def test_votes_are_whole_numbers_also_when_mapped(tmp_path):
    table = AVA(write_ava(tmp_path), unit_range=True).load()
    assert all(table[name].dtype == np.int64 for name in VOTES)
    assert table["score"].between(0, 1).all()


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        ("1 953619 0 0 0 0 0 0 0 0 0 0", "row 1 of .*AVA.txt has votes that are no counts, or none"),
        ("1 953619 -1 0 9 0 0 0 0 0 0 0", "row 1 of .*AVA.txt has votes that are no counts, or none"),
        ("1 953619 0.5 0 9 0 0 0 0 0 0 0", "row 1 of .*AVA.txt has votes that are no counts, or none"),
        ("1 953619 x 0 0 0 0 0 0 0 0 0", "the votes_1 in .*AVA.txt must be finite numbers, found 'x'"),
        ("1 953619 0 0", "row 1 of .*AVA.txt has 7 cells, not the 15"),
    ],
)
def test_votes_that_are_none_are_refused(tmp_path, new, complaint):
    first = " ".join(map(str, [1, 953619, *votes_for(qualities(40)[0])]))
    rewrite(write_ava(tmp_path) / "AVA.txt", first, new)
    with pytest.raises(InputError, match=complaint):
        AVA(tmp_path).load()


def test_a_missing_image_of_ava_is_left_out(tmp_path):
    (write_ava(tmp_path) / "images" / "953608.jpg").unlink()
    assert "1 of 40 files" in refused(AVA(tmp_path))
    with pytest.warns(UserWarning, match=r"1 of 40 files .* 953608\.jpg \(row 2\); they are left out"):
        table = AVA(tmp_path, max_missing=0.05).load()
    assert len(table) == 39


def test_tad66k_s_names_with_an_at_sign_are_read(tmp_path):
    table = TAD66K(write_tad66k(tmp_path)).load()
    assert table["image"].str.contains("@").sum() == 20
    assert table["split"].value_counts().to_dict() == {"train": 28, "test": 10, "val": 2}


def test_tad66k_s_themes_are_another_partition(tmp_path):
    root = write_tad66k(tmp_path)
    merged, themed = (TAD66K(root, split=split).load().set_index("image") for split in ("merge", "unmerge"))
    assert "theme" not in merged
    assert set(themed["theme"]) == {"portrait", "sky"}
    assert sorted(merged.index) == sorted(themed.index)
    assert set(merged.index[merged["split"] == "test"]) != set(themed.index[themed["split"] == "test"])


def test_some_themes_may_be_chosen(tmp_path):
    table = TAD66K(write_tad66k(tmp_path), split="unmerge", themes=["portrait"], val_fraction=0.2)
    assert set(table.load()["theme"]) == {"portrait"}
    assert table.name == "TAD66K, unmerge split, only portrait"


def test_unknown_themes_are_refused(tmp_path):
    root = write_tad66k(tmp_path)
    assert "no theme 'cats'" in refused(TAD66K(root, split="unmerge", themes=["cats"]))
    with pytest.raises(InputError, match="merge does not name themes"):
        TAD66K(root, themes=["portrait"])


def test_absent_themes_are_told(tmp_path):
    assert "there are no themes in" in refused(TAD66K(tmp_path, split="unmerge"))


def test_an_image_under_two_themes_is_refused(tmp_path):
    themes = write_tad66k(tmp_path) / "labels" / "unmerge" / "train"
    again = (themes / "sky.csv").read_text().splitlines()[1]
    with (themes / "portrait.csv").open("a") as file:
        file.write(again + "\n")
    assert "in rows train/portrait.csv:17, train/sky.csv:2" in refused(TAD66K(tmp_path, split="unmerge"))


def test_flickr_aes_tests_on_images_of_people_with_few_ratings(tmp_path):
    database = FlickrAES(write_flickr_aes(tmp_path), **FEW)
    table, ratings = database.load(), database.ratings("test")
    assert ratings["user"].value_counts().to_dict() == {"A0X": 6, "A1X": 7, "A2X": 8}
    assert set(table.loc[table["split"] == "test", "path"]) == set(ratings["image"])


def test_flickr_aes_draws_its_test_people_by_seed(tmp_path):
    root = write_flickr_aes(tmp_path)
    drawn = {tuple(FlickrAES(root, test_users=1, seed=seed, **FEW).ratings()["user"].unique()) for seed in range(9)}
    assert len(drawn) == 3 and all(len(users) == 1 for users in drawn)


def test_flickr_aes_ratings_are_those_of_test_and_other_people(tmp_path):
    database = FlickrAES(write_flickr_aes(tmp_path), **FEW)
    parts = [database.ratings(users) for users in ("test", "train", "all")]
    assert [len(part) for part in parts] == [21, 84, 105]
    assert parts[0].columns.tolist() == ["image", "score", "user"]
    assert not set(parts[0]["user"]) & set(parts[1]["user"])
    assert parts[2]["score"].between(1, 5).all()


def test_a_person_s_two_ratings_of_an_image_are_averaged(tmp_path):
    root = write_flickr_aes(tmp_path)
    (root / "FLICKR-AES_image_labeled_by_each_worker.csv").write_text(
        "worker, imagePair, score\nA,farm1_262_20009070.jpg,2\nA,farm1_262_20009070.jpg,5\nA,farm1_263_20009071.jpg,1\n"
    )
    assert FlickrAES(root, **FEW).ratings("all")["score"].tolist() == [3.5, 1]


def test_ratings_map_to_the_unit_range(tmp_path):
    root = write_flickr_aes(tmp_path)
    own, unit = (FlickrAES(root, unit_range=unit, **FEW).ratings()["score"] for unit in (False, True))
    np.testing.assert_allclose(unit, (own - 1) / 4)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({}, "nobody in .* gave 105 to 171 ratings; .* 6 to 15"), ({"test_users": 0}, "`test_users` must be at least 1")],
)
def test_a_test_without_people_is_refused(tmp_path, settings, complaint):
    with pytest.raises(InputError, match=complaint):
        FlickrAES(write_flickr_aes(tmp_path), **settings).load()


def test_a_mark_that_is_none_is_refused(tmp_path):
    file = write_flickr_aes(tmp_path) / "FLICKR-AES_image_labeled_by_each_worker.csv"
    file.write_text(file.read_text() + "A0X,farm1_262_20009070.jpg,6\n")
    assert f"row 107 of {file} has a score of 6, not 1 to 5" in refused(FlickrAES(tmp_path, **FEW))
