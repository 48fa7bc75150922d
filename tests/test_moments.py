"""Shots become moments: times, ladders, names and looks, with what must not be joined."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from portraits import collins, hopper
from scipy.cluster.hierarchy import fcluster, linkage

from piqa.errors import InputError
from piqa.moments import series
from piqa.moments.alone import find_alike
from piqa.moments.grouping import group
from piqa.moments.likeness import similarities, stacked
from piqa.moments.looks import Looks, look_of
from piqa.moments.moment import Shot
from piqa.moments.options import GroupingOptions
from piqa.moments.shots import find_shots

NOON = 1_714_564_800.0
SIMILAR = GroupingOptions(similar=True)


class Same(Looks):
    """Looks that are all the same, but for files that name another view after a colon, as in `1:b`."""

    def of(self, files):
        files = list(files)
        views = sorted({view_of(file) for file in files})
        return {file: np.eye(16, dtype=np.float16)[[views.index(view_of(file))] * 2] for file in files}


def view_of(file):
    return file.partition(":")[2]


def shots(*times, camera="One", subseconds=True, **more):
    return [Shot(f"{at}", seconds=NOON + at, camera=camera, subseconds=subseconds, **more) for at in times]


def moments(shots, looks=None, **options):
    """The files of each moment."""
    found = group(shots, GroupingOptions(**options), looks=looks or Same())
    assert sorted(shot.file for moment in found for shot in moment.shots) == sorted(shot.file for shot in shots)
    assert len({moment.name for moment in found}) == len(found)
    return [[shot.file for shot in moment.shots] for moment in found]


def unlike(*names, **more):
    """Shots half a second apart and more, each of another view."""
    return [Shot(f"{name}:{name}", seconds=NOON + name, subseconds=True, camera="One", **more) for name in names]


def test_500_ms_are_a_burst_and_501_are_not():
    assert len(moments(unlike(0, 0.5))) == 1
    assert len(moments(unlike(0, 0.501))) == 2


def test_times_of_whole_seconds_are_no_burst():
    assert len(moments([replace(shot, subseconds=False) for shot in unlike(0, 0.25)])) == 2


def test_alike_shots_within_the_gap_are_a_series():
    assert moments(shots(0, 10, 20, 40), gap=10) == [["0", "10", "20"], ["40"]]
    assert group(shots(0, 10), looks=Same())[0].kind == "series"
    assert group(shots(0, 0.4), looks=Same())[0].kind == "burst"


def test_copies_of_an_image_whose_rounded_looks_are_alike_by_more_than_1_are_a_series():
    class Rounded(Same):
        def of(self, files):
            return {file: look * np.float16(1.001) for file, look in super().of(files).items()}

    assert len(moments(shots(0, 1, 2), Rounded())) == 1


def test_a_moment_goes_on_over_midnight():
    midnight = math.ceil(NOON / 86_400) * 86_400 - NOON
    assert len(moments(shots(midnight - 0.3, midnight - 0.1, midnight + 0.1))) == 1


def test_nothing_is_longer_than_the_span():
    for found in moments(shots(*range(0, 300, 2)), span=60):
        assert float(found[-1]) - float(found[0]) <= 60


def test_cameras_are_never_mixed_unless_their_clocks_agree():
    two = [*shots(0, 2), *(replace(shot, file=f"{shot.file} two", camera="Two") for shot in shots(0.1, 2.1))]
    assert sorted(moments(two)) == [["0", "2"], ["0.1 two", "2.1 two"]]
    assert moments(two, clocks=True) == [["0", "0.1 two", "2", "2.1 two"]]


def test_times_with_other_offsets_are_never_compared_and_absent_ones_are():
    travelled = [*shots(0, offset=60), *shots(1, offset=120)]
    assert len(moments(travelled)) == 2
    assert len(moments([*shots(0, offset=60), *shots(1)])) == 1
    assert len(moments([*travelled, *shots(2)])) == 3


def test_shots_without_a_time_stay_alone_unless_asked():
    bare = [Shot("1"), Shot("2"), Shot("3:b")]
    assert len(moments(bare)) == 3
    assert moments(bare, similar=True) == [["1", "2"], ["3:b"]]


def test_a_burst_identifier_outweighs_time_and_look():
    noted = [replace(shot, burst="x") for shot in unlike(0, 50)]
    (moment,) = group(noted, looks=Same())
    assert (moment.kind, len(moment.shots)) == ("burst", 2)
    assert len(moments([noted[0], replace(noted[1], camera="Two")])) == 2


def test_names_of_bursts_join_what_tells_no_time(tmp_path):
    for shade, name in enumerate(["20240501_120000_001", "20240501_120000_002", "20240501_120001_001", "IMG_1"]):
        Image.new("L", (8, 8), shade).save(tmp_path / f"{name}.png")
    names = [[Path(shot.file).stem for shot in m.shots] for m in group(find_shots([str(tmp_path)]).shots)]
    assert ["20240501_120000_001", "20240501_120000_002"] in names


def bracket(*levels, gap=1.0, by="bias", **more):
    return [
        Shot(f"{number}:{number}", seconds=NOON + gap * number, camera="One", **{by: level}, **more)
        for number, level in enumerate(levels)
    ]


@pytest.mark.parametrize("by", ["bias", "ev"])
@pytest.mark.parametrize("levels", [(-2, 0, 2), (0, -2, 2), (0, -0.7, 0.7), (-2, -1, 0, 1, 2), (0, -1.9, 2.1)])
def test_even_exposures_are_a_bracket_and_kept_whole(by, levels):
    (moment,) = group(bracket(*levels, by=by), looks=Same())
    assert (moment.kind, len(moment.shots)) == ("bracket", len(levels))


@pytest.mark.parametrize(
    "levels", [(-2, 0, 1), (0, 2), (-0.3, 0, 0.3), (0, 0.5, 0.9), (0, 0, 0), (-2, 0, 2.5), (0, 1, None)]
)
def test_uneven_few_or_small_steps_are_no_bracket(levels):
    assert all(moment.kind != "bracket" for moment in group(bracket(*levels), looks=Same()))


def test_a_bracket_is_quick_but_long_exposures_do_not_count():
    assert len(moments(bracket(-2, 0, 2, gap=3.0))) == 1
    assert len(moments(bracket(-2, 0, 2, gap=3.1))) == 3
    assert len(moments(bracket(-2, 0, 2, gap=12.0, exposure=10.0))) == 1


def test_brackets_one_after_the_other_stay_apart():
    assert [len(found) for found in moments(bracket(0, -2, 2, 0, -2, 2, 0, 0))] == [3, 3, 1, 1]


def test_the_order_of_the_shots_does_not_matter():
    everything = [*unlike(20, 20.3, 70), *shots(100, 103, 111), *bracket(-1, 0, 1), Shot("z:1"), Shot("y:1")]
    expected = group(everything, SIMILAR, looks=Same())
    for seed in range(3):
        shuffled = [everything[at] for at in np.random.default_rng(seed).permutation(len(everything))]
        assert group(shuffled, SIMILAR, looks=Same()) == expected


def test_scenes_that_are_given_are_the_moments():
    given = group(shots(0, 1, 2), scenes={"0": "a", "2": "a"})
    assert [(moment.kind, [shot.file for shot in moment.shots]) for moment in given] == [
        ("scene", ["0", "2"]),
        ("single", ["1"]),
    ]


def test_long_runs_are_cut_into_windows_at_their_pauses(monkeypatch):
    monkeypatch.setattr(series, "WINDOW", 20)
    times = np.cumsum([1.0 if number != 30 else 1.5 for number in range(60)])
    found = moments(shots(*times), span=1000)
    assert max(map(len, found)) <= 20
    assert sum(map(len, found)) == 60
    assert any(float(one[0]) == times[30] for one in found)


def test_series_are_those_of_scipys_average_linkage():
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(12, 16)) + np.repeat(rng.normal(size=(3, 16)) * 1.2, 4, axis=0)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)

    class Known(Looks):
        def of(self, files):
            return {file: vectors[[int(file)] * 2] for file in files}

    taken = [Shot(str(number), seconds=NOON + number, camera="One") for number in range(12)]
    found = group(taken, GroupingOptions(similarity=0.5), looks=Known())
    cosine = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    pairs = np.triu_indices(12, 1)
    labels = fcluster(linkage(np.minimum(1 - cosine[pairs], 1), "average"), 0.5, "distance")
    expected = {frozenset(np.flatnonzero(labels == label)) for label in labels}
    assert {frozenset(int(shot.file) for shot in moment.shots) for moment in found} == expected
    assert 1 < len(found) < 12


def crops(image, number, step):
    """A camera that pans over a picture."""
    width, height = image.size
    for count in range(number):
        left = round(count * step * width)
        yield image.crop((left, 0, left + width // 2, height))


def test_a_slow_pan_is_not_one_moment_though_all_neighbours_are_alike():
    looks, pan = Looks(), []
    for count, image in enumerate(crops(collins(), 40, 0.012)):
        looks.add(f"{count:02d}", image)
        pan.append(Shot(f"{count:02d}"))
    own = stacked([looks.of([shot.file])[shot.file] for shot in pan])
    table = similarities(own, own)
    assert np.diag(table, 1).min() > 0.8
    for found in (find_alike(pan, 0.8, looks), [m.shots for m in group(_timed(pan), looks=looks)]):
        assert 2 < len(found) < 30
    for members in find_alike(pan, 0.8, looks):
        numbers = [int(shot.file) for shot in members]
        assert table[np.ix_(numbers, numbers)].min() >= 0.8


def _timed(bare):
    return [replace(shot, seconds=NOON + number, camera="One") for number, shot in enumerate(bare)]


def test_300_pictures_of_one_name_over_a_day_are_no_group():
    day = [Shot(f"x({n}).jpg", seconds=NOON + 288 * n, camera="One") for n in range(300)]
    assert len(moments(day)) == 300
    assert len(moments([Shot(shot.file) for shot in day])) == 300


def test_copies_crops_and_other_light_look_the_same_and_other_people_do_not():
    person = collins()
    width, height = person.size
    own = look_of(person)
    similar = {
        "smaller": person.resize((width // 3, height // 3)),
        "cropped": person.crop((width // 20, height // 20, width, height)),
        "darker": person.point(lambda value: value * 0.5),
        "grey frame": person.rotate(1),
    }
    for name, image in similar.items():
        assert similarities(stacked([own]), stacked([look_of(image)]))[0, 0] > 0.92, name
    assert similarities(stacked([own]), stacked([look_of(hopper())]))[0, 0] < 0.6
    assert similarities(stacked([own]), stacked([own]))[0, 0] == pytest.approx(1, abs=2e-3)
    assert similarities(stacked([own]), stacked([look_of(Image.new("RGB", person.size, "grey"))]))[0, 0] < 0.1


def test_a_file_that_is_no_image_is_a_moment_of_its_own(tmp_path):
    collins().save(tmp_path / "a.jpg")
    collins().save(tmp_path / "b.jpg", quality=40)
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    looks = Looks()
    found = group(find_shots([str(tmp_path)]).shots, SIMILAR, looks=looks)
    assert [len(moment.shots) for moment in found] == [2, 1]
    assert list(looks.faults) == [str(tmp_path / "c.jpg")]


def test_a_file_that_cannot_be_read_does_not_take_its_burst_out_of_the_series():
    class AllButOne(Same):
        def of(self, files):
            return super().of(file for file in files if file != "0.2")

    assert moments(shots(0, 0.2, 4, 6), AllButOne()) == [["0", "0.2", "4", "6"]]
    assert moments(shots(0, 0.2, 0.4), AllButOne()) == [["0", "0.2", "0.4"]]
    alone = [replace(shot, subseconds=False) for shot in shots(0, 0.2, 4)]
    assert moments(alone, AllButOne()) == [["0", "4"], ["0.2"]]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"gap": -1}, {"gap": math.nan}, {"similarity": 1.1}, {"alone": 2}, {"bracket_frames": 1}, {"span": 0}),
        {"gap": 0.2, "burst_gap": 0.5},
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        GroupingOptions(**wrong)


def test_pairs_are_counted_as_by_a_table_of_all_pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    from moment_quality import count_pairs

    rng = np.random.default_rng(0)
    found, true = rng.integers(0, 6, 40), [None if label == 5 else int(label) for label in rng.integers(0, 6, 40)]
    pairs = [(found[a] == found[b], true[a] is not None and true[a] == true[b]) for b in range(40) for a in range(b)]
    counted = count_pairs([str(label) for label in found], true)
    assert counted.found == sum(one for one, _ in pairs)
    assert counted.true == sum(other for _, other in pairs)
    assert counted.both == sum(one and other for one, other in pairs)
    sys.modules.pop("moment_quality")


def test_a_synthetic_day_is_grouped_as_well_as_stated(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    import moment_cases
    import moment_quality

    files = moment_cases.day(7, snapshots=10, scale=1)
    assert moment_quality.Folder(files, exif=True).measure(GroupingOptions()).f1 >= moment_quality.WITH_EXIF
    assert moment_quality.Folder(files, exif=False).measure(SIMILAR).f1 >= moment_quality.ALONE
