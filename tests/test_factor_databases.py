"""TID2013, SPAQ, CADB and FiveK: what each has of its own."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from look_alike_databases import qualities, write_cadb, write_fivek, write_spaq, write_tid2013
from PIL import Image
from refusals import refusal
from scipy.stats import spearmanr

from piqa.data import CADB, SPAQ, TID2013, FiveK
from piqa.data.dataset import _labels
from piqa.data.tables.cadb import CLASSES
from piqa.data.tables.database import VOTES
from piqa.data.tables.exposure_labels import departure
from piqa.models.liqe import DISTORTIONS

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* images:UserWarning")


@pytest.fixture(scope="module")
def tid2013(tmp_path_factory):
    return write_tid2013(tmp_path_factory.mktemp("tid2013"))


@pytest.fixture
def spaq(tmp_path):
    return write_spaq(tmp_path)


@pytest.fixture
def cadb(tmp_path):
    return write_cadb(tmp_path)


@pytest.fixture
def fivek(tmp_path):
    return write_fivek(tmp_path)


def refused(table):
    return refusal(table.load)


def change(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def test_tid2013_divides_references_and_keeps_their_images_together(tid2013):
    table = TID2013(tid2013).load()
    assert table.groupby("reference")["split"].nunique().max() == 1
    assert table.groupby("split")["reference"].nunique().to_dict() == {"train": 17, "val": 3, "test": 5}
    assert table.groupby("split").size().to_dict() == {"train": 17 * 24, "val": 3 * 24, "test": 5 * 24}


def test_tid2013_spells_its_last_reference_in_lower_case(tid2013):
    table = TID2013(tid2013).load()
    references = [f"I{number:02d}.BMP" for number in range(1, 25)] + ["i25.bmp"]
    assert sorted(table["reference"].unique(), key=str.lower) == sorted(references, key=str.lower)


def test_tid2013_has_liqe_s_group_where_just_one_fits(tid2013):
    table = TID2013(tid2013).load()
    types = table["image"].str.extract(r"_(\d\d)_")[0].astype(int)
    groups = table.groupby(types)["distortion"].agg(["first", "nunique"])
    assert set(groups["nunique"]) == {1}
    assert groups.index[groups["first"] == ""].tolist() == [9, 12, 20, 21, 23, 24]
    assert set(groups["first"]) - {""} <= set(DISTORTIONS)
    assert groups["first"][[1, 8, 10, 11, 16, 17, 18]].tolist() == [
        *("noise", "blur", "jpeg compression", "jpeg2000 compression", "other", "contrast", "color")
    ]
    assert (_labels(table)["distortion_label"] == -1).sum() == 6 * 25


def test_tid2013_takes_the_deviations_in_the_order_of_the_scores(tid2013, tmp_path):
    table = TID2013(tid2013).load()
    np.testing.assert_allclose(table["score_std"], 0.1 + table["score"] / 90, atol=2e-5)
    (tmp_path / "short.txt").write_text("0.1\n")
    assert "short.txt has 1 lines and" in refused(TID2013(tid2013, stds=tmp_path / "short.txt"))
    assert "score_std" not in TID2013(tid2013, stds=tmp_path / "absent.txt").load()


@pytest.mark.parametrize("name", ["i26_01_1.bmp", "i01_25_1.bmp", "x.bmp"])
def test_tid2013_refuses_a_name_of_another_database(tmp_path, name):
    write_tid2013(tmp_path, references=5)
    change(tmp_path / "mos_with_names.txt", "i01_02_1.bmp", name)
    assert f"row 2 of {tmp_path / 'mos_with_names.txt'} has the image '{name}'" in refused(TID2013(tmp_path))


def test_spaq_has_five_attributes_that_rise_with_the_quality(spaq):
    table = SPAQ(spaq).load()
    for name in ("brightness", "colorfulness", "contrast", "noisiness", "sharpness"):
        assert table[f"score.{name}"].between(0, 100).all()
        assert spearmanr(table[f"score.{name}"], table["score"]).statistic > 0.999
    unit = SPAQ(spaq, unit_range=True).load()
    np.testing.assert_allclose(unit["score.noisiness"], table["score.noisiness"] / 100)


def test_spaq_brings_scenes_in_liqe_s_words_and_what_the_camera_noted(spaq):
    table = SPAQ(spaq).load()
    assert table["scene_tags"].tolist()[:3] == ["animal", "cityscape;human", "human"]
    assert table["exif_iso"].tolist() == [float(100 + row) for row in range(30)]
    assert table["exif_brightness"].tolist() == [3.5] * 30  # the camera's, not the score
    assert len(_labels(table)["scene_labels"]) == 30
    for name in ("Scene category labels", "EXIF_tags"):
        (spaq / "Annotations" / f"{name}.csv").unlink()
    assert not {"scene_tags", "exif_iso"} & set(SPAQ(spaq).load())


def test_what_a_camera_noted_in_words_costs_spaq_no_image(spaq):
    change(spaq / "Annotations" / "EXIF_tags.csv", ",100,", ",auto,")
    with pytest.warns(
        UserWarning, match=r"ISO in .*EXIF_tags.xlsx has cells that are no numbers: 'auto' of .*jpg; they stay"
    ):
        table = SPAQ(spaq).load()
    assert len(table) == 30
    assert np.isnan(table["exif_iso"].iloc[0]) and table["exif_iso"].iloc[1] == 101.0


def test_spaq_tells_attributes_beyond_its_scale(spaq):
    file = spaq / "Annotations" / "MOS and Image attribute scores.csv"
    table = pd.read_csv(file)
    table.loc[[2, 5], "Noisiness"] = 300.0
    table.to_csv(file, index=False)
    with pytest.warns(UserWarning, match=r"2 values of score\.noisiness of .* such as 300, lie outside 0 \.\. 100"):
        SPAQ(spaq).load()


def test_spaq_by_numbers_tests_what_lies_beyond_10000(spaq):
    table = SPAQ(spaq, split="numbered", val_fraction=0.2).load()
    assert table.loc[table["split"] == "test", "image"].tolist() == [f"{number}.jpg" for number in range(10001, 10007)]
    assert table["split"].value_counts().to_dict() == {"train": 19, "test": 6, "val": 5}


def test_spaq_reads_spreadsheets(tmp_path, spaq):
    pytest.importorskip("openpyxl")
    as_csv = SPAQ(spaq).load()

    def write(frame, path):
        with pd.ExcelWriter(f"{path}.xlsx") as book:
            if "EXIF" in path.name:  # of its sheets the one with this name is read
                frame.assign(ISO=-1).to_excel(book, sheet_name="Normalised", index=False)
            frame.to_excel(book, sheet_name="Source EXIF tags" if "EXIF" in path.name else "Sheet1", index=False)

    (tmp_path / "xlsx").mkdir()
    table = SPAQ(write_spaq(tmp_path / "xlsx", write=write)).load()
    pd.testing.assert_frame_equal(table.drop(columns="path"), as_csv.drop(columns="path"))
    (tmp_path / "xlsx" / "Annotations" / "MOS and Image attribute scores.xlsx").write_bytes(b"no spreadsheet")
    assert "is no spreadsheet that can be read" in refused(SPAQ(tmp_path / "xlsx"))


def test_spaq_says_what_it_needs_to_read_a_spreadsheet(spaq, monkeypatch):
    file = spaq / "Annotations" / "MOS and Image attribute scores.xlsx"
    assert f"there is no {spaq / 'other' / file.name}" in refused(SPAQ(spaq, annotations="other"))
    file.with_suffix(".csv").rename(file)
    monkeypatch.setitem(sys.modules, "openpyxl", None)  # as where it is not installed
    assert f"reading {file} needs openpyxl: `pip install openpyxl`" in refused(SPAQ(spaq))


def test_spaq_refuses_sheets_that_do_not_fit_together(spaq):
    change(spaq / "Annotations" / "EXIF_tags.csv", "09990.jpg", "09991.jpg")
    assert "EXIF_tags.xlsx has no row of 09990.jpg" in refused(SPAQ(spaq))


def test_cadb_counts_the_ratings_of_its_five_raters(cadb):
    table = CADB(cadb).load()
    votes = table[list(VOTES)].to_numpy()
    assert (votes[:, :5].sum(axis=1) == 5).all() and not votes[:, 5:].any()
    np.testing.assert_allclose(votes[:, :5] @ np.arange(1, 6) / 5, table["score"])
    expected = np.sqrt((votes[:, :5] * (np.arange(1, 6) - table["score"].to_numpy()[:, None]) ** 2).sum(axis=1) / 5)
    np.testing.assert_allclose(table["score_std"], expected, atol=1e-7)
    assert _labels(table)["votes"].shape == (40, 10)


def test_cadb_has_a_column_for_every_class_and_none_of_any_for_none(cadb):
    table = CADB(cadb).load()
    columns = [f"class.{name}" for name in CLASSES]
    assert set(columns) <= set(table) and set(np.unique(table[columns])) == {0.0, 1.0}
    assert table["class.center"].tolist() == [1.0, 0, 0, 0] * 10
    assert table["class.horizontal"].tolist() == [1.0, 0, 0, 0, 0] * 8
    assert not table.loc[3, columns].any()  # `none`
    assert table["scene_tags"].tolist()[:4] == ["human", "still_life", "cityscape", "others"]


def test_cadb_leaves_the_classes_of_an_image_open_that_nobody_has_classed(cadb):
    elements = json.loads((cadb / "composition_elements.json").read_text())
    del elements["10003.jpg"]
    (cadb / "composition_elements.json").write_text(json.dumps(elements))
    table = CADB(cadb).load()
    assert table["class.center"].isna().tolist() == [True] + [False] * 39
    (cadb / "composition_elements.json").unlink()
    assert not [name for name in CADB(cadb).load() if name.startswith("class.")]


def test_cadb_s_official_split_is_the_listed_one_with_validation_drawn_from_training(cadb):
    table = CADB(cadb, val_fraction=0.25).load()
    listed = json.loads((cadb / "split.json").read_text())
    assert table.loc[table["split"] == "test", "image"].tolist() == listed["test"]
    assert (table["split"] == "val").sum() == 8
    (cadb / "split.json").unlink()
    assert "restore it, or `split: drawn`" in refused(CADB(cadb))
    assert CADB(cadb, split="drawn").load()["split"].value_counts().to_dict() == {"train": 32, "val": 4, "test": 4}


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("composition_scores", "[2.0", "[7.0", "not numbers from 1 to 5"),
        (
            "composition_scores",
            '{"10003.jpg": {"scores"',
            '{"10003.jpg": {"marks"',
            "has the ratings None of 10003.jpg",
        ),
        ("composition_scores", "{", "[", "is not JSON that can be read"),
        ("composition_elements", '"diagonal"', '"spiral"', "has the class 'spiral' of 10010.jpg"),
        ("composition_elements", '"10003.jpg": {', '"10003.jpg": 3, "x.jpg": {', "has 3 of 10003.jpg, which names no"),
        ("scene_categories", '"static"', '"sea"', "has the scene 'sea' of 10010.jpg"),
        ("scene_categories", '"static"', '["sea"]', "has the scene ['sea'] of 10010.jpg"),
        ("split", '"10003.jpg", ', "", "has 1 of the rated images in no split, such as 10003.jpg"),
        ("split", '"test": [', '"test": ["10003.jpg", ', "has 10003.jpg in both train and test"),
        ("split", '"test"', '"proof"', "lists no test images"),
    ],
)
def test_cadb_refuses_files_that_are_not_its_own(cadb, file, old, new, complaint):
    change(cadb / f"{file}.json", old, new)
    assert complaint in refused(CADB(cadb))


def test_cadb_without_its_scores_says_so(cadb):
    (cadb / "composition_scores.json").unlink()
    assert "No such file" in refused(CADB(cadb))


def test_fivek_scores_what_is_exposed_as_by_the_expert_highest(fivek):
    table = FiveK(fivek).load()
    off = [3 * (1 - q) for q in qualities(20)]  # stops, as the look-alike spoils its pictures
    assert spearmanr(table["score"], off).statistic < -0.95
    assert table["score"].between(-4, 0).all()
    np.testing.assert_allclose(FiveK(fivek, unit_range=True).load()["score"], 1 + table["score"] / 4)
    dark = np.arange(20) % 2 == 0  # none of these is clipped, so that the stops are those that were set
    share = -table["score"][dark] / np.array(off)[dark]
    assert share.between(0.85, 1).all()  # e, 1/255, makes dark places differ less
    assert [path.rsplit("/", 2)[1] for path in table["reference_path"].unique()] == ["expertC"] * 20
    assert set(table["split"]) == {"train", "val", "test"}


def test_fivek_as_well_exposed_is_the_expert_s_pictures(fivek):
    table = FiveK(fivek, way="synthetic").load()
    assert set(table["score"]) == {0.0} and "reference_path" not in table
    assert all("expertC" in path for path in table["path"])
    split = FiveK(fivek).load().set_index(table["image"].str[:5])["split"]
    assert split.tolist() == table["split"].tolist()  # a photograph is in the same split either way


def test_fivek_measures_each_pair_once(fivek, monkeypatch):
    from piqa.data.tables import exposure_labels

    first = FiveK(fivek).load()
    measured, opened = [], exposure_labels.open_image
    monkeypatch.setattr(exposure_labels, "open_image", lambda *args: measured.append(args) or opened(*args))
    pd.testing.assert_frame_equal(FiveK(fivek).load(), first)
    assert measured == []
    changed = fivek / "input" / first["image"][4]
    Image.new("RGB", (32, 24), (255, 255, 255)).save(changed)
    again = FiveK(fivek).load()
    assert [str(path) for path, _ in measured] == [str(changed), first["reference_path"][4]]
    assert (again["score"] != first["score"]).tolist() == [row == 4 for row in range(20)]


def test_fivek_leaves_a_file_of_others_alone(fivek):
    (fivek / "exposure_labels.csv").write_text("image,mark\na.jpg,1\n")
    assert "is no file of measured exposure" in refused(FiveK(fivek))
    assert (fivek / "exposure_labels.csv").read_text() == "image,mark\na.jpg,1\n"


def test_fivek_needs_the_expert_s_picture_of_every_photograph(fivek):
    next((fivek / "expertC").iterdir()).unlink()
    assert "1 of 20 pictures in" in refused(FiveK(fivek))
    with pytest.warns(UserWarning, match="they are left out"):
        assert len(FiveK(fivek, max_missing=0.05).load()) == 19


def test_fivek_says_what_is_missing(fivek):
    assert f"there is no folder {fivek / 'shot'}" in refused(FiveK(fivek, images="shot"))
    (fivek / "raw").mkdir()
    (fivek / "raw" / "a0001.dng").touch()
    assert "render the DNG files first" in refused(FiveK(fivek, images="raw"))
    first = next((fivek / "input").iterdir())
    Image.new("RGB", (24, 32)).save(first)
    assert "show different things (24 x 32 px against 32 x 24)" in refused(FiveK(fivek))


def test_departures_are_stops_of_linear_light():
    rng = np.random.default_rng(0)
    light = np.kron(rng.uniform(0.05, 0.2, (6, 8)), np.ones((8, 8)))
    encoded = [np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055) for y in (light, light * 4)]
    one, four = (Image.fromarray((255 * e).round().astype(np.uint8)).convert("RGB") for e in encoded)
    dark = 1 / 255
    expected = np.log2((4 * light + dark) / (light + dark))
    np.testing.assert_allclose(departure(four, one), expected, atol=0.05)
    np.testing.assert_allclose(departure(one, four), -expected, atol=0.05)
    assert departure(one, one).max() == 0
    white, black = (Image.new("RGB", (40, 30), (grey,) * 3) for grey in (255, 0))
    assert set(departure(white, black).ravel()) == {4.0}  # clipped: it is 8


def test_an_attribute_of_spaq_may_be_the_score(spaq):
    whole, colour = SPAQ(spaq).load(), SPAQ(spaq, attribute="colorfulness").load()
    assert colour["score"].equals(whole["score.colorfulness"]) and colour["score.quality"].equals(whole["score"])
    assert colour["score.noisiness"].equals(whole["score.noisiness"]) and "score.colorfulness" not in colour
    assert SPAQ(spaq, attribute="colorfulness").name.startswith("SPAQ colorfulness, 10% val")
    assert SPAQ(spaq, attribute="colorfulness").attribute == "colorfulness" and SPAQ(spaq).attribute is None
    assert "SPAQ has no attribute 'beauty'" in refusal(SPAQ, spaq, attribute="beauty")
