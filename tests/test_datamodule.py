import shutil
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from data_options import portrait_data
from look_alike import write_csv_dataset, write_piq23

import piqa.data
from piqa.data.datamodule import PortraitData
from piqa.data.options import SamplingOptions
from piqa.data.tables.csv_table import CSVTable
from piqa.data.tables.piq23 import PIQ23
from piqa.errors import InputError
from piqa.preparation.portrait import Portrait, Preparation
from piqa.preparation.store import PreparedStore, write_entry

PREPARATION = Preparation(short_side=48)
CROP = 40
SCENES, IMAGES = 6, 5  # the scene split tests 2 of the scenes


@pytest.fixture(scope="module")
def piq23(tmp_path_factory):
    """A PIQ23 look-alike with its prepared store beside it."""
    folder = tmp_path_factory.mktemp("data")
    write_piq23(folder / "piq23", SCENES, IMAGES)
    data_of(PIQ23(folder / "piq23"), folder).prepare_data()
    return folder


def data_of(table, folder, **settings):
    return portrait_data(table, PREPARATION, folder / "store", **{"images_per_group": 3, "crop_size": CROP} | settings)


def set_up(folder, stage="fit", **settings):
    data = data_of(PIQ23(folder / "piq23"), folder, **settings)
    data.setup(stage)
    return data


def on_process(data, rank, world, accumulation_steps=1):
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, accumulate_grad_batches=accumulation_steps)
    return data


def scenes_in(data, split):
    return set(data.splits[split]["scene"])


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def a_csv_dataset(folder, **settings):
    """A CSV dataset with a split column, as a table that can be edited before it is read."""
    csv = write_csv_dataset(folder, columns=("image", "score", "scene", "split", "score_std"), **settings)
    return csv, pd.read_csv(csv)


def spoil(csv, images):
    for image in images:
        (csv.parent / image).write_text("no image")


