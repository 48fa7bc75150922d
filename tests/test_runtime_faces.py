"""MTCNN by a runtime and numpy finds what facenet-pytorch's finds, by torch."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from portraits import collins, hopper
from torchvision.ops import nms

from piqa.conversion.face_networks import face_networks
from piqa.engines.graph import open_graph
from piqa.preparation import runtime_faces
from piqa.preparation.faces import turned_clockwise
from piqa.preparation.mtcnn import MTCNNDetector
from piqa.preparation.runtime_faces import RuntimeFaces


@pytest.fixture(scope="module")
def detectors():
    return MTCNNDetector(800), RuntimeFaces(face_networks()).detector(800)


def several():
    """Four faces of three sizes in one image."""
    image = Image.new("RGB", (1000, 700), (90, 120, 60))
    for portrait, side, place in ((hopper(), 400, (0, 0)), (collins(), 300, (420, 20)), (hopper(), 160, (800, 500))):
        image.paste(portrait.resize((side, side)), place)
    image.paste(collins().resize((120, 120)), (500, 500))
    return image


def cut(image, box):
    return np.asarray(image.crop(tuple(round(value) for value in box)))


IMAGES = {
    "collins": collins,
    "hopper": hopper,
    "small": lambda: hopper().resize((150, 176)),
    "larger than the copy": lambda: collins().resize((1300, 1300)),
    "narrow": lambda: hopper().crop((180, 100, 340, 600)),
    "on its side": lambda: turned_clockwise(hopper(), 90),
    "on its head": lambda: turned_clockwise(collins(), 180),
    "several": several,
    "none": lambda: Image.effect_noise((320, 240), 60).convert("RGB"),
    "flat": lambda: Image.new("RGB", (64, 48), (128, 128, 128)),
    "at the border": lambda: hopper().crop((205, 100, 512, 420)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_the_same_faces(detectors, name):
    image = IMAGES[name]()
    ours, theirs = (detector.detect(image) for detector in reversed(detectors))
    assert len(ours) == len(theirs) and (name in ("none", "flat", "on its side", "on its head") or ours)
    for one, other in zip(ours, theirs, strict=True):
        assert one.box == pytest.approx(other.box, abs=0.01)
        assert one.probability == pytest.approx(other.probability, abs=1e-5)
        assert np.asarray(one.points) == pytest.approx(np.asarray(other.points), abs=0.01)
        assert np.array_equal(cut(image, one.box), cut(image, other.box))


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_openvino_finds_the_same_faces(detectors, name):
    image = IMAGES[name]()
    ours, theirs = RuntimeFaces(face_networks(), "openvino").detector(800).detect(image), detectors[0].detect(image)
    assert [one.box for one in ours] == [pytest.approx(other.box, abs=0.01) for other in theirs]


@pytest.mark.parametrize(("name", "sides"), [("pnet", (73, 56)), ("rnet", (24, 24)), ("onet", (48, 48))])
def test_the_networks_answer_as_those_of_torch(detectors, name, sides):
    pixels = np.random.default_rng(0).normal(0, 0.5, (2, 3, *sides)).astype(np.float32)
    graph = open_graph(face_networks()[name], "onnxruntime", "cpu")
    found = graph.run({"pixels": pixels})
    with torch.no_grad():
        moves, *points, faces = getattr(detectors[0]._mtcnn, name)(torch.from_numpy(pixels))
    expected = {"moves": moves, "faces": faces} | ({"points": points[0]} if points else {})
    assert found.keys() == expected.keys()
    assert all(np.allclose(found[one], values, rtol=1e-5, atol=1e-6) for one, values in expected.items())


@pytest.mark.parametrize("size", [(100, 130), (61, 40), (12, 12), (3, 200), (241, 319)])
def test_the_pyramid_is_that_of_torch(size):
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), size=size, mode="area"
    )
    assert np.array_equal(runtime_faces._Sums(pixels).whole(*size), expected[0].numpy())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 4, st.integers(0, 5)), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.7]),
    st.sampled_from([5, 128]),
)
def test_boxes_that_overlap_are_those_of_torchvision(rows, overlap, compared):
    values = np.array(rows, np.float32)
    boxes, scores = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1), values[:, 4]
    expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), overlap)
    with patch.object(runtime_faces, "COMPARED", compared):
        assert runtime_faces._suppressed(boxes, scores, overlap).tolist() == expected.tolist()


def test_an_image_too_small_for_any_face_has_none(detectors):
    assert detectors[1].detect(Image.new("RGB", (19, 300))) == []
