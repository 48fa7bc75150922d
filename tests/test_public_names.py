"""What can be imported from `piqa` itself: listed, documented by examples, and free until it is used."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from refusals import refusal
from tiny_models import write_images
from torch.utils.data import DataLoader

import piqa
from piqa import CSVTable, TableDataset

ROOT = Path(__file__).parents[1]
NO_OBJECT = {"__version__", "losses"}


def test_every_public_name_is_there_and_has_an_example():
    for name in piqa.__all__:
        found = getattr(piqa, name)
        assert name in NO_OBJECT or ">>> " in inspect.getdoc(found), name
        assert name in NO_OBJECT or found.__name__ == name


def test_what_is_listed_is_what_can_be_imported():
    assert {*piqa._HOME, *NO_OBJECT} == set(piqa.__all__)
    assert set(piqa.__all__) <= set(dir(piqa))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = piqa.Nothing


def test_the_reference_lists_every_public_name():
    table = (ROOT / "docs/api.md").read_text().partition("| kind |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) - {"piqa"} == set(piqa.__all__)


def test_importing_piqa_imports_no_library():
    heavy = "torch numpy pandas scipy lightning timm PIL torchmetrics jsonargparse".split()
    script = f"import sys, piqa; dir(piqa); piqa.__all__; sys.exit(', '.join(sys.modules.keys() & set({heavy})) or 0)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=300).returncode == 0


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    files = write_images(folder, 6)
    rows = [f"{Path(file).name},{place / 2},{'hall' if place < 4 else 'lake'}" for place, file in enumerate(files)]
    splits = ["train"] * 4 + ["test"] * 2
    lines = ["image,score,scene,split", *(f"{row},{split}" for row, split in zip(rows, splits, strict=True))]
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    return CSVTable(folder / "scores.csv")


def test_a_table_is_a_dataset_that_loader_processes_read(table):
    dataset = TableDataset(table, split="train")
    assert len(dataset) == 4
    image, score, scene = dataset[1]
    assert (image.dtype, image.shape, scene) == (torch.uint8, (3, 384, 384), "hall")
    assert score.dtype == torch.float32 and score == 0.5
    (images, scores, scenes), _ = DataLoader(dataset, batch_size=2, num_workers=1)
    assert images.shape == (2, 3, 384, 384) and scores.tolist() == [0, 0.5] and list(scenes) == ["hall", "hall"]
    assert torch.equal(images[1], image)


def test_a_transform_of_ones_own_gets_the_upright_image(table):
    dataset = TableDataset(table, split=None, transform=lambda image: (image.mode, image.size))
    assert len(dataset) == 6 and dataset[5] == (("RGB", (50, 60)), torch.tensor(2.5), "lake")


def test_a_split_without_images_is_named(table):
    assert "no image in the split val (found: test, train)" in refusal(TableDataset, table, split="val")
    assert "`split` is 'all'; choose one of train, val, test" in refusal(TableDataset, table, split="all")
