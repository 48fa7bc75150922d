"""The public databases of images in what they have in common: direction, scale, files, splits, messages."""

import json

import jsonargparse
import numpy as np
import pytest
from look_alike_databases import (
    noise_of,
    write_ava,
    write_bid,
    write_cadb,
    write_clive,
    write_csiq,
    write_flickr_aes,
    write_kadid,
    write_koniq,
    write_live,
    write_spaq,
    write_tad66k,
    write_tid2013,
)
from refusals import refusal
from scipy.stats import spearmanr

from piqa.data import AVA, BID, CADB, CLIVE, CSIQ, KADID, LIVE, SPAQ, TAD66K, TID2013, FlickrAES, KonIQ
from piqa.data.tables.database import read_lines, read_mat
from piqa.data.tables.splits import draw_splits
from piqa.data.tables.table import Table
from piqa.errors import InputError
from piqa.preparation.image_file import open_image

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* images:UserWarning")

WRITERS = {
    KonIQ: write_koniq,
    KADID: write_kadid,
    CSIQ: write_csiq,
    LIVE: write_live,
    CLIVE: write_clive,
    BID: write_bid,
    AVA: write_ava,
    TAD66K: write_tad66k,
    FlickrAES: write_flickr_aes,
    TID2013: write_tid2013,
    SPAQ: write_spaq,
    CADB: write_cadb,
}
ALL = [
    *[(kind, {"split": split}) for kind in (KADID, CSIQ, LIVE, CLIVE, BID) for split in ("liqe", "drawn")],
    *[(KonIQ, {"split": split}) for split in ("liqe", "official", "drawn")],
    (LIVE, {"split": "drawn", "labels": "dmos_realigned.mat"}),
    *[(AVA, {"split": split}) for split in ("official", "tanet")],
    *[(TAD66K, {"split": split}) for split in ("merge", "unmerge")],
    (FlickrAES, {"ratings_of_test_users": (6, 8)}),
    (TID2013, {"seed": 0}),
    *[(SPAQ, {"split": split}) for split in ("drawn", "numbered")],
    *[(CADB, {"split": split}) for split in ("official", "drawn")],
]


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    """Every look-alike, written once; read only."""
    folder = tmp_path_factory.mktemp("databases")
    roots = {}
    for kind, write in WRITERS.items():
        (folder / kind.__name__).mkdir()
        roots[kind] = write(folder / kind.__name__)
    return roots


def described(case):
    kind, settings = case
    return f"{kind.__name__}-{'-'.join(map(str, settings.values()))}"


def refused(table):
    return refusal(table.load)


every = pytest.mark.parametrize("case", ALL, ids=described)


@every
def test_higher_scores_are_better_images(roots, case):
    kind, settings = case
    table = kind(roots[kind], **settings).load()
    noise = [noise_of(path) for path in table["path"]]
    assert spearmanr(table["score"], noise).statistic < -0.95


@every
def test_scores_lie_in_the_stated_range_and_map_to_the_unit_range(roots, case):
    kind, settings = case
    own, unit = kind(roots[kind], **settings), kind(roots[kind], unit_range=True, **settings)
    low, high = own.score_range
    scores, mapped = own.load()["score"], unit.load()["score"]
    assert low <= scores.min() < scores.max() <= high
    assert unit.score_range == (0, 1)
    np.testing.assert_allclose(mapped, (scores - low) / (high - low))


@every
def test_a_database_is_one_scene_with_all_three_splits(roots, case):
    kind, settings = case
    table = kind(roots[kind], **settings).load()
    assert set(table["scene"]) == {kind.title}
    assert set(table["split"]) == {"train", "val", "test"}
    assert table["image"].is_unique


@every
def test_a_name_tells_database_and_split(roots, case):
    kind, settings = case
    name = kind(roots[kind], **settings).name
    assert name.startswith(kind.title)
    assert name != kind.title


@every
def test_every_path_is_an_image(roots, case):
    kind, settings = case
    paths = kind(roots[kind], **settings).load()["path"].iloc[:3]
    assert {open_image(path).mode for path in paths} == {"RGB"}


