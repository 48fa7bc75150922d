"""Phrases: the English text wherever a text is needed, and the same with the same values in every other language."""

import ast
import copy
import importlib
import json
import math
import pickle
import re
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import piqa
from piqa.comparison.pair import TESTS, PairResult, SceneResult, Settings
from piqa.comparison.shots import DeviceNames
from piqa.comparison.verdict import in_words
from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS
from piqa.factors.hue import HUES
from piqa.factors.measure import factors_of
from piqa.report.facts import map_picture
from piqa.report.pages import value_words
from piqa.report.scenes import place_in_words
from piqa.system.phrases import Phrase, as_phrase, changed, joined, listed, packed, unpacked
from piqa.web import translation
from piqa.web.translation import is_known, templates, translated

PACKAGE = Path(piqa.__file__).parent
LANGUAGES = sorted(path.stem for path in translation.FOLDER.glob("*.toml"))
MAKERS = {"Phrase", "not_found"}  # whose text is a template


def placeholders(text):
    return sorted((name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text) if name)


def literals(node):
    """All texts that an expression may be."""
    if isinstance(node, ast.IfExp):
        return literals(node.body) | literals(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def named_texts(function):
    """The texts that a function gives a name, by the name."""
    found = {}
    for one in ast.walk(function):
        if isinstance(one, ast.Assign):
            several = isinstance(one.targets[0], ast.Tuple) and isinstance(one.value, ast.Tuple)
            pairs = zip(one.targets[0].elts, one.value.elts, strict=True) if several else [(one.targets[0], one.value)]
            for name, value in pairs:
                found.setdefault(getattr(name, "id", ""), set()).update(literals(value))
    return found


def templates_in(tree):
    """The templates of a module, as they stand in a phrase or in a name of the same function."""
    found = set()
    for place in [tree, *(one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))]:
        names = {} if place is tree else named_texts(place)
        for call in ast.walk(place):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in MAKERS and call.args:
                found |= literals(call.args[0]) | names.get(getattr(call.args[0], "id", None), set())
    return found


def constants_of(name):
    """Phrases of a module that are made of other constants, such as a number of pixels."""
    return {one for one in vars(importlib.import_module(name)).values() if isinstance(one, Phrase) and not one.values}


