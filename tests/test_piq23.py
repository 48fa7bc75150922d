import shutil
from pathlib import Path

import pandas as pd
import pytest
from look_alike import write_piq23
from PIL import Image
from refusals import refusal

from piqa.data.tables.piq23 import PIQ23

REAL_LABELS = Path(__file__).resolve().parents[1].parent / "shared" / "piq23"
SCORE_KINDS = ("score", "score_std")
real = pytest.mark.skipif(
    not REAL_LABELS.is_dir(), reason=f"the label files of PIQ23 may not be passed on and are not in {REAL_LABELS}"
)


@pytest.fixture
def root(tmp_path):
    return write_piq23(tmp_path / "piq23")


def refused(*arguments, **settings):
    return refusal(lambda: PIQ23(*arguments, **settings).load())


def replace_in(path, old, new):
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))


@pytest.mark.parametrize("attribute", ["overall", "details", "exposure"])
@pytest.mark.parametrize("split", ["scene", "device"])
def test_every_attribute_and_split_loads(root, attribute, split):
    table = PIQ23(root, attribute, split).load()
    labels = pd.read_csv(root / f"Scores_{attribute.title()}.csv")
    assert table["image"].tolist() == labels["IMAGE"].tolist()
    assert table["score"].tolist() == pytest.approx(labels["JOD"].tolist(), rel=1e-12)
    assert table["path"].tolist() == [str(root / attribute.title() / image) for image in labels["IMAGE"]]


def test_known_columns_are_carried(root):
    table = PIQ23(root).load()
    assert table.columns.tolist() == ["image", "path", "score", "scene", "split", "score_std", "condition"]
    assert table["condition"].unique().tolist() == ["Indoor", "Outdoor"]


def test_scene_split_matches_names_exactly(root):
    table = PIQ23(root, split="scene").load()
    assert table.groupby("scene")["split"].unique().map(list).to_dict() == {
        "Indoor_Scene_1": ["test"],
        "Indoor_Scene_12": ["train"],
        "Outdoor_Scene_2": ["train"],
    }


def test_device_split_goes_by_image(root):
    table = PIQ23(root, split="device").load()
    assert table.groupby(["scene", "split"]).size().tolist() == [2] * 6


@pytest.mark.parametrize(
    "place", ["Test split", "PIQ2023/Test split", "PIQ2023-main", "../PIQ2023/Test split", "../PIQ2023"]
)
def test_the_split_is_found_where_the_repository_puts_it(tmp_path, place):
    (tmp_path / "piq23").mkdir()
    root = write_piq23(tmp_path / "piq23", splits=place)
    assert PIQ23(root, split="scene").load()["split"].value_counts().to_dict() == {"train": 8, "test": 4}
    assert PIQ23(root, split="device").load()["split"].value_counts().to_dict() == {"train": 6, "test": 6}


@pytest.mark.parametrize("split", ["scene", "device"])
def test_ready_made_score_files_tell_the_split_where_its_list_is_absent(root, split):
    expected = PIQ23(root, "exposure", split).load()
    folder = root / "Test split" / f"{split.title()} Split"
    folder.mkdir(parents=True)
    scores = pd.read_csv(root / "Scores_Exposure.csv")
    for part in ("Train", "Test"):
        rows = scores[(expected["split"] == part.lower()).to_numpy()].assign(SPLIT=part)
        rows.to_csv(folder / f"{split.title()}Split_{part}_Scores_Exposure.csv", index=False)
    (root / f"{split.title()} Split.csv").unlink()
    pd.testing.assert_frame_equal(PIQ23(root, "exposure", split).load(), expected)


def test_labels_may_lie_in_a_folder_of_their_own(root, tmp_path):
    expected = PIQ23(root).load()
    labels = tmp_path / "labels"
    labels.mkdir()
    for file in root.glob("*.csv"):
        file.rename(labels / file.name)
    pd.testing.assert_frame_equal(PIQ23(root, labels=labels).load(), expected)


@pytest.mark.parametrize("place", [".", "Metadata", "PIQ2023/Metadata"])
def test_devices_come_from_the_metadata(root, place):
    images = PIQ23(root).load()["image"]
    metadata = pd.DataFrame({"Image": images, "Device": "Phone of " + images}).iloc[::-1].iloc[:-1]
    (root / place).mkdir(parents=True, exist_ok=True)
    metadata.to_csv(root / place / "Image Metadata.csv", index=False)
    devices = PIQ23(root).load()["device"]
    assert devices.tolist() == ["unknown", *("Phone of " + images[1:])]


