"""What a report is made of: names, scenes and percentiles, what stands out, the files that it may replace."""

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from refusals import refusal

from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS
from piqa.preparation.file_facts import FileFacts
from piqa.report.facts import camera_words
from piqa.report.names import page_names, shown_names, without_paths
from piqa.report.pages import share_words
from piqa.report.parts import Parts, part_id
from piqa.report.scenes import Scenes, place_in_words
from piqa.report.standouts import NOT_TELLING, PRINCIPAL, stand_outs
from piqa.system.written_files import WrittenFiles

STOPS = FACTORS["face_stops"]


def readings(value, name="face_stops", note=""):
    return {name: Reading(FACTORS[name], value, note)}


# Names


def test_relative_paths_stay_and_absolute_ones_lose_what_they_have_in_common():
    assert shown_names(["a.jpg", "./b/c.jpg"]) == ["a.jpg", "b/c.jpg"]
    assert shown_names(["/home/me/x/a.jpg", "/home/me/y/a.jpg"]) == ["x/a.jpg", "y/a.jpg"]
    assert shown_names(["../up/a.jpg"]) == ["a.jpg"]


def test_no_shown_name_begins_a_formula():
    assert shown_names(["/photos/=1.jpg", "/photos/@a.jpg"]) == ["./=1.jpg", "./@a.jpg"]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True))
@example(["_"])
@example(["-", "--", "a/-"])
def test_every_page_has_a_plain_name_of_its_own_on_any_file_system(names):
    pages = page_names(names)
    assert len({page.casefold() for page in pages}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.html", page) for page in pages)
    assert all(len(page) < 100 for page in pages)


def test_devices_of_windows_name_no_page():
    assert page_names(["con.jpg"]) != ["con.html"]


def test_messages_lose_the_paths_of_the_machine():
    text = without_paths("/data/me/a.jpg is bad; /usr/lib/x.so says so", "/data/me/a.jpg")
    assert "/data" not in text and "/usr" not in text and "{file} is bad" in text


# Scenes


def test_folders_are_scenes_where_each_holds_enough_images():
    names = [f"{folder}/{number}.jpg" for folder in "ab" for number in range(8)]
    found = Scenes(names, [readings(float(number)) for number in range(16)])
    assert found.by_folder and found.words(0) == "the 8 images of the folder a"
    assert found.placed(15, Reading(STOPS, 15.0)).percentile == 100
    assert found.placed(8, Reading(STOPS, 8.0)).percentile == 0


def test_one_small_folder_makes_all_images_one_scene_unless_folders_are_asked_for():
    names = [*(f"a/{number}.jpg" for number in range(8)), "b/0.jpg"]
    values = [readings(float(number)) for number in range(9)]
    assert not Scenes(names, values).by_folder
    chosen = Scenes(names, values, "folders")
    assert chosen.by_folder and chosen.placed(8, Reading(STOPS, 8.0)).percentile is None


def test_values_that_cannot_be_relied_on_are_not_compared():
    values = [readings(float(number), note="too few pixels" if number == 3 else "") for number in range(9)]
    found = Scenes([f"{number}.jpg" for number in range(9)], values)
    assert found.placed(3, Reading(STOPS, 3.0, "too few pixels")).percentile is None
    assert found.placed(8, Reading(STOPS, 8.0)).images == 8


def test_distances_are_told_in_steps_of_the_factor():
    values = [0.0, 0.0, 2 * STOPS.step]
    found = Scenes(["a", "b", "c"], [readings(value) for value in values])
    assert found.steps(2, "face_stops") == pytest.approx(2) and found.steps(0, "face_stops") == 0
    assert Scenes(["a", "b"], [readings(0.0), readings(1.0)]).steps(0, "face_stops") is None


@pytest.mark.parametrize(
    ("percentile", "words"),
    [
        (100, "the highest of 9 images"),
        (0, "the lowest of 9 images"),
        (90, "higher than in 90 % of the other 8 images"),
        (20, "lower than in 80 % of the other 8 images"),
        (50, "in the middle of 9 images"),
        (99.6, "higher than in 99 % of the other 8 images"),
        (None, ""),
    ],
)
def test_a_place_in_words(percentile, words):
    assert place_in_words(Reading(STOPS, 0.0, percentile=percentile, images=9)) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 2, 2], "lower than in 25 % of the other 8 images, the same in 75 %"),
        ([2, 2, 0, 0, 0, 0, 0, 0, 0], "higher than in 88 % of the other 8 images, the same in 12 %"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0], "the same in all 9 images"),
        ([1, 1, 0, 2, 0, 2, 0, 2, 1], "in the middle of 9 images"),
    ],
)
def test_equal_values_are_neither_lower_nor_higher(values, words):
    found = Scenes([f"{number}.jpg" for number in range(9)], [readings(float(value)) for value in values])
    assert place_in_words(found.placed(0, Reading(STOPS, float(values[0])))) == words


