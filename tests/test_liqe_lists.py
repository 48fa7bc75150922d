"""LIQE's lists, and what each of its six databases adds to them or has of its own."""

import numpy as np
import pandas as pd
import pytest
from look_alike_databases import (
    write_bid,
    write_clive,
    write_csiq,
    write_kadid,
    write_koniq,
    write_live,
)
from PIL import Image
from refusals import refusal
from scipy.io import savemat

from piqa.data import BID, CLIVE, CSIQ, KADID, LIVE, KonIQ
from piqa.data.tables.kadid import TYPES
from piqa.data.tables.liqe_lists import GROUPS
from piqa.errors import InputError
from piqa.models.liqe import DISTORTIONS

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* images:UserWarning")


def refused(make):
    return refusal(lambda: make().load())


def rewrite(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_every_raw_distortion_has_one_of_liqe_s_groups():
    assert set(GROUPS.values()) == set(DISTORTIONS)
    assert len(GROUPS) == 33


@pytest.mark.parametrize(
    ("raw", "group"),
    [("fastfading", "jpeg2000 compression"), ("diffusion", "color"), ("sharpness", "contrast"), ("shifting", "blur")],
)
def test_surprising_groups_are_those_of_liqe_s_code(raw, group):
    assert GROUPS[raw] == group


def test_a_row_of_the_lists_becomes_a_row_of_the_table(tmp_path):
    table = BID(write_bid(tmp_path)).load()
    lists = (tmp_path / "splits2" / "1" / "bid_train_clip.txt").read_text().splitlines()
    path, score, raw, *tags = lists[0].split("\t")
    row = table.iloc[0]
    assert row["image"] == path.removeprefix("ImageDatabase/")
    assert row["path"] == str(tmp_path / path)
    assert row["score"] == pytest.approx(float(score))
    assert row["distortion"] == GROUPS[raw]
    assert row["scene_tags"] == ";".join(tag for tag in tags if tag != "invalid")
    assert row["split"] == "train"


def test_scene_tags_are_one_to_three(tmp_path):
    tags = set(BID(write_bid(tmp_path)).load()["scene_tags"])
    assert tags == {"human", "landscape;plant", "animal;human;indoor"}


def test_the_number_chooses_among_liqe_s_splits(tmp_path):
    write_bid(tmp_path)
    one, two = (BID(tmp_path, number=number).load().set_index("image")["split"].sort_index() for number in (1, 2))
    assert one.index.tolist() == two.index.tolist()
    assert one.tolist() != two.tolist()
    for number, split in ((1, one), (2, two)):
        lists = (tmp_path / "splits2" / str(number) / "bid_test_clip.txt").read_text().splitlines()
        listed = sorted(line.split("\t")[0].removeprefix("ImageDatabase/") for line in lists)
        assert sorted(split.index[split == "test"]) == listed


@pytest.mark.parametrize("checkout", ["bid/LIQE", "LIQE", "LIQE-main"])
def test_the_lists_are_found_in_a_checkout_of_liqe(tmp_path, checkout):
    root = write_bid(tmp_path / "bid")
    (tmp_path / checkout / "IQA_Database" / "BID").mkdir(parents=True)
    (root / "splits2").rename(tmp_path / checkout / "IQA_Database" / "BID" / "splits2")
    assert len(BID(root).load()) == 20


def test_the_lists_may_be_named(tmp_path):
    root = write_bid(tmp_path / "bid")
    (root / "splits2").rename(tmp_path / "elsewhere")
    assert len(BID(root, lists=tmp_path / "elsewhere").load()) == 20
    assert "there are no lists of BID, LIQE's split 1" in refused(lambda: BID(root))


@pytest.mark.parametrize("number", [0, 11])
def test_there_are_ten_splits(tmp_path, number):
    with pytest.raises(InputError, match=f"splits 1 to 10, not {number}"):
        BID(tmp_path, number=number)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("\trealistic noise\t", "\tghosts\t", "has the distortion 'ghosts', which LIQE does not know"),
        ("\thuman\t", "\tmartian\t", "has the scene 'martian', which LIQE does not know"),
        ("\tinvalid\n", "\n", "has 5 cells, not the 6 that it needs"),
        ("\t0.", "\tx0.", "must be finite numbers, found 'x0."),
    ],
)
def test_rows_that_are_not_liqe_s_are_refused(tmp_path, old, new, complaint):
    rewrite(write_bid(tmp_path) / "splits2" / "1" / "bid_train_clip.txt", old, new)
    message = refused(lambda: BID(tmp_path))
    assert complaint in message
    assert "bid_train_clip.txt" in message


