"""Several databases as one table, and the steps that are drawn from it."""

import json
from collections import Counter
from functools import partial

import jsonargparse
import numpy as np
import pandas as pd
import pytest
from look_alike import write_csv_dataset, write_piq23
from look_alike_databases import noise_of, write_ava, write_bid, write_csiq, write_tad66k
from scipy.stats import chisquare

from piqa.data import AVA, BID, CSIQ, PIQ23, TAD66K, CSVTable, Mix
from piqa.data.dataset import TrainingPortraits
from piqa.data.mix_sampler import LIQE_IMAGES, LIQE_STEPS, MixSampler
from piqa.data.options import InputOptions
from piqa.data.sampler import StepShare
from piqa.data.tables.table import Table
from piqa.errors import InputError
from piqa.preparation.portrait import Preparation
from piqa.preparation.store import PreparedStore

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* images:UserWarning")

SIZES = {"LIVE": 538, "CSIQ": 607, "BID": 410, "CLIVE": 813, "KonIQ-10k": 7051, "KADID-10k": 7125}  # of LIQE's split 1
LIKE_LIQE = np.random.default_rng(0).permutation(np.repeat(list(SIZES), list(SIZES.values()))).tolist()
sampler = partial(MixSampler, LIKE_LIQE)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mix")
    for name, write in {"bid": write_bid, "csiq": write_csiq, "ava": write_ava, "tad": write_tad66k}.items():
        (folder / name).mkdir()
        write(folder / name)
    write_piq23(folder / "piq23")
    return folder


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_a_mix_holds_the_rows_of_all_its_tables(roots):
    parts = [BID(roots / "bid"), CSIQ(roots / "csiq")]
    mixed = Mix(parts).load()
    for part in parts:
        own, mine = part.load(), mixed[mixed["database"] == part.title].reset_index(drop=True)
        same = ["path", "score", "split", "distortion", "scene_tags"]
        pd.testing.assert_frame_equal(mine[same], own[same])
        assert mine["image"].tolist() == [f"{part.title}/{image}" for image in own["image"]]
    assert len(mixed) == 20 + 80
    assert mixed.index.tolist() == list(range(100))


def test_scenes_of_different_tables_are_different(roots):
    mixed = Mix([BID(roots / "bid"), PIQ23(roots / "piq23")]).load()
    assert mixed.groupby("scene")["database"].nunique().max() == 1
    assert set(mixed["scene"]) == {"BID", "PIQ23/Indoor_Scene_1", "PIQ23/Indoor_Scene_12", "PIQ23/Outdoor_Scene_2"}


def test_scores_of_a_mix_rise_with_the_quality_inside_every_database(roots):
    mixed = Mix([BID(roots / "bid"), CSIQ(roots / "csiq", split="drawn")]).load()
    noise = mixed["path"].map(noise_of)
    for _, own in mixed.groupby("database"):
        assert own["score"].corr(noise[own.index], method="spearman") < -0.95


def test_columns_that_only_some_have_are_empty_for_the_others(roots):
    mixed = Mix([AVA(roots / "ava"), TAD66K(roots / "tad", split="unmerge"), CSIQ(roots / "csiq")]).load()
    ava = mixed["database"] == "AVA"
    assert mixed.loc[ava, "votes_3"].notna().all() and mixed.loc[~ava, "votes_3"].isna().all()
    for column in ("theme", "distortion", "scene_tags", "reference"):
        assert set(mixed.loc[ava, column]) == {""}
        assert set(mixed.loc[~ava, column]) - {""}


def test_the_spread_is_kept_where_every_table_has_it(roots, tmp_path):
    columns = ["image", "score", "scene", "score_std", "split"]
    own = CSVTable(write_csv_dataset(tmp_path, columns=columns))
    assert "score_std" not in Mix([own, BID(roots / "bid")]).load()
    both = Mix([own, AVA(roots / "ava")]).load()
    assert both["score_std"].notna().all()


def test_tables_of_the_same_name_are_told_apart_by_names(roots):
    tables = [PIQ23(roots / "piq23", attribute=attribute) for attribute in ("overall", "details")]
    with pytest.raises(InputError, match="more than one table called PIQ23; tell them apart with `names`"):
        Mix(tables)
    mixed = Mix(tables, names=["overall", "details"]).load()
    assert mixed["database"].value_counts().to_dict() == {"overall": 12, "details": 12}


@pytest.mark.parametrize(
    ("tables", "names", "complaint"), [(0, None, "at least one table"), (1, ["a", "b"], "needs as many `names`, not 2")]
)
def test_a_mix_that_makes_no_sense_is_refused(roots, tables, names, complaint):
    with pytest.raises(InputError, match=complaint):
        Mix([BID(roots / "bid")] * tables, names)


def test_the_same_image_in_two_tables_is_refused(roots):
    with pytest.raises(InputError, match="more than once"):
        Mix([BID(roots / "bid"), BID(roots / "bid", number=2)], names=["one", "two"]).load()


def test_a_config_can_name_it(roots):
    tables = [
        {"class_path": "piqa.data.BID", "init_args": {"root": str(roots / "bid")}},
        {"class_path": "piqa.data.CSIQ", "init_args": {"root": str(roots / "csiq"), "number": 2}},
    ]
    config = {"class_path": "piqa.data.Mix", "init_args": {"tables": tables}}

    def load(table: Table):
        return table.name, table.load()

    name, mixed = jsonargparse.CLI(load, args=[f"--table={json.dumps(config)}"], as_positional=False)
    assert name == "mix of BID, LIQE's split 1; CSIQ, LIQE's split 2"
    assert len(mixed) == 100


