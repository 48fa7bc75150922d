"""What the page of a project shows of its photos: a row each, with factors, scores and its place in its moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from piqa.factors.factor import Factor
from piqa.factors.families import FACTORS
from piqa.report.pages import DIRECTIONS, index_rows
from piqa.report.portraits import Portraits
from piqa.report.standouts import PRINCIPAL
from piqa.server.pages import Translator
from piqa.server.photos import ScoreSeen, id_of
from piqa.server.picks import Place

Column = dict[str, str]


def factor_title(factor: Factor, t: Translator) -> str:
    """Return the title of a factor in the reader's language."""
    return t(f"factor.{factor.name}")


def factor_columns(t: Translator) -> list[Column]:
    """Return title, kind, group and hint of a column for each factor, family by family, as rows have their cells."""
    columns = []
    for family in families():
        for factor in (one for one in FACTORS.values() if one.family == family):
            direction = t(f"direction.{factor.direction}") if factor.direction in DIRECTIONS else ""
            hint = f"{t.say(factor.unit)}, {direction}" if factor.unit else direction
            group = "" if factor.name in PRINCIPAL else group_of(family, t)
            title = factor_title(factor, t)
            columns.append({"title": title[:1].upper() + title[1:], "kind": "number", "group": group, "hint": hint})
    return columns


def families() -> list[str]:
    """Return the families of factors in their order."""
    return list(dict.fromkeys(factor.family for factor in FACTORS.values()))


def group_of(family: str, t: Translator) -> str:
    """Return what the columns of a family are called that are shown on request."""
    return t("photos.more_on", family=t(f"family.{family}"))


def photo_rows(
    portraits: Portraits,
    positions: Sequence[int],
    scores: Mapping[str, Mapping[str, ScoreSeen]],
    places: Mapping[str, Place],
    t: Translator,
) -> list[dict[str, Any]]:
    """Return a row of the table for each of these photos.

    Args:
        portraits: All photos of the project, as of `Photos.portraits`.
        positions: Those that are shown.
        scores: What each model says of each, by its name in addresses.
        places: The place of each in its moment, likewise, as far as it has one.
        t: Of the reader's language.
    """
    rows = []
    for position, row in zip(positions, index_rows(portraits, positions), strict=True):
        photo = id_of(portraits, position)
        outs = [
            (factor_title(out.reading.factor, t), t.say(words))
            for out, (_, words) in zip(row["stand_outs"], row["outs"], strict=True)
        ]
        place = place_words(places.get(photo), t)
        rows.append(row | {"id": photo, "scores": scores.get(photo, {}), "outs": outs, "place": place})
    return rows


def place_words(place: Place | None, t: Translator) -> dict[str, Any] | None:
    """Return the place of a photo in its moment as the table shows it; None where it has none."""
    if place is None:
        return None
    words, keeper = "", place.keeper
    if place.shots == 1:
        words = t("photos.single")
    elif keeper:
        words = t("photos.keeper_close" if place.close else "photos.keeper")
    elif place.rank is not None:
        words = t("photos.rank", rank=place.rank, shots=place.shots)
    else:
        words = t("photos.not_ranked")
    return {
        "moment": place.moment,
        "rank": place.rank,
        "words": words,
        "keeper": keeper and place.shots > 1,
        "close": place.close,
        "probability": place.probability,
        "reason": t.line(place.reason),
    }
