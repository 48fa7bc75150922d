"""Pages as text: self-contained, escaped, and with the parts of their own widgets alone."""
# ruff: noqa: RUF001 - a minus and an en dash are meant

import re
from fnmatch import fnmatch
from html import unescape
from pathlib import Path

import pytest
from gallery import gallery
from jinja2 import UndefinedError

from piqa.web import page
from piqa.web.page import PARTS, digest_of, parts_of, render_page
from piqa.web.text import breakable, number, sentence

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'\n😀"
ROOT = Path(__file__).parents[1]


def rendered(folder, body, head="", **values):
    """A page with this body."""
    file = folder / "own.html"
    head = "{% extends 'base.html' %}{% import 'widgets.html' as widgets %}" + head
    file.write_text(head + "{% block body %}" + body + "{% endblock %}", encoding="utf-8")
    page._environment.cache_clear()
    return render_page(file, **values)


def policy(text):
    return unescape(re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)[1])


def test_a_page_without_widgets_runs_no_script(tmp_path):
    text = rendered(tmp_path, "<p>hello</p>")
    assert "<script" not in text
    assert "script-src 'none'" in policy(text)
    assert "default-src 'none'" in policy(text)


def test_the_policy_names_the_digest_of_the_one_script():
    text = gallery()
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    assert re.findall(r"'sha256-.*?'", policy(text)) == [f"'{digest_of(scripts[0])}'"]


def test_a_page_holds_the_parts_of_its_own_widgets_alone(tmp_path):
    text = rendered(tmp_path, "{{ charts.hue_wheel(shares) }}", shares=[0.0] * 12)
    assert ".chart" in text
    assert ".stage" not in text and "sortBy" not in text


def test_every_part_of_a_widget_is_found_by_its_mark():
    assert parts_of(gallery()) == list(PARTS)


def test_a_widget_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="no widget is called carousel"):
        parts_of('<div data-widget="carousel">')


def test_a_page_brings_styles_scripts_and_data_of_its_own(tmp_path):
    (tmp_path / "own.css").write_text(".own { color: red; }")
    (tmp_path / "own.js").write_text("const mine = 1;\n")
    head = "{% set styles = ['own.css'] %}{% set scripts = ['own.js'] %}{% set data = values %}"
    text = rendered(tmp_path, "", head, values={"name": "</script>"})
    assert ".own { color: red; }" in text
    assert "{\nconst mine = 1;\n}" in text  # in a block, so that no two scripts share a name
    assert '<script type="application/json" id="data">{"name":"\\u003c/script\\u003e"}</script>' in text


def test_images_come_from_the_page_itself_unless_it_says_otherwise(tmp_path):
    assert "img-src data:;" in policy(rendered(tmp_path, ""))
    assert "img-src data: 'self';" in policy(rendered(tmp_path, "", "{% set image_sources = \"data: 'self'\" %}"))


def test_a_value_that_is_missing_is_no_empty_text(tmp_path):
    with pytest.raises(UndefinedError, match="absent"):
        rendered(tmp_path, "{{ absent }}")


def test_names_cannot_bring_markup_in():
    evil = {"name": EVIL, "title": EVIL, "src": "data:,", "legend": [(EVIL, "#fff")], "note": EVIL}
    row = {"name": EVIL, "scene": EVIL, "stops": 1.0, "sharpness": float("nan")}
    columns = [{"title": EVIL, "kind": "text", "hint": EVIL, "group": EVIL}]
    text = gallery(EVIL, rows=[row], maps=[evil], columns=columns, shares={EVIL: 1.0}, counts={EVIL: [1, 2, 3]})
    assert len(re.findall("<script", text)) == 1
    assert "<img src=x" not in text
    assert 'data-value=""' in text  # what is not a number is unknown


def test_nothing_is_fetched():
    text = gallery()
    for value in re.findall(r'\b(?:src|href|srcset|action|poster)="(.*?)"', text):
        assert value.startswith(("#", "data:"))
    assert "url(" not in text and "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)  # the name of SVG's elements is no address


def test_the_same_values_make_the_same_page():
    assert gallery() == gallery()


def test_the_wheel_takes_every_file_of_the_pages():
    line = re.search(r'^"piqa\.web" = \[(.*)\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    patterns = re.findall(r'"(.*?)"', line)
    folder = ROOT / "piqa" / "web"
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*.*") if file.suffix not in (".py", ".pyc")]
    assert len(files) >= 15
    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)] == []


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (1.25, 1, False, "1.2"),
        (-1.5, 1, False, "−1.5"),
        (1.5, 1, True, "+1.5"),
        (-0.001, 2, True, "0.00"),
        (None, 2, True, "–"),
        (float("nan"), 2, False, "–"),
        (float("inf"), 2, False, "–"),
    ],
)
def test_numbers_have_a_true_minus_and_no_signed_zero(value, digits, sign, text):
    assert number(value, digits, sign) == text


def test_a_sentence_begins_with_a_capital_and_ends_once():
    assert [sentence(text) for text in ("the face", "Is it?", "")] == ["The face.", "Is it?", ""]


def test_long_names_may_break_after_underscores_and_nowhere_bring_markup_in():
    assert breakable("a_<b>") == "a_<wbr>&lt;b&gt;"