def test_validation_scenes_are_neither_trained_on_nor_tested(piq23):
    data = set_up(piq23)
    train, val, test = (scenes_in(data, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (3, 1, 2)
    assert len(train | val | test) == SCENES


def test_held_out_scenes_come_from_the_training_split_alone(piq23):
    data = set_up(piq23, validation_fraction=0.5)
    official = PIQ23(piq23 / "piq23").load()
    assert scenes_in(data, "train") | scenes_in(data, "val") == set(official.loc[official["split"] == "train", "scene"])
    assert len(scenes_in(data, "val")) == 2
    assert scenes_in(data, "test") == set(official.loc[official["split"] == "test", "scene"])


def test_the_seed_chooses_the_held_out_scenes(piq23):
    chosen = {seed: scenes_in(set_up(piq23, seed=seed), "val") for seed in range(8)}
    assert chosen[0] == scenes_in(set_up(piq23, seed=0), "val")
    assert len(set(map(frozenset, chosen.values()))) > 1


def test_selecting_on_the_test_split_holds_nothing_out(piq23):
    data = set_up(piq23, checkpoint_selection_split="test")
    pd.testing.assert_frame_equal(data.splits["val"], data.splits["test"])
    assert (len(scenes_in(data, "train")), len(scenes_in(data, "test"))) == (4, 2)


def test_a_validation_split_that_the_table_names_is_kept(tmp_path):
    csv, rows = a_csv_dataset(tmp_path, scenes=4, images_per_scene=3)
    rows.loc[rows["scene"] == "scene_3", "split"] = "val"
    rows.to_csv(csv, index=False)
    data = data_of(CSVTable(csv), tmp_path)
    data.prepare_data()
    data.setup("fit")
    assert (scenes_in(data, "train"), scenes_in(data, "val")) == ({"scene_1", "scene_2"}, {"scene_3"})


@pytest.mark.parametrize("stages", [("fit", "test"), ("test", "fit"), ("validate", "fit"), ("test", "validate")])
def test_the_splits_are_the_same_whatever_is_run_first(piq23, stages):
    data, expected = set_up(piq23, stages[0]), set_up(piq23, "fit")
    data.setup(stages[1])
    for name, rows in expected.splits.items():
        pd.testing.assert_frame_equal(data.splits[name], rows)


def test_a_table_of_test_images_alone_can_be_tested(tmp_path):
    csv = write_csv_dataset(tmp_path, scenes=2)
    data = data_of(CSVTable(csv, test_fraction=1), tmp_path)
    data.prepare_data()
    data.setup("test")
    assert len(data.test_dataloader().dataset) == 8
    with pytest.raises(InputError, match="cannot hold out scenes"):
        data.setup("fit")


def test_a_split_without_images_is_refused_before_the_work(tmp_path):
    csv = write_csv_dataset(tmp_path)
    data = data_of(CSVTable(csv, test_fraction=0), tmp_path, checkpoint_selection_split="test")
    data.prepare_data()
    with pytest.raises(InputError, match="no usable image in its val split"):
        data.setup("fit")
    with pytest.raises(InputError, match="no usable image in its test split"):
        data.setup("test")


def test_images_that_cannot_be_prepared_are_left_out_and_counted(tmp_path):
    csv, rows = a_csv_dataset(tmp_path)
    spoil(csv, rows["image"][[1, 6]])
    data = data_of(CSVTable(csv), tmp_path, max_failed=0.2)
    data.prepare_data()
    with pytest.warns(UserWarning, match="2 of 12 images could not be prepared and are left out"):
        data.setup("fit")
    kept = pd.concat([data.splits[name] for name in ("train", "val", "test")])["image"]
    assert sorted(kept) == sorted(rows["image"].drop([1, 6]))


def test_too_many_bad_images_stop_the_run_and_name_one(tmp_path):
    csv, rows = a_csv_dataset(tmp_path)
    spoil(csv, rows["image"][[1]])
    with pytest.raises(InputError, match=r"1 of 12 images could not be prepared.*scene_0/1\.png is not an image"):
        data_of(CSVTable(csv), tmp_path).prepare_data()


def test_a_training_image_that_is_left_alone_in_its_scene_is_left_out(tmp_path):
    csv, rows = a_csv_dataset(tmp_path, scenes=4, images_per_scene=3)
    spoil(csv, rows["image"][rows["scene"] == "scene_2"][1:])
    data = data_of(CSVTable(csv), tmp_path, max_failed=0.5, checkpoint_selection_split="test")
    data.prepare_data()
    with pytest.warns(UserWarning, match="1 training images are left alone in their scene"):
        data.setup("fit")
    assert scenes_in(data, "train") == {"scene_1", "scene_3"}
    assert all((torch.bincount(batch["group"]) != 1).all() for batch in data.train_dataloader())


def test_what_is_prepared_already_is_not_prepared_again(tmp_path):
    csv, _ = a_csv_dataset(tmp_path)
    data = data_of(CSVTable(csv), tmp_path)
    data.prepare_data()
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.safetensors")}
    data.prepare_data()
    assert len(times) == 12
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.safetensors")} == times


def test_preparing_draws_no_random_number_of_the_training(tmp_path):
    csv, _ = a_csv_dataset(tmp_path)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    data_of(CSVTable(csv), tmp_path).prepare_data()
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_size": 49}, "a crop of 49 px does not fit into images prepared to 48 px"),
        ({"crop_size": 0}, "`data.inputs.crop_size` must be at least 1 px, not 0"),
        ({"groups_per_step": 0}, "at least 1 group of 2 images"),
        ({"images_per_group": 1}, "at least 1 group of 2 images"),
        ({"eval_batch_size": 0}, "`data.loading.eval_batch_size` must be at least 1"),
        ({"steps_per_epoch": 0, "pairs": "databases"}, "`data.sampling.steps_per_epoch` must be at least 1"),
        ({"pairs": "databases", "images_per_database": {}}, "`data.sampling.images_per_database` names no database"),
        ({"pairs": "all"}, "`data.sampling` has no pairs 'all'; choose one of groups, reference, databases"),
        ({"view": "faces"}, "`data.inputs` has no view 'faces'; choose one of crops, whole, windows"),
        ({"test_crops": "six"}, "`data.inputs` has no test_crops 'six'; choose one of five, one"),
        ({"max_failed": 1.1}, "`data.store.max_failed` must lie between 0 and 1, not 1.1"),
        ({"workers": -1}, "`data.loading.workers` must be 0 or more processes, not -1"),
    ],
)
def test_settings_that_make_no_batches_are_refused_at_once(settings, message):
    with pytest.raises(InputError, match=message):
        data_of(CSVTable("absent.csv"), Path("absent"), **settings)


