"""Sentences that can be said in other languages: a template in English with the values in it.

A phrase is the English text, so that commands, files and programs use it as they use any other text. A page in another
language looks up the template and puts the same values into its own (`piqa.web.translation`). A text without values is
its own template: it can be looked up wherever it was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

MARK = "$phrase"  # of a phrase in JSON


class Phrase(str):
    """A text made of a template and values.

    Args:
        template: In English; values stand in it in braces, with their format.
        **values: By name: numbers, texts that are the same in every language, or phrases.

    Attributes:
        template: As given.
        values: As given.

    Examples:
        >>> said = Phrase("{a} is better by {steps:.1f} steps", a="A", steps=1.26)
        >>> said, said.template
        ('A is better by 1.3 steps', '{a} is better by {steps:.1f} steps')
    """

    template: str
    values: Mapping[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Phrase:
        """Return the text with its values filled in."""
        made = super().__new__(cls, template.format(**values) if values else template)
        made.template, made.values = template, values
        return made

    def __reduce__(self) -> tuple[Callable[..., Phrase], tuple[str, Mapping[str, Any]]]:
        """Return what a copy, also in another process, is made of."""
        return _made, (self.template, self.values)


def _made(template: str, values: Mapping[str, Any]) -> Phrase:
    return Phrase(template, **values)


def as_phrase(text: str) -> Phrase:
    """Return a text as a phrase; one that is none already, as it has no values."""
    return text if isinstance(text, Phrase) else Phrase(text)


def joined(phrases: Iterable[str]) -> str:
    """Return the phrases that are not empty as one, in the order given.

    Examples:
        >>> joined(["too dark", "", "blurred"])
        'too dark; blurred'
    """
    found = [as_phrase(one) for one in phrases if one]
    return reduce(lambda said, one: Phrase("{first}; {second}", first=said, second=one), found) if found else ""


def listed(phrases: Sequence[Phrase]) -> Phrase:
    """Return at least one phrase as a list in words.

    Examples:
        >>> listed([Phrase("red"), Phrase("orange"), Phrase("yellow")])
        'red, orange and yellow'
    """
    *others, last = phrases
    if not others:
        return last
    return Phrase("{first} and {last}", first=reduce(_and_then, others), last=last)


def _and_then(first: Phrase, second: Phrase) -> Phrase:
    return Phrase("{first}, {second}", first=first, second=second)


def changed(text: str, change: Callable[[str], str]) -> str:
    """Return a phrase whose values are changed where they are plain texts, such as names; a plain text itself."""
    if not isinstance(text, Phrase):
        return change(text)
    values = {name: changed(one, change) if isinstance(one, str) else one for name, one in text.values.items()}
    return Phrase(text.template, **values)


def packed(content: Any) -> Any:
    """Return content with its phrases as JSON can hold them."""
    if isinstance(content, Phrase):
        return {MARK: content.template, "values": packed(content.values)}
    if isinstance(content, Mapping):
        return {name: packed(one) for name, one in content.items()}
    return [packed(one) for one in content] if isinstance(content, list | tuple) else content


def unpacked(content: Any) -> Any:
    """Return content with its phrases again, as `packed` returned it.

    Examples:
        >>> unpacked(packed({"said": [Phrase("{n} scenes", n=6)]}))
        {'said': ['6 scenes']}
    """
    if isinstance(content, Mapping):
        if MARK in content:
            return Phrase(content[MARK], **unpacked(content["values"]))
        return {name: unpacked(one) for name, one in content.items()}
    return [unpacked(one) for one in content] if isinstance(content, list) else content