def test_other_attributes_come_along_by_name(root):
    scores = pd.read_csv(root / "Scores_Details.csv")
    scores.iloc[::-1].iloc[:-2].to_csv(root / "Scores_Details.csv", index=False)  # in another order, and not of all
    table = PIQ23(root, also=["details", "exposure"]).load()
    alone = PIQ23(root).load()
    pd.testing.assert_frame_equal(table[alone.columns], alone)
    assert table.columns.tolist()[-4:] == [f"{kind}.{a}" for a in ("details", "exposure") for kind in SCORE_KINDS]
    assert table["score.details"].isna().tolist() == [True] * 2 + [False] * 10
    pd.testing.assert_series_equal(table["score.details"][2:], scores["JOD"][2:], check_names=False, check_exact=True)
    exposure = PIQ23(root, "exposure").load()
    assert table["score.exposure"].tolist() == exposure["score"].tolist()
    assert table["score_std.exposure"].tolist() == exposure["score_std"].tolist()


def test_attributes_that_cannot_come_along_are_refused(root):
    assert "has no attribute in `also` 'colour'; choose one of overall" in refused(root, also=["colour"])
    assert "`also` repeats an attribute: overall and overall" in refused(root, also=["overall"])
    (root / "Scores_Details.csv").unlink()
    assert "there is no Scores_Details.csv" in refused(root, also=["details"])


@real
def test_the_real_files_have_both_attributes_of_every_image():
    table = PIQ23(REAL_LABELS, also=["exposure"], check_files=False).load()
    assert len(table) == 5116 and table["score.exposure"].notna().all()
    ranks = [scene[["score", "score.exposure"]].corr("spearman").iloc[0, 1] for _, scene in table.groupby("scene")]
    assert [round(value, 3) for value in (min(ranks), pd.Series(ranks).median(), max(ranks))] == [0.523, 0.811, 0.939]


def test_a_file_whose_extension_differs_in_case_is_found(root):
    (root / "Overall" / "0_Indoor_Scene_1.jpg").rename(root / "Overall" / "0_Indoor_Scene_1.JPG")
    table = PIQ23(root).load()
    assert table.loc[0, "image"] == "0_Indoor_Scene_1.jpg"
    assert table.loc[0, "path"] == str(root / "Overall" / "0_Indoor_Scene_1.JPG")


def test_a_file_of_the_very_name_goes_before_another_case(root):
    shutil.copy(root / "Overall" / "0_Indoor_Scene_1.jpg", root / "Overall" / "0_Indoor_Scene_1.JPG")
    assert PIQ23(root).load().loc[0, "path"] == str(root / "Overall" / "0_Indoor_Scene_1.jpg")


def test_missing_images_are_named_with_their_row(root):
    (root / "Overall" / "4_Indoor_Scene_12.JPG").unlink()
    assert refused(root) == (
        f"1 of 12 images named in {root}/Scores_Overall.csv are missing, looked for in {root}/Overall: "
        "4_Indoor_Scene_12.JPG (row 6); check `root`"
    )


def test_a_missing_image_folder_is_called_missing(root):
    shutil.rmtree(root / "Details")
    message = refused(root, "details")
    assert message.startswith(f"12 of 12 images named in {root}/Scores_Details.csv are missing, looked for in")
    assert f"{root}/Details, which does not exist: 0_Indoor_Scene_1.jpg (row 2)" in message


def test_labels_work_without_images_where_that_is_allowed(root):
    shutil.rmtree(root / "Overall")
    assert len(PIQ23(root, check_files=False).load()) == 12


def test_missing_scores_are_refused_with_the_places_searched(tmp_path):
    message = refused(tmp_path / "absent", "details")
    assert message.startswith(
        f"there is no Scores_Details.csv for PIQ23 details, scene split (looked in {tmp_path}/absent, "
    )
    assert message.endswith("; it comes with the images; check `root` or `labels`")


def test_a_missing_split_is_refused_with_the_places_searched_and_its_source(root):
    (root / "Device Split.csv").unlink()
    message = refused(root, split="device")
    assert message.startswith(f"there is no Device Split.csv for PIQ23 overall, device split (looked in {root}, ")
    assert message.endswith("; it is in the GitHub repository DXOMARK-Research/PIQ2023")
    for place in (root, root / "Test split", root / "PIQ2023/Test split", root.parent / "PIQ2023/Test split"):
        assert f"{place}, " in message


@pytest.mark.parametrize("line", ["Indoor_Scene_99,Train", "Indoor_Scene_12,", "Indoor_Scene_12,Val"])
def test_a_scene_without_official_split_is_refused(root, line):
    replace_in(root / "Scene Split.csv", "Indoor_Scene_12,Train", line)
    assert refused(root).startswith(
        f"{root}/Scene Split.csv says neither Train nor Test of 1 scene(s) in {root}/Scores_Overall.csv, "
        "such as Indoor_Scene_12; restore both files"
    )