def test_a_training_batch_holds_bytes_scores_and_groups(piq23):
    data = set_up(piq23)
    batch = next(iter(data.train_dataloader()))
    portraits = len(batch["index"])
    assert set(batch) == {"whole", "face_crop", "face_box", "index", "score", "score_std", "group", "groups"}
    assert batch["face_box"].dtype == torch.float32 and batch["face_box"].shape == (portraits, 4)
    for name in ("whole", "face_crop"):
        assert batch[name].dtype == torch.uint8 and batch[name].shape == (portraits, 3, CROP, CROP)
    assert batch["score"].dtype == batch["score_std"].dtype == torch.float32
    assert batch["groups"].item() == len(batch["group"].unique()) == 2


def test_a_training_batch_carries_the_scores_of_its_rows(piq23):
    data = set_up(piq23)
    train = data.splits["train"]
    for batch in data.train_dataloader():
        rows = train.iloc[batch["index"].numpy()]
        for column in ("score", "score_std"):
            np.testing.assert_array_equal(batch[column], rows[column].to_numpy(np.float32))


@pytest.fixture
def with_faces(piq23, tmp_path):
    """Data whose store knows a face and LIQE logits of every portrait, and those portraits by path."""
    shutil.copytree(piq23 / "store", tmp_path / "store")
    data = data_of(PIQ23(piq23 / "piq23"), tmp_path, test_crops="one")
    data.setup("fit")
    store, rng, portraits = PreparedStore(tmp_path / "store", PREPARATION), np.random.default_rng(0), {}
    for path in pd.concat([data.splits["train"], data.splits["val"]])["path"]:
        face, logits = rng.integers(0, 256, (50, 48, 3)).astype(np.uint8), rng.normal(25, 1, 495).astype(np.float32)
        portraits[path] = Portrait(store.load(path).whole, face, (1, 2, 3, 4), logits)
        write_entry(store.entry(path), portraits[path], path)
    return data, portraits


@pytest.mark.parametrize("split", ["train", "val"])
def test_crops_and_logits_are_those_of_their_row(with_faces, split):
    data, portraits = with_faces
    paths = data.splits[split]["path"].tolist()
    for batch in data.train_dataloader() if split == "train" else data.val_dataloader():
        for place, row in enumerate(batch["index"]):
            portrait = portraits[paths[row]]
            assert is_window(batch["whole"][place], portrait.whole)
            assert is_window(batch["face_crop"][place], portrait.face_crop)
            assert torch.equal(batch["liqe_logits"][place], torch.from_numpy(portrait.liqe_logits))


