"""`python -m piqa.pick FOLDER [--ckpt_path MODEL] --out picks`: finds the best shot of each moment.

Images are grouped into moments, and the shots of each are ranked: by a model's scores, with the probability that the
first is better than the second where the model's card knows it (`piqa evaluate` fits it), or by measured factors alone.
It writes `picks.csv`, `picks.json` and a contact sheet, `sheet.html`. No image is moved, deleted or changed. A bad
image costs its row, not the run. An interrupted run goes on where it stopped when the same command is given again. The
exit status is 3 where images could not be read because of the machine, 1 where all failed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from piqa.data.cuts import Crops
from piqa.errors import FileAccessError, InputError, NothingDoneError, one_line_errors, stopped_with
from piqa.moments.choosing import Choosing
from piqa.moments.film_run import FRAMES, FilmRun
from piqa.moments.frames import is_film
from piqa.moments.grouping import group
from piqa.moments.links import check_place
from piqa.moments.looks import Looks
from piqa.moments.options import GroupingOptions
from piqa.moments.pick_run import TABLE, WHAT, Names, PickRun, check_probability
from piqa.moments.scenes import scenes_of
from piqa.moments.shots import Shots, find_shots
from piqa.moments.xmp import MarkOptions, SidecarNames, undo_marks
from piqa.report.names import PLACE, shown_names, without_paths
from piqa.scoring.options import ModelOptions, Precision
from piqa.system.command_line import Parser
from piqa.system.files import remove_leftovers
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import told_if_slow
from piqa.system.sigterm import sigterm_stops
from piqa.weights.licences import require_commercial
from piqa.weights.trust import Trust

MARKS = "marks.jsonl"
GROUPING = GroupingOptions()


def main(args: list[str] | None = None) -> None:
    """Pick the best shots, from the command line or from a list of its arguments."""
    parser = Parser(prog="piqa pick", description=__doc__)
    parser.add_argument("images", nargs="*", type=str, help="Images, and folders whose images are all looked at.")
    choices = "A CSV of choices that the contact sheet exported: tells how far they agree with the picks."
    parser.add_argument("--from", type=str, default=None, help=choices)
    parser.add_function_arguments(pick, skip={"images", "choices"})
    parsed = parser.parse_args(args)
    with one_line_errors():
        arguments = parser.instantiate(parsed).as_dict()
        pick(choices=arguments.pop("from"), **arguments)


def pick(
    images: Sequence[str],
    out: str = "picks",
    ckpt_path: str | None = None,
    list: str | None = None,
    keep: int = 1,
    share: float | None = None,
    probability: float | None = None,
    too_close: float = 0.6,
    error_rate: float | None = None,
    choices: str | None = None,
    link: str | None = None,
    copy: bool = False,
    xmp: bool = False,
    reject: bool = False,
    sidecars: str | None = None,
    sidecar_names: SidecarNames = "name.ext.xmp",
    undo: bool = False,
    scene: str | None = None,
    table: str | None = None,
    similar: bool = False,
    every: float = 0.2,
    grouping: GroupingOptions = GROUPING,
    test_crops: Crops = "five",
    batch_size: int | None = None,
    device: str = "auto",
    precision: Precision = "32",
    workers: int | None = None,
    liqe: str | None = None,
    trust: Trust = None,
    commercial: bool = False,
) -> None:
    """Group images into moments, rank the shots of each, and write which to keep.

    Args:
        images: Images, and folders whose images are all looked at.
        out: The folder to write: new, empty, or one of before, which goes on.
        ckpt_path: A model that ranks, as of `piqa predict`; by default measured factors alone do.
        list: Text file that names more images, one a line, more than a command line holds.
        keep: Picks of a moment. A shot alone is kept, and so is an exposure bracket, whole.
        share: Picks among all images, such as 0.1; no moment has a second before each has its first.
        probability: Pick the first alone only where it is better than the others with at least this probability, and
            those that come closer as well; it needs a model whose card knows probabilities.
        too_close: The probability below which the first two are called too close to call.
        error_rate: In its place, the share of scenes such as those of the model's evaluation in which the first two may
            be told apart wrongly, such as 0.1; so few scenes cannot give any rate (`docs/evaluate.md`).
        choices: A CSV of choices that the contact sheet exported, to be compared with the picks.
        link: A folder to put links to the picks into.
        copy: Whether to put copies there instead of links.
        xmp: Whether to mark the picks in XMP sidecars, which Lightroom, darktable and digiKam read.
        reject: Whether to mark the other shots as rejected, but where it is too close to call.
        sidecars: Folder for the sidecars where that of the images cannot be written.
        sidecar_names: The names of new sidecars: `name.ext.xmp`, as darktable has it, or `name.xmp`, as Adobe does.
        undo: Take back the marks in sidecars that runs with this `out` wrote, and do nothing else.
        scene: In place of moments that are found: `folders`, or a column of `table` that names scenes.
        table: A CSV with that column, and `file` or `image`.
        similar: Whether images that tell no time are grouped as well, by their look alone.
        every: Of a film in place of images: the seconds from one frame to the next that is looked at.
        grouping: The thresholds by which moments are found.
        test_crops: As of `piqa predict`.
        batch_size: Likewise.
        device: Likewise.
        precision: Likewise.
        workers: Processes that measure and prepare images; 0 does it in this one.
        liqe: As of `piqa predict`.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.
        commercial: Refuse a model that is not known to allow commercial use.

    Raises:
        InputError: If there is nothing to look at, the model cannot be read, or something is not piqa's to write.
        FileAccessError: If images could not be read because of the machine: the same command tries them again.
        NothingDoneError: If every image failed for a reason of its own.
        Stopped: By Ctrl-C or SIGTERM; what was measured and scored is kept.
    """
    if undo:
        return _undo(Path(out))
    choosing = Choosing(keep, share, probability)
    check_probability(probability, too_close, ckpt_path is not None, error_rate)
    if workers is not None and workers < 0:
        raise InputError(f"`workers` {workers}: at least 0 is needed")
    if link is not None:
        check_place(link, images)
    if commercial and ckpt_path is not None:
        require_commercial(ckpt_path)
    chosen = None if choices is None else _read_choices(choices)
    model = None
    if ckpt_path is not None:
        model = ModelOptions(ckpt_path, test_crops, batch_size, device, precision, workers, liqe, trust)
    with locked(out, folder=True):
        claim_folder(out, WHAT)
        remove_leftovers(out)
        with stopped_with("what was measured is kept: give the command again to go on"), sigterm_stops():
            run = _prepared(images, list, Path(out), model, every, probability is not None)
            too_close = too_close if error_rate is None else run.least_probability(error_rate)
            if isinstance(run, FilmRun) and (xmp or scene is not None):
                raise InputError("`xmp` and `scene` are for photographs, and this is a film; leave them out")
            scenes = None if scene is None else scenes_of(run.files, scene, table)
            run.measure(workers)
            thresholds = replace(grouping, similar=similar or grouping.similar)
            with told_if_slow("grouping the images"):
                looks = run.looks if isinstance(run, FilmRun) else Looks(workers, quiet=False)
                moments = group(run.shots, thresholds, scenes=scenes, looks=looks)
            run.choose(moments, choosing, too_close)
            agreed = None if chosen is None or choices is None else run.compare(chosen, choices)
            asked = {"keep": keep, "share": share, "probability": probability, "too_close": too_close, "scene": scene}
            asked |= {"error_rate": error_rate}
            sheet = run.write(asked | {"grouping": asdict(thresholds)}, agreed, _title(images))
            if isinstance(run, FilmRun):
                print(f"{run.write_picks().placed} frames in {Path(out) / FRAMES}")
            if xmp:
                mirror = None if sidecars is None else Path(sidecars)
                _mark(run, MarkOptions(Path(out) / MARKS, _root(images), sidecar_names, mirror, reject))
            if link is not None:
                _link(run, link, copy)
    if agreed is not None:
        print(agreed.in_words())
    _finish(run, Path(out), sheet)


def _prepared(
    images: Sequence[str], listed: str | None, out: Path, model: ModelOptions | None, every: float, needs: bool
) -> PickRun:
    """Return the run on a film, or on images."""
    films = [one for one in images if is_film(one) and not Path(one).is_dir()]
    if films and (len(images) > 1 or listed is not None):
        raise InputError(f"{films[0]} is a film; give one film alone, or images without it")
    if films:
        return FilmRun(films[0], every, out, model, needs)
    found = find_shots(images, listed, quiet=False)
    _tell_all(found.left_out)
    return PickRun(found.shots, out, _names(found), model, needs)


def _read_choices(path: str) -> dict[str, bool]:
    from piqa.moments.choices import read_choices  # imports pandas

    return read_choices(path)


def _names(found: Shots) -> Names:
    """Return what files are called: all by one rule, those that belong to others included."""
    files = [file for shot in found.shots for file in (shot.file, *shot.companions)]
    shown = dict(zip(files, shown_names(files), strict=True))

    def message_of(text: str, file: str) -> str:
        return without_paths(text, file).replace(PLACE, shown.get(file, Path(file).name))

    return Names(lambda file: shown.get(file, Path(file).name), message_of)


def _title(images: Sequence[str]) -> str:
    """Return what the contact sheet is called: the folder's name, where there is one folder."""
    return Path(images[0]).resolve().name if len(images) == 1 else "Picks"


