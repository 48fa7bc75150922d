"""LIQE's prompts, windows and cache; equality with the published numbers is proved in test_parity.py."""

import tracemalloc

import numpy as np
import pytest
import torch
from inputs import test_image
from PIL import Image

from piqa.models import LIQE
from piqa.models.liqe import LIQE_LOGITS, WINDOW, WINDOWS, cut_windows, prompts, window_corners


@pytest.fixture(scope="session")
def liqe():
    """A randomly initialised LIQE; tests that change it put it back."""
    return LIQE()


@pytest.fixture
def counted(liqe, monkeypatch):
    """LIQE without cached text features, whose text tower counts its calls."""
    calls = []
    encode = liqe.clip.encode_text

    def encode_text(tokens, **options):
        calls.append(len(tokens))
        return encode(tokens[:2], **options).repeat(LIQE_LOGITS, 1)[:LIQE_LOGITS]  # two stand for all: quicker

    monkeypatch.setattr(liqe.clip, "encode_text", encode_text)
    liqe.forget_text_features()
    yield liqe, calls
    liqe.forget_text_features()


# Prompts


def test_there_are_495_different_prompts():
    assert len(prompts()) == len(set(prompts())) == LIQE_LOGITS == 495


@pytest.mark.parametrize(
    ("index", "prompt"),
    [
        (0, "a photo of a animal with jpeg2000 compression artifacts, which is of bad quality"),
        (10, "a photo of a animal with other artifacts, which is of bad quality"),
        (11, "a photo of a cityscape with jpeg2000 compression artifacts, which is of bad quality"),
        (99, "a photo of a animal with jpeg2000 compression artifacts, which is of poor quality"),
        ((3 * 9 + 2) * 11 + 6, "a photo of a human with overexposure artifacts, which is of good quality"),
        (494, "a photo of a others with other artifacts, which is of perfect quality"),
    ],
)
def test_quality_is_outermost_and_distortion_innermost(index, prompt):
    assert prompts()[index] == prompt


# Windows


@pytest.mark.parametrize("height", [224, 225, 255, 256, 300, 447, 448, 1000, 3000])
@pytest.mark.parametrize("width", [224, 255, 256, 512, 777, 4000])
def test_windows_lie_on_the_grid_inside_the_picture(height, width):
    corners = window_corners(height, width)
    assert len(corners) == len(set(corners))
    assert all(0 <= y <= height - WINDOW and 0 <= x <= width - WINDOW for y, x in corners)
    assert all(y % 32 == 0 and x % 32 == 0 for y, x in corners)
    assert corners == sorted(corners)


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [
        (224, 224, 1),  # 1 window on the grid
        (224, 224 + 13 * 32, 1),  # 14
        (224, 224 + 14 * 32, 15),  # 15
        (224 + 3 * 32, 224 + 3 * 32, 15),  # 16
        (3000, 4000, 15),
    ],
)
def test_a_picture_has_15_windows_or_1(height, width, count):
    assert len(window_corners(height, width)) == count
    assert cut_windows(Image.new("RGB", (width, height))).shape == (count, 3, WINDOW, WINDOW)


def test_every_nth_window_of_the_grid_is_taken():
    # 448 x 512: 8 rows of 10 windows, every 5th, so columns 0 and 5 of the first 7 rows and column 0 of the last
    assert window_corners(448, 512) == [(32 * (k // 10), 32 * (k % 10)) for k in range(0, 75, 5)]


def test_windows_hold_the_pixels_of_the_picture():
    pixels = test_image(300, 500, seed=3)
    windows = cut_windows(Image.fromarray(pixels))
    assert windows.dtype == torch.uint8
    for window, (y, x) in zip(windows, window_corners(300, 500), strict=True):
        assert np.array_equal(window.permute(1, 2, 0), pixels[y : y + WINDOW, x : x + WINDOW])


@pytest.mark.parametrize(
    ("size", "enlarged"), [((100, 50), (448, 224)), ((223, 300), (224, 301)), ((1, 1), (224, 224))]
)
def test_a_picture_below_224_px_is_scaled_up(size, enlarged):
    pixels = Image.fromarray(test_image(size[1], size[0], seed=4))
    expected = cut_windows(pixels.resize(enlarged, Image.Resampling.BILINEAR))
    assert torch.equal(cut_windows(pixels), expected)


def test_windows_of_12_megapixels_are_cut_without_copying_the_picture():
    picture = Image.new("RGB", (4000, 3000))
    tracemalloc.start()
    try:
        cut_windows(picture)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6  # the windows are 2.3 MB, the picture 36 MB, all 10353 windows of its grid 1.6 GB


# Text features


def test_a_prompt_gets_the_features_that_clip_gives_it(liqe, monkeypatch):
    ends = liqe.tokens.argmax(dim=1)
    some = liqe.tokens[[int(ends.argmin()), 250, int(ends.argmax()), 494]]
    monkeypatch.setitem(liqe._buffers, "tokens", some)
    liqe.forget_text_features()
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(liqe.clip.encode_text(some), dim=-1)
    torch.testing.assert_close(liqe.text_features(), expected, rtol=0, atol=1e-6)
    liqe.forget_text_features()


def test_text_features_are_computed_once(counted):
    liqe, calls = counted
    liqe.logits(Image.new("RGB", (224, 224)))
    liqe.logits(Image.new("RGB", (224, 224), "red"))
    assert calls == [LIQE_LOGITS]


def test_loaded_weights_drop_the_text_features(counted):
    liqe, calls = counted
    liqe.text_features()
    liqe.load_state_dict(liqe.state_dict())
    liqe.text_features()
    assert len(calls) == 2


def test_weights_loaded_into_a_model_around_it_drop_the_text_features(counted):
    liqe, calls = counted
    around = torch.nn.ModuleDict({"liqe": liqe})
    liqe.text_features()
    around.load_state_dict(around.state_dict())
    liqe.text_features()
    assert len(calls) == 2


def test_training_drops_the_text_features(counted):
    liqe, calls = counted
    liqe.text_features()
    liqe.train()
    liqe.eval()
    liqe.text_features()
    assert len(calls) == 2


def test_text_features_are_not_kept_while_training(counted):
    liqe, calls = counted
    liqe.train()
    try:
        assert liqe.text_features().requires_grad
        liqe.text_features()
    finally:
        liqe.eval()
    assert len(calls) == 2


def test_scoring_first_does_not_forbid_gradients_later(counted):
    liqe, _ = counted
    liqe.logits(Image.new("RGB", (224, 224)))
    liqe(cut_windows(Image.new("RGB", (224, 224), "red")).unsqueeze(0)).sum().backward()
    assert liqe.clip.visual.conv1.weight.grad is not None
    liqe.zero_grad(set_to_none=True)


# Logits


def test_logits_are_495_finite_numbers(counted):
    liqe, _ = counted
    logits = liqe.logits(Image.fromarray(test_image(230, 240, seed=5)))
    assert logits.shape == (LIQE_LOGITS,)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_logits_are_the_mean_over_the_windows(counted):
    liqe, _ = counted
    windows = cut_windows(Image.fromarray(test_image(320, 320, seed=6)))
    assert len(windows) == WINDOWS
    with torch.inference_mode():
        together = liqe(windows.unsqueeze(0))[0]
        one_by_one = torch.stack([liqe(window[None, None])[0] for window in windows])
    torch.testing.assert_close(together, one_by_one.mean(dim=0), rtol=0, atol=1e-4)