def test_every_step_has_the_images_asked_for_of_every_database():
    for step in epoch_of(sampler(), 0):
        assert Counter(LIKE_LIQE[draw.index] for draw in step.draws) == LIQE_IMAGES
        assert step.groups == 6


def test_groups_are_databases():
    for step in epoch_of(sampler(steps=20), 3):
        assert {(draw.group, LIKE_LIQE[draw.index]) for draw in step.draws} == set(enumerate(LIQE_IMAGES))


def test_the_length_is_the_number_of_steps():
    assert len(sampler()) == len(epoch_of(sampler(), 0)) == LIQE_STEPS == 200
    assert len(epoch_of(sampler(steps=7), 4)) == 7


def test_no_image_is_twice_in_a_step():
    for step in epoch_of(sampler({"BID": 400, "CSIQ": 4}, steps=20), 0):
        assert len({draw.index for draw in step.draws}) == 404


def test_a_database_is_gone_through_before_it_repeats():
    steps = epoch_of(sampler(), 0)
    drawn = Counter(draw.index for step in steps for draw in step.draws)
    seen = {name: [drawn[row] for row, own in enumerate(LIKE_LIQE) if own == name] for name in SIZES}
    assert max(seen["KonIQ-10k"]) == max(seen["KADID-10k"]) == 1  # 3,200 of about 7,000
    assert max(seen["LIVE"]) == 2 and seen["LIVE"].count(0) <= 2  # 800 draws of 538, 536 in a pass
    first_pass = [draw.index for step in steps[:134] for draw in step.draws if LIKE_LIQE[draw.index] == "LIVE"]
    assert len(set(first_pass)) == len(first_pass) == 536


def test_images_of_a_database_are_drawn_evenly_over_epochs():
    one = sampler({"BID": 4}, steps=50)
    drawn = Counter(draw.index for epoch in range(100) for step in epoch_of(one, epoch) for draw in step.draws)
    counts = [drawn[row] for row, own in enumerate(LIKE_LIQE) if own == "BID"]
    # Draws without repetition vary less than independent ones would, so only an excess is suspicious.
    assert chisquare(counts).pvalue > 1e-3


def test_the_same_seed_and_epoch_give_the_same_steps():
    assert epoch_of(sampler(seed=3), 2) == epoch_of(sampler(seed=3), 2)
    assert epoch_of(sampler(seed=3), 2) != epoch_of(sampler(seed=4), 2)
    assert epoch_of(sampler(seed=3), 2) != epoch_of(sampler(seed=3), 3)


def test_every_draw_has_its_own_seed():
    seeds = [draw.seed for step in epoch_of(sampler(steps=20), 0) for draw in step.draws]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_steps_of_one_process(world):
    images = dict.fromkeys(LIQE_IMAGES, 9)
    whole = epoch_of(sampler(images, steps=20), 1)
    shares = [epoch_of(sampler(images, steps=20, share=StepShare(rank, world)), 1) for rank in range(world)]
    for step, *parts in zip(whole, *shares, strict=True):
        assert Counter(draw for part in parts for draw in part.draws) == Counter(step.draws)
        for part in parts:
            assert part.groups == step.groups == 6
            sizes = Counter(draw.group for draw in part.draws)
            assert set(sizes) == set(range(6)) and set(sizes.values()) <= {9 // world, 9 // world + 1}


def test_the_mean_gradient_of_two_processes_is_that_of_one_on_average():
    rng = np.random.default_rng(0)
    values = rng.normal(size=len(LIKE_LIQE))

    def loss(step):  # a stand-in for a pair loss: mean over pairs, summed over databases, over their number
        parts = {}
        for draw in step.draws:
            parts.setdefault(draw.group, []).append(values[draw.index])
        pairs = {
            group: np.abs(np.subtract.outer(own, own))[np.triu_indices(len(own), 1)] for group, own in parts.items()
        }
        return sum(own.mean() for own in pairs.values()) / step.groups

    one = np.mean([loss(step) for step in epoch_of(sampler(steps=2000), 0)])
    two = np.mean(
        [loss(step) for rank in range(2) for step in epoch_of(sampler(steps=2000, share=StepShare(rank, 2)), 0)]
    )
    assert one == pytest.approx(two, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"share": StepShare(world=3)}, "4 images of LIVE in a step do not give each of 3 process.* raise them to 6"),
        ({"images": {"LIVE": 600}}, "LIVE has 538 training images, fewer than the 600 of a step"),
        (
            {"images": {"Koniq": 16}},
            "Koniq has 0 training images.*there are images of BID, CLIVE, CSIQ, KADID-10k",
        ),
        ({"steps": 0}, "at least one step"),
        ({"images": {}}, "at least one step and one database"),
    ],
)
def test_steps_that_cannot_be_filled_are_refused(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        sampler(**arguments)


def test_training_portraits_load_the_steps(roots, tmp_path):
    table = Mix([BID(roots / "bid"), CSIQ(roots / "csiq")]).load()
    store = PreparedStore(tmp_path, Preparation(short_side=24, face_rule="none"))
    store.build(table["path"], "cpu", workers=0, progress=False)
    train = table[table["split"] == "train"]
    step = next(iter(MixSampler(train["database"].tolist(), {"BID": 2, "CSIQ": 3}, steps=1)))
    batch = TrainingPortraits(train, store, InputOptions(crop_size=24))[step]
    assert batch["whole"].shape == (5, 3, 24, 24)
    assert batch["group"].tolist() == [0, 0, 1, 1, 1]
    assert batch["groups"] == 2
    assert train["database"].iloc[batch["index"].tolist()].tolist() == ["BID"] * 2 + ["CSIQ"] * 3