def _root(images: Sequence[str]) -> Path:
    """Return the folder of the images, of which that of the sidecars is a mirror."""
    folders = [one if Path(one).is_dir() else os.path.dirname(one) for one in map(os.path.abspath, images)]  # noqa: PTH120
    return Path(os.path.commonpath(folders)) if folders else Path.cwd()


def _mark(run: PickRun, options: MarkOptions) -> None:
    marked = run.mark(replace(options, model=run.model_name))
    _tell_all(marked.left)
    print(f"{marked.written} sidecars written, {marked.unchanged} as before, {marked.taken_back} taken back")


def _link(run: PickRun, folder: str, copy: bool) -> None:
    placed = run.link(folder, copy)
    _tell_all(placed.left)
    kind = "copies" if copy else "links"
    print(f"{placed.placed} {kind} in {folder}, {placed.taken_back} of an earlier run taken back")


def _undo(out: Path) -> None:
    """Take back the marks of earlier runs."""
    if not (out / MARKS).is_file():
        raise InputError(f"there are no marks to take back: {out} has no {MARKS}; name the `--out` of the run")
    with locked(out, folder=True):
        undone = undo_marks(out / MARKS)
    _tell_all(undone.left)
    print(f"{undone.restored} sidecars are as they were before, {undone.cleaned} had been changed and lost our marks")


def _finish(run: PickRun, out: Path, sheet: Path) -> None:
    """Say what came out, once all is written; raise an error where images could not be read or scored."""
    counts = run.counts
    for note in run.notes:
        print(note)
    found = f"{counts.images} images in {counts.moments} moments, {counts.rivals} of several rivals"
    print(f"{found}, {counts.close} too close to call, {counts.picks} picks, {counts.failed} failed: {sheet}")
    if run.passing:
        raise FileAccessError(
            f"{run.passing} of {counts.images} images could not be read because of the machine, as their rows in "
            f"{out / TABLE} say; give the command again to try these alone"
        )
    if counts.failed == counts.images:
        raise NothingDoneError(f"no image could be ranked; the column `reason` of {out / TABLE} says why")


def _tell(line: str) -> None:
    print(f"piqa: warning: {line}", file=sys.stderr)


def _tell_all(lines: Sequence[str], most: int = 5) -> None:
    for line in lines[:most]:
        _tell(line)
    if len(lines) > most:
        _tell(f"and {len(lines) - most} more of the kind")


if __name__ == "__main__":
    main()