@pytest.mark.parametrize("kind", [KADID, CSIQ, LIVE], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("settings", [{"number": 1}, {"number": 2}, {"split": "drawn"}, {"split": "drawn", "seed": 5}])
def test_no_reference_is_in_two_splits(roots, kind, settings):
    table = kind(roots[kind], **settings).load()
    assert table.groupby("reference")["split"].nunique().max() == 1
    assert table["reference"].nunique() >= 10


def test_lists_that_share_a_reference_between_train_and_test_are_refused(tmp_path):
    lists = write_csiq(tmp_path) / "splits2" / "1"
    train, test = lists / "csiq_train_clip.txt", lists / "csiq_test_clip.txt"
    first, *others = test.read_text().splitlines()
    train.write_text(train.read_text() + first + "\n")
    test.write_text("\n".join(others) + "\n")
    assert "1 reference(s), such as ref0, in both train and test" in refused(CSIQ(tmp_path))


def test_the_two_sources_of_a_database_name_images_alike(roots):
    for kind in (KonIQ, KADID, CSIQ, LIVE, CLIVE, BID):
        listed, own = (kind(roots[kind], split=split).load() for split in ("liqe", "drawn"))
        assert sorted(listed["image"]) == sorted(own["image"])


@pytest.mark.parametrize("kind", [KADID, CSIQ, LIVE], ids=lambda kind: kind.__name__)
def test_the_two_sources_of_a_database_agree_on_references(roots, kind):
    listed, own = (
        kind(roots[kind], split=split).load().set_index("image")["reference"].sort_index()
        for split in ("liqe", "drawn")
    )
    assert listed.tolist() == own.tolist()


@pytest.mark.parametrize("kind", [CSIQ, LIVE], ids=lambda kind: kind.__name__)
def test_the_two_sources_of_a_database_agree_on_distortions(roots, kind):
    listed, own = (
        kind(roots[kind], split=split).load().set_index("image")["distortion"].sort_index()
        for split in ("liqe", "drawn")
    )
    assert listed.tolist() == own.tolist()


def test_another_count_than_the_whole_database_has_is_warned_of(roots):
    with pytest.warns(UserWarning, match=r"csiq_label\.txt lists 80 images; CSIQ has 866"):
        CSIQ(roots[CSIQ], split="drawn").load()


def test_scores_beyond_the_scale_are_warned_of(tmp_path):
    labels = write_koniq(tmp_path) / "koniq10k_distributions_sets.csv"
    labels.write_text(labels.read_text().replace("97.5,", "975,"))
    with pytest.warns(UserWarning, match=r"1 scores of .* such as 975, lie outside 0 \.\. 100, the scale of KonIQ-10k"):
        KonIQ(tmp_path, split="official").load()


def test_a_few_missing_images_are_left_out_when_allowed(tmp_path):
    (write_csiq(tmp_path) / "dst_imgs" / "awgn" / "ref4.AWGN.1.png").unlink()
    message = refused(CSIQ(tmp_path))
    assert "1 of 80 files" in message
    assert "awgn/ref4.AWGN.1.png (row csiq_train_clip.txt:1); the first should be" in message
    with pytest.warns(UserWarning, match="they are left out"):
        table = CSIQ(tmp_path, max_missing=0.02).load()
    assert len(table) == 79


def test_images_whose_extension_has_another_case_are_found(tmp_path):
    folder = write_bid(tmp_path) / "ImageDatabase"
    for path in folder.iterdir():
        path.rename(path.with_suffix(".jpg"))
    table = BID(tmp_path).load()
    assert table["image"].str.endswith(".JPG").all()
    assert table["path"].str.endswith(".jpg").all()


@pytest.mark.parametrize(
    ("units", "val", "test", "message"),
    [(["a", "b"], -0.1, 0.2, "`val_fraction` -0.1"), (["a", "b"], 0.5, 0.5, "leave some images for training")],
)
def test_shares_out_of_range_are_refused(units, val, test, message):
    with pytest.raises(InputError, match=message):
        draw_splits(units, val, test, 0)


def test_the_draw_has_the_shares_asked_for_and_follows_the_seed():
    units = [f"unit {number}" for number in range(100)]
    one, other = draw_splits(units, 0.1, 0.2, 0), draw_splits(units, 0.1, 0.2, 1)
    assert [one.count(split) for split in ("train", "val", "test")] == [70, 10, 20]
    assert one != other


@pytest.mark.parametrize(("seed", "val", "test"), [(0, [11, 14], [1, 10, 12, 19]), (7, [9, 13], [5, 6, 11, 17])])
def test_the_draw_is_that_of_version_0_1_0(seed, val, test):
    drawn = draw_splits([f"unit {number}" for number in range(20)], 0.1, 0.2, seed)
    assert [[place for place, split in enumerate(drawn) if split == name] for name in ("val", "test")] == [val, test]


@pytest.mark.parametrize(
    ("kind", "val"),
    [
        (AVA, ["953421.jpg", "953366.jpg", "953256.jpg"]),
        (TAD66K, ["4375181@N085618633909.jpg", "43751813@N085618633921.jpg", "43751822lan5618633930.jpg"]),
        (FlickrAES, [f"farm1_{262 + number}_2000907{number}.jpg" for number in (10, 12, 14, 57)]),
    ],
)
def test_the_validation_images_of_a_database_are_those_of_version_0_1_0(roots, kind, val):
    users = {"ratings_of_test_users": (6, 8)} if kind is FlickrAES else {}
    table = kind(roots[kind], val_fraction=0.1, seed=3, **users).load()
    assert table.loc[table["split"] == "val", "image"].tolist() == val


def test_the_draw_does_not_depend_on_the_order_of_the_rows():
    units = [f"unit {number}" for number in range(100)]
    backwards = draw_splits(units[::-1], 0.1, 0.2, 0)
    assert backwards[::-1] == draw_splits(units, 0.1, 0.2, 0)


def test_rows_of_one_unit_stay_together():
    splits = draw_splits(["a", "b", "c", "d", "a", "b"], 0.25, 0.25, 0)
    assert splits[0] == splits[4] and splits[1] == splits[5]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"a 1\n\nb\n", "row 3 of .* has 1 cells, not the 2 that it needs"),
        (b"\xff\xd8", "is not text in UTF-8"),
        (b"\xff\xfe", "is empty"),  # the byte order mark of UTF-16
    ],
)
def test_unfit_label_files_are_refused(tmp_path, content, complaint):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        read_lines(tmp_path / "labels.txt", ("image", "score"))