def test_a_list_with_backslashes_and_windows_line_ends_is_read_alike(tmp_path):
    root = write_bid(tmp_path)
    before = BID(root).load()
    for path in root.glob("splits2/1/*.txt"):
        path.write_bytes(path.read_text().replace("ImageDatabase/", "ImageDatabase\\").replace("\n", "\r\n").encode())
    pd.testing.assert_frame_equal(BID(root).load(), before)


def test_an_image_in_two_lists_is_refused(tmp_path):
    lists = write_bid(tmp_path) / "splits2" / "1"
    again = (lists / "bid_test_clip.txt").read_text().splitlines()[0]
    (lists / "bid_val_clip.txt").write_text((lists / "bid_val_clip.txt").read_text() + again + "\n")
    message = refused(lambda: BID(tmp_path))
    assert "1 image(s) more than once: DatabaseImage0001.JPG in rows bid_val_clip.txt:3, bid_test_clip.txt:1" in message


def test_koniq_s_official_split_is_that_of_its_file(tmp_path):
    table = KonIQ(write_koniq(tmp_path), split="official").load()
    assert table["split"].tolist() == ["train"] * 12 + ["val"] * 3 + ["test"] * 5
    assert "score_std" not in table  # SD is on the scale of the marks, not of the MOS


def test_koniq_s_two_scales_are_told_apart(tmp_path):
    root = write_koniq(tmp_path)
    listed, official = KonIQ(root), KonIQ(root, split="official")
    assert (listed.score_range, official.score_range) == ((1, 5), (0, 100))
    assert listed.load()["score"].max() <= 5 < 50 < official.load()["score"].max()


@pytest.mark.parametrize("split", ["liqe", "official"])
@pytest.mark.parametrize(("images", "size"), [("1024x768", (64, 48)), ("512x384", (32, 24))])
def test_koniq_s_smaller_release_is_a_setting(tmp_path, split, images, size):
    table = KonIQ(write_koniq(tmp_path), split=split, images=images).load()
    with Image.open(table["path"].iloc[0]) as image:
        assert image.size == size
    assert "/" not in table["image"].iloc[0]


def test_kadid_s_distortions_follow_from_the_file_names(tmp_path):
    table = KADID(write_kadid(tmp_path, references=10), split="drawn").load().set_index("image")
    expected = {1: "blur", 4: "color", 6: "quantization", 9: "jpeg2000 compression", 16: "overexposure", 18: "other"}
    for kind, group in expected.items():
        assert table.loc[f"I03_{kind:02d}_01.png", "distortion"] == group
    assert set(table["distortion"]) == set(DISTORTIONS)  # its 25 kinds cover all groups
    assert len(TYPES) == 25
    assert table.loc["I03_01_01.png", "reference"] == "I03"
    assert table["score_std"].eq(0.5).all()


def test_kadid_s_spread_is_on_the_scale_of_the_score(tmp_path):
    table = KADID(write_kadid(tmp_path), split="drawn", unit_range=True).load()
    assert table["score_std"].eq(0.125).all()


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        ("X03_01_01.png", "is not named I<reference>_<type>_<level>.png"),
        ("I03_26_01.png", "distortion 26, not 1 to 25"),
    ],
)
def test_names_that_are_not_kadid_s_are_refused(tmp_path, new, complaint):
    rewrite(write_kadid(tmp_path) / "dmos.csv", "I03_01_01.png", new)
    message = refused(lambda: KADID(tmp_path, split="drawn"))
    assert complaint in message
    assert "row 102 of" in message


def test_csiq_s_dmos_is_turned_upwards(tmp_path):
    root = write_csiq(tmp_path)
    file, dmos = (root / "csiq_label.txt").read_text().splitlines()[0].split()
    table = CSIQ(root, split="drawn").load().set_index("image")
    assert table.loc[f"awgn/{file}", "score"] == pytest.approx(1 - float(dmos))
    assert table.loc[f"awgn/{file}", "distortion"] == "noise"


