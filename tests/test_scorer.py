import itertools
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from refusals import refusal
from scipy.stats import spearmanr
from small_clip import RESNET, VIT
from test_contract import Repeats
from tiny_models import write_images, write_tiny_model
from torch import nn

from piqa import Scorer
from piqa.data.transforms import scoring_crops
from piqa.errors import InputError
from piqa.models import LIQE, DualBranch
from piqa.models.clip_iqa import CLIPIQA
from piqa.preparation.portrait import Preparation, Preparer
from piqa.scoring.options import ScoringOptions
from piqa.scoring.scorer import COLUMNS
from piqa.weights import state_dicts


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 12)


@pytest.fixture
def scorer(tmp_path):
    return Scorer.load(write_tiny_model(tmp_path), device="cpu")


@pytest.fixture(scope="module")
def liqe():
    """A randomly initialised LIQE, but for its size as published: tests/test_parity.py has it in full."""
    torch.manual_seed(0)
    return LIQE(architecture=VIT).eval()


@pytest.fixture
def scorer_with_liqe(liqe, monkeypatch):
    monkeypatch.setattr(state_dicts, "load_liqe", lambda path: liqe)
    torch.manual_seed(0)
    network = DualBranch("resnet10t", ("whole", "liqe"), image_size=32)
    return Scorer(network, Preparation(40, face_rule="none", liqe="some/LIQE.pt"), crop_size=32, device="cpu")


# Streams


def test_a_stream_reads_an_endless_list_only_as_far_as_it_scores(scorer, images):
    asked = []

    def endless():
        for file in itertools.cycle(images):
            asked.append(file)
            yield file

    tables = list(itertools.islice(scorer.stream(endless(), batch_size=2), 5))
    assert [len(table) for table in tables] == [2] * 5 and len(asked) == 10


def test_score_is_the_whole_stream(scorer, images):
    stream = pd.concat(scorer.stream(images, batch_size=5), ignore_index=True)
    pd.testing.assert_frame_equal(scorer.score(images, batch_size=5), stream)


def test_tables_have_the_same_types_whatever_they_hold(scorer, images):
    good, bad = scorer.score(images[:1]), scorer.score(["no.jpg"])
    assert good.dtypes.equals(bad.dtypes) and good["score"].dtype.kind == "f"


def test_no_images_make_an_empty_table_of_all_columns(scorer):
    assert list(scorer.score([])) == COLUMNS


def test_an_image_that_upsets_the_preparation_costs_its_row_alone(scorer, images, monkeypatch):
    prepare = Preparer.prepare

    def fails_once(self, image):
        if image.getpixel((0, 0)) == upsetting:
            raise RuntimeError("a detector's own fault")
        return prepare(self, image)

    with Image.open(images[1]) as image:
        upsetting = image.getpixel((0, 0))
    monkeypatch.setattr(Preparer, "prepare", fails_once)
    table = scorer.score(images[:3], batch_size=3)
    assert table["error"].notna().tolist() == [False, True, False]
    assert "RuntimeError: a detector's own fault" in table["error"][1] and images[1] in table["error"][1]


def test_too_little_memory_on_the_device_is_told_in_one_line(scorer, images, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(DualBranch, "forward", full)
    scorer.columns = COLUMNS
    with pytest.raises(InputError, match="CUDA out of memory for a batch of 4 images; use a smaller `batch_size`"):
        scorer.score(images[:4])


# Batches


@pytest.mark.parametrize("batch_size", [2, 3, 12])
def test_each_image_scores_alone_as_in_any_batch(scorer, images, batch_size):
    alone = scorer.score(images, batch_size=1)["score"]
    together = scorer.score(images[::-1], batch_size=batch_size)["score"][::-1]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    assert alone.std() > 1e-3


@pytest.fixture(scope="module")
def of_several_sizes(tmp_path_factory):
    """Images of 15 windows, 1 window, and too small for a window, in turns."""
    folder = tmp_path_factory.mktemp("sizes")
    sizes = [(320, 330), (40, 50), (240, 230), (400, 340)]
    files = [folder / f"{number}.png" for number in range(len(sizes))]
    for number, (size, file) in enumerate(zip(sizes, files, strict=True)):
        noise = np.random.default_rng(number).integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(file)
    return files


def test_liqe_of_a_batch_is_that_of_each_image_whatever_its_size(scorer_with_liqe, of_several_sizes, liqe):
    (batch,) = scorer_with_liqe.batches(of_several_sizes)
    assert batch.window_counts == [15, 1, 1, 15]
    together = scorer_with_liqe.liqe_logits(torch.from_numpy(batch.windows), batch.window_counts)
    alone = [torch.from_numpy(liqe.logits(Image.open(file).convert("RGB"))) for file in of_several_sizes]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-4)


