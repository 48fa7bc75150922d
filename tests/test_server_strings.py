"""What the server's pages say: the same strings in every language, and no words in the templates themselves."""

import re
import string
from html.parser import HTMLParser
from pathlib import Path

import pytest

from piqa.server import pages

TEMPLATES = sorted((Path(pages.__file__).parent / "templates").glob("*.html"))
SPOKEN = {"aria-label", "alt", "title", "placeholder", "aria-roledescription", "aria-description"}
NO_WORDS = {"SROCC", "KROCC", "PLCC", "MAE"}  # names that every language shares


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", [one for one in pages.LANGUAGES if one != "en"])
def test_a_language_has_the_same_strings_with_the_same_values(language):
    english, other = pages.strings("en"), pages.strings(language)
    assert {*english} == {*other}
    assert {name for name in english if fields(english[name]) != fields(other[name])} == set()
    assert {name for name, text in other.items() if not text.strip()} == set()


def test_chinese_is_chinese():
    chinese = {name: text for name, text in pages.strings("zh").items() if not re.search("[\u4e00-\u9fff]", text)}
    assert {*chinese.values()} <= {"100 %", "JOD", "\u3002"}  # the last is a full stop


class Words(HTMLParser):
    """Collects what a reader sees or hears of a template."""

    def __init__(self, text):
        super().__init__()
        self.words, self._silent = [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._silent += tag in ("script", "style")
        self.words += [value for name, value in attributes if name in SPOKEN and value]

    def handle_endtag(self, tag):
        self._silent -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)


def without_code(text):
    """A template without what Jinja replaces; quotes inside it would end an attribute."""
    return re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", " ", text, flags=re.DOTALL)


def words_of(text):
    return {word for piece in Words(without_code(text)).words for word in re.findall(r"[^\W\d_]{2,}", piece)}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_templates_hold_no_words(template):
    assert words_of(template.read_text()) - NO_WORDS == set()


def test_words_in_a_template_are_found():
    assert words_of('<p title="Hello {{ x }}">{% if y %}you there{% endif %}</p>') == {"Hello", "you", "there"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_every_string_that_a_template_names_is_there(template):
    known = pages.strings("en")
    named = re.findall(r'\bt\("([a-z_]+\.[a-z_0-9]+)"\s*[,)]', template.read_text())
    assert {name for name in named if name not in known} == set()
    for start in re.findall(r'\bt\("([a-z_]+\.[a-z_]*)"\s*~', template.read_text()):
        assert any(name.startswith(start) for name in known)
