"""Parts of studies that need no server: JPEGs without descriptions, moments, charts of intervals, silent progress."""

import io
import math

import numpy as np
import pytest
from judging import picture
from PIL import Image
from rich.console import Console

from piqa.server.records import Photo
from piqa.server.study_images import without_descriptions
from piqa.server.study_moments import moments_of
from piqa.system.progress import progress, without_progress
from piqa.web import charts


@pytest.mark.parametrize("how", [{"quality": 90}, {"quality": 40, "progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_keeps_its_pixels_and_loses_all_else(how):
    exif = Image.Exif()
    exif[271] = "Maker"
    whole = picture(1, (64, 80), exif=exif, comment=b"a comment", icc_profile=b"a profile" * 20, **how)
    bare = without_descriptions(whole + b"\xff\xd8 a film of the phone")
    opened = Image.open(io.BytesIO(bare))
    assert np.array_equal(np.asarray(opened), np.asarray(Image.open(io.BytesIO(whole))))
    assert not any(words in bare for words in (b"Maker", b"comment", b"profile", b"film", b"JFIF"))


@pytest.mark.parametrize("cut", [0, 2, 3, 30, 400, -2])
def test_what_is_no_whole_jpeg_is_given_up(cut):
    assert without_descriptions(picture(1)[:cut]) is None


def test_moments_are_called_by_their_first_photo_and_those_alone_have_none():
    def photo(number, seconds):
        facts = {"capture": {"seconds": seconds, "camera": "A", "subseconds": True}}
        return Photo(id=str(number), name=f"day/{number}.jpg", facts=facts)

    photos = [photo(1, 10.0), photo(2, 10.2), photo(3, 9000.0)]
    files = {one.id: f"/nowhere/{one.id}" for one in photos}
    assert moments_of(photos, files) == {"day/1.jpg": "day/1", "day/2.jpg": "day/1"}


def test_a_chart_of_intervals_tells_its_values_in_words():
    rows = [("low", -1.0, -2.0, 0.0), ("high", 1.5, 1.0, 2.0), ("alone", 0.5, math.nan, math.nan), ("", math.nan, 0, 1)]
    chart = charts.intervals(rows, "Scores of <hall>", unit="JOD")
    said = chart.split("<desc>")[1].split("</desc>")[0]
    assert said == "high 1.50 (1.00 to 2.00), alone 0.50, low −1.00 (−2.00 to 0.00)"  # noqa: RUF001
    assert chart.count("<circle") == 3 and chart.count('class="blue"') == 2 and "&lt;hall&gt;" in chart
    assert "circle" not in charts.intervals([], "None")


def test_progress_is_silent_in_the_block_and_heard_after_it():
    def shown():
        file = io.StringIO()
        with progress(2, console=Console(file=file), every=0, first=0) as advance:
            for _ in range(3):
                advance(1)
        return file.getvalue()

    with without_progress():
        silent = shown()
    assert silent == "" and "2" in shown()
