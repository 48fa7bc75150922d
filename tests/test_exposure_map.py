"""The exposure map: its labels, its network, and what a small training learns that an untrained one does not know."""

import numpy as np
import pytest
import torch
from lightning import seed_everything
from rated_images import trainer_of
from refusals import refusal
from spoilt_exposure import SIDE, data_of, tiny_task, write_pictures

from piqa import Scorer
from piqa.data.tables.table import Table, validate
from piqa.errors import InputError
from piqa.models import ExposureMap
from piqa.models.light import exposed, to_linear
from piqa.tasks import ExposureTask
from piqa.tasks.exposure_labels import deep_loss, drawn_stops, fixed_stops, guided_filter, stops_from_reference
from piqa.weights import model_file

EPOCHS = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("exposure") / "pictures")


@pytest.fixture(scope="module")
def trained(pictures):
    """A task that was trained, with its measures before and after, and its data."""
    task, data, trainer = tiny_task(), data_of(pictures), trainer_of(EPOCHS)
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    return task, before, trainer.validate(task, data, verbose=False)[0], data


def images(count, height=40, width=56, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def awake(width=4, **settings):
    """An untrained network whose heads say something."""
    torch.manual_seed(0)
    network = ExposureMap(width=width, **settings).eval()
    for head in network.heads:
        torch.nn.init.normal_(head.weight, std=0.5)
    return network


def test_light_is_changed_before_it_is_encoded():
    grey = torch.full((1, 3, 4, 4), 120, dtype=torch.uint8)
    brighter = exposed(grey, torch.full((1, 1, 4, 4), 1.0))
    light = [float(to_linear(one[0, 0, 0, 0].float() / 255)) for one in (grey, brighter)]
    assert light[1] / light[0] == pytest.approx(2, rel=0.02)  # 8 bits
    assert exposed(grey, torch.full((1, 1, 4, 4), 4.0)).min() == 255  # clipped


def test_drawn_stops_are_constant_or_have_a_smooth_border():
    generator = torch.Generator().manual_seed(0)
    drawn = [drawn_stops(128, 160, generator) for _ in range(100)]
    spans = np.array([float(one.max() - one.min()) for one in drawn])
    steps = np.array([float((one[:, :, 1:] - one[:, :, :-1]).abs().max()) for one in drawn])
    assert 0.35 < (spans == 0).mean() < 0.65 and spans.max() > 4
    assert max(float(one.abs().max()) for one in drawn) <= 4
    assert np.median(steps[spans > 0] / spans[spans > 0]) < 0.3  # of the span from one pixel to the next
    means = np.array([float(one.mean()) for one in drawn])
    assert means.min() < -3 and means.max() > 3


def test_measuring_stops_are_spread_evenly():
    stops = np.sort([fixed_stops(index) for index in range(50)])
    assert stops[0] < -3.8 and stops[-1] > 3.8 and np.diff(stops).max() < 0.35


def test_an_experts_picture_tells_the_stops_and_keeps_edges():
    rng = np.random.default_rng(0)
    expert = torch.from_numpy(rng.integers(60, 120, (1, 3, 60, 60), dtype=np.uint8))
    expert[..., 30:] += 80  # an object in the right half
    stops = torch.zeros(1, 1, 60, 60)
    stops[..., 30:] = -1.5
    found = stops_from_reference(exposed(expert, stops), expert)
    # e = 1/255 shrinks differences in the dark
    assert float(found[..., :28].mean()) == pytest.approx(0, abs=0.1)
    assert float(found[..., 32:].mean()) == pytest.approx(-1.45, abs=0.15)
    assert float(found[..., 28:30].mean()) > -0.6 and float(found[..., 30:32].mean()) < -0.9


def test_a_guided_filter_with_a_flat_guide_is_a_mean_twice():
    values = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    found = guided_filter(values, torch.full_like(values, 0.5), 2, 1e-3)[0, 0]
    inner = values[0, 0].unfold(0, 5, 1).unfold(1, 5, 1).mean(dim=(2, 3)).unfold(0, 5, 1).unfold(1, 5, 1)
    assert torch.allclose(found[4:-4, 4:-4], inner.mean(dim=(2, 3)), atol=1e-5)


def test_the_loss_of_levels_is_that_of_a_hand_computed_example():
    target = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    maps = [torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)]
    assert deep_loss(maps, target).tolist() == [0.5 + 0.5 * 0.5]
    assert deep_loss([maps[1]], target, stop=1).tolist() == [0.5]


