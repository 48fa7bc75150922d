"""What a terminal shows of a model's stated probabilities."""

from __future__ import annotations

from rich.table import Table

from piqa.evaluation.statistics.preference import COIN
from piqa.evaluation.statistics.reliability import Band, Calibration


def preference_lines(calibration: Calibration) -> list[str]:
    """Return how differences of scores become probabilities, and how well that holds, in lines of text."""
    found = calibration.preference
    lines = [
        f"P(A better than B) = Phi((A - B) / {found.scale:.4g}), fitted on {found.pairs} pairs of {found.scenes} scenes"
    ]
    held = calibration.reliability
    if held is None:
        return [*lines, "not tested, as that takes two scenes with pairs"]
    lines.append(
        f"log loss of scenes left out: {held.log_loss:.3f} nats (a coin: {COIN:.3f}); "
        f"stated and found shares differ by {held.error:.3f}"
    )
    if held.log_loss >= COIN:
        lines.append("The probabilities are no better than a coin's on scenes that were left out")
    return lines


def reliability_table(calibration: Calibration) -> Table | None:
    """Return the table of stated and found shares, of scenes that were left out; None where they were not tested."""
    if calibration.reliability is None:
        return None
    table = Table(title="stated probabilities on scenes left out", box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("stated", no_wrap=True)
    for name in ("pairs", "mean", "found", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for band in calibration.reliability.bands:
        span = f"{band.low:.1f} to {band.high:.1f}"
        table.add_row(span, str(band.pairs), f"{band.stated:.3f}", f"{band.agreed:.3f}", _interval(band))
    return table


def _interval(band: Band) -> str:
    if band.agreed_low is None or band.agreed_high is None:
        return ""
    return f"{band.agreed_low:.3f} to {band.agreed_high:.3f}"
