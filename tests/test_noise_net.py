"""The noise network and its labels: the noise model in closed form, the patches, what is learnt, SIDD's layout."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import seed_everything
from PIL import Image
from rated_factors import written
from rated_images import trainer_of
from skimage.metrics import peak_signal_noise_ratio

from piqa import Scorer
from piqa.data import CSVTable, InputOptions, LoadingOptions, PortraitData, SamplingOptions, StoreOptions, noise_pairs
from piqa.data.camera_noise import FLOOR, GAIN, Exposure, noisy_and_clean, site_noise
from piqa.data.demo import Scene
from piqa.data.noise_pairs import labels_of, splits_of, textured_corners
from piqa.errors import InputError
from piqa.evaluation.metrics import srocc
from piqa.models import NoiseNet
from piqa.models.noise import BAND, outside_band
from piqa.models.texture import patch_entropy
from piqa.preparation.portrait import Preparation
from piqa.tasks import FactorTask
from piqa.weights import model_file

TINY = {"backbone": "test_resnet", "patch": 64, "patches": 8, "dropout": 0.0}
SMALL = ["--scenes", "12", "--exposures", "6", "--patches", "4"]


def tensor(*pictures):
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())


def portrait(number=0):
    return np.asarray(Scene.number(number).view(0))


def grid(picture):
    """The patches of 64 px of a portrait, row by row."""
    return [picture[y : y + 64, x : x + 64] for y in range(0, 384, 64) for x in range(0, 320, 64)]


@pytest.mark.parametrize("light", [0.02, 0.5])
def test_the_variance_of_a_photosite_is_that_of_the_model(light):
    exposure = Exposure(gain=4e-3, floor=2e-4, quality=95)
    noise = site_noise(np.full((200, 200, 3), light), exposure, np.random.default_rng(0))
    at_red, at_green, at_blue = noise[::2, ::2], noise[::2, 1::2], noise[1::2, 1::2]
    variance = 4e-3 * light + 2e-4
    for own in (at_red[..., 0], at_green[..., 1], at_blue[..., 2]):
        assert own[1:-1, 1:-1].var() == pytest.approx(variance, rel=0.06)
    # Between them: the mean of four neighbours for green at a red site, and for red at a blue one.
    for between in (at_red[..., 1], at_blue[..., 0]):
        assert between[1:-1, 1:-1].var() == pytest.approx(variance / 4, rel=0.06)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 4 * np.sqrt(variance / 1e4)


def test_stronger_exposures_have_more_noise_and_the_range_of_the_model():
    rng = np.random.default_rng(1)
    weak, strong = Exposure.at(0, rng), Exposure.at(1, rng)
    assert (weak.gain, strong.gain) == pytest.approx(GAIN) and (weak.floor, strong.floor) == pytest.approx(FLOOR)
    picture = portrait()
    pairs = [noisy_and_clean(picture, Exposure.at(strength, rng), rng) for strength in (0, 0.3, 0.6, 1)]
    scores = [labels_of(*pair)[0] for pair in pairs]
    assert scores == sorted(scores, reverse=True) and scores[0] - scores[-1] > 12


def test_bright_places_have_more_noise_in_light():
    picture = np.full((64, 128, 3), 60, np.uint8)
    picture[:, 64:] = 200
    exposure, errors = Exposure(1e-2, 1e-6, 98), []
    for seed in range(3):
        noisy, clean = (one / 255.0 for one in noisy_and_clean(picture, exposure, np.random.default_rng(seed)))
        difference = noisy**2.2 - clean**2.2
        errors.append((difference[:, :56].std(), difference[:, 72:].std()))
    dark, bright = np.mean(errors, axis=0)
    assert 2 < bright / dark < 5  # sqrt of the ratio of luminances, 3.2, but for compression


def test_labels_are_those_of_a_second_implementation():
    rng = np.random.default_rng(2)
    clean = rng.integers(20, 230, (64, 64, 3), dtype=np.uint8)
    noisy = np.clip(clean + rng.normal(0, 9, clean.shape), 0, 255).astype(np.uint8)
    psnr, ssim = labels_of(noisy, clean)
    assert psnr == pytest.approx(peak_signal_noise_ratio(clean, noisy)) and 0 < ssim < 1
    assert labels_of(clean, clean) == (50, pytest.approx(1))


def test_the_entropy_of_a_patch_is_that_of_its_levels():
    four = np.zeros((64, 64, 3), np.uint8)
    four[:, 16:32], four[:, 32:48], four[:, 48:] = 40, 120, 250
    flat, ramp = np.full((64, 64, 3), 77, np.uint8), np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, 0)
    found = patch_entropy(tensor(four, flat, np.repeat(ramp, 3, axis=2)))
    assert found.tolist() == pytest.approx([2, 0, 4], abs=0.02)  # 16 columns of cells, of 16 levels


def test_noise_hardly_changes_which_patches_are_chosen():
    picture = portrait(1)
    noisy, _ = noisy_and_clean(picture, Exposure.at(0.7, np.random.default_rng(0)), np.random.default_rng(0))
    entropies = [patch_entropy(tensor(*grid(one))).numpy() for one in (picture, noisy)]
    assert srocc(*entropies) > 0.9
    inside = [(low <= BAND[1]) & (low >= BAND[0]) for low in entropies]
    assert (inside[0] == inside[1]).mean() > 0.7


def test_patches_are_cut_where_the_clean_picture_has_some_texture():
    picture = portrait(3)
    picture = np.concatenate([np.full((128, 320, 3), 90, np.uint8), picture])  # nothing to see above
    corners = textured_corners(picture, 64, 5, np.random.default_rng(0))
    assert len(corners) == 5 and all(y >= 128 for y, _ in corners)
    cut = tensor(*(picture[y : y + 64, x : x + 64] for y, x in corners))
    assert (outside_band(patch_entropy(cut)) == 0).all()
    assert textured_corners(np.full((128, 64, 3), 9, np.uint8), 64, 5, np.random.default_rng(0)) == [(0, 0)]


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 2)])
def test_an_image_of_few_pixels_has_a_score(shape):
    image = torch.randint(0, 256, (1, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert NoiseNet("test_byobnet").eval()(image)["score"].isfinite().all()


def test_scenes_are_split_whole():
    split = splits_of([f"s{number % 10}" for number in range(40)], 0.2, seed=3)
    assert len(split) == 10
    assert sorted(split.values()) == ["test"] * 2 + ["train"] * 6 + ["val"] * 2
    assert sorted(splits_of(["a", "b", "c"], 0.15, 0).values()) == ["test", "train", "val"]
    assert "train" in splits_of(["a", "b", "c", "d"], 0.4, 0).values()


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "noise"
    noise_pairs.main([str(folder), *SMALL])
    return folder


def test_the_patches_stand_in_a_table_and_are_not_made_twice(noise, capsys):
    table = CSVTable(noise / "noise.csv", required_splits=("train", "val", "test")).load()
    assert len(table) == 12 * 6 * 4 and table["score"].between(15, 50).all() and table["score.ssim"].between(0, 1).all()
    assert (table.groupby("scene")["split"].nunique() == 1).all()
    assert Image.open(table["path"][0]).size == (64, 64)
    by_exposure = table.groupby(table["image"].str.extract(r"/(\d+)_", expand=False))["score"].mean()
    assert by_exposure.is_monotonic_decreasing and by_exposure.iloc[0] - by_exposure.iloc[-1] > 10
    when = (noise / "noise.csv").stat().st_mtime_ns
    noise_pairs.main([str(noise), *SMALL])
    assert "already there" in capsys.readouterr().out and (noise / "noise.csv").stat().st_mtime_ns == when


def test_the_same_seed_makes_the_same_patches_again_after_a_stop(tmp_path):
    few = [str(tmp_path / "noise"), "--scenes", "3", "--exposures", "1", "--patches", "2"]
    noise_pairs.main(few)
    csv = tmp_path / "noise/noise.csv"
    table = pd.read_csv(csv)
    lost = csv.parent / table["image"][3]
    expected = lost.read_bytes()
    csv.unlink()
    lost.unlink()
    noise_pairs.main(few)
    assert pd.read_csv(csv).equals(table) and lost.read_bytes() == expected
    noise_pairs.main([*few, "--seed", "1"])
    assert not pd.read_csv(csv)["score"].equals(table["score"])


def data_of(csv, store):
    return PortraitData(
        CSVTable(csv),
        Preparation(resize="keep", face_rule="none"),
        store=StoreOptions(folder=str(store), workers=0),
        inputs=InputOptions(view="whole"),
        sampling=SamplingOptions(groups_per_step=2, images_per_group=8),
        loading=LoadingOptions(eval_batch_size=32, workers=0),
    )


def tiny_task(**settings):
    seed_everything(0, verbose=False)
    make = lambda parameters: torch.optim.Adam(parameters, lr=2e-3)  # noqa: E731
    return FactorTask(NoiseNet(**TINY), loss="mse", unit=8.0, optimizer=make, **settings)


@pytest.fixture(scope="module")
def trained(noise, tmp_path_factory):
    """Measures before and after training, and the model in a file."""
    folder = tmp_path_factory.mktemp("trained")
    task, data, trainer = tiny_task(), data_of(noise / "noise.csv", folder / "store"), trainer_of(10)
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    after = trainer.validate(task, data, verbose=False)[0]
    model_file.save(task.network, folder / "noise.safetensors", task.card())
    return before, after, folder / "noise.safetensors"


def test_it_learns_what_the_untrained_network_does_not_know(trained):
    before, after, _ = trained
    assert before["val/srocc"] < 0.5 and after["val/srocc"] > 0.85


def test_from_shuffled_labels_it_does_not_learn(noise, trained):
    csv = written(pd.read_csv(noise / "noise.csv"), noise, shuffled=True)
    task, trainer, data = tiny_task(), trainer_of(10), data_of(csv, trained[2].parent / "store")
    trainer.fit(task, data)
    assert abs(trainer.validate(task, data, verbose=False)[0]["val/srocc"]) < 0.6


def test_whole_pictures_score_by_their_noise(trained, tmp_path):
    """Portraits of a framing and light that no patch was made of."""
    rng, rows = np.random.default_rng(5), []
    for number in (30, 31):
        for strength in (0.0, 0.33, 0.67, 1.0):
            noisy, clean = noisy_and_clean(portrait(number), Exposure.at(strength, rng), rng)
            Image.fromarray(noisy).save(tmp_path / f"{number}_{strength}.png")
            rows.append((str(tmp_path / f"{number}_{strength}.png"), labels_of(noisy, clean)[0]))
    scorer = Scorer.load(trained[2], device="cpu")
    scores = scorer.score([file for file, _ in rows])["score"].to_numpy()
    assert scorer.view == "whole" and srocc(np.array([psnr for _, psnr in rows]), scores) > 0.85


def test_the_score_of_a_picture_is_the_mean_over_its_textured_patches():
    network, picture = NoiseNet(**TINY | {"patches": 100}).eval(), portrait(3)
    cut = grid(picture)
    entropy = patch_entropy(tensor(*cut))
    inside = outside_band(entropy) == 0
    assert 0 < inside.sum() < len(cut)
    with torch.inference_mode():
        alone = network(tensor(*cut))["score"]
        assert network(tensor(picture))["score"].item() == pytest.approx(alone[inside].mean().item(), abs=1e-4)
        few, weights = NoiseNet(**TINY | {"patches": 4}).chosen(tensor(picture))
    assert few.shape == (1, 4, 3, 64, 64) and weights.tolist() == [[0.25] * 4]
    middle = sum(BAND) / 2
    chosen = sorted(abs(value - middle) for value in patch_entropy(few[0]).tolist())
    assert chosen == pytest.approx(sorted((entropy - middle).abs().tolist())[:4], abs=1e-5)


def test_flat_and_small_pictures_have_a_score():
    network = NoiseNet(**TINY).eval()
    with torch.inference_mode():
        flat = network(torch.full((2, 3, 150, 130), 99, dtype=torch.uint8))["score"]
        small = network(torch.full((2, 3, 40, 90), 99, dtype=torch.uint8))["score"]
    assert flat.isfinite().all() and small.isfinite().all()
    _, weights = network.chosen(torch.full((1, 3, 128, 128), 99, dtype=torch.uint8))
    assert weights.tolist() == [[0.25] * 4]


def write_sidd(folder, scenes=3, instances=2):
    """SIDD's layout: a folder for each instance, whose name holds the scene, with a noisy and a clean picture."""
    rng = np.random.default_rng(8)
    for number in range(scenes * instances):
        scene = number % scenes + 1
        instance = folder / "Data" / f"{number + 1:04d}_{scene:03d}_S6_00800_00350_3200_L"
        instance.mkdir(parents=True)
        clean = portrait(scene)
        noisy = np.clip(clean + rng.normal(0, 5 + 5 * number, clean.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(instance / f"{number + 1:04d}_NOISY_SRGB_010.PNG")
        Image.fromarray(clean).save(instance / f"{number + 1:04d}_GT_SRGB_010.PNG")
    return folder


def test_pairs_of_sidd_give_labels_of_real_noise(tmp_path, capsys):
    sidd = write_sidd(tmp_path / "sidd")
    noise_pairs.main([str(tmp_path / "noise"), "--sidd", str(sidd), "--patches", "4"])
    table = pd.read_csv(tmp_path / "noise/noise.csv")
    assert set(table["scene"]) == {"scene_001", "scene_002", "scene_003"} and set(table["split"]) == {
        "train",
        "val",
        "test",
    }
    by_instance = table.groupby(table["image"].str.extract(r"/(\d+)_", expand=False))["score"].mean()
    assert len(by_instance) == 6 and by_instance.is_monotonic_decreasing
    assert by_instance.iloc[0] == pytest.approx(20 * np.log10(255 / 5), abs=1)
    next(sidd.rglob("*GT*")).unlink()
    assert "has no clean picture" in refusal(capsys, tmp_path / "noise", "--sidd", str(sidd))


def test_a_folder_of_clean_pictures_takes_the_place_of_the_demo(tmp_path, capsys):
    for number in range(3):
        (tmp_path / "mine" / str(number)).mkdir(parents=True)
        Image.fromarray(portrait(number)).save(tmp_path / "mine" / str(number) / "a.png")
    arguments = ["--clean", str(tmp_path / "mine"), "--exposures", "2", "--patches", "2"]
    noise_pairs.main([str(tmp_path / "noise"), *arguments])
    table = pd.read_csv(tmp_path / "noise/noise.csv")
    assert table["scene"].nunique() == 3 and set(table["split"]) == {"train", "val", "test"}
    made_of = json.loads((tmp_path / "noise/noise.json").read_text())
    assert made_of["options"]["reduce"] == 2 and len(made_of["bytes"]) == 3
    assert "lower `--reduce`" in refusal(capsys, tmp_path / "noise", *arguments, "--side", "192")


def refusal(capsys, folder, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit):
        noise_pairs.main([str(folder), *arguments])
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_what_cannot_be_made_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "holds clean pictures of 0 scenes" in refusal(capsys, tmp_path / "noise", "--clean", str(tmp_path / "mine"))
    assert "is no folder" in refusal(capsys, tmp_path / "noise", "--sidd", str(tmp_path / "none"))
    assert "not both" in refusal(capsys, tmp_path / "noise", "--sidd", "a", "--clean", "b")
    assert "held_out" in refusal(capsys, tmp_path / "noise", "--held_out", "0.7")
    assert "scenes (2)" in refusal(capsys, tmp_path / "noise", "--scenes", "2")
    assert "holds files that are not piqa's" in refusal(capsys, tmp_path / "mine", *SMALL)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("settings", [{"patch": 16}, {"patches": 0}, {"backbone": "test_vit"}])
def test_a_network_that_cannot_be_is_refused(settings):
    with pytest.raises(InputError):
        NoiseNet(**TINY | settings)
