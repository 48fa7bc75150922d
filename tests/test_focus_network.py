"""Focus without training: the blur of edges, subject against background, and synthetic bokeh with exact labels."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from portraits import COLLINS_FACE, HOPPER_FACE, collins, hopper
from refusals import refusal
from scipy import ndimage

from piqa import Scorer
from piqa.evaluation.metrics import srocc
from piqa.models import Focus
from piqa.models.light import from_linear
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

HEIGHT, WIDTH = 240, 200


def texture(seed):
    """Patches of light of all sizes, as sharp as pixels allow; linear."""
    rng, light = np.random.default_rng(seed), np.full((HEIGHT, WIDTH), 0.3)
    for _ in range(150):
        y, x, h, w = (int(value) for value in rng.integers((0, 0, 6, 6), (HEIGHT, WIDTH, 40, 40)))
        light[y : y + h, x : x + w] = rng.uniform(0.05, 0.9)
    return light


def subject_mask():
    """Where `Focus` looks for the subject, sharp-edged; and a body below."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    head = ((across / WIDTH - 0.5) / 0.24) ** 2 + ((down / HEIGHT - 0.42) / 0.3) ** 2 <= 1
    return head | ((down > 0.5 * HEIGHT) & (abs(across / WIDTH - 0.5) < 0.36))


def bokeh(subject_blur, background_blur, seed=0):
    """A picture whose two planes have known blurs (Gaussian sigma, in pixels), float in [0, 1], (1, 3, ...)."""
    planes = ((2 * seed, subject_blur), (2 * seed + 1, background_blur))
    near, far = (ndimage.gaussian_filter(texture(number), blur) for number, blur in planes)
    light = np.where(subject_mask(), near, far)
    return from_linear(torch.tensor(light, dtype=torch.float32)).expand(1, 3, -1, -1).contiguous()


def measured(*pictures, network=None):
    outputs = (network or Focus())(torch.cat(pictures))
    return {name: values.numpy() for name, values in outputs.items()}


@pytest.mark.parametrize("sigma", [2, 3, 5, 8])
def test_the_blur_of_a_step_is_found(sigma):
    light = np.full((160, 160), 0.2)
    light[:, 80:] = 0.7
    image = from_linear(torch.tensor(ndimage.gaussian_filter(light, sigma), dtype=torch.float32)).expand(1, 3, -1, -1)
    for pixels in (image, image.transpose(2, 3)):
        blur, strength = Focus().edge_blur(pixels)
        assert float(blur[strength > 0].median()) == pytest.approx(sigma, rel=0.1)


def test_bokeh_is_measured_in_both_planes():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.8, 5, (24, 2))
    found = measured(*(bokeh(*blurs, seed) for seed, blurs in enumerate(true)))
    side = min(HEIGHT, WIDTH)
    assert srocc(true[:, 0], found["subject_blur"]) > 0.95 and srocc(true[:, 1], found["background_blur"]) > 0.95
    assert np.median(abs(found["subject_blur"] * side / true[:, 0] - 1)) < 0.25
    assert srocc(np.log2(true[:, 1] / true[:, 0]), found["gap"]) > 0.95
    assert srocc(-true[:, 0], found["score"]) > 0.95
    clear = abs(np.log2(true[:, 1] / true[:, 0])) > 0.5
    assert ((found["gap"] > 0) == (true[:, 1] > true[:, 0]))[clear].all()


def test_shallow_depth_is_decided_by_the_background():
    shallow, deep, behind = bokeh(0.8, 5), bokeh(0.8, 0.8), bokeh(5, 0.8)
    found = measured(shallow, deep, behind)["depth_of_field"].tolist()
    assert [Focus.classes["depth_of_field"][one] for one in found] == ["shallow", "deep", "deep"]


def test_a_flat_background_has_no_blur():
    pixels = bokeh(1, 1)
    pixels[..., torch.from_numpy(~subject_mask())] = 0.5
    found = measured(pixels)
    # The outline of the subject alone is left, in neither region.
    assert np.isnan(found["gap"][0]) and np.isfinite(found["score"][0])
    assert Focus.classes["depth_of_field"][int(found["depth_of_field"][0])] == "unknown"
    blank = measured(torch.full((1, 3, HEIGHT, WIDTH), 0.5))
    assert blank["score"][0] == pytest.approx(-np.log2(5)) and np.isfinite(blank["subject_blur"][0])


def test_brightness_does_not_move_it():
    picture = bokeh(1.5, 4)
    darker = (picture * 0.7).clamp(0, 1)
    a, b = measured(picture), measured(darker)
    assert a["gap"][0] == pytest.approx(b["gap"][0], abs=0.15)


MASK = """
import torch
from torch import nn

class LeftHalf(nn.Module):
    def __init__(self, fraction: float = 0.5):
        super().__init__()
        self.fraction, self.init_args = fraction, {"fraction": fraction}

    def forward(self, pixels):
        mask = torch.zeros_like(pixels[:, :1])
        mask[..., : round(self.fraction * pixels.shape[-1])] = 1
        return mask
"""


