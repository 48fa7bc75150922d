"""What the page of a photo shows, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from piqa.report.facts import ON_FILM
from piqa.server.pages import Translator
from piqa.server.photo_table import factor_title


def translated_view(view: dict[str, Any], t: Translator) -> dict[str, Any]:
    """Return what the page of a portrait shows in the reader's language."""
    outs = [
        {
            "title": factor_title(out.reading.factor, t),
            "reading": {"sentence": t.sentence(out.reading.sentence), "advice": t.sentence(out.reading.advice)},
            "place": t.sentence(out.place),
        }
        for out in view["outs"]
    ]
    maps = [
        shown
        | {"title": t(f"map.{shown['name']}"), "legend": legend_words(shown["legend"], t), "note": t.say(shown["note"])}
        for shown in view["maps"]
    ]
    families = [
        {"name": family["name"], "bars": [_translated_bar(bar, t) for bar in family["bars"]]}
        for family in view["families"]
    ]
    notes = [t.sentence(note) for note in view["notes"]]
    camera = camera_words(view["facts"].camera, t)
    return view | {"outs": outs, "maps": maps, "families": families, "notes": notes, "camera": camera}


def _translated_bar(bar: dict[str, Any], t: Translator) -> dict[str, Any]:
    sentences = {name: t.sentence(bar[name]) for name in ("sentence", "advice", "caveat")}
    title = t(f"factor.{bar['name']}")
    return bar | sentences | {"title": title, "value": t.say(bar["value"]), "place": t.say(bar["place"])}


def camera_words(camera: Mapping[str, str], t: Translator) -> dict[str, str]:
    """Return the camera's settings in the reader's language, by their titles there."""
    return {
        t(f"camera.{name.replace(' ', '_')}"): words.replace(ON_FILM, t.say(ON_FILM)) for name, words in camera.items()
    }


def legend_words(legend: Sequence[tuple[str, str]], t: Translator) -> list[tuple[str, str]]:
    """Return the legend of a map in the reader's language, each text with its colour."""
    return [(t.say(words), colour) for words, colour in legend]