def test_an_absent_label_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        read_lines(tmp_path / "labels.txt", ("image",))


def test_what_is_no_matlab_file_is_refused(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"not MATLAB" * 30)
    with pytest.raises(InputError, match=r"x\.mat is not a MATLAB file"):
        read_mat(tmp_path / "x.mat", "dmos")
    with pytest.raises(InputError, match="cannot read the labels"):
        read_mat(tmp_path / "absent.mat", "dmos")


@pytest.mark.parametrize("kind", [KonIQ, AVA, TAD66K])
def test_an_unknown_split_is_refused(tmp_path, kind):
    with pytest.raises(InputError, match="has no split 'mine'; choose one of"):
        kind(tmp_path, split="mine")


def test_databases_without_an_official_split_say_so(tmp_path):
    with pytest.raises(InputError, match="CSIQ has no split 'official'; choose one of liqe, drawn"):
        CSIQ(tmp_path, split="official")


@pytest.mark.parametrize("kind", list(WRITERS), ids=lambda kind: kind.__name__)
def test_a_config_can_name_it(roots, kind):
    init_args = {"root": str(roots[kind]), "unit_range": True}
    if kind is FlickrAES:
        init_args["ratings_of_test_users"] = [6, 8]
    config = {"class_path": f"piqa.data.{kind.__name__}", "init_args": init_args}

    def load(table: Table):
        return table.load()

    loaded = jsonargparse.CLI(load, args=[f"--table={json.dumps(config)}"], as_positional=False)
    assert loaded["score"].between(0, 1).all()
