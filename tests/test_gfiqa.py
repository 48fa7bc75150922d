import json

import jsonargparse
import numpy as np
import pytest
from PIL import Image
from portraits import hopper
from refusals import refusal

from piqa.data.tables.gfiqa import GFIQA
from piqa.data.tables.table import Table


def write_labels(root, count=20, header="img_name,mos"):
    root.mkdir(exist_ok=True)
    lines = [f"{number}.png,{number / count}" for number in range(count)]
    (root / "mos_val_rating.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


def write_gfiqa(root, count=20):
    """A GFIQA of one face, the blockier the lower its score."""
    (write_labels(root, count) / "image").mkdir()
    for number in range(count):
        hopper().resize((8 + 2 * number,) * 2).resize((64, 64)).save(root / "image" / f"{number}.png")
    return root


def splits(**settings):
    table = GFIQA(check_files=False, **settings).load()
    return dict(zip(table["image"], table["split"], strict=True))


def refused(root, **settings):
    return refusal(lambda: GFIQA(root, **settings).load())


def test_the_archive_loads_as_it_is_laid_out(tmp_path):
    root = write_gfiqa(tmp_path)
    table = GFIQA(root).load()
    assert table.columns.tolist() == ["image", "path", "score", "scene", "split"]
    assert table["image"].tolist() == [f"{number}.png" for number in range(20)]
    assert table["score"].tolist() == pytest.approx(np.arange(20) / 20)
    assert set(table["scene"]) == {"GFIQA"}
    with Image.open(table["path"].iloc[3]) as image:
        assert image.size == (64, 64)


def test_shares_are_those_of_the_docstring(tmp_path):
    drawn = list(splits(root=write_labels(tmp_path, 20000)).values())
    assert {split: drawn.count(split) for split in set(drawn)} == {"train": 14000, "val": 2000, "test": 4000}


def test_the_seed_decides_the_draw(tmp_path):
    root = write_labels(tmp_path, 200)
    assert splits(root=root, seed=1) == splits(root=root, seed=1)
    assert splits(root=root, seed=1) != splits(root=root, seed=2)


def test_the_draw_is_that_of_version_0_1_0(tmp_path):
    drawn = splits(root=write_labels(tmp_path), seed=3)
    assert [image for image, split in drawn.items() if split == "val"] == ["11.png", "14.png"]
    assert [image for image, split in drawn.items() if split == "test"] == ["3.png", "6.png", "12.png", "16.png"]


def test_the_draw_does_not_depend_on_the_order_of_the_rows(tmp_path):
    root = write_labels(tmp_path, 200)
    before = splits(root=root)
    header, *lines = (root / "mos_val_rating.csv").read_text().splitlines()
    (root / "mos_val_rating.csv").write_text("\n".join([header, *reversed(lines)]))
    assert splits(root=root) == before


def test_the_draw_does_not_depend_on_what_is_on_disk(tmp_path):
    root = write_gfiqa(tmp_path)
    before = splits(root=root)
    (root / "image" / "7.png").unlink()
    with pytest.warns(UserWarning):
        table = GFIQA(root, max_missing=0.1).load()
    assert dict(zip(table["image"], table["split"], strict=True)) == {
        image: split for image, split in before.items() if image != "7.png"
    }


def test_without_shares_all_is_for_training(tmp_path):
    assert set(splits(root=write_labels(tmp_path), val_fraction=0, test_fraction=0).values()) == {"train"}


def test_columns_are_mapped(tmp_path):
    root = write_labels(tmp_path, header="file,MOS")
    table = GFIQA(root, columns={"image": "file", "score": "MOS"}, check_files=False).load()
    assert table["image"].iloc[3] == "3.png"
    assert table["score"].iloc[3] == pytest.approx(3 / 20)


def test_a_few_missing_images_are_left_out_and_counted(tmp_path):
    root = write_gfiqa(tmp_path)
    (root / "image" / "3.png").unlink()
    with pytest.warns(UserWarning, match=r"1 of 20 files .* are missing: 3\.png \(row 5\); they are left out"):
        table = GFIQA(root, max_missing=0.05).load()
    assert "3.png" not in set(table["image"])
    assert len(table) == 19


def test_many_missing_images_are_refused(tmp_path):
    root = write_labels(tmp_path)
    message = refused(root)
    assert "20 of 20 files" in message
    assert "0.png (row 2), 1.png (row 3), 2.png (row 4) and 17 more" in message
    assert f"the first should be {root / 'image' / '0.png'}" in message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("img_name,mos\na.png,good\nb.png,1\n", "must be finite numbers, found 'good' (row 2)"),
        ("img_name,mos\na.png,nan\nb.png,1\n", "must be finite numbers, found 'nan' (row 2)"),
        ("img_name,mos\na.png,\nb.png,1\n", "has no score in row 2"),
        ("img_name,mos\n,1\nb.png,1\n", "has no image in row 2"),
        ("img_name,mos\na.png,1\nb.png,1\na.png,2\n", "more than once: a.png in rows 2, 4"),
        ("name,MOS\na.png,1\n", "lacks the column img_name (found: name, mos); map them in `columns`"),
        ("img_name,mos\n", "has no rows below its header"),
    ],
)
def test_unfit_labels_are_refused(tmp_path, content, complaint):
    (tmp_path / "mos_val_rating.csv").write_text(content)
    message = refused(tmp_path, check_files=False)
    assert complaint in message
    assert "mos_val_rating.csv" in message


def test_absent_labels_are_refused(tmp_path):
    assert f"cannot read {tmp_path / 'mos_val_rating.csv'}" in refused(tmp_path)


@pytest.mark.parametrize(
    ("fractions", "complaint"),
    [
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "must leave some images for training"),
        ({"val_fraction": -0.1}, "`val_fraction` -0.1 and `test_fraction` 0.2 must not be negative"),
        ({"max_missing": 2}, "GFIQA: `max_missing` must lie in [0, 1], not 2"),
    ],
)
def test_fractions_out_of_range_are_refused(tmp_path, fractions, complaint):
    assert complaint in refused(tmp_path, **fractions)


def test_a_mapped_column_of_another_name_is_refused(tmp_path):
    assert "`columns` maps scene, which is none of image, score" in refused(tmp_path, columns={"scene": "x"})


def test_a_config_can_name_it(tmp_path):
    root = write_labels(tmp_path)
    config = {"class_path": "piqa.data.tables.gfiqa.GFIQA", "init_args": {"root": str(root), "check_files": False}}

    def load(table: Table):
        return table.load()

    assert len(jsonargparse.CLI(load, args=[f"--table={json.dumps(config)}"], as_positional=False)) == 20
