"""`python -m piqa.scale pairs.csv --out scores.csv`: from the judgements of people to scores that `piqa.fit` reads.

Pairs (`image_a, image_b, winner, scene, rater`) become scores in JOD within each scene, ratings (`image, scene, rater,
rating`) mean opinion scores. Beside the CSV with `image, score, scene, score_std` stands a JSON of the same name with
intervals, raters, agreement and notes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from piqa.errors import InputError
from piqa.judgement.agreement import SPLITS
from piqa.judgement.answers import COLUMNS as ANSWER_COLUMNS
from piqa.judgement.answers import read_answers
from piqa.judgement.ratings import COLUMNS as RATING_COLUMNS
from piqa.judgement.ratings import read_ratings
from piqa.judgement.results import Results, results_of_pairs, results_of_ratings
from piqa.judgement.scaling import Prior, ScalingOptions
from piqa.scoring.score_output import ScoreOutput
from piqa.system.command_line import command, run_command
from piqa.system.csv_text import read_csv, write_csv
from piqa.system.files import replacing
from piqa.system.ownership import locked
from piqa.system.shown_paths import shown_command
from piqa.system.sigterm import sigterm_stops
from piqa.web.text import printable

Mode = Literal["auto", "pairs", "ratings"]


def main(args: list[str] | None = None) -> None:
    """Scale judgements, from the command line or from a list of its arguments."""
    text = "CSV of judgements: image_a, image_b, winner, scene, rater; or image, scene, rater, rating."
    run_command(scale, args, "piqa scale", __doc__, "judgements", help=text)


def scale(
    judgements: str,
    out: str = "scores.csv",
    mode: Mode = "auto",
    columns: dict[str, str] | None = None,
    root: str | None = None,
    prior: Prior = "normal",
    prior_sd: float | None = None,
    ties: Literal["half", "leave_out"] = "half",
    repeats: bool = False,
    bootstrap: int = 0,
    level: float = 0.95,
    disconnected: Literal["refuse", "mark"] = "refuse",
    leave_out: list[str] | str | None = None,
    splits: int = SPLITS,
    rating_low: float = 1,
    rating_high: float = 5,
    seed: int = 0,
) -> None:
    """Scale judgements; write the CSV of scores and the JSON beside it, and print a short report.

    Args:
        judgements: The CSV. `winner` is `a`, `b`, `same` or the name of the image that was chosen.
        out: The CSV of scores, `image, score, scene, score_std`; new, or of an earlier run.
        mode: What the CSV holds; `auto` goes by its columns.
        columns: Names of the columns where they differ, ours to theirs: `{rater: observer}`.
        root: The folder of the images; where it is given, pairs of files with the same content are refused.
        prior: Of pairs: `normal` on scores, `pwcmp` on distances as published, or `none`.
        prior_sd: Of the normal prior in JOD; by default estimated in each scene.
        ties: An answer `same` is `half` an answer for each image, or is left out.
        repeats: Whether answers of the kind `repeat` count for the scale, too.
        bootstrap: Resamples of the raters for standard errors and intervals; 0: those of the likelihood.
        level: Of the intervals.
        disconnected: A scene whose images no answers connect: `refuse` it, or `mark` its parts as scenes of their own.
        leave_out: Raters that do not count; `outliers` stands for all that the report shows.
        splits: Random halves of the raters, for the agreement; 0: none.
        rating_low: The lowest rating.
        rating_high: The highest rating.
        seed: Of everything that is drawn.

    Raises:
        InputError: If the judgements or the arguments cannot be used, or `out` cannot be written or is not piqa's.
    """
    for name, value, low, high in (
        ("level", level, 0.0, 1.0),
        ("prior_sd", 1.0 if prior_sd is None else prior_sd, 0.0, 100.0),
        ("bootstrap", bootstrap, -1, 1_000_000),
        ("splits", splits, -1, 100_000),
        ("seed", seed, -1, 2**63),
    ):
        if not low < value < high:
            raise InputError(f"`{name}` is {value:g}; it must lie between {max(low, 0):g} and {high:g}")
    if bootstrap == 1:
        raise InputError("`bootstrap` is 1; a standard error needs 2 resamples or more, some hundreds for an interval")
    if not rating_low < rating_high:
        raise InputError(f"ratings from {rating_low:g} to {rating_high:g} are no scale; give two ends")
    out_of_it, output = _raters(leave_out), ScoreOutput(out)
    with sigterm_stops(), locked(output.table):
        output.check()
        if (_mode_of(judgements, columns) if mode == "auto" else mode) == "pairs":
            options = ScalingOptions(prior, prior_sd, ties, repeats, bootstrap, level, disconnected, seed)
            results = results_of_pairs(read_answers(judgements, columns, root), options, out_of_it, splits)
        else:
            ratings = read_ratings(judgements, columns)
            results = results_of_ratings(ratings, level, (rating_low, rating_high), out_of_it, splits, seed)
        _write(results, output, judgements)
    for line in results.lines():
        print(printable(line))
    print(output.table)


def _raters(given: list[str] | str | None) -> list[str]:
    """Return names of raters; a text is one, or a list whose names are no texts to YAML, such as `[1, 007]`."""
    if not isinstance(given, str):
        return given or []
    names = given.strip().removeprefix("[").removesuffix("]").split(",")
    return [name.strip().strip("'\"") for name in names]


def _mode_of(judgements: str, columns: dict[str, str] | None) -> Mode:
    """Return what a CSV holds, by its columns."""
    found = set(read_csv(judgements, names=(*ANSWER_COLUMNS, *RATING_COLUMNS)).columns)
    ours = {name for name, theirs in (columns or {}).items() if theirs in found} | found
    if {"image_a", "image_b"} & ours:
        return "pairs"
    if "rating" in ours:
        return "ratings"
    raise InputError(
        f"{judgements} holds neither pairs (image_a, image_b, winner, scene, rater) nor ratings (image, scene, rater, "
        f"rating), found the columns {', '.join(sorted(found))}; rename them, or map them in `columns`"
    )


def _write(results: Results, output: ScoreOutput, judgements: str) -> None:
    """Write the CSV, then the JSON by which it is known as piqa's."""
    document = {"judgements": Path(judgements).name, **results.document(), "command": shown_command(command())}
    output.claim(lambda folder: False)
    with replacing(output.table) as temporary:
        write_csv(results.table(), temporary)
        output.about_to_write(temporary)
    output.write_summary(document)
    output.remove_folder()


if __name__ == "__main__":
    main()
