"""Images that are stored on their side or on their head: the face is found, and everything is turned with it."""

import json

import numpy as np
import pandas as pd
import portraits
import pytest
from PIL import Image
from stores import build
from tiny_models import write_tiny_model

from piqa import Scorer, predict
from piqa.preparation.faces import Face, find_face, turned_clockwise
from piqa.preparation.portrait import Portrait, Preparation, Preparer
from piqa.preparation.store import PreparedStore
from piqa.scoring.image_batches import BatchPreparer

SETTINGS = Preparation(short_side=64, try_turns=True)


def hopper():
    return portraits.hopper().resize((205, 240))  # in which faces are found quickly


def collins():
    return portraits.collins().crop((100, 0, 340, 240))


@pytest.fixture(scope="module")
def preparer():
    return Preparer(SETTINGS)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """One portrait as it should be, one on its side, one on its head, and one image without a face."""
    folder = tmp_path_factory.mktemp("images")
    hopper().save(folder / "0.png")
    turned_clockwise(hopper(), 90).save(folder / "1.png")
    turned_clockwise(collins(), 180).save(folder / "2.png")
    Image.new("RGB", (80, 60), "gray").save(folder / "3.png")
    return sorted(map(str, folder.iterdir()))


class Detections:
    """A detector that finds one face of the given probability in the image as it is and in each of its turns."""

    sure = 0.99

    def __init__(self, upright, quarter=0.0, three_quarters=0.0, half=0.0):
        self.left = [upright, quarter, three_quarters, half]

    def detect(self, image):
        probability = self.left.pop(0)
        return [Face((0.0, 0.0, 9.0, 9.0), probability)] if probability else []


def turn_of(detector, threshold=0.9, try_turns=True):
    return find_face(Image.new("RGB", (40, 30)), detector, "largest", threshold, try_turns)


# The portrait is that of the upright image


@pytest.mark.parametrize(("person", "turn"), [(collins, 90), (hopper, 180), (hopper, 270)])
def test_a_portrait_stored_on_its_side_is_prepared_as_the_upright_one(preparer, person, turn):
    upright, found = preparer.prepare(person()), preparer.prepare(turned_clockwise(person(), 360 - turn))
    assert upright.turned == 0 and found.turned == turn
    assert found.face_box == upright.face_box
    assert np.array_equal(found.whole, upright.whole) and np.array_equal(found.face_crop, upright.face_crop)


def test_crops_and_windows_of_a_batch_are_turned_alike(tmp_path):
    hopper().save(tmp_path / "upright.png")
    turned_clockwise(hopper(), 270).save(tmp_path / "turned.png")
    settings = Preparation(short_side=64, try_turns=True, liqe="not read here")
    make = BatchPreparer(settings, 48, "one", {"whole", "face_crop"}, None, "crops")
    batch = make([str(tmp_path / "upright.png"), str(tmp_path / "turned.png"), "none.png"])
    assert batch.turned == [0, 90, None] and batch.face_boxes[0] == batch.face_boxes[1]
    assert all(np.array_equal(*pixels) for pixels in batch.crops.values())
    assert np.array_equal(*np.split(batch.windows, 2))


def test_the_published_preparation_turns_nothing():
    stored = turned_clockwise(hopper(), 90)
    portrait = Preparer(Preparation(short_side=64)).prepare(stored)
    assert not portrait.face_found and portrait.turned == 0 and portrait.whole.shape == (64, 74, 3)


# Which turn, and what it costs


def test_a_sure_face_costs_one_detection():
    detector = Detections(0.99, 1.0, 1.0, 1.0)
    assert turn_of(detector)[1] == 0 and len(detector.left) == 3


def test_the_most_probable_face_tells_the_turn():
    assert turn_of(Detections(0.0, 0.91, 0.97, 0.95))[1] == 270
    assert turn_of(Detections(0.95, 0.0, 0.91, 0.98))[1] == 180  # detectors also find faces that stand on their head


def test_an_unsure_face_stays_where_no_turn_is_better():
    face, turn, _ = turn_of(Detections(0.95, 0.9, 0.94, 0.95))
    assert face.probability == 0.95 and turn == 0


def test_a_face_below_the_threshold_turns_nothing():
    assert turn_of(Detections(0.7, 0.89, 0.0, 0.5)) == (None, 0, 0)
    assert turn_of(Detections(0.0)) == (None, 0, 0)


def test_no_turn_is_tried_unless_asked_for():
    detector = Detections(0.0, 1.0, 1.0, 1.0)
    assert turn_of(detector, try_turns=False) == (None, 0, 0) and len(detector.left) == 3


# Store


def test_an_entry_keeps_the_turn_and_one_without_it_was_not_turned():
    pixels = np.zeros((4, 4, 3), np.uint8)
    arrays, facts = Portrait(pixels, pixels, (0.0, 0.0, 2.0, 2.0), None, turned=270).pack()
    assert SETTINGS.unpack(arrays, facts, "a.png").turned == 270
    arrays, facts = Portrait(pixels, pixels, None, None).pack()
    assert facts == {"face_box": "null"}  # as before there were turns
    assert SETTINGS.unpack(arrays, facts, "a.png").turned == 0


def test_turned_images_are_counted_when_prepared_and_when_reused(tmp_path, images):
    store = PreparedStore(tmp_path / "store", SETTINGS)
    made, found = build(store, images), build(store, images)
    assert (made.turned, made.no_face, made.prepared) == (2, 1, 4) and "2 turned" in str(made)
    assert (found.turned, found.no_face, found.reused) == (2, 1, 4)
    assert [store.load(image).turned for image in images] == [0, 270, 180, 0]


# Scores


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"), face_rule="largest")


def test_predict_turns_images_and_tells_which(model, images, tmp_path, capsys):
    predict.main([*images, "--ckpt_path", str(model), "--out", str(tmp_path / "scores.csv")])
    table, summary = pd.read_csv(tmp_path / "scores.csv"), json.loads((tmp_path / "scores.json").read_text())
    assert table["turned"].tolist() == [0, 270, 180, 0]
    assert table.columns.get_loc("turned") == table.columns.get_loc("face_y2") + 1
    assert table["score"][0] == pytest.approx(table["score"][1], abs=1e-6)
    assert summary["turned"] == 2 and summary["no_face"] == 1
    assert "1 without a face, 2 turned, 0 failed" in capsys.readouterr().out


def test_predict_turns_none_if_told_so(model, images, tmp_path):
    out = str(tmp_path / "scores.csv")
    predict.main([*images[:2], "--ckpt_path", str(model), "--out", out, "--try_turns", "false"])
    table = pd.read_csv(out)
    assert table["turned"].tolist() == [0, 0] and table["face_found"].tolist() == [True, False]


def test_a_scorer_does_as_the_card_says_unless_told_otherwise(model, images):
    assert Scorer.load(model, device="cpu").score(images[1:2])["turned"].tolist() == [0]
    table = Scorer.load(model, device="cpu", try_turns=True).score([images[1], "none.png"])
    assert table["turned"].dtype == "Int64" and table["turned"][0] == 270 and pd.isna(table["turned"][1])
