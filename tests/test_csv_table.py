import json

import jsonargparse
import pandas as pd
import pytest
from look_alike import write_csv_dataset
from refusals import refusal

from piqa.data.tables.csv_table import CSVTable
from piqa.data.tables.table import Table

ALL_COLUMNS = ("image", "score", "scene", "score_std", "split", "condition", "device")


def refused(csv, **settings):
    return refusal(lambda: CSVTable(csv, **{"check_files": False, **settings}).load())


def write(tmp_path, content):
    csv = tmp_path / "my.csv"
    csv.write_text(content)
    return csv


def test_three_columns_are_enough(tmp_path):
    csv = write_csv_dataset(tmp_path)
    table = CSVTable(csv).load()
    assert table.columns.tolist() == ["image", "path", "score", "scene", "split"]
    assert table["image"].tolist() == pd.read_csv(csv)["image"].tolist()
    assert table["path"].tolist() == [str(tmp_path / image) for image in table["image"]]
    assert table["score"].tolist() == pd.read_csv(csv, float_precision="round_trip")["score"].tolist()


def test_all_optional_columns_are_carried(tmp_path):
    table = CSVTable(write_csv_dataset(tmp_path, columns=ALL_COLUMNS)).load()
    assert set(table.columns) == {*ALL_COLUMNS, "path"}
    assert table["device"].tolist()[:2] == ["Alpha 1", "Alpha 2"]


def test_without_split_whole_scenes_are_held_out(tmp_path):
    table = CSVTable(write_csv_dataset(tmp_path, scenes=5), test_fraction=0.4).load()
    assert table.groupby("split")["scene"].nunique().to_dict() == {"test": 2, "train": 3}
    assert (table.groupby("scene")["split"].nunique() == 1).all()


def test_a_split_column_is_obeyed(tmp_path):
    table = CSVTable(write_csv_dataset(tmp_path, columns=ALL_COLUMNS), test_fraction=0.9).load()
    assert table.groupby("split")["scene"].unique().map(list).to_dict() == {
        "test": ["scene_0"],
        "train": ["scene_1", "scene_2"],
    }


def test_an_empty_split_column_counts_as_absent(tmp_path):
    csv = write(tmp_path, "image,score,scene,split\na,1,s,\nb,2,s,\nc,1,t,\nd,2,t,\n")
    assert set(CSVTable(csv, check_files=False).load()["split"]) == {"train", "test"}


@pytest.mark.parametrize(("share", "split"), [(0, "train"), (1, "test")])
def test_all_scenes_can_be_put_on_one_side(tmp_path, share, split):
    assert set(CSVTable(write_csv_dataset(tmp_path), test_fraction=share).load()["split"]) == {split}


def test_a_table_for_evaluation_needs_only_its_test_split(tmp_path):
    csv = write(tmp_path, "image,score,scene,split\na,1,s,test\nb,2,s,test\n")
    assert "has no image in the split train (found: 2 test)" in refused(csv)
    assert len(CSVTable(csv, required_splits=["test"], check_files=False).load()) == 2


def test_columns_are_mapped(tmp_path):
    csv = write(tmp_path, "file;MOS;place;score\na.jpg;1;s;9\nb.jpg;2;s;9\nc.jpg;1;t;9\nd.jpg;2;t;9\n")
    columns = {"image": "file", "score": "MOS", "scene": "place"}
    table = CSVTable(csv, columns=columns, check_files=False).load()
    assert table["image"].tolist() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert table["score"].tolist() == [1, 2, 1, 2]


def test_numeric_looking_names_stay_text(tmp_path):
    csv = write(tmp_path, "image,score,scene\n007,1,01\n7,2,01\n08,1,1\n8,2,1\n")
    table = CSVTable(csv, check_files=False).load()
    assert table["image"].tolist() == ["007", "7", "08", "8"]
    assert table["scene"].tolist() == ["01", "01", "1", "1"]


