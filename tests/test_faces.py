"""The right face of an image, where it is, and never an exception where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from portraits import COLLINS_FACE, HOPPER_FACE, collins, hopper
from torch.nn.functional import interpolate

from piqa.preparation.faces import Face, choose_face, crop_face
from piqa.preparation.mtcnn import MIN_FACE_SIDE, MTCNNDetector

SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL = Face((0.0, 0.0, 30.0, 40.0), 0.999)
LARGE = Face((100.0, 50.0, 300.0, 350.0), 0.95)
FAINT = Face((0.0, 0.0, 900.0, 900.0), 0.6)


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


def overlap(box, other):
    """Intersection over union."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (Face(box, 1.0).area + Face(other, 1.0).area - shared)


def likeliest(faces):
    return choose_face(faces, "most_confident", 0.9)


def sizes_seen(detector, monkeypatch):
    """The sizes of the images that MTCNN gets from now on; it finds nothing in them."""
    sizes = []

    def detect(image, landmarks):
        sizes.append(image.size)
        return None, [None], None

    monkeypatch.setattr(detector._mtcnn, "detect", detect)
    return sizes


# Detection


@pytest.mark.parametrize(("person", "by_eye"), [(collins, COLLINS_FACE), (hopper, HOPPER_FACE)])
def test_the_box_lies_on_the_face(detector, person, by_eye):
    face = likeliest(detector.detect(person()))
    assert overlap(face.box, by_eye) > 0.75
    assert face.probability > 0.99


def test_a_face_is_found_in_a_corner_of_a_larger_image(detector):
    wall = Image.new("RGB", (1400, 1000), (120, 130, 140))
    wall.paste(collins(), (800, 400))
    shifted = [edge + shift for edge, shift in zip(COLLINS_FACE, (800, 400) * 2, strict=True)]
    assert overlap(likeliest(detector.detect(wall)).box, shifted) > 0.75


def test_the_box_is_in_pixels_of_the_original(detector):
    two_megapixels = hopper().resize((1306, 1530))
    twelve_megapixels = hopper().resize((3201, 3750))
    small = np.array(likeliest(detector.detect(two_megapixels)).box) * 3750 / 1530
    large = np.array(likeliest(detector.detect(twelve_megapixels)).box)
    np.testing.assert_allclose(large, small, rtol=0, atol=0.02 * 3750)
    by_eye = [edge * 3750 / 600 for edge in HOPPER_FACE]
    assert overlap(tuple(large), by_eye) > 0.75


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((3000, 4000), (1200, 1600)),
        ((4000, 3000), (1600, 1200)),
        ((1601, 800), (1600, 800)),
        ((1600, 1200), (1600, 1200)),
        ((300, 200), (300, 200)),
    ],
)
def test_the_detector_sees_a_copy_of_bounded_size(monkeypatch, size, seen):
    detector = MTCNNDetector(1600)
    sizes = sizes_seen(detector, monkeypatch)
    detector.detect(Image.new("RGB", size))
    assert sizes == [seen]


def test_the_bound_can_be_set(monkeypatch):
    detector = MTCNNDetector(800)
    sizes = sizes_seen(detector, monkeypatch)
    detector.detect(Image.new("RGB", (3000, 4000)))
    assert sizes == [(600, 800)]


def test_detection_does_not_change_the_image(detector):
    image = hopper()
    detector.detect(image)
    assert image.tobytes() == hopper().tobytes()


def test_detection_does_not_depend_on_the_number_of_threads(detector):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = detector.detect(collins())
        torch.set_num_threads(2)
        assert detector.detect(collins()) == alone
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("case", ["dark, 4 stops", "lower half covered", "mirrored"])
def test_a_face_is_found_in_hard_cases(detector, monkeypatch, case):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import face_detection

    image = hopper().resize((256, 300))
    clean = likeliest(detector.detect(image)).box
    found = face_detection.outcome(face_detection.CASES[case], detector, 0.9, [(image, clean)])
    assert found.startswith("1 of 1, p ")


# No face


def test_a_plain_image_has_no_face(detector):
    assert detector.detect(Image.new("RGB", (640, 480), (90, 120, 200))) == []


@pytest.mark.parametrize("size", [(1, 1), (19, 400), (400, 19), (2, 5000), (16000, 160), (20, 20), (21, 1600)])
def test_tiny_and_long_images_have_no_face_and_no_error(detector, size):
    assert detector.detect(Image.new("RGB", size, "gray")) == []


def test_mtcnn_is_not_asked_about_images_below_its_smallest_face(monkeypatch):
    detector = MTCNNDetector()
    sizes = sizes_seen(detector, monkeypatch)
    detector.detect(Image.new("RGB", (MIN_FACE_SIDE - 1, 400)))
    assert sizes == []


