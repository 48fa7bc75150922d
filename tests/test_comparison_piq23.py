"""Comparisons on the real labels of PIQ23: known numbers of its devices, and halves of its scenes that agree."""

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from comparisons import run, write_rows
from contests import LABELS, needs_piq23

from piqa.comparison.scene_tests import flip_p, sign_p, t_p
from piqa.system.csv_text import read_csv

FOLDER = Path(os.environ.get("PIQ23_LABELS", LABELS))  # with `Image Metadata.csv`, which comes with the repository
needs_devices = pytest.mark.skipif(
    not list(FOLDER.rglob("Image Metadata.csv")), reason=f"PIQ23's Image Metadata.csv is not in {FOLDER}"
)


@pytest.fixture(scope="module")
def proofs():
    """The script of the proofs as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "scripts")
        yield importlib.import_module("comparison_proofs")


@needs_piq23
def test_the_parts_of_the_device_split_are_compared_scene_by_scene(proofs, tmp_path):
    cells, _, devices = proofs.split_cells(LABELS)
    part = {row["IMAGE"]: row["SPLIT"] for row in read_csv(LABELS / "Device Split.csv").to_dict("records")}
    labels = read_csv(LABELS / "Scores_Overall.csv")[["IMAGE", "SCENE", "CONDITION", "JOD"]].to_numpy().tolist()
    rows = [[image, scene, part[image], condition, jod] for image, scene, condition, jod in labels]
    csv = write_rows(tmp_path / "labels.csv", rows, ("image", "scene", "device", "condition", "score"))
    assert run("--predictions", csv, "--examples", "0", out=tmp_path / "out") == 0
    (pair,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["pairs"]
    d = cells[:, devices.index(pair["a"])] - cells[:, devices.index(pair["b"])]
    assert pair["scenes"] == 50 and pair["shots"] in ([3604, 1512], [1512, 3604])
    assert pair["mean_difference"] == pytest.approx(d.mean()) and pair["p"] == pytest.approx(t_p(d))
    assert pair["p_by_test"]["sign"] == pytest.approx(sign_p(d)) and pair["wins"] == (d > 0).sum()


@needs_devices
def test_the_devices_are_those_that_are_known(proofs):
    cells, scenes, devices = proofs.cells_of(FOLDER)
    often = np.isfinite(cells).sum(axis=0) >= 20
    means = proofs.plain_means(cells)
    assert (len(devices), often.sum(), len(scenes)) == (182, 49, 50)
    assert (means[often].min(), means[often].max(), means[often].std(ddof=1)) == pytest.approx(
        (-2.46, 1.24, 0.84), abs=0.005
    )
    known = {"huaweimate40pro": (20, 1.2384, 0.9476), "vivox70proplus": (44, 1.0713, 0.9394)}
    known |= {"samsunggalaxys215g": (32, 0.9591, 0.4721), "appleiphone5s": (40, -1.9269, 1.2801)}
    known |= {"energye520lite": (25, -1.9429, 0.7776), "aquaselfie": (25, -2.4614, 0.8367)}
    for name, (count, mean, std) in known.items():
        own = cells[:, devices.index(name)]
        own = own[np.isfinite(own)]
        assert (len(own), own.mean(), own.std(ddof=1)) == pytest.approx((count, mean, std), abs=6e-5), name


@needs_devices
@pytest.mark.parametrize(
    ("a", "b", "n", "mean", "std", "wins", "sign", "flip"),
    [
        ("huaweimate40pro", "samsunggalaxys215g", 7, 0.2209, 1.3004, 4, 1.0, 0.674),
        ("huaweimate30pro5g", "huaweip40pro", 38, -0.1612, 1.2765, 14, 0.14331, 0.444),
        ("appleiphone11promax", "appleiphone12promax", 41, -0.2833, 0.8937, 13, 0.02753, 0.049),
        ("huaweimate40pro", "appleiphone5s", 10, 4.7535, 1.6674, 10, 0.00195, 0.002),
    ],
)
def test_pairs_of_devices_have_the_known_differences_and_tests(proofs, a, b, n, mean, std, wins, sign, flip):
    cells, _, devices = proofs.cells_of(FOLDER)
    d = cells[:, devices.index(a)] - cells[:, devices.index(b)]
    d = d[np.isfinite(d)]
    assert (len(d), d.mean(), d.std(ddof=1)) == pytest.approx((n, mean, std), abs=6e-5)
    assert (d > 0).sum() == wins and sign_p(d) == pytest.approx(sign, abs=6e-6)
    assert flip_p(d) == pytest.approx(flip, abs=0.01)


@needs_devices
def test_two_halves_of_the_scenes_rank_the_devices_alike(proofs):
    cells, _, _ = proofs.cells_of(FOLDER)
    often = np.isfinite(cells).sum(axis=0) >= 20
    rho = proofs.halves(cells[:, often], 40, proofs.plain_means)
    assert rho.mean() == pytest.approx(0.838, abs=0.02)
    assert proofs.halves(cells[:, often], 15, proofs.effects).mean() > 0.8