def test_files_score_as_their_prepared_portraits_do(scorer_with_liqe, of_several_sizes, liqe, monkeypatch):
    preparer = Preparer(scorer_with_liqe.preparation)
    portraits = [preparer(file) for file in of_several_sizes]
    assert portraits[0].liqe_logits.shape == (495,)
    expected = scorer_with_liqe.score_portraits(portraits)
    np.testing.assert_allclose(scorer_with_liqe.score(of_several_sizes)["score"], expected, rtol=0, atol=1e-5)


# Precision


def test_bfloat16_works_on_a_copy(images):
    network = DualBranch("resnet10t", ("whole",), image_size=32)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    preparation = Preparation(40, face_rule="none")
    scorer = Scorer(network, preparation, crop_size=32, device="cpu", precision="bf16")
    scorer.score(images[:2])
    for name, values in network.state_dict().items():
        assert values.dtype == before[name].dtype and torch.equal(values, before[name]), name
    types = {name: values.dtype for name, values in scorer.network.state_dict().items() if values.is_floating_point()}
    assert {values for name, values in types.items() if name.startswith("backbones.")} == {torch.bfloat16}
    assert {values for name, values in types.items() if name.startswith("head.")} == {torch.float32}


PRECISIONS = ("32", "bf16")


@pytest.mark.parametrize("backbone", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_bfloat16_ranks_images_as_float32_does(tmp_path, backbone):
    model = write_tiny_model(tmp_path, backbone=backbone, image_size=56)
    files = write_images(tmp_path / "images", 60)
    full, half = (
        Scorer.load(model, device="cpu", precision=precision).score(files)["score"] for precision in PRECISIONS
    )
    assert spearmanr(full, half)[0] >= 0.999
    assert not np.array_equal(full, half)
    assert half.nunique() == len(files)  # scores of bfloat16 itself, 3 digits, would tie


def test_bfloat16_of_liqe_changes_its_logits_by_little(scorer_with_liqe, of_several_sizes, liqe, monkeypatch):
    monkeypatch.setattr(state_dicts, "load_liqe", lambda path: deepcopy(liqe))
    half = Scorer(scorer_with_liqe.network, scorer_with_liqe.preparation, 32, "cpu", "bf16")
    (batch,) = half.batches(of_several_sizes)
    exact, rough = (
        s.liqe_logits(torch.from_numpy(batch.windows), batch.window_counts) for s in (scorer_with_liqe, half)
    )
    assert rough.dtype == torch.float32 and not torch.equal(exact, rough)
    assert (rough - exact).abs().mean() < 0.05 * exact.std(dim=0).mean()


@pytest.mark.parametrize(
    ("build", "view"), [(partial(LIQE, architecture=VIT), "windows"), (partial(CLIPIQA, architecture=RESNET), "whole")]
)
def test_bfloat16_of_a_clip_is_its_image_tower_alone(images, build, view):
    torch.manual_seed(0)
    network, preparation = build(), Preparation(resize="keep", face_rule="none")
    full, half = (Scorer(network, preparation, 224, "cpu", precision, view=view) for precision in PRECISIONS)
    types = {name: values.dtype for name, values in half.network.named_parameters()}
    assert {values for name, values in types.items() if name.startswith("clip.visual.")} == {torch.bfloat16}
    assert {values for name, values in types.items() if not name.startswith("clip.visual.")} == {torch.float32}
    assert {values.dtype for values in network.parameters()} == {torch.float32}
    exact, rough = (scorer.score(images[:2])["score"] for scorer in (full, half))
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(rough, exact, rtol=0, atol=0.02)


def test_a_network_of_no_known_backbone_runs_under_autocast(images):
    class Mean(nn.Module):
        inputs = ("whole",)

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, whole):
            self.seen = self.layer(whole.float().mean(dim=(2, 3))).squeeze(1)
            return {"score": self.seen}

    network = Mean()
    Scorer(network, Preparation(40, face_rule="none"), 32, "cpu", "bf16").score(images[:2])
    assert network.seen.dtype == torch.bfloat16 and network.layer.weight.dtype == torch.float32