def with_a_candidate_outside(detector, image):
    """The image with a corner in which MTCNN's first network sees a face that lies wholly outside the image.

    Descent on the corner's pixels makes the network call them a face and move its box by more than its own size.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float()
    corner = torch.randn(
        1, 3, MIN_FACE_SIDE, MIN_FACE_SIDE, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    optimiser = torch.optim.Adam([corner], lr=0.1)
    scale = 12 / MIN_FACE_SIDE  # MTCNN's first, at which 12 px of its copy stand for the smallest face
    size = [int(side * scale + 1) for side in pixels.shape[2:]]
    for _ in range(300):
        pixels = pixels.detach()
        pixels[..., :MIN_FACE_SIDE, :MIN_FACE_SIDE] = 255 * corner.sigmoid()
        seen = (interpolate(pixels, size=size, mode="area")[..., :12, :12] - 127.5) / 128
        shift, probability = detector._mtcnn.pnet(seen)
        loss = -probability[0, 1].log().sum() + (shift + 2.5).clamp(min=0).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Image.fromarray(pixels.detach()[0].permute(1, 2, 0).round().byte().numpy())


def test_a_candidate_wholly_outside_the_image_is_no_face(detector):
    image = with_a_candidate_outside(detector, Image.new("RGB", (MIN_FACE_SIDE, MIN_FACE_SIDE)))
    assert detector.detect(image) == []  # facenet-pytorch alone fails: nothing to concatenate


def test_a_candidate_wholly_outside_the_image_does_not_hide_the_true_face(detector):
    image = with_a_candidate_outside(detector, collins().crop((100, 20, 350, 270)))
    by_eye = [edge - shift for edge, shift in zip(COLLINS_FACE, (100, 20) * 2, strict=True)]
    # facenet-pytorch alone fails: a mask of another shape
    assert overlap(likeliest(detector.detect(image)).box, by_eye) > 0.75


def test_boxes_that_show_nothing_of_the_image_are_dropped(monkeypatch):
    detector = MTCNNDetector()
    boxes = np.array([[-60, 10, -20, 50], [50, 50, 20, 20], [10, 310, 50, 350], [-20, -20, 30, 30]], dtype=object)
    points = np.zeros((4, 5, 2), dtype=object)
    monkeypatch.setattr(detector._mtcnn, "detect", lambda image, landmarks: (boxes, [0.99, 0.99, 0.99, 0.98], points))
    assert detector.detect(Image.new("RGB", (400, 300))) == [Face((-20.0, -20.0, 30.0, 30.0), 0.98, ((0.0, 0.0),) * 5)]


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), IndexError("index 7 is out of bounds")])
def test_other_failures_of_the_detector_are_not_hidden(monkeypatch, error):
    detector = MTCNNDetector()

    def detect(image, landmarks):
        raise error

    monkeypatch.setattr(detector._mtcnn, "detect", detect)
    with pytest.raises(type(error), match=str(error)):
        detector.detect(hopper())


# Choice


def test_the_largest_face_is_judged():
    assert choose_face([SMALL, LARGE], "largest", 0.9) is LARGE


def test_the_most_confident_face_is_judged():
    assert choose_face([LARGE, SMALL], "most_confident", 0.9) is SMALL


@pytest.mark.parametrize("rule", ["largest", "most_confident"])
def test_a_face_below_the_threshold_does_not_count(rule):
    assert choose_face([FAINT, LARGE], rule, 0.9) is LARGE
    assert choose_face([FAINT], rule, 0.9) is None


def test_the_threshold_itself_counts():
    assert choose_face([LARGE], "largest", LARGE.probability) is LARGE


@pytest.mark.parametrize("rule", ["largest", "most_confident"])
def test_no_faces_no_choice(rule):
    assert choose_face([], rule, 0.0) is None


def test_the_rules_differ_on_a_large_face_and_a_small_clear_one(detector):
    group = Image.new("RGB", (700, 600), (120, 130, 140))
    group.paste(hopper(), (0, 0))
    group.paste(collins().crop((130, 10, 310, 210)).resize((135, 150)), (540, 20))
    faces = detector.detect(group)
    assert overlap(choose_face(faces, "largest", 0.9).box, HOPPER_FACE) > 0.75
    assert overlap(choose_face(faces, "most_confident", 0.9).box, (576, 59, 647, 146)) > 0.75


# Crop


def test_the_margin_is_added_on_every_side():
    image = Image.fromarray(np.arange(100 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 80, 3))
    crop = crop_face(image, (30.2, 40.4, 49.6, 60.0), 5)
    assert np.array_equal(np.asarray(crop), np.asarray(image)[35:65, 25:55])


def test_beyond_the_border_is_black():
    crop = np.asarray(crop_face(Image.new("RGB", (50, 40), "white"), (-3.0, 30.0, 20.0, 45.0), 10))
    expected = np.zeros((35, 43, 3), dtype=np.uint8)
    expected[:20, 13:] = 255  # x from -13 to 30, y from 20 to 55
    assert np.array_equal(crop, expected)


# Points of the face


# eyes, nose and corners of the mouth by eye, the left of the picture first
@pytest.mark.parametrize(
    ("person", "by_eye"),
    [
        (collins, [(205, 102), (247, 104), (225, 129), (202, 139), (245, 142)]),
        (hopper, [(222, 192), (310, 186), (269, 239), (233, 280), (307, 276)]),
    ],
)
def test_the_points_of_a_face_lie_where_they_are_at_any_size(detector, person, by_eye):
    image = person()
    for factor in (1, 5):  # at 5 the detector sees a copy of other proportions than the image
        face = likeliest(detector.detect(image.resize((image.width * factor, image.height * factor))))
        eyes = np.array(by_eye[1]) - by_eye[0]
        assert np.abs(np.array(face.points) / factor - by_eye).max() < 0.1 * np.hypot(*eyes)
