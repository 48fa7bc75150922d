"""Write a report from its parts: the index, a page a portrait, the table, and on request the PDF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from piqa.factors.factor import Direction, Reading
from piqa.factors.families import FACTORS
from piqa.report.facts import MapPicture
from piqa.report.learned import FactorModel, Learned
from piqa.report.names import folder_of, page_names, printable, shown_names
from piqa.report.portraits import PORTRAITS, Portraits, ReportedImage
from piqa.report.scenes import place_in_words
from piqa.report.standouts import PRINCIPAL, StandOut
from piqa.report.table import write_table
from piqa.system.phrases import Phrase, joined
from piqa.system.progress import Advance
from piqa.system.written_files import WrittenFiles
from piqa.web.page import render_page
from piqa.web.pdf import write_pdf
from piqa.web.text import number

INDEX, TABLE, PDF = "index.html", "factors.csv", "report.pdf"
PDF_PORTRAITS = 40  # that are printed at once: a browser holds all of them in memory
THUMBNAIL_BYTES = 12_000_000  # of all thumbnails of the index, so that a browser opens it at once

DIRECTIONS: dict[Direction, str] = {
    "up": Phrase("more is better"),
    "down": Phrase("less is better"),
    "middle": Phrase("neither direction is better in itself"),
}

SHORT_TITLES = {  # of maps, for the switch
    "score_whole": "score: whole image",
    "score_face": "score: face",
    "learned_exposure": "exposure, learned",
}


@dataclass(frozen=True)
class Heading:
    """What the pages say of the report as a whole.

    Attributes:
        title: Such as the folder's name.
        images: Number of images.
        faceless: How many of them show no face.
        failed: How many could not be measured.
        compared: With what each is compared, a sentence.
        model: The model's name; "" without one.
        licence: What is said of the use of its weights; "" where nothing is.
        learned: A sentence on each factor model.
    """

    title: str
    images: int
    faceless: int
    failed: int
    compared: str
    model: str
    licence: str = ""
    learned: tuple[str, ...] = ()


def heading(portraits: Portraits, model: str = "", licence: str = "") -> Heading:
    """Return what the pages say of the report."""
    scenes = portraits.scenes
    number_of = len(portraits)
    if scenes.by_folder:
        compared = f"Each image is compared with those of its folder; there are {len(scenes.members)} folders."
    else:
        compared = "Each image is compared with all others of this report."
    faceless = sum(image.facts.face_box is None for image in portraits if not image.error)
    folders = {folder_of(name) for name in portraits.names}
    title = printable(folders.pop()) if len(folders) == 1 else ""
    learned = tuple(_learned_words(one) for one in portraits.learned.models)
    return Heading(title, number_of, faceless, len(portraits.errors), compared, model, licence, learned)


def _learned_words(model: FactorModel) -> str:
    licence = f" Its licence: {model.licence}." if model.licence else ""
    return f"Learned {model.family} is the score of the model {model.name}: higher is better.{licence}"


def planned_files(files: Sequence[str]) -> list[str]:
    """Return the names of the pages and the table that a report of these images has, from the report's folder."""
    return [INDEX, TABLE, *(f"{PORTRAITS}/{page}" for page in page_names(shown_names(files)))]


def write_portraits(portraits: Portraits, files: WrittenFiles, head: Heading, advance: Advance) -> None:
    """Write the table and the portraits' pages.

    Args:
        portraits: The images.
        files: Where they are written.
        head: What is said of the report.
        advance: Told of each page.
    """
    with files.replacing(TABLE) as temporary:
        write_table(portraits, temporary, bool(head.model), portraits.learned)
    measured = portraits.measured()
    for place, position in enumerate(measured):
        before = portraits.page(measured[place - 1]) if place else ""
        after = portraits.page(measured[place + 1]) if place + 1 < len(measured) else ""
        files.write_text(portraits.page(position), portrait_page(portraits, position, head, before, after))
        advance(1)


def portrait_page(portraits: Portraits, position: int, head: Heading, before: str = "", after: str = "") -> str:
    """Return the page of a portrait; `before` and `after` are the pages of its neighbours."""
    return render_page(
        "report/portrait.html",
        head=head,
        count=len(portraits),
        before=_beside(before),
        after=_beside(after),
        portrait=portrait_view(portraits, portraits[position]),
    )