# What stands out


def outs(*entries):
    return [out.reading.factor.name for out in stand_outs(entries)]


def placed(name, percentile, value=0.5, note=""):
    return Reading(FACTORS[name], value, note, percentile, 20)


def test_what_is_far_from_the_others_comes_first():
    assert outs((placed("face_stops", 2), -2.0), (placed("noise", 99), 5.0)) == ["noise", "face_stops"]


def test_what_is_rare_but_not_seen_does_not_stand_out():
    assert outs((placed("face_stops", 0), 0.4)) == []


def test_what_is_not_reliable_or_tells_people_apart_does_not_stand_out():
    assert outs((placed("face_stops", 0, note="too few"), 6.0)) == []
    assert outs(*((placed(name, 100), 6.0) for name in NOT_TELLING)) == []


def test_advice_stands_out_where_there_are_no_others_and_not_where_most_are_worse():
    blown = placed("over_face", None, value=20.0)
    assert blown.advice and outs((blown, None)) == ["over_face"]
    assert outs((placed("over_face", 40, value=20.0), -1.5)) == []


def test_no_family_takes_all_places():
    names = [name for name, factor in FACTORS.items() if factor.family == "exposure"]
    assert len(outs(*((placed(name, 100), 4.0) for name in names))) == 2


def test_principal_factors_and_those_that_do_not_tell_exist():
    assert {*PRINCIPAL, *NOT_TELLING} <= {*FACTORS}


# Words


def test_camera_settings_in_words():
    words = camera_words(FileFacts(exposure_time=2.5, f_number=1.8, focal_length=4.25, focal_length_35mm=26))
    assert words == {"exposure time": "2.5 s", "aperture": "f/1.8", "focal length": "4.25 mm (26 mm on 35 mm film)"}
    assert camera_words(FileFacts()) == {}


def test_shares_that_are_nothing_are_not_told():
    assert share_words({"whole": 0.0, "face": -0.2}) == "the face lowers the score by 0.200"
    assert share_words({"whole": 0.0001}) == ""


# Files


def test_a_part_counts_for_the_file_as_it_was(tmp_path):
    from piqa.report.facts import Facts
    from piqa.scoring.image_batches import stamp_of

    file = tmp_path / "a.jpg"
    file.write_bytes(b"first")
    parts = Parts(tmp_path / "report")
    parts.write(str(file), Facts(stamp_of(str(file)), width=3))
    assert parts.is_current(str(file)) and parts.facts(str(file)).width == 3
    file.write_bytes(b"changed")
    assert not parts.is_current(str(file))
    assert "a.jpg" not in part_id(str(file))


def test_a_damaged_part_is_measured_again(tmp_path):
    parts = Parts(tmp_path)
    parts.folder.mkdir()
    (parts.folder / f"{part_id('a.jpg')}.json").write_text('{"facts": [')
    assert not parts.is_current("a.jpg") and parts.pictures("a.jpg").photo == ""


def test_only_files_as_piqa_wrote_them_are_replaced_and_removed(tmp_path):
    files = WrittenFiles(tmp_path)
    for name in ("a.html", "b.html", "c.html"):
        files.write_text(name, name)
    (tmp_path / "b.html").write_text("edited")
    (tmp_path / "mine.html").write_text("mine")
    again = WrittenFiles(tmp_path)
    again.write_text("a.html", "new")
    assert "was changed since piqa wrote it" in refusal(again.write_text, "b.html", "new")
    assert "was not written by piqa" in refusal(again.write_text, "mine.html", "new")
    again.remove_others(["a.html"])
    assert {path.name for path in tmp_path.glob("*.html")} == {"a.html", "b.html", "mine.html"}


def test_numbers_of_the_table_read_back(tmp_path):
    from piqa.report.table import columns

    assert columns(scored=True)[:6] == ["file", "face_found", "other_faces", "turned", "score", next(iter(FACTORS))]
    assert len(columns(scored=False)) == 5 + 2 * len(FACTORS)
    assert np.unique(columns(scored=True)).size == len(columns(scored=True))
