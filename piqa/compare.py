"""`python -m piqa.compare A=shots/phone_a B=shots/phone_b --ckpt_path MODEL`: which device takes the better portraits.

Scenes are matched, images are scored, and every two devices get a verdict with an interval over scenes: as a page,
JSON and CSV. Labels (`--table`) and predictions (`--predictions`) are compared without a model. An interrupted run goes
on where it stopped when the same command is given again.

As a gate, `--fail_if "A worse than B"`. The exit status is 0 where it passed, 1 where it failed, 2 of wrong arguments,
3 where it is not decided (`--undecided` makes that another status), and 4 where too many scenes or images are missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from piqa.comparison.compare_all import Comparison, compare_devices
from piqa.comparison.document import document
from piqa.comparison.extremes import ExtremeScenes
from piqa.comparison.factor_table import FactorResult, compare_factors_of
from piqa.comparison.gathering import Gathered, Source, gather
from piqa.comparison.junit import check_junit, error_xml, junit_xml, write_junit
from piqa.comparison.matching import Match
from piqa.comparison.outputs import FILES, PAGE, write_results
from piqa.comparison.page import comparison_page, rank_words
from piqa.comparison.pair import Settings
from piqa.comparison.plan import plan_for, plan_lines
from piqa.comparison.repeated_looks import Spending, level_of_look
from piqa.comparison.scene_tests import PrimaryTest
from piqa.comparison.shots import Account, DataError
from piqa.comparison.verdict import Gate, answers_in_words, decide, in_words, parse_claim
from piqa.data.cuts import Crops
from piqa.data.tables.table import Table
from piqa.errors import FileAccessError, InputError, NothingDoneError
from piqa.evaluation.statistics.preference import Preference
from piqa.scoring.options import ModelOptions, Precision
from piqa.system.command_line import command, run_command
from piqa.system.ownership import claim_folder, locked, new_mark
from piqa.system.progress import told_if_slow
from piqa.system.shown_paths import shown_command
from piqa.system.written_files import WrittenFiles
from piqa.web.text import printable
from piqa.weights.trust import Trust

WHAT = "comparison of devices"
Undecided = Literal["pass", "fail", "2", "3"]
MOST_LINES = 40  # verdicts of pairs that are printed; all are in the files


class GateFailedError(InputError):
    """The gate failed: A is worse than B."""

    exit_status = 1


class NotDecidedError(InputError):
    """The gate is not decided; the status is what `--undecided` says."""

    exit_status = 3


def main(args: list[str] | None = None) -> None:
    """Compare devices, from the command line or from a list of its arguments."""
    text = "Folders by name, such as A=shots/phone_a, or CSVs with the columns file, scene, device[, condition]."
    run_command(compare, args, "piqa compare", __doc__, "sets", nargs="*", help=text)


def compare(
    sets: Sequence[str] = (),
    out: str = "comparison",
    ckpt_path: str | None = None,
    predictions: str | None = None,
    table: Table | None = None,
    match: Match = "auto",
    conditions: str | None = None,
    factor: str | None = None,
    test: PrimaryTest = "t",
    margin: float = 0.0,
    alpha: float = 0.025,
    scale: float | None = None,
    error_rate: float | None = None,
    fail_if: str | None = None,
    critical: list[str] | None = None,
    undecided: Undecided = "3",
    look: int = 1,
    looks: int = 1,
    spending: Spending = "obrien_fleming",
    junit: str | None = None,
    plan: bool = False,
    detect: list[float] | None = None,
    power: float = 0.8,
    max_missing: float = 0.1,
    examples: int = 3,
    seed: int = 0,
    test_crops: Crops = "five",
    batch_size: int | None = None,
    device: str = "auto",
    precision: Precision = "32",
    workers: int | None = None,
    liqe: str | None = None,
    trust: Trust = None,
) -> None:
    """Compare devices over scenes; write `comparison.html`, `comparison.json`, `comparison.csv` and `scenes.csv`.

    Args:
        sets: Folders by name, or CSVs of shots.
        out: The folder to write: new, empty, or a comparison of before.
        ckpt_path: The model that scores, as of `piqa predict`; without one the factors are compared, or scores that
            `predictions` or `table` give. With `predictions` it is the model that made them, whose card is read.
        predictions: CSV with `image, scene, device, prediction`, or `score`, and maybe `condition`.
        table: Labelled images with devices; with `predictions`, what says of which scene and device an image is.
        match: How scenes of folders are matched: by the `path` below each folder, the `folder` in which images lie, so
            that they are repeats, the `stem` of their names, or `auto`, the first of these by which half of them meet.
        conditions: CSV with `scene, condition`.
        factor: The factor that decides where there is no model, such as `face_sharpness`.
        test: The primary test, which alone decides: `t`, on the mean over scenes; `sign`, on the win rate; `flip`, on
            the mean by flips of signs.
        margin: What does not matter, in P(A better) where the model states it, else in the unit of the score, and for
            `sign` in win rate.
        alpha: One-sided level; a statement that A differs from B uses it on both sides.
        scale: Difference of scores at which the better one is preferred with 0.84, where no card says so.
        error_rate: Tell for each scene which device is better, wrong in this share of scenes such as those of the
            model's evaluation at most, or that it cannot be told; such as 0.1.
        fail_if: A claim that makes the gate fail: `A worse than B`, by more than the margin.
        critical: Conditions in which the gate fails, too, where A is worse.
        undecided: What a gate that is not decided gives: `pass` (0), `fail` (1), `2` or `3`.
        look: Which of several looks at growing data this is, from 1.
        looks: How many are planned, equally spaced; together they keep alpha.
        spending: How alpha is shared out among them.
        junit: Where the gate's answer is written as JUnit XML.
        plan: Whether to print what these scenes can show, and how many more a difference needs.
        detect: Differences of interest for the plan, in the unit of the margin of `t`.
        power: For the plan.
        max_missing: Share of the scenes without a partner, and of the images without a score, that is allowed.
        examples: Scenes that are shown side by side, for and against A each; 0 for none.
        seed: Of everything that is drawn.
        test_crops: As of `piqa predict`, like all that follow.
        batch_size: Images in one pass.
        device: Where the model runs.
        precision: Of the model.
        workers: Processes that prepare images.
        liqe: Path of LIQE's checkpoint.
        trust: Packages whose networks a model file may name.

    Raises:
        InputError: If the arguments cannot be used, or `out` cannot be written or is not piqa's.
        DataError: If too much is missing, or shots stand there twice.
        GateFailedError: If the gate failed.
        NotDecidedError: If it is not decided.
        Stopped: By Ctrl-C or SIGTERM; what was scored is kept.
    """
    _check(margin, alpha, power, max_missing, fail_if, junit, examples)
    model = None
    if ckpt_path is not None:
        model = ModelOptions(ckpt_path, test_crops, batch_size, device, precision, workers, liqe, trust)
    source = Source(sets, predictions, table, match, conditions, model, factor, workers)
    if source.by_factors and factor is None and (fail_if is not None or plan):
        raise InputError(
            "factors have no common scale, so that nothing is decided by them; name a model, or one `factor`"
        )
    nominal = level_of_look(look, looks, alpha, spending)
    start, folder, account = time.perf_counter(), Path(out), Account()
    with locked(out, folder=True):
        claim_folder(out, WHAT)
        WrittenFiles(folder).check(FILES)
        if junit is not None:
            check_junit(junit)
        try:
            gathered = _gathered(source, folder, account, max_missing)
        except DataError as error:
            if junit is not None:
                write_junit(error_xml(fail_if or "", printable(str(error)), time.perf_counter() - start), junit)
            raise
        preference = gathered.preference if scale is None else Preference(scale, source="given by `scale`")
        uncertainty = gathered.uncertainty if scale is None else None
        settings = Settings(test, margin, nominal, preference, gathered.unit, seed, uncertainty, error_rate)
        if error_rate is not None:
            account.notes.append(f"single scenes are told apart where P is above {settings.least:.3f}")
        claim = None if fail_if is None else parse_claim(fail_if, gathered.scenes.devices)
        found = _compared(gathered, settings, source)
        factors = compare_factors_of(gathered.shots, gathered.factors, settings) if source.by_factors else []
        gate = None
        if claim is not None and fail_if is not None:
            gate = decide(fail_if, found.pair(*claim), found.conditions_of(*claim), critical or ())
        about = _about(gathered, look, looks, spending, alpha, seed)
        with told_if_slow("summing up"):
            content = document(found, account, gate, about, detect or ())
        extremes = ExtremeScenes(gathered.scenes, examples) if examples and found.pairs else None
        with told_if_slow("showing scenes side by side"):
            page = comparison_page(found, account, gate, about, extremes, detect or (), factors)
        write_results(folder, found, account, gathered.every, factors, content, page)
        if junit is not None and gate is not None:
            write_junit(junit_xml(gate, time.perf_counter() - start, {"model": gathered.judged_by}), junit)
    _tell(found, factors, account, folder, detect or (), power if plan else None)
    if gate is not None:
        _end(gate, undecided)


def _check(
    margin: float, alpha: float, power: float, max_missing: float, fail_if: str | None, junit: str | None, examples: int
) -> None:
    """Check numbers before anything is read."""
    for name, value, low, high in (
        ("alpha", alpha, 0.0, 0.5),
        ("power", power, 0.0, 1.0),
        ("max_missing", max_missing, -1e-9, 1.0 + 1e-9),
        ("margin", margin, -1e-9, float("inf")),
        ("examples", examples, -1, float("inf")),
    ):
        if not low < value < high:
            raise InputError(f"`{name}` is {value:g}; it must lie between {max(low, 0):g} and {min(high, 1e9):g}")
    if junit is not None and fail_if is None:
        raise InputError('`junit` tells what a gate found; ask one with `--fail_if "A worse than B"`')


def _gathered(source: Source, folder: Path, account: Account, max_missing: float) -> Gathered:
    """Return the scored shots; whatever the machine does to files counts as missing data, status 4."""
    try:
        return gather(
            source, folder, account, max_missing, lambda line: print(f"piqa: warning: {line}", file=sys.stderr)
        )
    except (FileAccessError, NothingDoneError) as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{error.strerror or error}; check the disk, its room and its permissions") from error


def _compared(gathered: Gathered, settings: Settings, source: Source) -> Comparison:
    if source.by_factors and source.factor is None:
        return Comparison(gathered.scenes, settings, [])
    return compare_devices(gathered.scenes, settings)


def _about(gathered: Gathered, look: int, looks: int, spending: str, alpha: float, seed: int) -> dict[str, object]:
    about: dict[str, object] = {
        "judged_by": gathered.judged_by,
        "scenes": len(gathered.scenes.names),
        "images": len(gathered.shots),
        "version": new_mark("")["version"],
        "command": shown_command(command()),
        "seed": seed,
    }
    if looks > 1:
        about |= {"look": f"{look} of {looks}, {spending}, together at one-sided {alpha:g}"}
    return about


def _tell(
    found: Comparison,
    factors: Sequence[FactorResult],
    account: Account,
    folder: Path,
    detect: Sequence[float],
    power: float | None,
) -> None:
    """Print the verdicts, once all is written."""
    for line in account.lines():
        print(printable(line))
    for pair in found.pairs[:MOST_LINES]:
        print(printable(in_words(pair, account.devices)))
        if (told := answers_in_words(pair, account.devices)) is not None:
            print(printable(f"  {told}"))
        if power is not None and (planned := plan_for(pair, detect, power)) is not None:
            for line in plan_lines(planned, _unit(found.settings, account.devices.title(pair.a))):
                print(printable(f"  {line}"))
    if not found.pairs:
        print("No verdict: factors have no common scale; name a model, or the one factor that decides with `--factor`")
        for one in factors[:10]:
            a, b = account.devices.title(one.pair.a), account.devices.title(one.pair.b)
            steps = f"{a} less {b} {one.pair.estimate:+.2f} steps, p = {one.pair.p_adjusted:.3g} by Holm"
            print(printable(f"  {one.factor.title}: {steps}"))
    if found.ranking is not None and not found.ranking.note.startswith("some"):
        for place in found.ranking.strength.argsort()[::-1][:MOST_LINES].tolist():
            words = rank_words(int(found.ranking.rank_low[place]), int(found.ranking.rank_high[place]))
            print(printable(f"  {account.devices.title(found.scenes.devices[place])}: {words}"))
    print(folder / PAGE)


def _unit(settings: Settings, a: str) -> str:
    return f"in P({a} better)" if settings.measure == "preference" else settings.unit


def _end(gate: Gate, undecided: Undecided) -> None:
    """End as the gate says: return where it passed, else raise the error with its exit status."""
    line = printable(
        f"gate `{gate.claim}` {gate.cases[0].message if gate.state == gate.cases[0].state else gate.state}"
    )
    if gate.state == "failed":
        worst = next(case for case in gate.cases if case.critical and case.state == "failed")
        raise GateFailedError(printable(f"gate `{gate.claim}` {worst.message} ({worst.name})"))
    if gate.state == "passed" or undecided == "pass":
        print(line)
        return
    error = NotDecidedError(f"{line}; more scenes, or a margin, may decide it")
    error.exit_status = 1 if undecided == "fail" else int(undecided)  # type: ignore[misc]
    raise error


if __name__ == "__main__":
    main()
