"""Values as a page writes them."""

from __future__ import annotations

import math

from markupsafe import Markup

DASH = "–"  # noqa: RUF001 - an en dash is meant
ENDS = ("", ".", "!", "?", "。", "！", "？")  # noqa: RUF001 - of a sentence, Chinese ones too
MINUS = "−"  # noqa: RUF001 - a true minus sign is meant


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """Return the number with a true minus sign, with `sign` also a plus sign; a dash where there is none.

    Examples:
        >>> number(0.5, 1, sign=True), number(-0.001, 1), number(None)
        ('+0.5', '0.0', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)


def breakable(name: object) -> Markup:
    """Return a file's name, escaped, with a possible line break after each underscore."""
    return Markup("_<wbr>").join(str(name).split("_"))


def printable(text: str) -> str:
    """Return a text with a sign in place of what cannot be shown: controls, line ends and bytes that are no UTF-8."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def first_upper(text: str) -> str:
    """Return the text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def sentence(text: str, full_stop: str = ".") -> str:
    """Return the text as a sentence, with a capital and a full stop."""
    return first_upper(text.strip()) + ("" if text.strip()[-1:] in ENDS else full_stop)