def is_window(crop, image):
    """Whether a crop of (3, side, side), or one of a single crop, is cut from an image of (height, width, 3)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (CROP, CROP), axis=(0, 1))
    return bool((windows == crop.reshape(3, CROP, CROP).numpy()).all(axis=(2, 3, 4)).any())


def test_an_epoch_shows_every_training_portrait_once_in_groups_of_one_scene(piq23):
    data = set_up(piq23)
    scene = data.splits["train"]["scene"].to_numpy()
    batches = epoch_of(data.train_dataloader(), 3)
    assert sorted(torch.cat([batch["index"] for batch in batches]).tolist()) == list(range(len(scene)))
    for batch in batches:
        for group in batch["group"].unique():
            rows = batch["index"][batch["group"] == group].numpy()
            assert len(rows) >= 2 and len(set(scene[rows])) == 1


def test_epochs_differ_and_come_again_with_the_same_seed(piq23):
    first, again, other = (set_up(piq23, seed=seed).train_dataloader() for seed in (0, 0, 1))
    order = [torch.cat([batch["index"] for batch in epoch_of(first, epoch)]).tolist() for epoch in (0, 1)]
    assert order[0] != order[1]
    assert torch.cat([batch["index"] for batch in epoch_of(other, 0)]).tolist() != order[0]
    for one, two in zip(epoch_of(first, 1), epoch_of(again, 1), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_loader_processes_change_nothing(piq23):
    alone, helped = (set_up(piq23, workers=workers, flip=True).train_dataloader() for workers in (0, 2))
    for epoch in (0, 1):
        for one, two in zip(epoch_of(alone, epoch), epoch_of(helped, epoch), strict=True):
            assert all(torch.equal(one[name], two[name]) for name in one)


def test_reference_pairs_are_the_same_in_every_epoch(piq23):
    loader = set_up(piq23, pairs="reference", groups_per_step=6).train_dataloader()
    epochs = [
        [pair for batch in epoch_of(loader, epoch) for pair in batch["index"].view(-1, 2).tolist()] for epoch in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1]
    assert Counter(first for first, _ in epochs[0]) == dict.fromkeys(range(3 * IMAGES), 2)


@pytest.mark.parametrize(("crops", "count"), [("five", 5), ("one", 1)])
def test_scoring_batches_hold_the_fixed_crops_of_the_split_in_order(piq23, crops, count):
    data = set_up(piq23, test_crops=crops, eval_batch_size=3)
    batches = list(data.test_dataloader())
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(2 * IMAGES))
    assert batches[0]["whole"].shape == batches[0]["face_crop"].shape == (3, count, 3, CROP, CROP)
    for one, two in zip(batches, data.test_dataloader(), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_processes_score_every_portrait_in_the_same_number_of_batches(piq23, world, batch):
    data = set_up(piq23, eval_batch_size=batch, test_crops="one")
    shares = [list(on_process(data, rank, world).val_dataloader()) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1 and shares[0]
    assert {row for share in shares for part in share for row in part["index"].tolist()} == set(range(IMAGES))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_train_on_different_portraits_and_together_on_all(piq23, world):
    data = set_up(piq23, groups_per_step=3)
    shares = [list(on_process(data, rank, world).train_dataloader()) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    rows = [row for share in shares for batch in share for row in batch["index"].tolist()]
    assert sorted(rows) == list(range(3 * IMAGES))


def test_a_state_of_version_0_1_0_is_read_and_told_of_in_today_s_names(piq23):
    loader = set_up(piq23).train_dataloader()
    today = loader.state_dict()["identity"]
    names = {"seed_everything": "seed_everything", "data.table": "data.table", "data.pairs": "data.sampling.pairs"}
    names |= {"data.groups": "data.sampling.groups_per_step", "data.group_size": "data.sampling.images_per_group"}
    old = {"epoch": 0, "steps": 1, "parts": 1, "identity": {name: today[now] for name, now in names.items()}}
    loader.load_state_dict(old)
    assert loader.sampler.first == 1
    old["identity"] |= {"data.groups": 4, "data.group_size": 9}
    message = r"`data.sampling.groups_per_step` \(4 -> 2\), `data.sampling.images_per_group` \(9 -> 3\); use those"
    with pytest.raises(InputError, match=message):
        loader.load_state_dict(old)


def test_the_data_and_their_options_are_public():
    assert piqa.data.PortraitData is PortraitData and piqa.data.SamplingOptions is SamplingOptions
    with pytest.raises(AttributeError, match=r"module 'piqa.data' has no attribute 'Nothing'"):
        _ = piqa.data.Nothing


def test_the_contract_tells_preparation_and_crop(piq23):
    contract = set_up(piq23).contract()
    assert Preparation(**contract["preparation"]) == PREPARATION and contract["crop"] == CROP


def test_no_warning_is_given_where_nothing_is_left_out(piq23):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = set_up(piq23)
    assert sum(map(len, data.splits.values())) == len(data.table.load())
