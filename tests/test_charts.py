"""Charts as SVG: well formed, told in words, drawn to scale."""
# ruff: noqa: RUF001 - a minus and an en dash are meant

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from piqa.web import charts

SHARES = [0.5, 0.3, 0.2] + [0.0] * 9


def read(chart):
    svg = ElementTree.fromstring(str(chart))
    assert svg.attrib["role"] == "img" and svg.attrib["aria-label"]
    return svg, svg.find("title").text, svg.find("desc").text


def test_a_wheel_tells_its_hues_in_words():
    _, title, said = read(charts.hue_wheel(SHARES, "Hues of <a>"))
    assert title == "Hues of <a>"
    assert said == "red 50 %, red-orange 30 %, orange 20 %"


def test_fields_of_a_wheel_grow_with_the_share_and_absent_hues_have_none():
    fields = re.findall(r'L([-\d.]+),([-\d.]+)A[^"]*" fill="[^"]+" stroke', str(charts.hue_wheel(SHARES)))
    reach = [math.hypot(float(x), float(y)) - 12 for x, y in fields]
    assert len(reach) == 3
    np.testing.assert_allclose(np.square(reach) / reach[0] ** 2, [1, 0.6, 0.4], atol=0.01)


def test_a_wheel_begins_with_red_at_the_top_and_goes_clockwise():
    ring = re.findall(r'M([-\d.]+),([-\d.]+)[^"]*" fill="(#\w+)"/>', str(charts.hue_wheel([0.0] * 12)))
    turn = [math.degrees(math.atan2(float(x), -float(y))) % 360 for x, y, _ in ring]
    np.testing.assert_allclose(turn, [(345 + 30 * i) % 360 for i in range(12)], atol=0.1)
    assert [colour for _, _, colour in ring] == [colour for _, colour in charts.HUES]


def test_an_image_without_colour_has_an_empty_wheel():
    assert read(charts.hue_wheel([0.0] * 12))[2] == "no colour"


def test_a_wheel_of_another_number_of_hues_is_refused():
    with pytest.raises(ValueError, match="12 shares, not 3"):
        charts.hue_wheel([0.1, 0.2, 0.7])


def test_a_histogram_tells_what_is_clipped_and_where_the_middle_lies():
    counts = {"red": [10, 0, 80, 10], "luminance": [0, 0, 0, 0]}
    said = read(charts.histogram(counts))[2]
    assert "red: 10.0 % in the darkest bin, 10.0 % in the brightest, median at 62 % of the range" in said
    assert "luminance: no pixels" in said


def test_a_clipped_sky_does_not_flatten_the_rest_of_a_histogram():
    (points,) = re.findall(r'<polyline points="(.*?)"', str(charts.histogram({"red": [1, 5, 5, 1000]})))
    heights = [120 - float(point.split(",")[1]) for point in points.split()]
    assert heights[1] == heights[2] == heights[3] == 112


def test_lines_of_a_histogram_differ_in_more_than_colour():
    text = str(charts.histogram({name: [1, 2, 1] for name in ("red", "green", "blue")}))
    dashes = re.findall(r'<polyline .*?stroke-dasharray="(.*?)"', text)
    assert len(set(dashes)) == 3
    assert all(f">{name}</text>" in text for name in ("red", "green", "blue"))


def test_bars_stand_on_either_side_of_zero_with_their_numbers():
    svg, _, said = read(charts.bars({"whole": 0.4, "face": -0.2, "LIQE": 0.0}, "Shares", unit="JOD"))
    assert said == "whole +0.40 JOD, face −0.20 JOD, LIQE 0.00 JOD"
    zero = float(svg.find("line").attrib["x1"])
    plus, minus, _ = (rect.attrib for rect in svg.findall("rect"))
    assert float(plus["x"]) == zero
    assert float(minus["x"]) + float(minus["width"]) == pytest.approx(zero, abs=0.11)
    assert float(plus["width"]) == pytest.approx(2 * float(minus["width"]), abs=0.2)


@pytest.mark.parametrize("values", [{}, {"a": 0.0}, {"a": float("nan")}, {"a": -3.0}, {"a": 1e9, "b": -1e9}])
def test_bars_of_any_values_stay_within_the_chart(values):
    svg, _, _ = read(charts.bars(values, "Shares"))
    for rect in svg.findall("rect"):
        left, width = float(rect.attrib["x"]), float(rect.attrib["width"])
        assert 0 <= left and width >= 0 and left + width <= charts.WIDTH


def test_names_cannot_bring_markup_in():
    text = str(charts.bars({"<script>": 1.0}, "<b>"))
    assert "<script>" not in text and "<b>" not in text
    assert "<b>" not in str(charts.histogram({"<b>": [1, 2]}, "<b>"))