def test_depth_follows_the_size_and_can_be_chosen():
    network = awake()
    assert [network.depth_for(side, 2 * side) for side in (8, 32, 64, 256, 4096)] == [1, 2, 3, 5, 6]
    shapes = [tuple(one.shape[-2:]) for one in network.maps(images(1, 50, 70), depth=2)]
    assert shapes == [(52, 72), (26, 36), (13, 18)]
    assert network.exposure_map(images(1, 50, 70), depth=2, stop=1).shape == (1, 1, 50, 70)
    assert "depth 7 must be 1 .. 6" in refusal(network.maps, images(1), depth=7)
    assert "stop 3 be 0 .. 2" in refusal(network.maps, images(1), depth=2, stop=3)


def test_decoding_that_stops_early_gives_the_coarser_map():
    network = awake()
    every, early = network.maps(images(2, 64, 64)), network.maps(images(2, 64, 64), stop=1)
    assert len(early) == len(every) - 1
    assert all(torch.equal(one, other) for one, other in zip(every[1:], early, strict=True))


def test_a_score_depends_on_its_image_alone_and_is_the_maps():
    network = awake()
    together = network(images(3))
    alone = torch.cat([network(image[None])["score"] for image in images(3)])
    assert together["score"].tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    stops = network.exposure_map(images(3))
    assert together["score"].tolist() == pytest.approx((-stops.abs().mean(dim=(1, 2, 3))).tolist())
    assert together["stops"].tolist() == pytest.approx(stops.mean(dim=(1, 2, 3)).tolist())


def test_every_weight_gets_a_gradient_somewhere_in_the_levels():
    network = awake(levels=2)
    loss = sum(deep_loss(network.maps(images(2, 32, 32), depth), torch.zeros(2, 1, 32, 32)).sum() for depth in (1, 2))
    loss.backward()
    unused = {name for name, weight in network.named_parameters() if weight.grad is None}
    assert unused == {"everywhere.0.weight", "everywhere.0.bias"}  # the finest level is never the coarsest


def test_it_learns_what_the_untrained_network_does_not_know(trained):
    _, before, after, _ = trained
    assert abs(before["val/srocc"]) < 0.4 and after["val/srocc"] > 0.75  # of 24 images
    assert after["val/srocc_stops"] > 0.95 and after["val/signs"] > 0.95 > before["val/signs"]
    assert after["val/mae"] < before["val/mae"] / 2
    assert all(f"val/mae/{stops:+d}" in after for stops in (-3, 0, 3))


class Shuffled(ExposureTask):
    """Learns the labels of other images."""

    def labelled(self, pixels, index, split):
        seen, stops = super().labelled(pixels, index, split)
        return seen, stops[torch.randperm(len(stops))] if split == "train" else stops


