"""A scorer takes what people hold: paths, folders, PIL images, arrays, tensors, and any iterator of these."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from refusals import refusal
from tiny_models import write_images, write_tiny_model

from piqa import Scorer
from piqa.models import DualBranch
from piqa.preparation.image_file import open_image
from piqa.scoring.pictures import PictureInMemory, pictures


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return Scorer.load(write_tiny_model(tmp_path_factory.mktemp("model")), device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 3)


@pytest.fixture(scope="module")
def expected(scorer, files):
    return scorer.score(files)["score"].tolist()


def pixels_of(file):
    return np.array(open_image(file))


FORMS = {
    "string": lambda file: file,
    "path": Path,
    "PIL": Image.open,
    "array": pixels_of,
    "float array": lambda file: pixels_of(file) / 255,
    "float32 array": lambda file: (pixels_of(file) / 255).astype(np.float32),
    "turned array": lambda file: np.asfortranarray(pixels_of(file)),
    "tensor": lambda file: torch.from_numpy(pixels_of(file)),
    "channels first": lambda file: torch.from_numpy(pixels_of(file)).permute(2, 0, 1),
    "float tensor": lambda file: torch.from_numpy(pixels_of(file) / 255).requires_grad_(),
    "batch": lambda file: torch.from_numpy(pixels_of(file)).permute(2, 0, 1)[None].float() / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_one_picture_in_any_form_is_one_row_with_the_score_of_its_file(scorer, files, expected, form):
    for wrapped in (lambda one: one, lambda one: [one], lambda one: iter([one])):
        table = scorer.score(wrapped(FORMS[form](files[1])))
        assert table["score"].tolist() == pytest.approx(expected[1:2], abs=1e-6)
        assert table["file"].tolist() == [files[1] if form in ("string", "path") else "image 0"]


def test_a_folder_stands_for_its_images_alone_and_among_others(scorer, files, expected):
    folder = Path(files[0]).parent
    for images in (folder, str(folder), [folder], iter([folder])):
        assert scorer.score(images)["file"].tolist() == files
    table = scorer.score([files[2], folder, pixels_of(files[0])])
    assert table["file"].tolist() == [files[2], *files, "image 4"]
    np.testing.assert_allclose(table["score"], [expected[2], *expected, expected[0]], rtol=0, atol=1e-6)


def test_a_batch_of_pictures_is_a_row_each(scorer, files, expected):
    together = np.stack([pixels_of(file) for file in files]).transpose(0, 3, 1, 2)
    table = scorer(iter([together, files[0]]), batch_size=2)
    assert table["file"].tolist() == ["image 0", "image 1", "image 2", files[0]]
    np.testing.assert_allclose(table["score"], [*expected, expected[0]], rtol=0, atol=1e-6)
    assert scorer.score(together[:0]).empty


def test_columns_of_tables_are_paths(scorer, files, expected):
    for column in (pd.Series(files), np.array(files), np.array(files, dtype=object)):
        assert scorer.score(column)["score"].tolist() == pytest.approx(expected, abs=1e-6)


def test_calling_a_scorer_is_scoring(scorer, files):
    pd.testing.assert_frame_equal(scorer(files, batch_size=2), scorer.score(files, batch_size=2))


def test_worker_processes_take_pictures_in_memory(scorer, files, expected):
    forms = [FORMS[form](file) for form, file in zip(("PIL", "float tensor", "string"), files, strict=True)]
    (table,) = scorer.stream(forms, workers=1)
    assert table["score"].tolist() == pytest.approx(expected, abs=1e-6)
    assert table["file"].tolist() == ["image 0", "image 1", files[2]]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16", "1"])
def test_a_pil_image_is_turned_and_converted_as_its_file_is(tmp_path, mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    image = Image.new("I;16", (60, 40), 40_000) if mode == "I;16" else image.convert(mode)
    exif = Image.Exif()
    exif[274] = 1 if mode == "CMYK" else 6  # Pillow loses the turn of a TIFF when it loads it
    file = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    image.save(file, exif=exif)
    (held,) = pictures(Image.open(file))
    assert held.pixels.shape == ((40, 60, 3) if mode == "CMYK" else (60, 40, 3))
    np.testing.assert_array_equal(held.pixels, pixels_of(file))


def test_a_picture_in_memory_that_cannot_be_read_costs_its_row(scorer, files):
    content = Path(files[0]).read_bytes()
    broken = Path(files[0]).with_name("broken.jpg.part")
    broken.write_bytes(content[:-20])
    strip = np.zeros((2, 900, 3), np.uint8)
    table = scorer.score([Image.open(broken), strip, files[0]])
    broken.unlink()
    assert table["error"].notna().tolist() == [True, True, False]
    assert "image 0 is a damaged or truncated image" in table["error"][0]
    assert "image 1: its 900 x 2 pixels are a strip" in table["error"][1]


REFUSED = [
    (np.zeros((4, 5)), "an array of shape (4, 5) and float64 is no picture; needed is (height, width, 3)"),
    (np.zeros((5, 4, 4, 3), np.uint8), "an array of shape (5, 4, 4, 3) and uint8"),
    (np.zeros((4, 5, 4), np.uint8), "an array of shape (4, 5, 4) and uint8"),
    (np.zeros((0, 5, 3), np.uint8), "an array of shape (0, 5, 3)"),
    (torch.zeros(2, 1, 3, 4, 4), "a tensor of shape (2, 1, 3, 4, 4) and float32"),
    (torch.zeros(4, 5, 3, dtype=torch.int64), "int64 is no picture; needed is uint8, or float in [0, 1]"),
    (np.zeros((4, 5, 3), np.uint16), "uint16 is no picture; needed is uint8, or float in [0, 1]"),
    (np.zeros((4, 5, 3), bool), "bool is no picture"),
    (np.full((4, 5, 3), 255.0), "has values from 255 to 255; floats of a picture must lie in [0, 1]: divide by 255"),
    (torch.full((4, 5, 3), -0.5), "has values from -0.5 to -0.5"),
    (np.full((4, 5, 3), np.nan), "has values from nan to nan"),
    (7, "what is of the type int is no picture; give a path, a PIL image, or pixels"),
    (None, "of the type NoneType"),
    (b"\xff\xd8", "of the type bytes, open it with PIL.Image.open"),
    ({"a.jpg": 1}, "of the type dict"),
]


@pytest.mark.parametrize(("picture", "message"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_is_no_picture_is_refused_before_any_model_runs(scorer, files, monkeypatch, picture, message):
    monkeypatch.setattr(DualBranch, "forward", lambda *_, **__: pytest.fail("a model ran"))
    assert message in refusal(scorer.score, picture)
    for call in (scorer.score, scorer.stream, scorer):
        assert message in refusal(call, [*files, picture])


def test_an_iterators_pictures_are_checked_as_they_come(scorer, files):
    assert "of the type int" in refusal(scorer.score, iter([files[0], 7]))


def test_settings_are_checked_when_a_stream_is_asked_for(scorer, files):
    for settings in (
        {"batch_size": 0},
        {"batch_size": "4"},
        {"batch_size": True},
        {"workers": -1},
        {"test_crops": "six"},
    ):
        name = next(iter(settings))
        assert f"`{name}` is {next(iter(settings.values()))!r}" in refusal(scorer.stream, files, **settings)


def test_a_scorer_moves_to_a_device_by_its_name(scorer):
    assert scorer.to("cpu") is scorer and scorer.to(torch.device("cpu")).device.type == "cpu"
    assert "cannot use the device 'cuda:99'" in refusal(scorer.to, "cuda:99")
    assert scorer.device.type == "cpu"


def test_the_table_keeps_no_pixels(scorer):
    assert type(scorer.score(np.zeros((40, 40, 3), np.uint8))["file"][0]) is str


def test_pixels_are_taken_over_when_they_are_given():
    pixels = np.zeros((4, 5, 3), np.uint8)
    (held,) = pictures(pixels)
    pixels[:] = 9
    assert isinstance(held, PictureInMemory) and held.pixels.max() == 0
