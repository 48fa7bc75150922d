"""The one preparation: published pixels, the face in its place, every valid image."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from inputs import crc, test_image
from PIL import ExifTags, Image, ImageOps
from portraits import collins, hopper

from piqa.errors import InputError
from piqa.preparation.faces import Face, crop_face
from piqa.preparation.image_file import open_image
from piqa.preparation.portrait import Preparation, Preparer, resize_short_side
from piqa.scoring.image_batches import BatchPreparer
from piqa.weights.model_file import PUBLISHED_PREPARATION


@pytest.fixture(scope="module")
def preparer():
    return Preparer(Preparation())


# The published arithmetic


def golden_cases(golden):
    for case in golden["five_crop"]["cases"]:
        spec = case["image"]
        image = test_image(spec["height"], spec["width"], spec["seed"])
        assert crc(image) == spec["crc32"], "the input differs, not the preparation"
        yield case, Image.fromarray(image)


def test_face_crops_equal_the_published(golden):
    for case, image in golden_cases(golden):
        if case["face_box"] is not None:
            crop = np.asarray(crop_face(image, tuple(case["face_box"]), golden["five_crop"]["margin"]))
            assert crop.shape[:2] == (case["face_crop"]["height"], case["face_crop"]["width"]), case["name"]
            assert crc(crop) == case["face_crop"]["crc32"], case["name"]
            assert (crop == 0).all(axis=2).sum() == case["face_crop"]["black_pixels"], case["name"]


def with_face(preparer, monkeypatch, box):
    """The preparer with a detector that finds just this face, or none."""
    faces = [] if box is None else [Face(tuple(box), 0.99)]
    monkeypatch.setattr(preparer._detector, "detect", lambda image: faces)
    return preparer


def test_prepared_pixels_equal_the_published(golden, preparer, monkeypatch):
    for case, image in golden_cases(golden):
        prepared = with_face(preparer, monkeypatch, case["face_box"]).prepare(image)
        for name, found in (("resized_whole", prepared.whole), ("resized_face", prepared.face_crop)):
            assert found.shape == (case[name]["height"], case[name]["width"], 3), case["name"]
            assert crc(found) == case[name]["crc32"], (case["name"], name)


def test_without_a_face_the_whole_image_takes_its_place(golden, preparer, monkeypatch):
    cases = [(case, image) for case, image in golden_cases(golden) if case["face_box"] is None]
    assert cases
    for _, image in cases:
        prepared = with_face(preparer, monkeypatch, None).prepare(image)
        assert not prepared.face_found
        assert prepared.face_box is None
        assert np.array_equal(prepared.face_crop, prepared.whole)


@pytest.mark.parametrize("size", [(720, 960), (961, 447), (448, 448), (448, 600), (31, 30), (3, 200)])
def test_the_short_side_is_448_and_the_long_side_cut(size):
    resized = resize_short_side(Image.new("RGB", size), 448)
    assert min(resized.size) == 448
    assert max(resized.size) == 448 * max(size) // min(size)
    assert (resized.width > resized.height) == (size[0] > size[1])


# The preparation as a whole


def test_a_portrait_holds_the_face_and_its_box(preparer):
    prepared = preparer.prepare(hopper())
    assert prepared.face_found
    assert prepared.whole.shape == (525, 448, 3)
    assert prepared.whole.dtype == prepared.face_crop.dtype == np.uint8
    expected = resize_short_side(crop_face(hopper(), prepared.face_box, 20), 448)
    assert np.array_equal(prepared.face_crop, np.asarray(expected))
    assert prepared.liqe_logits is None


def test_the_face_box_belongs_to_the_upright_image(tmp_path, preparer):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    hopper().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned, straight = preparer(tmp_path / "turned.png"), preparer.prepare(hopper())
    assert turned.face_box == straight.face_box
    assert np.array_equal(turned.face_crop, straight.face_crop)


def odd_images(count):
    """Noise, blocks, gradients, plain colours and cut, stretched or inverted portraits, 1 to 300 px a side."""
    rng = np.random.default_rng(0)
    people = [collins(), hopper()]
    for number in range(count):
        width, height = (int(side) for side in rng.choice([1, 2, 19, 20, 21, 40, 97, 160, 224, 300], size=2))
        kind = number % 5
        if kind == 0:
            yield Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        elif kind == 1:
            blocks = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
            yield Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
        elif kind == 2:
            yield Image.linear_gradient("L").resize((width, height)).convert("RGB")
        elif kind == 3:
            yield Image.new("RGB", (width, height), tuple(int(value) for value in rng.integers(0, 256, 3)))
        else:  # the face may be cut by any border
            left, top, side = (int(value) for value in rng.integers((100, 20, 60), (300, 200, 300)))
            cut = (
                people[number % 2].crop((left, top, left + side, top + side)).resize((max(width, 40), max(height, 40)))
            )
            yield ImageOps.invert(cut) if number % 3 == 0 else cut


def test_every_valid_image_can_be_prepared():
    preparer = Preparer(Preparation(short_side=32, face_threshold=0.0))  # whatever the detector finds gets cropped
    found = 0
    for image in odd_images(250):
        prepared = preparer.prepare(image)
        assert min(prepared.whole.shape[:2]) == 32
        assert min(prepared.face_crop.shape[:2]) == 32
        found += prepared.face_found
    assert found >= 3  # some of the cut portraits do show a face


@pytest.mark.parametrize(
    "wrong",
    [
        {"short_side": 0},
        {"short_side": 10**9},
        {"short_side": 448.0},
        {"face_margin": -1},
        {"face_margin": 10**9},
        {"face_margin": True},
        {"face_margin_fraction": 1.5},
        {"face_threshold": 90.0},
        {"face_threshold": float("nan")},
        {"detection_side": 10},
        {"face_rule": "smallest"},
        {"colour": "p3"},
        {"detector": "yolo"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Preparation(**wrong)


def test_each_setting_changes_the_fingerprint():
    base = Preparation()
    changed = [
        Preparation(short_side=384),
        Preparation(face_rule="most_confident"),
        Preparation(face_threshold=0.8),
        Preparation(face_margin=0),
        Preparation(detection_side=800),
        Preparation(colour="srgb"),
        Preparation(try_turns=True),
        Preparation(face_margin_fraction=0.075),
        Preparation(detector="yunet"),
        Preparation(detector="yunet", face_threshold=0.9),
    ]
    prints = [settings.fingerprint(None) for settings in (base, *changed)] + [
        base.fingerprint("0a"),
        base.fingerprint("0b"),
    ]
    assert len(set(prints)) == len(prints)


def test_settings_that_are_not_used_do_not_change_the_fingerprint():
    relative = Preparation(face_margin_fraction=0.075)
    assert relative.fingerprint(None) == replace(relative, face_margin=40).fingerprint(None)
    assert Preparation(yunet="elsewhere.onnx").fingerprint(None) == Preparation().fingerprint(None)
    yunet = Preparation(detector="yunet")
    assert yunet.fingerprint(None) == replace(yunet, yunet="elsewhere.onnx").fingerprint(None)


def test_each_detector_has_its_own_threshold_unless_one_is_set():
    assert Preparation().face_threshold == 0.9 and Preparation(detector="yunet").face_threshold == 0.6
    assert Preparation(detector="yunet", face_threshold=0.8).threshold == 0.8


@pytest.mark.parametrize("colour", ["stored", "srgb"])
def test_files_are_opened_with_the_colours_of_the_setting(tmp_path, monkeypatch, colour):
    hopper().resize((60, 70)).save(tmp_path / "a.png")
    opened = []

    def open_image(path, colour="stored"):
        opened.append(colour)
        return hopper().resize((60, 70))

    monkeypatch.setattr("piqa.preparation.portrait.open_image", open_image)
    monkeypatch.setattr("piqa.scoring.image_batches.open_image", open_image)
    settings = Preparation(short_side=40, face_rule="none", colour=colour)
    Preparer(settings)("a.png")
    BatchPreparer(settings, 32, "one", {"whole"}, None, "crops")(["a.png"])
    assert opened == [colour] * 2


# The margin around the face


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_relative_margin_shows_the_same_at_any_resolution(monkeypatch, scale):
    settings = Preparation(short_side=64, face_margin_fraction=0.075)
    box, size = np.array([170.3, 119.6, 350.8, 341.2]), (512, 600)
    cut = []
    monkeypatch.setattr(Image.Image, "crop", lambda self, edges: cut.append(edges) or self)
    image = hopper().resize((size[0] * scale, size[1] * scale))
    with_face(Preparer(settings), monkeypatch, box * scale).prepare(image)
    margin = 0.075 * (box[3] - box[1])
    np.testing.assert_allclose(cut[0], (box + np.array([-margin, -margin, margin, margin])) * scale, rtol=0, atol=1.0)


def test_crops_of_one_picture_at_three_resolutions_look_the_same():
    preparer = Preparer(Preparation(short_side=64, face_margin_fraction=0.075, detection_side=600))
    crops = [preparer.prepare(hopper().resize((512 * scale, 600 * scale))).face_crop for scale in (1, 2, 4)]
    height = min(len(crop) for crop in crops)
    assert max(len(crop) for crop in crops) <= height + 1
    for crop in crops[1:]:
        assert np.abs(crop[:height].astype(int) - crops[0][:height]).mean() < 3  # of 255; a margin of 20 px gives 13


def test_the_fingerprint_does_not_depend_on_where_liqe_lies():
    assert Preparation(liqe="a/LIQE.pt").fingerprint("0a") == Preparation(liqe="b/LIQE.pt").fingerprint("0a")


def test_opening_takes_a_few_copies_of_the_image_at_most(tmp_path):
    grey = np.zeros((1500, 2000), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    tracemalloc.start()
    try:
        open_image(tmp_path / "grey.png")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * grey.size  # float64 values, twice, and their bytes


@pytest.mark.parametrize(
    ("config", "side"),
    [("piqa", 800), ("details", 800), ("exposure", 800), ("no_liqe", 800), ("face_only", 800), ("reference", 1600)],
)
def test_configs_without_a_published_result_look_for_faces_in_a_smaller_copy(config, side):
    text = (Path(__file__).parents[1] / "configs" / f"{config}.yaml").read_text()
    assert Preparation(**yaml.safe_load(text)["data"]["preparation"]).detection_side == side


def test_published_models_and_older_cards_look_for_faces_as_before():
    assert Preparation(**PUBLISHED_PREPARATION).detection_side == Preparation().detection_side == 1600