@pytest.fixture
def masks(tmp_path, monkeypatch):
    (tmp_path / "own_masks.py").write_text(MASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_masks", None)


def halves(left, right):
    near, far = (ndimage.gaussian_filter(texture(seed), blur) for seed, blur in ((1, left), (2, right)))
    near[:, WIDTH // 2 :] = far[:, WIDTH // 2 :]
    return from_linear(torch.tensor(near, dtype=torch.float32)).expand(1, 3, -1, -1)


def test_a_network_of_ones_own_tells_the_subject_and_is_loaded_only_where_trusted(masks):
    import own_masks

    network = Focus(own_masks.LeftHalf())
    gaps = measured(halves(0.8, 4), halves(4, 0.8), network=network)["gap"]
    assert gaps[0] > 1 and gaps[1] < -1
    spec = ClassSpec.of(network)
    assert spec.init_args["subject"] == {"class_path": "own_masks.LeftHalf", "init_args": {"fraction": 0.5}}
    card = ModelCard(spec, {"short_side": WIDTH, "resize": "shrink", "face_rule": "none"}, "whole", WIDTH)
    file = model_file.save(network, masks / "model.safetensors", card)
    del sys.modules["own_masks"]
    assert "--trust own_masks" in refusal(Scorer.load, file, device="cpu")
    assert "own_masks" not in sys.modules
    picture = masks / "a.png"
    Image.fromarray((255 * halves(0.8, 4)[0].permute(1, 2, 0).numpy()).astype(np.uint8)).save(picture)
    table = Scorer.load(file, device="cpu", trust="own_masks").score([picture])
    assert table["depth_of_field"].tolist() == ["shallow"] and table["gap"][0] > 1
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["network"]["class_path"] == "piqa.models.Focus"


def test_a_mask_of_another_shape_is_refused():
    class Small(torch.nn.Module):
        def forward(self, pixels):
            return pixels[:, :1, ::2, ::2]

    assert "returns the shape (1, 1, 120, 100)" in refusal(Focus(Small()), bokeh(1, 1))


def two_planes(person, face, window, sharp_face):
    """A real portrait whose face and body are sharp and whose background is blurred, or the reverse.

    Args:
        person: Returns the portrait.
        face: Its face by eye, left, top, right, bottom.
        window: What of the portrait is shown, so that the face is not in the middle.
        sharp_face: Whether the face is the sharp one.
    """
    image = person()
    soft = image.filter(ImageFilter.GaussianBlur(3))
    x1, y1, x2, y2 = face
    width, height = x2 - x1, y2 - y1
    near = Image.new("L", image.size)
    draw = ImageDraw.Draw(near)
    draw.ellipse((x1 - 0.35 * width, y1 - 0.35 * height, x2 + 0.35 * width, y2 + 0.35 * height), fill=255)
    middle, half = (x1 + x2) / 2, 1.2 * width
    draw.rectangle((middle - half, y2, middle + half, image.height), fill=255)
    planes = (image, soft) if sharp_face else (soft, image)
    return Image.composite(*planes, near.filter(ImageFilter.GaussianBlur(4))).crop(window)


def test_the_face_is_the_subject_of_a_portrait(tmp_path):
    people = ((collins, COLLINS_FACE, (120, 0, 512, 512)), (hopper, HOPPER_FACE, (140, 0, 512, 600)))
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        two_planes(*people[number // 2], sharp_face=number % 2 == 0).save(file)
    table = Scorer.load("focus.yaml", device="cpu").score(files)
    assert table["face_found"].all()
    sharp, soft = table.iloc[::2].reset_index(), table.iloc[1::2].reset_index()
    # Above the middle, where the face is not, the gaps of the sharp ones are -0.2 and 0.04.
    assert (sharp["gap"] > 0.5).all() and (soft["gap"] < -1).all()
    assert (sharp["score"] > soft["score"] + 1.5).all()
    assert sharp["depth_of_field"][0] == "shallow" and (soft["depth_of_field"] == "deep").all()


def test_of_each_image_the_subject_is_its_own_face_or_the_usual_place():
    pixels = torch.rand(3, 3, 120, 100, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.6, 0.1, 0.9, 0.4], [0, 0, 0, 0], [0.5, 0.5, 0.55, 0.55]])  # the last is 5 px wide
    mask, usual = Focus().mask(pixels, boxes), Focus().mask(pixels)
    assert torch.equal(mask[1:], usual[1:]) and not torch.equal(mask[0], usual[0])
    rows, columns = np.nonzero(mask[0, 0].numpy() == 1)
    # Semi-axes are 0.42 x 30 and 0.48 x 36 px about (75, 30).
    assert (columns.min(), columns.max()) == (62, 87) and (rows.min(), rows.max()) == (13, 46)
    assert mask[0, 0, 100, 75] == 0.5 and mask[0, 0, 5, 20] == 0 and mask[0, 0, 100, 20] == 0


def test_a_network_of_ones_own_is_asked_in_place_of_the_face(masks):
    import own_masks

    pixels = torch.rand(1, 3, 120, 100, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[0.6, 0.1, 0.9, 0.4]])
    assert torch.equal(Focus(own_masks.LeftHalf()).mask(pixels, box)[0, 0, 0], (torch.arange(100) < 50).float())


def test_the_config_is_the_model(tmp_path):
    picture = tmp_path / "a.png"
    Image.fromarray((255 * bokeh(0.8, 4)[0].permute(1, 2, 0).numpy()).astype(np.uint8)).save(picture)
    table = Scorer.load("focus.yaml", device="cpu").score([picture])
    assert table["depth_of_field"].tolist() == ["shallow"] and table["error"].isna().all()
