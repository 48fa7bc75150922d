"""LIQE's prompts, windows and cache; equality with the published numbers is proved in test_parity.py."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from inputs import test_image
from PIL import Image
from small_clip import VIT

from piqa.errors import InputError
from piqa.models import LIQE
from piqa.models.liqe import DISTORTIONS, LIQE_LOGITS, SCENES, distortion_labels, prompts, scene_labels
from piqa.models.liqe_windows import (
    LIQE_RULE,
    LIQE_TRAINING_RULE,
    WINDOW,
    WINDOWS,
    WindowRule,
    cut_windows,
    window_corners,
)


@pytest.fixture
def liqe():
    """A small LIQE, randomly initialised."""
    torch.manual_seed(0)
    return LIQE(architecture=VIT)


@pytest.fixture
def counted(liqe, monkeypatch):
    """LIQE whose text tower counts its calls."""
    calls = []
    encode = liqe.clip.encode_text

    def encode_text(tokens, **options):
        calls.append(len(tokens))
        return encode(tokens, **options)

    monkeypatch.setattr(liqe.clip, "encode_text", encode_text)
    return liqe, calls


def images(count=3, windows=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, windows, 3, WINDOW, WINDOW), dtype=torch.uint8, generator=generator)


def renewed(liqe):
    """The text features as they are now, computed anew."""
    with torch.no_grad():
        return liqe._encode_prompts()


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


@pytest.mark.parametrize(
    ("aspects", "count", "first", "last"),
    [
        (
            ["scene"],
            45,
            "a photo of a animal, which is of bad quality",
            "a photo of a others, which is of perfect quality",
        ),
        (
            ["distortion"],
            55,
            "a photo with jpeg2000 compression artifacts, which is of bad quality",
            "a photo with other artifacts, which is of perfect quality",
        ),
        ([], 5, "a photo with bad quality", "a photo with perfect quality"),
    ],
)
def test_fewer_aspects_give_the_published_shorter_prompts(aspects, count, first, last):
    made = prompts(aspects)
    assert (len(set(made)), made[0], made[-1]) == (count, first, last)


# Windows


@pytest.mark.parametrize("height", [224, 225, 255, 256, 300, 447, 448, 1000, 3000])
@pytest.mark.parametrize("width", [224, 255, 256, 512, 777, 4000])
def test_windows_lie_on_the_grid_inside_the_image(height, width):
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
def test_an_image_has_15_windows_or_1(height, width, count):
    assert len(window_corners(height, width)) == count
    assert cut_windows(Image.new("RGB", (width, height))).shape == (count, 3, WINDOW, WINDOW)


def test_every_nth_window_of_the_grid_is_taken():
    # 448 x 512: 8 rows of 10 windows, every 5th, so columns 0 and 5 of the first 7 rows and column 0 of the last
    assert window_corners(448, 512) == [(32 * (k // 10), 32 * (k % 10)) for k in range(0, 75, 5)]


def test_windows_hold_the_pixels_of_the_image():
    pixels = test_image(300, 500, seed=3)
    windows = cut_windows(Image.fromarray(pixels))
    assert windows.dtype == torch.uint8
    for window, (y, x) in zip(windows, window_corners(300, 500), strict=True):
        assert np.array_equal(window.permute(1, 2, 0), pixels[y : y + WINDOW, x : x + WINDOW])


@pytest.mark.parametrize(
    ("size", "enlarged"), [((100, 50), (448, 224)), ((223, 300), (224, 301)), ((1, 1), (224, 224))]
)
def test_an_image_below_224_px_is_scaled_up(size, enlarged):
    pixels = Image.fromarray(test_image(size[1], size[0], seed=4))
    expected = cut_windows(pixels.resize(enlarged, Image.Resampling.BILINEAR))
    assert torch.equal(cut_windows(pixels), expected)


def test_windows_of_12_megapixels_are_cut_without_copying_the_image():
    image = Image.new("RGB", (4000, 3000))
    tracemalloc.start()
    try:
        cut_windows(image)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6  # the windows are 2.3 MB, the image 36 MB, all 10353 windows of its grid 1.6 GB


@pytest.mark.parametrize(("side", "stride"), [(1023, 32), (1024, 48), (1400, 48)])
def test_windows_of_large_images_lie_further_apart_in_liqe_but_not_in_dn_piqa(side, stride):
    grid = WindowRule(count=10**6)  # all of them
    assert {x % stride for _, x in window_corners(300, side, grid)} == {0}
    assert window_corners(300, side, grid)[1] == (0, stride)
    assert window_corners(768, side)[1][1] % 32 == 0
    assert len(window_corners(300, side, grid)) == ((300 - 224) // stride + 1) * ((side - 224) // stride + 1)


def test_stride_48_holds_for_a_tall_image_too():
    rows = {y for y, _ in window_corners(1100, 768, WindowRule(count=10**6))}
    assert rows == set(range(0, 1100 - 224 + 1, 48))


def test_liqe_takes_every_nth_window_as_dn_piqa_does():
    assert window_corners(768, 900, LIQE_RULE) == window_corners(768, 900)


def test_liqe_sees_all_windows_of_an_image_that_has_fewer_than_15():
    assert window_corners(224 + 64, 224 + 96, LIQE_RULE) == [(y, x) for y in (0, 32, 64) for x in (0, 32, 64, 96)]
    assert cut_windows(Image.new("RGB", (300, 100)), LIQE_RULE).shape == (15, 3, WINDOW, WINDOW)  # 672 x 224
    assert cut_windows(Image.new("RGB", (100, 100)), LIQE_RULE).shape == (1, 3, WINDOW, WINDOW)


def test_training_draws_3_windows_of_the_grid_by_seed():
    drawn = {seed: window_corners(256, 288, LIQE_TRAINING_RULE, seed) for seed in range(200)}
    assert {len(corners) for corners in drawn.values()} == {3}
    assert drawn[7] == window_corners(256, 288, LIQE_TRAINING_RULE, 7)
    counts = {corner: sum(corners.count(corner) for corners in drawn.values()) for corner in drawn[0] + drawn[1]}
    assert {corner for corners in drawn.values() for corner in corners} == {
        (y, x) for y in (0, 32) for x in (0, 32, 64)
    }
    assert all(60 < count < 140 for count in counts.values())  # 100 expected of each of the six
    assert any(len(set(corners)) < 3 for corners in drawn.values())  # with replacement


def test_training_draws_3_windows_of_the_smallest_image():
    assert cut_windows(Image.new("RGB", (224, 224)), LIQE_TRAINING_RULE, seed=0).shape == (3, 3, WINDOW, WINDOW)


@pytest.mark.parametrize("size", [(300, 500), (100, 250)])
@pytest.mark.parametrize("seed", [None, 5])
def test_an_array_has_the_windows_of_the_image(size, seed):
    pixels = test_image(*size, seed=3)
    expected = cut_windows(Image.fromarray(pixels), LIQE_RULE, seed)
    assert torch.equal(cut_windows(pixels, LIQE_RULE, seed), expected)


def test_a_mirrored_view_of_an_array_can_be_cut():
    pixels = test_image(230, 260, seed=3)
    mirrored = cut_windows(pixels[:, ::-1], LIQE_RULE)
    assert np.array_equal(mirrored[0].permute(1, 2, 0), pixels[:WINDOW, ::-1][:, :WINDOW])


# Labels


def test_scene_tags_become_a_0_or_1_for_each_scene():
    labels = scene_labels(["human;indoor", "", "others"])
    assert labels.shape == (3, 9)
    assert [[SCENES[place] for place in row.nonzero().flatten()] for row in labels] == [
        ["human", "indoor"],
        [],
        ["others"],
    ]


def test_distortions_become_their_places():
    assert distortion_labels(["noise", "", "other"]).tolist() == [DISTORTIONS.index("noise"), -1, 10]


def test_labels_that_liqe_does_not_know_are_refused():
    with pytest.raises(InputError, match="no scene 'martian'"):
        scene_labels(["human;martian"])
    with pytest.raises(InputError, match="no distortion 'ghosts'"):
        distortion_labels(["noise", "ghosts"])


# Text features


@pytest.mark.slow
def test_a_prompt_gets_the_features_that_clip_gives_it():
    liqe = LIQE()
    ends = liqe.tokens.argmax(dim=1)
    liqe.tokens = liqe.tokens[[int(ends.argmin()), 250, int(ends.argmax()), 494]]
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(liqe.clip.encode_text(liqe.tokens), dim=-1)
        torch.testing.assert_close(liqe.text_features(), expected, rtol=0, atol=1e-6)


def test_text_features_are_computed_once(counted):
    liqe, calls = counted
    liqe.logits(Image.new("RGB", (224, 224)))
    liqe.logits(Image.new("RGB", (224, 224), "red"))
    assert calls == [LIQE_LOGITS]


@pytest.mark.parametrize("assign", [False, True])
def test_other_weights_of_the_same_name_have_their_own_text_features(liqe, assign):
    other = LIQE(architecture=VIT)
    with torch.inference_mode():
        before = liqe.text_features()
        other.text_features()
        liqe.load_state_dict(other.state_dict(), assign=assign)
        after = liqe.text_features()
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, renewed(other))


def test_weights_loaded_into_a_model_around_it_renew_the_text_features(liqe):
    around, other = torch.nn.ModuleDict({"liqe": liqe}), LIQE(architecture=VIT)
    with torch.no_grad():
        liqe.text_features()
    around.load_state_dict({f"liqe.{key}": value for key, value in other.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(liqe.text_features(), renewed(other))


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_of_the_optimiser_renews_the_text_features_even_in_evaluation_mode(liqe, fused):
    optimizer = torch.optim.AdamW(liqe.parameters(), lr=1e-2, fused=fused)
    with torch.no_grad():
        before = liqe.text_features()
    liqe(images())["score"].sum().backward()
    optimizer.step()
    with torch.no_grad():
        after = liqe.text_features()
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, renewed(liqe))


def test_a_change_of_mode_drops_the_text_features_whatever_changed_the_weights(liqe):
    optimizer = torch.optim.AdamW(liqe.parameters(), lr=1e-2, fused=True)  # whose changes torch does not count
    liqe(images())["score"].sum().backward()
    with torch.no_grad():
        before = liqe.text_features()  # validation between the parts of a step
    optimizer.step()
    liqe.eval()
    with torch.no_grad():
        after = liqe.text_features()
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, renewed(liqe))


def test_moved_weights_renew_the_text_features(liqe):
    with torch.no_grad():
        liqe.text_features()
        liqe.half().float()  # loses digits
        torch.testing.assert_close(liqe.text_features(), renewed(liqe), rtol=0, atol=0)


def test_gradients_reach_the_text_tower_even_after_scoring_in_evaluation_mode(liqe):
    liqe.logits(Image.new("RGB", (224, 224)))
    liqe(images())["score"].sum().backward()
    assert liqe.clip.visual.conv1.weight.grad.abs().sum() > 0
    assert liqe.clip.text_projection.grad.abs().sum() > 0


def test_scoring_first_does_not_forbid_gradients_of_the_images_later(liqe):
    for weight in liqe._text_weights():
        weight.requires_grad_(False)
    liqe.logits(Image.new("RGB", (224, 224)))
    liqe(images())["score"].sum().backward()
    assert liqe.clip.visual.conv1.weight.grad is not None


def test_the_scale_of_the_logits_is_not_trained(liqe):
    assert [name for name, weight in liqe.named_parameters() if not weight.requires_grad] == ["clip.logit_scale"]


# Answers


def test_logits_are_495_finite_numbers(liqe):
    logits = liqe.logits(Image.fromarray(test_image(230, 240, seed=5)))
    assert logits.shape == (LIQE_LOGITS,)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_logits_are_the_mean_over_the_windows(liqe):
    windows = cut_windows(Image.fromarray(test_image(320, 320, seed=6)))
    assert len(windows) == WINDOWS
    with torch.inference_mode():
        together = liqe(windows.unsqueeze(0))["logits"][0]
        one_by_one = torch.stack([liqe(window[None, None])["logits"][0] for window in windows])
    torch.testing.assert_close(together, one_by_one.mean(dim=0), rtol=0, atol=1e-4)


def test_answers_are_the_marginals_of_the_joint_probability(liqe):
    liqe.clip.logit_scale.data.fill_(3.0)
    with torch.inference_mode():
        answers = liqe(images())
    for row, logits in enumerate(answers["logits"].double().numpy()):
        joint = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        quality, scene, distortion = np.zeros(5), np.zeros(9), np.zeros(11)
        for q in range(5):
            for s in range(9):
                for d in range(11):
                    p = joint[(q * 9 + s) * 11 + d]
                    quality[q] += p
                    scene[s] += p
                    distortion[d] += p
        assert answers["score"][row].item() == pytest.approx(sum((q + 1) * p for q, p in enumerate(quality)), abs=1e-5)
        np.testing.assert_allclose(answers["scene_probabilities"][row], scene, atol=1e-6)
        np.testing.assert_allclose(answers["distortion_probabilities"][row], distortion, atol=1e-6)
        assert (answers["scene"][row], answers["distortion"][row]) == (scene.argmax(), distortion.argmax())


@pytest.mark.parametrize("aspects", [["scene"], ["distortion"], []])
def test_fewer_aspects_give_fewer_answers(aspects):
    liqe = LIQE(aspects, architecture=VIT)
    with torch.inference_mode():
        answers = liqe(images())
    assert set(liqe.classes) == set(aspects)
    assert set(answers) == {"score", "logits", *aspects, *(f"{name}_probabilities" for name in aspects)}
    p = answers["logits"].softmax(1).view(3, 5, -1).sum(2)
    torch.testing.assert_close(answers["score"], p @ torch.arange(1.0, 6))
    for name in aspects:
        marginal = answers["logits"].softmax(1).view(3, 5, -1).sum(1)
        torch.testing.assert_close(answers[f"{name}_probabilities"], marginal)


@pytest.mark.parametrize("among", [2, 3, 14, 16])
def test_an_image_gets_its_own_answer_whatever_the_batch(liqe, among):
    # The published class draws windows from the batch's size: below 15 images, the first window 15 times.
    own = cut_windows(Image.fromarray(test_image(320, 384, seed=1))).unsqueeze(0)
    others = images(among - 1, WINDOWS)
    with torch.inference_mode():
        alone, together = liqe(own), liqe(torch.cat([others, own]))
    torch.testing.assert_close(together["logits"][-1], alone["logits"][0], rtol=0, atol=1e-4)
    torch.testing.assert_close(together["score"][-1], alone["score"][0], rtol=0, atol=1e-5)


def test_every_window_of_an_image_counts(liqe):
    windows = images(1, WINDOWS)
    with torch.inference_mode():
        whole = liqe(windows)["logits"]
        for place in range(WINDOWS):
            changed = windows.clone()
            changed[:, place] = 255
            assert not torch.allclose(liqe(changed)["logits"], whole, rtol=0, atol=1e-4)


def test_images_of_one_window_need_no_axis_for_it(liqe):
    crops = images(3, 1)
    with torch.inference_mode():
        torch.testing.assert_close(liqe(crops.squeeze(1))["score"], liqe(crops)["score"])


@pytest.mark.parametrize("shape", [(2, 3, 300, 300), (2, 4, 3, 224, 300), (2, 224, 224)])
def test_images_that_are_no_windows_are_refused_in_one_line(liqe, shape):
    with pytest.raises(InputError, match="windows of 3 x 224 x 224"):
        liqe(torch.zeros(shape, dtype=torch.uint8))


def test_answers_are_float32_under_autocast(liqe):
    with torch.inference_mode():
        full = liqe(images())
        with torch.autocast("cpu", torch.bfloat16):
            half = liqe(images())
    assert {values.dtype for values in half.values() if values.is_floating_point()} == {torch.float32}
    torch.testing.assert_close(half["score"], full["score"], rtol=0, atol=0.05)
    assert torch.equal(liqe._text_features, renewed(liqe))


def test_init_args_rebuild_the_network(liqe):
    again = LIQE(**json.loads(json.dumps(liqe.init_args)))
    again.load_state_dict(liqe.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(images())["logits"], liqe(images())["logits"])


@pytest.mark.parametrize("aspects", [["quality"], ["scene", "scene"]])
def test_unknown_or_repeated_aspects_are_refused(aspects):
    with pytest.raises(InputError, match="`aspects`"):
        LIQE(aspects, architecture=VIT)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"vision_cfg": {"depth": 3}}, "`architecture` has the entry 'vision_cfg.depth', which is none of layers"),
        ({"text_cfg": {"layers": 1, "width": 64, "heads": 2, "vocab_size": 100}}, "vocabulary"),
        ({"text_cfg": {"layers": 1, "width": 64, "heads": 2, "context_length": 20}}, "context length"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_in_one_line(architecture, message):
    with pytest.raises(InputError, match=message):
        LIQE(architecture=architecture)