def index_page(portraits: Portraits, head: Heading, more: Mapping[str, str]) -> str:
    """Return the index; `more` is what else it leads to: files of the report, and what they are."""
    return render_page(
        "report/index.html",
        head=head,
        factor_columns=list(factor_columns(portraits.learned)),
        families=list(dict.fromkeys(factor.family for factor in FACTORS.values())),
        rows=list(index_rows(portraits)),
        failures=[(printable(portraits.names[at]), printable(error)) for at, error in portraits.errors.items()],
        table=TABLE,
        more=more,
    )


def write_report_pdf(portraits: Portraits, files: WrittenFiles, head: Heading, advance: Advance) -> None:
    """Write the PDF, a page a portrait; InputError where nothing here can make one."""
    measured = portraits.measured()

    def documents() -> Iterator[str]:
        for start in range(0, len(measured), PDF_PORTRAITS):
            chunk = measured[start : start + PDF_PORTRAITS]
            views = [portrait_view(portraits, portraits[position]) for position in chunk]
            yield render_page("report/print.html", head=head, portraits=views)
            advance(len(chunk))

    with files.replacing(PDF) as temporary:
        write_pdf(documents(), temporary)


def _beside(page: str) -> str:
    return page.removeprefix(f"{PORTRAITS}/")


def index_rows(portraits: Portraits, positions: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield a row of the index for each image that was measured, or of those at some positions."""
    room = THUMBNAIL_BYTES
    for position in portraits.measured() if positions is None else positions:
        image = portraits[position]
        thumbnail = portraits.parts.thumbnail(image.file) if room > 0 else ""
        room -= len(thumbnail)
        yield {
            "page": image.page,
            "title": image.title,
            "folder": printable(folder_of(image.name)),
            "thumbnail": thumbnail,
            "faces": 0 if image.facts.face_box is None else 1 + image.facts.other_faces,
            "score": image.score,
            "stand_outs": image.stand_outs[:3],
            "outs": [_out_words(out) for out in image.stand_outs[:3]],
            "cells": list(_cells(image, portraits.learned)),
        }


def factor_columns(learned: Learned) -> Iterator[dict[str, str]]:
    """Yield title, kind, group and hint of the index's columns of factors, a family's factor models behind its own."""
    for family in dict.fromkeys(factor.family for factor in FACTORS.values()):
        for factor in (one for one in FACTORS.values() if one.family == family):
            hint = f"{factor.unit}, {DIRECTIONS[factor.direction]}" if factor.unit else DIRECTIONS[factor.direction]
            group = "" if factor.name in PRINCIPAL else f"more on {family}"
            yield {"title": factor.title, "kind": "number", "group": group, "hint": hint}
        for model in learned.of_family(family):
            hint = f"score of the model {model.name}, {DIRECTIONS['up']}"
            yield {"title": model.factor.title, "kind": "number", "group": "", "hint": hint}
            for output in model.outputs:
                title = f"{output} ({model.factor.title})".replace("_", " ")
                yield {"title": title, "kind": "text", "group": "", "hint": f"says the model {model.name}"}


def _cells(image: ReportedImage, learned: Learned) -> Iterator[dict[str, object]]:
    """Yield the cells of those columns."""
    for family in dict.fromkeys(factor.family for factor in FACTORS.values()):
        for name in (name for name, factor in FACTORS.items() if factor.family == family):
            yield _cell(image.readings[name])
        for model in learned.of_family(family):
            said = image.learned.get(model.family)
            yield _cell(Reading(model.factor, None) if said is None else said.reading)
            for output in model.outputs:
                word = "" if said is None else said.classes.get(output, "").replace("_", " ")
                yield {"value": word, "text": word, "percentile": None}


def _out_words(out: StandOut) -> tuple[str, str]:
    """Return the name of a factor that stands out, and its value and place."""
    value = value_words(out.reading)
    return out.reading.factor.title, Phrase("{value}, {place}", value=value, place=out.place) if out.place else value


def _cell(reading: Reading) -> dict[str, object]:
    value = value_words(reading, unit=False)
    return {
        "value": reading.value,
        "text": value if reading.reliable or reading.value is None else f"({value})",
        "percentile": None if reading.percentile is None else round(reading.percentile),
    }


def value_words(reading: Reading, unit: bool = True) -> str:
    """Return a value as it is shown, such as `−1.30 stops`."""
    text, of = number(reading.value, reading.factor.digits), reading.factor.unit
    if not unit or not of or reading.value is None:
        return text
    if ":" in of or " to " in of:  # `1: yes` tells what numbers mean
        return Phrase("{value} ({unit})", value=text, unit=Phrase(of))
    return Phrase("{value} {unit}", value=text, unit=Phrase(of))


def portrait_view(portraits: Portraits, image: ReportedImage) -> dict[str, Any]:
    """Return what the page of a portrait shows."""
    pictures = portraits.parts.pictures(image.file)
    facts = image.facts
    said = image.said
    learned = image.learned.values()
    maps = [*pictures.maps, *(shown for one in learned for shown in one.maps), *(said.maps if said is not None else [])]
    readings = [*image.readings.values(), *(one.reading for one in learned)]
    return {
        "title": image.title,
        "folder": printable(folder_of(image.name)),
        "place": image.position + 1,
        "photo": pictures.photo,
        "thumbnail": pictures.thumbnail,
        "facts": facts,
        "face_box": facts.face_box,
        "notes": _notes(image),
        "maps": [_map(one) for one in maps],
        "outs": image.stand_outs,
        "compared": image.compared_with,
        "placed": any(reading.percentile is not None for reading in image.readings.values()),
        "families": [
            {"name": family, "bars": [_bar(reading) for reading in of_family]}
            for family, of_family in _by_family(readings)
        ],
        "said": said,
        "share_words": "" if said is None else share_words(said.shares),
    }


def share_words(shares: Mapping[str, float]) -> str:
    """Return in words what the branches add to a score, the most telling first; "" where none adds anything.

    Examples:
        >>> share_words({"whole": -0.1, "face": 0.25})
        'the face raises the score by 0.250, the whole image lowers it by 0.100'
    """
    ordered = [item for item in sorted(shares.items(), key=lambda item: -abs(item[1])) if abs(item[1]) >= 0.0005]
    names = {"whole": "the whole image", "face": "the face", "liqe": "LIQE"}
    return ", ".join(
        f"{names.get(branch, branch)} {'raises' if share > 0 else 'lowers'} {'it' if place else 'the score'} by "
        f"{number(abs(share), 3)}"
        for place, (branch, share) in enumerate(ordered)
    )


def _map(shown: MapPicture) -> dict[str, object]:
    return {
        "name": shown.name,
        "title": SHORT_TITLES.get(shown.name, shown.title),
        "src": shown.picture,
        "legend": shown.legend,
        "note": f"{shown.title}; {shown.limits}" if shown.name in SHORT_TITLES else shown.limits,
    }


def _bar(reading: Reading) -> dict[str, object]:
    factor = reading.factor
    return {
        "name": factor.name,
        "title": factor.title,
        "value": value_words(reading),
        "sentence": reading.sentence,
        "advice": reading.advice,
        "percentile": reading.percentile,
        "place": joined([place_in_words(reading), DIRECTIONS[factor.direction]]),
        "caveat": factor.caveat,
    }


def _by_family(readings: Iterable[Reading]) -> list[tuple[str, list[Reading]]]:
    found: dict[str, list[Reading]] = {}
    for reading in readings:
        found.setdefault(reading.factor.family, []).append(reading)
    return list(found.items())


def _notes(image: ReportedImage) -> list[str]:
    """Return what must be known of an image before its values are read."""
    facts = image.facts
    notes: list[str] = []
    if facts.face_box is None:
        notes.append(Phrase("No face was found, so that what is measured at a face is left empty."))
    elif facts.other_faces == 1:
        notes.append(Phrase("The outlined face is the one that is measured; another face was found."))
    elif facts.other_faces:
        others = "The outlined face is the one that is measured; {others} other faces were found."
        notes.append(Phrase(others, others=facts.other_faces))
    if facts.turned:
        turned = "The image was turned clockwise by {degrees} degrees, as its face did not stand upright."
        notes.append(Phrase(turned, degrees=facts.turned))
    return notes