@pytest.fixture(scope="module")
def all_templates():
    """Every template of the program, by what stands in its modules and what is made of its constants."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if "Phrase(" in text or "not_found(" in text:
            found |= templates_in(ast.parse(text))
    for room in ("factors", "report", "moments"):
        for path in (PACKAGE / room).glob("*.py"):
            if "Phrase(f" in path.read_text():
                found |= {str(one) for one in constants_of(f"piqa.{room}.{path.stem}")}
    for factor in FACTORS.values():
        found |= {text for text in (factor.caveat, factor.unit) if text}
    return found | {*TESTS, *HUES, "red", "green", "blue", "luminance"}


# English is what it was; other languages have all of it


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_template_with_the_same_values_and_formats(language, all_templates):
    known = templates(language)
    assert {*known} == all_templates
    assert {one for one, text in known.items() if placeholders(one) != placeholders(text)} == set()
    assert {one for one, text in known.items() if not text.strip()} == set()


def test_no_template_stands_twice_in_a_language():
    for language in LANGUAGES:
        lines = (translation.FOLDER / f"{language}.toml").read_text(encoding="utf-8").splitlines()
        assert sum(" = " in line and not line.startswith("#") for line in lines) == len(templates(language))


NAMES = {"JPEG", "ISO", "OFIQ", "Hasler", "Süsstrunk", "UTF", "CSV", "PDF", "JSON", "MiB", "log"}  # in any language
CODE = {
    "root",
    "keep",
    "none",
    "names",
    "image",
    "scene",
    "multipart",
    "form",
    "data",
    "application",
    "json",
    "day",
    "jpg",
}


def english_in(text):
    """What is left of English in a text: words of three letters or more."""
    return set(re.findall(r"[^\W\d_\u4e00-\u9fff]{3,}", text)) - NAMES


def test_chinese_is_chinese():
    left = {word for text in templates("zh").values() for word in english_in(re.sub(r"\{\w.*?\}", " ", text))}
    assert left <= CODE


VALUES = (-300, -5.5, -1, -0.1, 0, 0.02, 0.2, 0.4, 0.7, 1, 1.1, 2, 6.5, 20, 60, 90, 100, 250)


@pytest.mark.parametrize("name", FACTORS)
def test_what_a_factor_says_is_said_in_chinese_at_any_value(name):
    factor = FACTORS[name]
    for value in VALUES if name != "sharpest_plane" else (0, 1, 2):
        if name == "chroma_resolution" and value <= 0:
            continue
        reading = Reading(factor, float(value), "no face was found", detail=Phrase("many hues"))
        good = Reading(factor, float(value), percentile=12.5, images=9)
        for said in (reading.sentence, good.advice, value_words(good), place_in_words(good)):
            assert english_in(translated(said, "zh")) == set()
        digits = set(re.findall(r"\d+(?:\.\d+)?", good.sentence))
        assert digits <= set(re.findall(r"\d+(?:\.\d+)?", translated(good.sentence, "zh")))


def test_the_notes_and_maps_of_an_image_are_said_in_chinese():
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    found = factors_of(Image.fromarray(pixels), (None, 0, 0))
    notes = {reading.note for reading in found.readings.values() if reading.note}
    shown = [map_picture(one, (96, 64)) for one in found.maps.values()]
    said = notes | {words for one in shown for words, _ in one.legend} | {one.limits for one in shown}
    assert len(notes) >= 5 and len(shown) > 1
    assert {one for one in said if not is_known(one, "zh")} == set()
    kept = {str(one) for one in said - {one.limits for one in shown}}  # as a database holds them
    assert {one for one in kept if not is_known(one, "zh")} == set()


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("difference", "spread", "margin"), [(2, 0.3, 0), (-2, 0.3, 0.5), (0, 0.1, 1), (0, 0, 0), (0, 2, 0)]
)
def test_verdicts_are_said_in_chinese(test, difference, spread, margin):
    names = DeviceNames()
    devices = names.key("phone 1"), names.key("phone 2")
    values = [difference + spread * (-1) ** number * (1 + number) / 8 for number in range(8)]
    scenes = [SceneResult(str(at), "", 1, 1, value, 0.0, value, math.nan) for at, value in enumerate(values)]
    pair = PairResult(*devices, "", scenes, Settings(test, margin))
    said = in_words(replace(pair, p_adjusted=pair.p), names)
    chinese = translated(said, "zh")
    assert is_known(said, "zh") and english_in(chinese) == {"phone"}
    numbers = re.compile(r"\d+(?:\.\d+)?")
    assert sorted(numbers.findall(chinese)) == sorted(numbers.findall(said))


# What a phrase is


def test_a_phrase_is_its_english_text():
    said = Phrase("{a} is better by {steps:.1f}", a="A {x}", steps=1.26)
    assert said == "A {x} is better by 1.3" and json.dumps(said) == '"A {x} is better by 1.3"'
    assert Phrase("100 % {") == "100 % {"


def test_a_phrase_stays_one_when_it_is_copied_sent_or_kept():
    said = joined([Phrase("{a} is {b}", a="A", b=listed([Phrase("red"), Phrase("blue")])), "", "no face was found"])
    for again in (
        pickle.loads(pickle.dumps(said)),
        copy.deepcopy(said),
        unpacked(json.loads(json.dumps(packed(said)))),
    ):
        assert again == said == "A is red and blue; no face was found"
        assert isinstance(again, Phrase) and again.template == said.template
        assert translated(again, "zh") == translated(said, "zh")


def test_names_are_changed_and_templates_are_not():
    said = Phrase("{name}: {reason}", name="/a/b.jpg", reason=Phrase("{name} is empty", name="/a/b.jpg"))
    told = changed(said, lambda text: text.replace("/a/", ""))
    assert told == "b.jpg: b.jpg is empty" and translated(told, "zh") == "b.jpg\uff1ab.jpg 是空文件"
    assert changed("/a/b", lambda text: text[3:]) == "b"


def test_what_no_language_knows_stays_english():
    unknown = as_phrase("a.jpg is a damaged image")
    assert not is_known(unknown, "zh") and translated(unknown, "zh") == "a.jpg is a damaged image"
    assert is_known(unknown, "en") and not is_known(Phrase("{name}: {reason}", name="a", reason=unknown), "zh")
    assert translated(Phrase("{name}: {reason}", name="noise", reason=unknown), "zh") == f"noise\uff1a{unknown}"
