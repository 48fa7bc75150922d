"""Charts as SVG text, which a page, its print and a PDF show alike.

Each has the role of an image, a title, and a description that tells its values in words. Colours stand as attributes,
for readers of SVG that know no style sheets; `parts/chart.css` replaces them by those of the page, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from piqa.system.phrases import Phrase
from piqa.web.text import number

INK, SOFT, LINE = "#1b1e23", "#5c6470", "#d9dde3"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
# Names and colours of Itten's wheel of twelve hues, clockwise from red (J. Itten, Kunst der Farbe, 1961).
HUES = (
    ("red", "#d62728"),
    ("red-orange", "#e8541e"),
    ("orange", "#f28c1e"),
    ("yellow-orange", "#f8b616"),
    ("yellow", "#f6e51e"),
    ("yellow-green", "#9ac93b"),
    ("green", "#2e9e4f"),
    ("blue-green", "#1f8f94"),
    ("blue", "#2a6fbb"),
    ("blue-violet", "#4b4a9f"),
    ("violet", "#6f3a94"),
    ("red-violet", "#a62a6b"),
)
# Of a histogram: class, colour, and dashes, so that colour is not all that tells the lines apart.
CHANNELS = {"red": ("red", ORANGE, ""), "green": ("green", GREEN, "5 2"), "blue": ("blue", BLUE, "2 2")}
DARK, BRIGHT, NO_COLOUR = Phrase("dark"), Phrase("bright"), Phrase("no colour")
Say = Callable[[str], str]
WIDTH = 336  # of a chart; a phone's screen holds it
MOST_DOTS = 400  # more cannot be told apart


def hue_wheel(shares: Sequence[float], title: str = "Hues of the image", say: Say = str) -> Markup:
    """Return a wheel of twelve hues from red, whose fields grow in area with their share.

    Args:
        shares: Twelve fractions that sum to 1, or to 0 for an image without colour.
        title: What is shown.
        say: Returns a word in the reader's language.

    Raises:
        ValueError: If there are not twelve.
    """
    if len(shares) != len(HUES):
        raise ValueError(f"a wheel has {len(HUES)} shares, not {len(shares)}")
    most = max([*shares, 1e-9])
    parts = []
    for place, ((_, colour), share) in enumerate(zip(HUES, shares, strict=True)):
        start, end = (math.radians(30 * place - 105 + turn) for turn in (0, 30))
        parts.append(f'<path d="{_sector(start, end, 84, 96)}" fill="{colour}"/>')
        if share > 0:
            reach = 12 + 68 * math.sqrt(share / most)
            path = _sector(start, end, 12, reach)
            parts.append(f'<path d="{path}" fill="{colour}" stroke="#fff" class="rim"/>')
        if share >= 0.095:
            x, y = 101 * math.cos((start + end) / 2), 106 * math.sin((start + end) / 2)
            anchor = "middle" if abs(x) < 20 else "start" if x > 0 else "end"
            parts.append(_text(x, y + 4, _percent(share), anchor=anchor))
    named = zip(HUES, shares, strict=True)
    said = [f"{say(name)} {_percent(share)}" for (name, _), share in named if share >= 0.005]
    return _svg("-138 -120 276 240", 276, 240, title, ", ".join(said) or say(NO_COLOUR), parts)


def histogram(counts: Mapping[str, Sequence[float]], title: str = "Histogram", say: Say = str) -> Markup:
    """Return the histograms of channels over one another: red, green and blue as lines, any other one as an area.

    Args:
        counts: Pixels in equally wide bins from dark to bright, by channel.
        title: What is shown.
        say: Returns a word in the reader's language.
    """
    # One bin may hold a clipped sky: the axis ends at the highest of the inner bins.
    inner = [value for values in counts.values() for value in list(values)[1:-1] or values]
    most = max([*inner, 1e-9])
    parts, labels, said = [f'<line x1="0" x2="{WIDTH}" y1="120.5" y2="120.5" stroke="{SOFT}" class="axis"/>'], [], []
    for channel, values in sorted(counts.items(), key=lambda item: item[0] in CHANNELS):
        step = WIDTH / len(values)
        points = " ".join(
            f"{(i + 0.5) * step:.1f},{120 - 112 * min(value / most, 1):.1f}" for i, value in enumerate(values)
        )
        kind, colour, dashes = CHANNELS.get(channel, ("area", LINE, ""))
        if kind == "area":
            parts.append(f'<polygon points="0,120 {points} {WIDTH},120" fill="{colour}" class="area"/>')
        else:
            style = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dashes}" class="{kind}"'
            parts.append(f'<polyline points="{points}" {style}/>')
        labels.append((channel, kind, colour, dashes))
        said.append(f"{say(channel)}: {say(_ends(values))}")
    parts += [_text(0, 136, say(DARK), kind="soft"), _text(WIDTH, 136, say(BRIGHT), kind="soft", anchor="end")]
    left = 0
    for channel, kind, colour, dashes in labels:
        if kind == "area":
            parts.append(f'<rect x="{left}" y="147" width="18" height="9" fill="{colour}" class="area"/>')
        else:
            style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}" class="{kind}"'
            parts.append(f'<line x1="{left}" x2="{left + 18}" y1="151.5" y2="151.5" {style}/>')
        parts.append(_text(left + 23, 156, say(channel)))
        left += 44 + 6 * len(channel)
    return _svg(f"0 0 {WIDTH} 160", WIDTH, 160, title, "; ".join(said), parts)


def bars(values: Mapping[str, float], title: str, digits: int = 2, unit: str = "", signed: bool = True) -> Markup:
    """Return a horizontal bar for each value: from a line at zero to the left or the right, with its number.

    Args:
        values: By name; NaN is shown as a dash.
        title: What is shown.
        digits: Decimal places.
        unit: Of the values.
        signed: Whether a plus sign is written, as for shares of a difference.
    """
    known = [value for value in values.values() if math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    left, right = 104.0, WIDTH - 8.0
    if low < 0:
        left += 46  # room for a number on either side of the line
    right -= 46
    across = (right - left) / ((high - low) or 1)
    zero = left - low * across
    height = 26 * len(values) + 4
    parts, said = [], []
    for row, (name, value) in enumerate(values.items()):
        middle = 26 * row + 15
        shown = number(value, digits, signed)
        parts.append(_text(0, middle + 4, name if len(name) < 16 else name[:14] + "…"))
        if math.isfinite(value):
            start, size = (zero, value * across) if value >= 0 else (zero + value * across, -value * across)
            kind, colour = ("plus", BLUE) if value >= 0 else ("minus", ORANGE)
            box = f'x="{start:.1f}" y="{middle - 8}" width="{size:.1f}" height="16"'
            parts.append(f'<rect {box} fill="{colour}" class="{kind}"/>')
        else:
            value = 0.0
        at, anchor = (zero + value * across + 5, "start") if value >= 0 else (zero + value * across - 5, "end")
        parts.append(_text(at, middle + 4, shown, anchor=anchor))
        said.append(f"{name} {shown}{' ' + unit if unit else ''}")
    parts.append(f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="2" y2="{height - 2}" stroke="{SOFT}" class="axis"/>')
    return _svg(f"0 0 {WIDTH} {height}", WIDTH, height, title, ", ".join(said), parts)


def dots(
    values: Sequence[tuple[str, float]], title: str, neutral: float = 0.0, digits: int = 2, unit: str = ""
) -> Markup:
    """Return a dot for each value, sorted, against a line at `neutral`; of more than `MOST_DOTS`, evenly drawn ones.

    Args:
        values: Each with a name, which the dot tells.
        title: What is shown.
        neutral: Where the line is.
        digits: Decimal places.
        unit: Of the values.
    """
    known = sorted((value, name) for name, value in values if math.isfinite(value))
    step = max(len(known) / MOST_DOTS, 1.0)
    drawn = [known[int(place * step)] for place in range(int(len(known) / step))]
    if known and drawn[-1] is not known[-1]:
        drawn.append(known[-1])
    low, high = min([neutral, *(v for v, _ in known)]), max([neutral, *(v for v, _ in known)])
    span, left, right, top, bottom = (high - low) or 1.0, 52.0, WIDTH - 8.0, 10.0, 150.0
    across = (right - left) / max(len(drawn) - 1, 1)

    def height(value: float) -> float:
        return bottom - (value - low) / span * (bottom - top)

    at = height(neutral)
    parts = [f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="{SOFT}" class="axis"/>']
    labels: list[float] = []
    for value in (neutral, low, high):
        if all(abs(height(value) - height(other)) >= 12 for other in labels):
            parts.append(_text(left - 6, height(value) + 4, number(value, digits), kind="soft", anchor="end"))
            labels.append(value)
    for place, (value, name) in enumerate(drawn):
        kind, colour = ("plus", BLUE) if value > neutral else ("minus", ORANGE) if value < neutral else ("soft", SOFT)
        where = f'cx="{left + place * across:.1f}" cy="{height(value):.1f}" r="3"'
        told = f"<title>{escape(name)}: {number(value, digits)}{' ' + unit if unit else ''}</title>"
        parts.append(f'<circle {where} fill="{colour}" class="{kind}">{told}</circle>')
    more, less = sum(v > neutral for v, _ in known), sum(v < neutral for v, _ in known)
    ends = f"from {number(low, digits)} to {number(high, digits)}"
    said = f"{len(known)} values {ends}: {more} above {number(neutral, digits)}, {less} below"
    return _svg(f"0 0 {WIDTH} 160", WIDTH, 160, title, said, parts)


def intervals(values: Sequence[tuple[str, float, float, float]], title: str, digits: int = 2, unit: str = "") -> Markup:
    """Return a row for each value, the highest first: a dot, a line from the low to the high end, and the number.

    Args:
        values: Name, value, low and high end; NaN ends leave the line out, a NaN value the row.
        title: What is shown.
        digits: Decimal places.
        unit: Of the values.
    """
    known = sorted((row for row in values if math.isfinite(row[1])), key=lambda row: -row[1])
    ends = [end for row in known for end in row[1:] if math.isfinite(end)] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    left, right, height = 124.0, WIDTH - 44.0, 22 * len(known) + 4
    across = (right - left) / ((high - low) or 1)
    parts, said = [], []
    if low < 0 < high:
        zero = left - low * across
        parts.append(f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="2" y2="{height - 2}" stroke="{LINE}" class="grid"/>')
    for row, (name, value, start, end) in enumerate(known):
        middle = 22 * row + 13
        parts.append(_text(0, middle + 4, name if len(name) < 18 else "…" + name[-16:]))
        if math.isfinite(start) and math.isfinite(end):
            x1, x2 = left + (start - low) * across, left + (end - low) * across
            parts.append(
                f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{middle}" y2="{middle}" stroke="{BLUE}" stroke-width="2" '
                'class="blue"/>'
            )
        told = f"<title>{escape(name)}: {number(value, digits)}{' ' + unit if unit else ''}</title>"
        at = left + (value - low) * across
        parts.append(f'<circle cx="{at:.1f}" cy="{middle}" r="4" fill="{BLUE}" class="plus">{told}</circle>')
        parts.append(_text(WIDTH, middle + 4, number(value, digits), anchor="end"))
        between = f" ({number(start, digits)} to {number(end, digits)})" if math.isfinite(start) else ""
        said.append(f"{name} {number(value, digits)}{between}")
    return _svg(f"0 0 {WIDTH} {height}", WIDTH, height, title, ", ".join(said), parts)


def _svg(box: str, width: float, height: float, title: str, said: str, parts: Sequence[str]) -> Markup:
    head = (
        f'<svg class="chart" data-widget="chart" viewBox="{box}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(title)}: {escape(said)}"><title>{escape(title)}</title><desc>{escape(said)}</desc>'
    )
    return Markup(head + "".join(parts) + "</svg>")


def _text(x: float, y: float, text: str, kind: str = "ink", anchor: str = "start") -> str:
    colour = SOFT if kind == "soft" else INK
    style = f'fill="{colour}" font-family="sans-serif" font-size="12" text-anchor="{anchor}" class="{kind}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _sector(start: float, end: float, inner: float, outer: float) -> str:
    """Return the path of a piece of a ring about the origin; angles in radians, clockwise from the right."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = (
        (radius * math.cos(angle), radius * math.sin(angle))
        for radius, angle in ((inner, start), (outer, start), (outer, end), (inner, end))
    )
    return (
        f"M{ax:.1f},{ay:.1f}L{bx:.1f},{by:.1f}A{outer:.1f},{outer:.1f} 0 0 1 {cx:.1f},{cy:.1f}"
        f"L{dx:.1f},{dy:.1f}A{inner:.1f},{inner:.1f} 0 0 0 {ax:.1f},{ay:.1f}z"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ends(values: Sequence[float]) -> str:
    """Tell what lies in the first and the last bin, and where the middle pixel does."""
    total = sum(values)
    if not total:
        return Phrase("no pixels")
    seen, middle = 0.0, 0
    for middle, value in enumerate(values):  # noqa: B007 - the bin in which half of the pixels are reached
        seen += value
        if seen >= total / 2:
            break
    place = _percent((middle + 0.5) / len(values))
    return Phrase(
        "{darkest:.1f} % in the darkest bin, {brightest:.1f} % in the brightest, median at {middle} of the range",
        darkest=100 * values[0] / total,
        brightest=100 * values[-1] / total,
        middle=place,
    )
