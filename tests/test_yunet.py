"""YuNet behind OpenCV: its model file, its boxes, its bounded copy."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from portraits import COLLINS_FACE, HOPPER_FACE, collins, hopper
from refusals import refusal
from test_faces import overlap

import piqa
from piqa.preparation import yunet
from piqa.preparation.faces import Face, choose_face
from piqa.preparation.portrait import Preparation, Preparer
from piqa.preparation.yunet import YUNET_PLACE, YuNetDetector

MODEL = Path(piqa.__file__).parents[1] / YUNET_PLACE
needs_model = pytest.mark.skipif(
    not MODEL.is_file(), reason=f"{YUNET_PLACE} is not there; data/README.md says where from"
)


# those of the fake, four times as large
POINTS = ((48.0, 80.0), (88.0, 84.0), (68.0, 112.0), (52.0, 144.0), (84.0, 148.0))


class FakeYuNet:
    """What OpenCV would return: a face of 30 x 40 px at (10, 20), and one that lies outside."""

    def __init__(self):
        self.sizes, self.pixels = [], []

    def setInputSize(self, size):
        self.sizes.append(size)

    def detect(self, pixels):
        self.pixels.append(pixels)
        points = [12.0, 20.0, 22.0, 21.0, 17.0, 28.0, 13.0, 36.0, 21.0, 37.0]  # eyes, nose, corners of the mouth
        rows = [[10.0, 20.0, 30.0, 40.0, *points, 0.75], [-50.0, 0.0, 20.0, 20.0, *points, 0.9]]
        return 1, np.array(rows, dtype=np.float32)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A detector on an OpenCV that only seems to have a network."""
    content = b"a network"
    (tmp_path / "yunet.onnx").write_bytes(content)
    monkeypatch.setattr(yunet, "YUNET_SHA256", hashlib.sha256(content).hexdigest())
    made = FakeYuNet()

    class Factory:
        @staticmethod
        def create(framework, model, config, size, *thresholds):
            assert framework == "onnx" and model.tobytes() == content
            return made

    monkeypatch.setattr(cv2, "FaceDetectorYN", Factory)
    return made, tmp_path / "yunet.onnx"


def test_boxes_are_edges_in_pixels_of_the_original(fake):
    made, path = fake
    image = Image.new("RGB", (2560, 1280), (200, 100, 50))
    assert YuNetDetector(path).detect(image) == [Face((40.0, 80.0, 160.0, 240.0), 0.75, POINTS)]
    assert made.sizes == [(640, 320)]  # YuNet knows faces of up to 300 px
    assert made.pixels[0].shape == (320, 640, 3) and made.pixels[0][0, 0].tolist() == [50, 100, 200]


def test_a_smaller_copy_can_be_asked_for(fake):
    made, path = fake
    YuNetDetector(path, detection_side=320).detect(Image.new("RGB", (1280, 960)))
    assert made.sizes == [(320, 240)]


def test_no_face_is_no_error(fake, monkeypatch):
    made, path = fake
    monkeypatch.setattr(made, "detect", lambda pixels: (1, None))
    assert YuNetDetector(path).detect(Image.new("RGB", (30, 20))) == []


def test_the_preparation_names_the_detector(fake):
    _, path = fake
    portrait = Preparer(Preparation(short_side=32, detector="yunet", yunet=str(path))).prepare(hopper())
    assert portrait.face_box == pytest.approx((10.0, 20.0, 40.0, 60.0)) and isinstance(portrait.face_box, tuple)


def test_a_model_of_another_machine_finds_the_file_in_its_place(fake, tmp_path, monkeypatch):
    _, path = fake
    (tmp_path / YUNET_PLACE).parent.mkdir(parents=True)
    path.rename(tmp_path / YUNET_PLACE)
    monkeypatch.chdir(tmp_path)
    assert len(YuNetDetector("/home/someone/else.onnx").detect(hopper())) == 1


def test_a_missing_model_file_is_told_with_where_it_is_to_be_had(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(Preparer, Preparation(detector="yunet"))
    assert YUNET_PLACE in message and "opencv/opencv_zoo" in message and "MIT" in message and "mtcnn" in message


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"version https://git-lfs.github.com/spec/v1\noid sha256:8f2383e4", "pointer of Git LFS"), (b"", "another file")],
)
def test_another_file_is_not_run(tmp_path, content, told):
    (tmp_path / "yunet.onnx").write_bytes(content)
    message = refusal(YuNetDetector, tmp_path / "yunet.onnx")
    assert "yunet.onnx" in message and told in message and "opencv/opencv_zoo" in message


# With the published file


@needs_model
@pytest.mark.parametrize(("person", "by_eye"), [(collins, COLLINS_FACE), (hopper, HOPPER_FACE)])
@pytest.mark.parametrize("scale", [1, 4])
def test_the_box_lies_on_the_face(person, by_eye, scale):
    image = person().resize((512 * scale, person().height * scale))
    face = choose_face(YuNetDetector(MODEL).detect(image), "largest", 0.9)
    assert overlap(face.box, [edge * scale for edge in by_eye]) > 0.75


@needs_model
@pytest.mark.parametrize("size", [(1, 1), (19, 400), (400, 19), (2, 5000), (16000, 160), (640, 480)])
def test_tiny_long_and_plain_images_have_no_face_and_no_error(size):
    assert YuNetDetector(MODEL).detect(Image.new("RGB", size, "gray")) == []
