"""How networks see prepared images: sizes, whole images and windows, batches of many sizes, labels."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from data_options import portrait_data
from PIL import Image
from torch import nn

from piqa.data.dataset import TrainingPortraits, crops_of
from piqa.data.mix_sampler import MixSampler
from piqa.data.options import InputOptions
from piqa.data.sampler import Draw, Step, StepShare
from piqa.data.transforms import collate, training_image
from piqa.errors import InputError
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.models.liqe_windows import LIQE_RULE, cut_windows
from piqa.preparation.portrait import Portrait, Preparation, Preparer

NO_FACE = {"face_rule": "none"}


def prepared(size, **settings):
    return Preparer(Preparation(**NO_FACE, **settings)).prepare(Image.new("RGB", size)).whole.shape[1::-1]


@pytest.mark.parametrize(
    ("resize", "size", "expected"),
    [
        ("short_side", (300, 200), (150, 100)),
        ("short_side", (60, 50), (120, 100)),
        ("shrink", (300, 200), (150, 100)),
        ("shrink", (300, 99), (300, 99)),
        ("shrink", (101, 100), (101, 100)),
        ("stretch", (300, 200), (100, 100)),
        ("stretch", (30, 20), (100, 100)),
        ("keep", (300, 20), (300, 20)),
    ],
)
def test_images_get_the_size_that_is_asked_for(resize, size, expected):
    assert prepared(size, resize=resize, short_side=100) == expected


def test_an_unknown_resize_is_refused():
    with pytest.raises(InputError, match="`resize` is one of short_side, shrink, stretch, keep, not 'crop'"):
        Preparation(resize="crop")


def test_stores_of_before_there_was_a_choice_of_sizes_are_still_good():
    before = {"short_side": 448, "face_rule": "largest", "face_threshold": 0.9, "face_margin": 20}
    before |= {"detection_side": 1600, "liqe": None, "version": 1}
    text = json.dumps(before, sort_keys=True)
    assert Preparation().fingerprint(None) == hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    names = {Preparation(resize=resize).fingerprint(None) for resize in ("short_side", "shrink", "stretch", "keep")}
    assert len(names) == 4


def portrait(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Portrait(pixels, pixels, None, None)


def chw(pixels):
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def test_a_whole_image_is_seen_whole_and_mirrored_in_half_of_the_draws():
    pixels = portrait(40, 50).whole
    seen = [training_image(pixels, "whole", seed, flip=True) for seed in range(200)]
    mirrored = [torch.equal(view, chw(pixels[:, ::-1])) for view in seen]
    assert all(torch.equal(view, chw(pixels)) for view, other in zip(seen, mirrored, strict=True) if not other)
    assert 70 < sum(mirrored) < 130
    assert torch.equal(crops_of(portrait(40, 50), 8, "five", "whole")["whole"][0], chw(pixels))


def test_three_windows_are_drawn_by_the_seed_alone():
    pixels = portrait(300, 330).whole
    first, again, other = (training_image(pixels, "windows", seed, flip=False) for seed in (1, 1, 2))
    assert first.shape == (3, 3, 224, 224) and torch.equal(first, again) and not torch.equal(first, other)
    grid = [chw(pixels[y : y + 224, x : x + 224]) for y in range(0, 77, 32) for x in range(0, 107, 32)]
    assert all(any(torch.equal(window, place) for place in grid) for window in first)


def test_an_image_is_scored_by_liqes_own_windows():
    one = portrait(400, 420)
    seen = crops_of(one, 384, "five", "windows")["whole"]
    assert seen.shape == (15, 3, 224, 224) and torch.equal(seen, cut_windows(one.whole, LIQE_RULE))


class MeanOf(nn.Module):
    """Notes the shapes that it is given; the score is the mean of the pixels."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, whole):
        self.calls.append(tuple(whole.shape))
        return {"score": whole.float().mean(dim=(1, 2, 3)), "corner": whole[:, :, 0, 0].float()}


def test_images_of_many_sizes_go_through_the_network_by_size_and_come_back_in_order():
    sizes = [(40, 50), (60, 32), (40, 50), (32, 60), (60, 32)]
    portraits = [portrait(*size, seed=number) for number, size in enumerate(sizes)]
    batch = collate([crops_of(one, 8, "five", "whole") for one in portraits])
    network = as_scoring_network(MeanOf())
    outputs = network_outputs(network, batch)
    expected = [one.whole.mean() for one in portraits]
    np.testing.assert_allclose(outputs["score"], expected, rtol=1e-5)
    np.testing.assert_array_equal(outputs["corner"], [one.whole[0, 0] for one in portraits])
    assert sorted(network.calls) == [(1, 3, 32, 60), (2, 3, 40, 50), (2, 3, 60, 32)]


def test_images_of_one_size_are_one_batch():
    batch = collate([crops_of(portrait(40, 50, seed), 8, "five", "whole") for seed in range(3)])
    assert batch["whole"].shape == (3, 1, 3, 40, 50)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preparation": Preparation(resize="keep")}, "may leave images smaller than a crop"),
        ({"preparation": Preparation(short_side=100), "crop_size": 101}, "does not fit"),
    ],
)
def test_crops_need_images_that_hold_them(settings, message):
    with pytest.raises(InputError, match=message):
        portrait_data(None, store="absent", **settings)


def test_a_batch_carries_votes_scenes_and_distortions():
    table = pd.DataFrame({"path": ["a", "b"], "score": [1.0, 2.0], "scene_tags": ["human;night", ""]})
    table["distortion"] = ["", "blur"]
    for mark in range(1, 11):
        table[f"votes_{mark}"] = [float(mark), np.nan]

    class Store:
        def read(self, path, use):
            return use(portrait(40, 40))

    data = TrainingPortraits(table, Store(), InputOptions(crop_size=32))
    batch = data[Step((Draw(1, 0, 5), Draw(0, 0, 6)), 1.0)]
    assert batch["index"].tolist() == [1, 0] and batch["score"].tolist() == [2.0, 1.0]
    assert batch["votes"][1].tolist() == list(range(1, 11)) and batch["votes"][0].isnan().all()
    assert batch["scene_labels"].sum(dim=1).tolist() == [0, 2] and batch["distortion_label"].tolist() == [3, -1]


# Steps over several databases, shared out and taken up


def mixed(**share):
    return MixSampler(["A"] * 30 + ["B"] * 50, {"A": 8, "B": 16}, steps=4, seed=3, share=StepShare(**share))


def rows_of(step):
    return sorted((draw.index, draw.seed) for draw in step.draws)


def test_accumulated_parts_and_processes_make_up_the_same_steps():
    whole = list(mixed())
    shares = [list(mixed(rank=rank, world=2, accumulation_steps=2)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [8, 8]
    for number, step in enumerate(whole):
        parts = [share[2 * number + part] for share in shares for part in (0, 1)]
        assert sorted(pair for part in parts for pair in rows_of(part)) == rows_of(step)


def test_an_epoch_over_databases_goes_on_where_it_stopped():
    sampler = mixed(accumulation_steps=2)
    sampler.set_epoch(1)
    whole = list(sampler)
    sampler.skip(1, 3)
    assert sampler.first == 3 and [rows_of(step) for step in sampler] == [rows_of(step) for step in whole[6:]]
    sampler.set_epoch(2)
    assert len(list(sampler)) == 8