def test_backslash_paths_are_found(tmp_path):
    csv = write_csv_dataset(tmp_path)
    csv.write_text(csv.read_text().replace("/", "\\"))
    table = CSVTable(csv).load()
    assert table["image"].iloc[0] == "images/scene_0/0.png"


def test_absolute_paths_need_no_root(tmp_path):
    csv = write_csv_dataset(tmp_path)
    csv.write_text(csv.read_text().replace("images/", f"{tmp_path}/images/"))
    table = CSVTable(csv, root=tmp_path / "elsewhere").load()
    assert table["path"].iloc[0] == str(tmp_path / "images/scene_0/0.png")


def test_images_may_lie_below_a_root_of_their_own(tmp_path):
    csv = write_csv_dataset(tmp_path)
    (tmp_path / "labels").mkdir()
    moved = csv.rename(tmp_path / "labels" / "portraits.csv")
    assert CSVTable(moved, root=tmp_path).load()["path"].iloc[0] == str(tmp_path / "images/scene_0/0.png")
    assert "12 of 12 images" in refused(moved, check_files=True)


def test_missing_images_are_named_with_their_row(tmp_path):
    csv = write_csv_dataset(tmp_path)
    (tmp_path / "images/scene_1/2.png").unlink()
    assert refused(csv, check_files=True) == (
        f"1 of 12 images named in {csv} are missing, looked for in {tmp_path}/images/scene_1: "
        "images/scene_1/2.png (row 8); check `root`"
    )


def test_rows_are_counted_across_blank_lines(tmp_path):
    csv = write(tmp_path, "image,score,scene\na,1,s\n\nb,bad,s\n")
    assert refused(csv) == (f"the score in {csv} must be finite numbers, found 'bad' (row 4); correct or remove them")


def test_an_empty_image_cell_is_refused_by_row(tmp_path):
    csv = write(tmp_path, "image,score,scene\na,1,s\n,2,s\n")
    assert refused(csv) == f"{csv} has no image in row 3; fill it in or delete them"


def test_a_file_with_only_a_header_is_refused(tmp_path):
    csv = write(tmp_path, "image,score,scene\n")
    assert refused(csv) == f"{csv} has no rows below its header; it needs one row per image"


def test_missing_columns_are_named_with_the_way_to_map_them(tmp_path):
    csv = write(tmp_path, "image,MOS,scene\na,1,s\n")
    assert refused(csv) == (
        f"{csv} lacks the column score (found: image, MOS, scene); rename it, or map it in `columns`, such as "
        "{score: MOS}"
    )


def test_a_mapping_to_an_absent_column_is_refused(tmp_path):
    csv = write(tmp_path, "image,MOS,scene\na,1,s\n")
    assert refused(csv, columns={"score": "mean"}) == (
        f"{csv} lacks the column mean (found: image, MOS, scene); correct `columns`"
    )


def test_a_mapping_of_an_unknown_name_is_refused(tmp_path):
    assert refused(tmp_path / "my.csv", columns={"mos": "score"}) == (
        "`columns` maps mos, which is none of image, score, scene, split, score_std, condition, device; correct it"
    )


@pytest.mark.parametrize("share", [-0.1, 1.5, 20])
def test_a_test_share_out_of_range_is_refused(tmp_path, share):
    assert refused(tmp_path / "my.csv", test_fraction=share) == (
        f"`test_fraction` must lie between 0 and 1 (0.2: one scene in five), not {share}"
    )


def test_one_scene_without_split_cannot_be_divided(tmp_path):
    csv = write(tmp_path, "image,score,scene\na,1,s\nb,2,s\n")
    assert refused(csv).startswith("cannot hold out scenes for test: the train split has 1, at least two are needed;")


def test_the_name_tells_where_the_test_images_come_from(tmp_path):
    assert CSVTable(write_csv_dataset(tmp_path)).name == "portraits.csv, 20% of the scenes held out with seed 0"
    assert CSVTable(write_csv_dataset(tmp_path, columns=ALL_COLUMNS)).name == "portraits.csv, its own split"