def test_csiq_s_labels_may_lack_the_extension(tmp_path):
    root = write_csiq(tmp_path)
    before = CSIQ(root, split="drawn").load()
    rewrite(root / "csiq_label.txt", ".png", "", count=-1)
    pd.testing.assert_frame_equal(CSIQ(root, split="drawn").load(), before)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "ref0.AWGN.1.png",
            "ref0.SNOW.1.png",
            "row 1 of .* is not named <reference>.<type>.<level>.png with one of awgn",
        ),
        ("ref0.AWGN.1.png 0", "ref0.AWGN.1.png x0", "the dmos in .* must be finite numbers, found 'x0"),
    ],
)
def test_labels_that_are_not_csiq_s_are_refused(tmp_path, old, new, complaint):
    rewrite(write_csiq(tmp_path) / "csiq_label.txt", old, new)
    with pytest.raises(InputError, match=complaint):
        CSIQ(tmp_path, split="drawn").load()


def test_live_s_references_are_dropped_and_its_dmos_is_turned_upwards(tmp_path):
    table = LIVE(write_live(tmp_path), split="drawn").load()
    counts = table["image"].str.split("/").str[0].value_counts().to_dict()
    assert counts == {"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}
    assert table["score"].max() < 100  # a reference has dmos 0
    assert table["reference"].nunique() == 29


def test_live_s_realigned_scores_are_another_file(tmp_path):
    root = write_live(tmp_path)
    one, other = (LIVE(root, split="drawn", labels=name).load() for name in ("dmos.mat", "dmos_realigned.mat"))
    np.testing.assert_allclose(one["score"] - other["score"], 4)


def test_live_s_fast_fading_is_mended(tmp_path):
    root = write_live(tmp_path)
    mended, published = (LIVE(root, mend=mend).load().set_index("image") for mend in (True, False))
    fading = mended.index.str.startswith("fastfading/")
    assert set(published.loc[fading, "distortion"]) == {"noise"}
    assert set(mended.loc[fading, "distortion"]) == {"jpeg2000 compression"}
    assert published[fading].groupby("reference")["scene_tags"].nunique().max() > 1
    assert mended.groupby("reference")["scene_tags"].nunique().max() == 1
    pd.testing.assert_frame_equal(mended[~fading], published[~fading])


def test_live_s_fast_fading_has_no_scenes_where_its_references_are_not_known(tmp_path):
    table = LIVE(write_live(tmp_path, references=False)).load().set_index("image")
    fading = table.index.str.startswith("fastfading/")
    assert set(table.loc[fading, "scene_tags"]) == {""}
    assert "" not in set(table.loc[~fading, "scene_tags"])
    assert "reference" not in table


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"orgs": np.zeros((1, 982))}, "lacks the variable dmos"),
        ({"dmos": np.zeros((1, 5)), "orgs": np.zeros((1, 5))}, "hold 5, 5 and 982 images, not 982"),
    ],
)
def test_labels_that_are_not_live_s_are_refused(tmp_path, content, complaint):
    savemat(write_live(tmp_path) / "dmos.mat", content)
    assert complaint in refused(lambda: LIVE(tmp_path, split="drawn"))


def test_clive_s_practice_images_are_dropped(tmp_path):
    table = CLIVE(write_clive(tmp_path), split="drawn").load()
    assert table["image"].tolist()[:3] == ["3.bmp", "4.JPG", "5.bmp"]
    assert len(table) == 20
    assert table["score_std"].eq(17.5).all()


def test_clive_s_label_files_must_be_of_one_length(tmp_path):
    savemat(write_clive(tmp_path) / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.ones((1, 9))})
    message = refused(lambda: CLIVE(tmp_path, split="drawn"))
    assert "differ in length (27 image, 9 score, 27 score_std)" in message


@pytest.mark.parametrize("form", ["{:d}", "{:d}.0", "DatabaseImage{:04d}.JPG"])
def test_bid_s_spreadsheet_may_name_numbers_or_files(tmp_path, form):
    labels = pd.read_csv(write_bid(tmp_path) / "DatabaseGrades.csv")
    labels["Image Number"] = labels["Image Number"].map(form.format)
    labels.to_csv(tmp_path / "DatabaseGrades.csv", index=False)
    table = BID(tmp_path, split="drawn").load()
    assert table["image"].tolist()[:2] == ["DatabaseImage0001.JPG", "DatabaseImage0006.JPG"]


def test_bid_s_spreadsheet_needs_two_columns(tmp_path):
    (write_bid(tmp_path) / "DatabaseGrades.csv").write_text("Image Number\n1\n2\n")
    assert "lacks the column image, score (found: Image Number)" in refused(lambda: BID(tmp_path, split="drawn"))