def test_shuffled_labels_teach_nothing(pictures):
    task, data, trainer = tiny_task(Shuffled), data_of(pictures), trainer_of(EPOCHS // 2)
    trainer.fit(task, data)
    measures = trainer.validate(task, data, verbose=False)[0]
    assert measures["val/mae"] > 1.5 and not measures["val/srocc"] > 0.6


def test_an_image_that_is_spoilt_in_one_half_shows_it_there(trained):
    task, _, _, data = trained
    rows = range(8)
    paths = data.splits["val"]["path"].iloc[: len(rows)]
    pixels = torch.stack([torch.from_numpy(data._prepared.load(path).whole[:, :].copy()) for path in paths])
    pixels = pixels.permute(0, 3, 1, 2)
    for ev in (-2.0, 2.0):
        stops = torch.zeros(len(rows), 1, SIDE, SIDE)
        stops[..., : SIDE // 2] = ev
        found = task.network.eval().exposure_map(exposed(pixels, stops)).detach()
        left, right = found[..., : SIDE // 2 - 4].mean(dim=(1, 2, 3)), found[..., SIDE // 2 + 4 :].mean(dim=(1, 2, 3))
        assert ((left - right).sign() == np.sign(ev)).all()
        assert float(left.mean()) == pytest.approx(ev, abs=1.0) and abs(float(right.mean())) < 1.0


def test_a_trained_network_is_saved_and_scores_images(trained, pictures, tmp_path):
    task, _, _, data = trained
    model_file.save(task.network, tmp_path / "model.safetensors", task.card())
    files = sorted(pictures.glob("*.png"))[:3]
    table = Scorer.load(tmp_path / "model.safetensors", device="cpu").score(files)
    assert table["score"].between(-4, 0).all() and table["stops"].between(-4, 4).all()
    assert (
        Scorer(task.network, data.preparation, SIDE, "cpu", view="whole").score(files)["score"].equals(table["score"])
    )


class Edited(Table):
    """The pictures of a folder, too dark, with the expert's beside each."""

    name = "edited pictures"

    def __init__(self, folder, experts=True):
        self.folder, self.experts = folder, experts

    def load(self):
        import pandas as pd
        from PIL import Image

        files, rows = sorted(self.folder.glob("??.png"))[:12], []
        for place, file in enumerate(files):
            pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None]
            dark = exposed(pixels, torch.full((1, 1, 1, 1), -1.0 - place / 6))[0].permute(1, 2, 0).numpy()
            spoilt = self.folder.parent / f"dark-{file.name}"
            Image.fromarray(dark).save(spoilt)
            split = "val" if place % 3 == 0 else "train"
            rows.append({"image": file.name, "path": str(spoilt), "score": 0.0, "scene": "all", "split": split})
        table = validate(pd.DataFrame(rows), self.folder, required_splits=("train", "val"))
        return table.assign(reference_path=[str(file) for file in files]) if self.experts else table


def edited_data(table, folder, **settings):
    data = data_of(folder, **settings)
    data.table = table
    return data


def test_an_experts_pictures_are_prepared_and_learnt_from(pictures):
    task, trainer = tiny_task(labels="reference"), trainer_of(25)
    data = edited_data(Edited(pictures), pictures)
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    after = trainer.validate(task, data, verbose=False)[0]
    assert after["val/mae"] < 0.7 * before["val/mae"]


def test_labels_that_are_not_there_are_refused(pictures):
    table = Edited(pictures, experts=False)
    with pytest.raises(InputError, match="needs a column reference_path, which edited pictures lacks"):
        trainer_of(1).fit(tiny_task(labels="reference"), edited_data(table, pictures))
    with pytest.raises(InputError, match=r"data.inputs.flip"):
        trainer_of(1).fit(tiny_task(labels="reference"), edited_data(Edited(pictures), pictures, flip=True))
    with pytest.raises(InputError, match="view: whole"):
        trainer_of(1).fit(tiny_task(), data_of(pictures, view="crops", crop_size=32, test_crops="one"))


def test_mirrored_images_have_mirrored_labels():
    seed_everything(0, verbose=False)
    task, pixels = tiny_task(), images(16, 32, 32)
    seen, stops = task.labelled(pixels, torch.arange(16), "train")
    plain = (exposed(pixels, stops).float() - seen.float()).abs().mean(dim=(1, 2, 3))
    flipped = (exposed(pixels.flip(-1), stops).float() - seen.float()).abs().mean(dim=(1, 2, 3))
    assert (torch.minimum(plain, flipped) < 1e-6).all() and (plain > 1).any() and (flipped > 1).any()


def test_pictures_of_a_folder_are_drawn_by_folder_where_there_are_three(tmp_path):
    from piqa.data import Pictures

    for name in ("a/1.png", "a/2.PNG", "b/1.jpg", "b/2.jpg", "c/1.png", "c/2.png", "c/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    table = Pictures(tmp_path, val_fraction=0.34, test_fraction=0.34).load()
    assert len(table) == 6 and set(table["split"]) == {"train", "val", "test"}
    assert table.groupby(table["image"].str[0])["split"].nunique().eq(1).all()
    assert Pictures(tmp_path, "c/*", 0, 0).load()["image"].tolist() == ["c/1.png", "c/2.png"]
    by_default = Pictures(tmp_path).load()  # a tenth of three folders is none, and each split needs one
    assert by_default.groupby(by_default["image"].str[0])["split"].unique().map(list).explode().nunique() == 3
    assert "leave one for val" in refusal(Pictures(tmp_path, "[ab]/*", 0.25, 0).load)
    assert "leave none for val" in refusal(Pictures(tmp_path, "[ab]/*", 0.1, 0).load)
    assert "0 pictures match '*'" in refusal(Pictures(tmp_path, "*").load)