def test_a_config_can_name_the_table(tmp_path):
    csv = write_csv_dataset(tmp_path, columns=("image", "score", "scene", "device"))
    settings = {"csv": str(csv), "columns": {"condition": "device"}, "required_splits": ["test"]}
    config = json.dumps({"class_path": "piqa.data.tables.csv_table.CSVTable", "init_args": settings})

    def load(table: Table):
        return table.load()

    table = jsonargparse.CLI(load, args=[f"--table={config}"], as_positional=False)
    assert table["condition"].iloc[0] == "Alpha 1"


def test_a_table_saved_by_a_spreadsheet_with_decimal_commas_is_read(tmp_path):
    rows = "".join(f"{number}.jpg;{number},5;s;0,{number}\n" for number in range(4))
    csv = tmp_path / "excel.csv"
    csv.write_text("sep=;\nimage;MOS;scene;score_std\n" + rows)
    table = CSVTable(csv, columns={"score": "MOS"}, test_fraction=0, check_files=False).load()
    assert table["score"].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert table["score_std"].tolist() == [0.0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "named",
    [
        "S/caf\u00e9.JPG",
        "s/cafe\u0301.jpg",
        "s\\CAF\u00c9.jpg",
        "C:\\Photos\\s\\caf\u00e9.jpg",
        "\\\\host\\share\\caf\u00e9.jpg",
    ],
)
@pytest.mark.parametrize("on_disk", ["caf\u00e9.jpg", "cafe\u0301.jpg"])
def test_names_written_on_another_system_find_their_file(tmp_path, named, on_disk):
    root = tmp_path / "s" if named.startswith("\\\\") else tmp_path
    for folder, name in (("s", on_disk), ("s", "b.jpg"), ("t", "c.jpg"), ("t", "d.jpg")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    rest = "".join(f"{tmp_path}/{name},2,{name[0]}\n" for name in ("s/b.jpg", "t/c.jpg", "t/d.jpg"))
    csv = tmp_path / "my.csv"
    csv.write_text(f"Image,SCORE,scene\n{named},1,s\n{rest}", encoding="utf-8")
    table = CSVTable(csv, root=root, test_fraction=0).load()
    assert table["path"].iloc[0] == str(tmp_path / "s" / on_disk)


def test_a_name_that_fits_two_files_is_told(tmp_path):
    for name in ("A.jpg", "a.jpg"):
        (tmp_path / name).touch()
    csv = write(tmp_path, "image,score,scene\na.JPG,1,s\nA.jpg,1,s\n")
    assert "1 of 2 images" in refused(csv, check_files=True)


def test_a_name_in_another_case_is_not_taken_for_an_image_that_is_listed_itself(tmp_path):
    (tmp_path / "a.jpg").touch()
    csv = write(tmp_path, "image,score,scene\na.JPG,1,s\na.jpg,1,s\n")
    assert "lists 1 image(s) more than once" in refused(csv, check_files=True)


@pytest.mark.parametrize(
    "text",
    [
        "image;score;scene\na.jpg;4,5;s\nb.jpg;3,25;s\nc.jpg;4;t\nd.jpg;2,5;t\n",
        "sep=;\nimage;score;scene\na.jpg;4.5;s\nb.jpg;3.25;s\nc.jpg;4;t\nd.jpg;2.5;t\n",
        "Image;Score;Scene\na.jpg;4.5;s\nb.jpg;3.25;s\nc.jpg;4;t\nd.jpg;2.5;t\n",
    ],
    ids=["decimal commas", "declared separator", "capitals"],
)
def test_what_spreadsheets_save_in_other_countries_is_read(tmp_path, text):
    table = CSVTable(write(tmp_path, text), test_fraction=0, check_files=False).load()
    assert table["score"].tolist() == [4.5, 3.25, 4, 2.5] and table["scene"].tolist() == list("sstt")
