"""What a page says in another language: the phrases of all rooms, by their English templates.

A language is one file in `phrases/`, besides the strings of the pages themselves. English needs none: it stands beside
what is said. A text that is not known is left in English.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from piqa.system.phrases import Phrase

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "phrases"


@cache
def templates(language: str) -> Mapping[str, str]:
    """Return the templates of a language by those in English; none of English itself."""
    path = FOLDER / f"{language}.toml"
    if not path.is_file():
        return {}
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return {english: text for table in content.values() for english, text in table.items()}


def is_known(text: str, language: str) -> bool:
    """Whether a text, with every phrase in it, can be said in a language."""
    if language == "en":
        return True
    if not isinstance(text, Phrase):
        return text in templates(language)
    inside = (one for one in text.values.values() if isinstance(one, Phrase))
    return text.template in templates(language) and all(is_known(one, language) for one in inside)


def translated(text: str, language: str) -> str:
    """Return a phrase, or a text that is one without values, in a language; in English where it is not known there.

    Examples:
        >>> translated(Phrase("the face is {stops:.1f} stops above mid-grey", stops=0.72), "zh")
        '人脸比中灰亮 0.7 档'
    """
    known = templates(language)
    if not isinstance(text, Phrase):
        return known.get(text, text)
    if not text.values:
        return known.get(text.template, str(text))
    values = {name: translated(one, language) if isinstance(one, Phrase) else one for name, one in text.values.items()}
    return known.get(text.template, text.template).format(**values)
