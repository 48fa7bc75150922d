"""`python -m piqa.explain IMAGES_OR_FOLDERS --out report`: says what makes the quality of portraits, as pages to read.

It measures exposure, colour, noise, sharpness and more of each image, which needs no model, and writes `index.html`, a
page a portrait, and `factors.csv`. With `--ckpt_path MODEL` it also says what the model's scores hang on. A bad image
costs its row, not the run. An interrupted run goes on where it stopped when the same command is given again. The exit
status is 3 where images could not be read because of the machine, 1 where all failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piqa.errors import FileAccessError, InputError, NothingDoneError, stopped_with
from piqa.report.comparison import COMPARISON, compare_pair, comparison_page, in_words
from piqa.report.learned import FactorModel, Learned, check_families
from piqa.report.measuring import measure_images
from piqa.report.pages import (
    INDEX,
    PDF,
    TABLE,
    Heading,
    heading,
    index_page,
    planned_files,
    write_portraits,
    write_report_pdf,
)
from piqa.report.parts import Parts
from piqa.report.portraits import Portraits
from piqa.report.scenes import ScenesFrom
from piqa.scoring.file_list import expand
from piqa.scoring.options import Precision
from piqa.system.command_line import run_command
from piqa.system.files import remove_leftovers
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import progress, told_if_slow
from piqa.system.sigterm import sigterm_stops
from piqa.system.written_files import WrittenFiles
from piqa.weights.trust import Trust

if TYPE_CHECKING:
    from piqa.report.scored import ModelReport

WHAT = "report of portraits"


def main(args: list[str] | None = None) -> None:
    """Explain images, from the command line or from a list of its arguments."""
    text = "Images, and folders whose images are all explained."
    run_command(explain, args, "piqa explain", __doc__, "images", nargs="*", help=text)


def explain(
    images: Sequence[str],
    out: str = "report",
    list: str | None = None,
    ckpt_path: str | None = None,
    learned: dict[str, str] | None = None,
    compare: bool = False,
    pdf: bool = False,
    scenes: ScenesFrom = "auto",
    score_maps: bool | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: Precision = "32",
    liqe: str | None = None,
    trust: Trust = None,
    commercial: bool = False,
) -> None:
    """Measure images, and write a report: an index, a page a portrait, and a CSV.

    Args:
        images: Images, and folders whose images are all explained.
        out: The folder to write: new, empty, or a report of before, which goes on.
        list: Text file that names more images, one a line, more than a command line holds.
        ckpt_path: A model whose scores are explained as well, as of `piqa predict`; by default none.
        learned: Learned factor models, by the family of factors that each stands beside, such as `{exposure:
            runs/exposure_map}`. Each becomes a column, a line on the portraits' pages, and where it has one a map.
        compare: Whether to tell what makes the first of two images better than the second: printed, and as a page.
        pdf: Whether to write `report.pdf` as well, a page a portrait; it needs WeasyPrint or Chromium.
        scenes: Which images are compared with each other: `folders`, those of each folder; `all`; or `auto`, folders
            where each of several holds eight images or more, else all.
        score_maps: Whether to map where in an image the score comes from, which takes some fifty passes through each
            backbone; by default for 24 images or fewer.
        workers: Processes that measure images; 0 does it in this one. By default as many as the images are worth.
        device: Where the model runs: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: Of the model, as of `piqa predict`.
        liqe: Path of LIQE's checkpoint; default: the one in the model card.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.
        commercial: Refuse a model that is not known to allow commercial use.

    Raises:
        InputError: If there is nothing to explain, the model cannot be read, or `out` cannot be written or is not
            piqa's.
        FileAccessError: If images could not be read because of the machine: the same command tries them again.
        NothingDoneError: If every image failed for a reason of its own.
        Stopped: By Ctrl-C or SIGTERM; what was measured is kept.
    """
    if workers is not None and workers < 0:
        raise InputError(f"`workers` {workers}: at least 0 is needed")
    models = learned or {}
    check_families(models)
    if commercial:
        from piqa.weights.licences import require_commercial  # networks are slow to import

        for model in ([] if ckpt_path is None else [ckpt_path]) + [*models.values()]:
            require_commercial(model)
    with told_if_slow("listing the images"):
        files = expand(images, list, tell=_tell)
    if compare and len(files) != 2:
        raise InputError(f"`--compare true` takes two images, not {len(files)}; name the two")
    with locked(out, folder=True):
        claim_folder(out, WHAT)
        run = _Run(files, out, scenes)
        with stopped_with("what was measured is kept: give the command again to go on"), sigterm_stops():
            run.measure(workers, device)
            for family, model in models.items() if not run.portraits.all_failed else ():
                run.score_factor(family, model, device, precision, trust)
            if ckpt_path is not None and not run.portraits.all_failed:
                run.explain_scores(ckpt_path, score_maps, device, precision, liqe, trust)
            run.write(compare, pdf)
    run.tell()


class _Run:
    """One report: its images, what is kept of them, and what it writes.

    Args:
        files: The images.
        out: The report's folder.
        scenes: Which images are compared.
    """

    def __init__(self, files: Sequence[str], out: str, scenes: ScenesFrom) -> None:
        self._files, self._out, self._scenes = files, Path(out), scenes
        self._parts = Parts(out)
        self._written = WrittenFiles(out)
        self._model: ModelReport | None = None
        self._model_name = ""
        self._licence: str | None = None
        self._factor_models: list[FactorModel] = []
        self._comparison: Sequence[str] = ()
        remove_leftovers(out)

    def measure(self, workers: int | None, device: str) -> None:
        """Measure the images that are new or changed; then all are known."""
        self._written.check(planned_files(self._files))
        with told_if_slow("looking up what is measured already"):
            left = [file for file in self._files if not self._parts.is_current(file)]
        total, done = len(self._files), len(self._files) - len(left)
        if done:
            print(f"going on after {done} images that were measured before")
        with progress(total, done, task="measuring") as advance:
            measure_images(left, self._parts, advance, workers, device)
        with told_if_slow("comparing the images"):
            self.portraits = Portraits(self._files, self._parts, self._scenes)

    def explain_scores(
        self,
        ckpt_path: str,
        score_maps: bool | None,
        device: str,
        precision: Precision,
        liqe: str | None,
        trust: Trust,
    ) -> None:
        """Explain the scores that a model gives the images."""
        from piqa.report.scored import FEW, ModelReport  # networks are slow to import, and not needed without a model
        from piqa.scoring.precision import tell_precision
        from piqa.scoring.scorer import Scorer
        from piqa.weights.licences import licence_of
        from piqa.weights.model_file import find_model

        with told_if_slow("loading the model"):
            scorer = Scorer.load(ckpt_path, liqe=liqe, device=device, precision=precision, try_turns=True, trust=trust)
            settings = scorer.settings(find_model(ckpt_path))
        self._licence = licence_of(scorer.card)
        tell_precision(scorer.card, precision, ckpt_path)
        measured = len(self.portraits.measured())
        with_maps = measured <= FEW if score_maps is None else score_maps
        if score_maps is None and not with_maps:
            print(f"no maps of the score, as there are more than {FEW} images; `--score_maps true` makes them")
        self._model, self._model_name = ModelReport(scorer, settings, with_maps, self._parts), _model_name(ckpt_path)
        with progress(measured, task="explaining") as advance:
            self._model.explain_all(self.portraits, advance)
        self.portraits.said = self._model.said

    def score_factor(self, family: str, model: str, device: str, precision: Precision, trust: Trust) -> None:
        """Score the images by a learned factor model, which then stands beside the factors of a family."""
        from piqa.scoring.precision import tell_precision  # networks are slow to import
        from piqa.scoring.scorer import Scorer
        from piqa.weights.licences import licence_of
        from piqa.weights.model_file import find_model

        with told_if_slow(f"loading the model of {family}"):
            scorer = Scorer.load(model, device=device, precision=precision, try_turns=True, trust=trust)
            settings = scorer.settings(find_model(model))
        tell_precision(scorer.card, precision, model)
        licence = licence_of(scorer.card)
        found = FactorModel(family, _model_name(model), scorer, settings, self._parts, licence)
        with progress(len(self.portraits.measured()), task=f"scoring {family}") as advance:
            found.score_all(scorer, self.portraits, advance)
        self._factor_models.append(found)
        self.portraits.learned = Learned(self._factor_models, self.portraits)

    def write(self, compare: bool, pdf: bool) -> None:
        """Write the pages, the table and the PDF."""
        head = heading(self.portraits, self._model_name, self._licence or "")
        measured = self.portraits.measured()
        with progress(len(measured), task="writing", unit="pages") as advance:
            write_portraits(self.portraits, self._written, head, advance)
        more: dict[str, str] = {}
        if compare and len(measured) == 2:
            self._compare(head)
            more[COMPARISON] = "what makes A better than B"
        self._written.write_text(INDEX, index_page(self.portraits, head, more))
        if pdf and measured:
            with progress(len(measured), task="printing", unit="portraits") as advance:
                write_report_pdf(self.portraits, self._written, head, advance)
            more[PDF] = "the report as PDF"
            self._written.write_text(INDEX, index_page(self.portraits, head, more))
        self._written.remove_others([*planned_files(self._files), *more])

    def _compare(self, head: Heading) -> None:
        explainer, with_maps = (None, False) if self._model is None else (self._model.explainer, self._model.with_maps)
        pair = compare_pair(self.portraits, explainer, with_maps)
        self._written.write_text(COMPARISON, comparison_page(pair, head, self.portraits))
        self._comparison = in_words(pair)

    def tell(self) -> None:
        """Say what came out, once all is written; raise an error where images could not be read or measured."""
        for line in self._comparison:
            print(line)
        portraits, failed = self.portraits, len(self.portraits.errors)
        faceless = heading(portraits).faceless
        index, table = self._out / INDEX, self._out / TABLE
        print(f"{len(portraits)} images, {faceless} without a face, {failed} failed: {index}")
        if self._model is not None and self._model.errors:
            _tell(f"{len(self._model.errors)} images have no score: {next(iter(self._model.errors.values()))}")
        for model in self._factor_models:
            if model.errors:
                first = next(iter(model.errors.values()))
                _tell(f"{len(model.errors)} images have no score of the model {model.name}: {first}")
        if portraits.refused:
            raise FileAccessError(
                f"{portraits.refused} of {len(portraits)} images could not be read because of the machine, as {table} "
                f"says; give the command again to try these alone"
            )
        if portraits.all_failed:
            raise NothingDoneError(f"no image could be measured; the column `error` of {table} says why")


def _model_name(ckpt_path: str) -> str:
    """Return what a model is called in a report: its file, or the folder of its run."""
    path = Path(ckpt_path)
    return path.parent.name if path.stem == "model" and path.parent.name else path.name


def _tell(line: str) -> None:
    print(f"piqa: warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