def test_a_split_that_lists_an_image_twice_is_refused(root):
    replace_in(root / "Device Split.csv", "2_Indoor_Scene_1.jpeg", "0_Indoor_Scene_1.jpg")
    assert refused(root, split="device") == (
        f"{root}/Device Split.csv lists 0_Indoor_Scene_1.jpg more than once; restore the original file"
    )


def test_a_missing_column_is_refused(root):
    replace_in(root / "Scores_Overall.csv", "JOD STD", "SIGMA")
    message = refused(root)
    assert message.startswith(f"{root}/Scores_Overall.csv lacks the column JOD STD (found: IMAGE PATH, JOD, SIGMA, ")
    assert message.endswith("restore the dataset's own file")


def test_scores_of_another_attribute_are_refused(root):
    shutil.copy(root / "Scores_Details.csv", root / "Scores_Overall.csv")
    assert refused(root) == (
        f"row 2 of {root}/Scores_Overall.csv is about 'Details', not 'Overall'; restore the dataset's own file"
    )


def test_a_score_that_is_no_number_is_refused_by_row(root):
    lines = (root / "Scores_Overall.csv").read_text().splitlines()
    cells = lines[5].split(",")
    lines[5] = ",".join([cells[0], "high", *cells[2:]])
    (root / "Scores_Overall.csv").write_text("\n".join(lines))
    assert "found 'high' (row 6); correct or remove them" in refused(root)


def test_unknown_choices_are_refused_with_those_there_are(root):
    assert refused(root, "sharpness") == (
        "PIQ23 has no attribute 'sharpness'; choose one of overall, details, exposure"
    )
    assert refused(root, split="random") == "PIQ23 has no split 'random'; choose one of scene, device"


def test_the_name_tells_attribute_and_split(root):
    assert PIQ23(root, "exposure", "device").name == "PIQ23 exposure, device split"


def test_the_look_alike_is_deterministic(tmp_path):
    folders = [write_piq23(tmp_path / name) for name in ("one", "two")]
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*.*")) for folder in folders]
    assert files[0] == files[1]
    assert all((folders[0] / file).read_bytes() == (folders[1] / file).read_bytes() for file in files[0])


def test_the_look_alike_holds_real_images_of_every_spelling(root):
    images = list((root / "Overall").iterdir())
    assert {image.suffix for image in images} == {".jpg", ".JPG", ".jpeg", ".tiff"}
    assert {Image.open(image).size for image in images} == {(96, 128)}


@pytest.fixture(scope="module")
def real_overall():
    return PIQ23(REAL_LABELS, "overall", "scene", check_files=False).load()


@real
@pytest.mark.parametrize("attribute", ["overall", "exposure"])
@pytest.mark.parametrize(
    ("split", "images", "scenes"),
    [
        ("scene", {"train": 3630, "test": 1486}, {"train": 35, "test": 15}),
        ("device", {"train": 3604, "test": 1512}, {"train": 50, "test": 50}),
    ],
)
def test_the_real_splits_have_their_published_sizes(attribute, split, images, scenes):
    table = PIQ23("absent", attribute, split, labels=REAL_LABELS, check_files=False).load()
    assert table["split"].value_counts().to_dict() == images
    assert table.groupby("split")["scene"].nunique().to_dict() == scenes


@real
def test_the_real_scores_are_centred_in_every_scene(real_overall):
    assert len(real_overall) == 5116
    by_scene = real_overall.groupby("scene")["score"]
    assert len(by_scene) == 50
    assert by_scene.mean().abs().max() < 1e-12
    assert by_scene.std(ddof=0).between(1.3, 1.5).all()


@real
def test_the_real_conditions_have_their_published_sizes(real_overall):
    assert real_overall["condition"].value_counts().to_dict() == {
        "Indoor": 1397,
        "Outdoor": 1616,
        "Night": 1248,
        "Lowlight": 855,
    }


@real
def test_the_real_images_have_five_extensions(real_overall):
    extensions = real_overall["image"].map(lambda image: Path(image).suffix).value_counts().to_dict()
    assert extensions == {".jpg": 4428, ".JPG": 606, ".tiff": 48, ".jpeg": 33, ".tif": 1}


@real
def test_the_real_scene_split_does_not_confuse_scene_1_with_12_and_13(real_overall):
    split_of = real_overall.drop_duplicates("scene").set_index("scene")["split"]
    assert split_of[["Indoor_Scene_1", "Indoor_Scene_12", "Indoor_Scene_13"]].tolist() == ["test", "train", "train"]
