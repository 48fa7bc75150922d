"""What a terminal shows of the standard deviations of a model's scores."""

from __future__ import annotations

from rich.table import Table

from piqa.evaluation.statistics.doubt import LEVELS, Doubt

SHOWN_LEVEL = 0.9


def doubt_lines(doubt: Doubt) -> list[str]:
    """Return how sure the scores are, and which error rates can be stated of a pair, in lines of text."""
    found = doubt.uncertainty
    lines = [
        f"standard deviation of the scores' errors beyond label noise: {found.std:.4g} in the unit of the score, "
        f"{found.std * found.gain:.3g} in that of the measured one, on {found.images} images of {found.scenes} scenes"
    ]
    if found.factor is not None:
        lines.append(f"the network's `score_std` times {found.factor:.4g} is one in the unit of its score")
    for test in doubt.conformal:
        lines.append(
            f"answers with an error rate of {test.error_rate:g}: on scenes left out {test.told:.1%} of the clear pairs "
            f"are told apart, {test.wrong:.1%} of all wrongly"
        )
    return lines


def doubt_table(doubt: Doubt) -> Table:
    """Return how good each way of stating standard deviations is, on scenes left out."""
    title = "stated standard deviations on scenes left out"
    table = Table(title=title, box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("way", no_wrap=True)
    of_images = (f"in {SHOWN_LEVEL:.0%}", "95 % int.", "width", "AUSE")
    for name in (*of_images, "ECE", "Brier", "wrong", "surest half"):
        table.add_column(name, justify="right")
    for one in doubt.ways:
        shown = one.coverage[LEVELS.index(SHOWN_LEVEL)]
        span = "" if shown.low is None or shown.high is None else f"{shown.low:.2f} to {shown.high:.2f}"
        numbers = [shown.width, one.ause, one.ece, one.brier, one.wrong[0], one.wrong[-1]]
        cells = ["" if number != number else f"{number:.3f}" for number in numbers]
        table.add_row(one.way, f"{shown.inside:.3f}", span, *cells)
    return table