# Networks that tell more than a score


@pytest.fixture
def talkative():
    class Colours(Repeats):
        def forward(self, whole):
            outputs = super().forward(whole.float())
            return outputs | {"scene": (outputs["score"] > 63).long()}

    return Scorer(Colours(), Preparation(40, face_rule="none"), crop_size=32, device="cpu")


def test_other_answers_become_columns_and_classes_text(talkative, images):
    table = talkative.score([*images[:4], "no.jpg"])
    assert list(table) == [*COLUMNS, "scene", "noise"]
    assert table["scene"].tolist()[:4] == ["outdoor" if score > 63 else "indoor" for score in table["score"][:4]]
    assert table["scene"][:4].nunique() == 2 and table["noise"].dtype == float
    assert table["scene"].isna()[4] and table["noise"].isna()[4]


def test_columns_are_known_though_the_first_images_are_bad(talkative, images):
    first, second = talkative.stream(["no.jpg", images[0]], batch_size=1)
    assert list(first) == list(second) == [*COLUMNS, "scene", "noise"]


def test_scores_are_those_of_the_crops(talkative, images):
    preparation = talkative.preparation
    pixels = preparation.preparer()(images[0]).whole
    red = scoring_crops(pixels, 32, "five")[:, 0, 0, 0].float()
    assert talkative.score(images[:1])["score"][0] == pytest.approx(float((red / 2).mean()))


def test_an_answer_named_as_a_column_is_refused(images):
    class Wrong(Repeats):
        def forward(self, whole):
            return {"score": whole[:, 0, 0, 0].float(), "error": whole[:, 0, 0, 0]}

    scorer = Scorer(Wrong(), Preparation(40, face_rule="none"), crop_size=32, device="cpu")
    with pytest.raises(InputError, match="returns error, which is a column of its own"):
        scorer.score(images[:1])


# Settings that make no sense


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "`batch_size` is 0; at least 1 is needed"),
        ({"test_crops": "six"}, "`test_crops` is 'six'; choose one of five, one"),
    ],
)
def test_impossible_settings_of_a_call_are_refused(talkative, images, settings, message):
    assert message in refusal(talkative.score, images[:1], **settings)
    assert message in refusal(lambda: list(talkative.stream(images[:1], **settings)))
    assert message in refusal(talkative.score_portraits, [], **settings)


def test_an_unknown_precision_is_refused(tmp_path):
    message = "`precision` is 'fp8'; choose one of 32, bf16, 16"
    assert message in refusal(Scorer, Repeats(), Preparation(), precision="fp8")
    assert message in refusal(Scorer.load, tmp_path, precision="fp8")
    assert message in refusal(ScoringOptions, precision="fp8")
    assert "`batch_size` is -1" in refusal(ScoringOptions, batch_size=-1)


# What scores depend on


def test_settings_know_files_by_their_content(tmp_path):
    one, same = write_tiny_model(tmp_path / "one"), write_tiny_model(tmp_path / "same")
    other = write_tiny_model(tmp_path / "other", hidden=64)
    of = {
        path: Scorer.load(path, device="cpu").settings(Path(path, "model.safetensors")) for path in (one, same, other)
    }
    assert of[one] == of[same] != of[other]
