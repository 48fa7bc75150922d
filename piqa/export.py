"""`python -m piqa.export --ckpt_path MODEL --format onnx --out model.onnx`: a model as a file for other engines.

The file holds all that scoring takes: the network with its normalisation, LIQE's image tower where the network needs
it, the card, the preparation and the face detector. Before it is written it runs in its engine, on spoilt portraits,
beside PyTorch: what that finds is printed, and kept in the file and in the model's card. It is only written if it ranks
portraits as the model does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from piqa.conversion.check import (
    Check,
    PreparedPortrait,
    Timed,
    checks_table,
    compared,
    graph_inputs,
    prepared_portraits,
    score_by,
    score_by_file,
    score_by_torch,
    timed_scores,
)
from piqa.conversion.document import document_of, keep_in_card, metadata_of
from piqa.conversion.formats import (
    FORMATS,
    Format,
    Writer,
    check_target,
    extras,
    put_in_place,
    workplace,
    writer_of,
    writer_of_onnx,
)
from piqa.conversion.graph_module import CropsAveraged, GraphModule, takes_any_size
from piqa.conversion.onnx_file import onnx_model, quiet
from piqa.conversion.spoilt_portraits import Portraits
from piqa.data.cuts import seen_side
from piqa.engines.exported import ExportPrecision
from piqa.engines.exported_network import load_exported
from piqa.engines.graph import open_graph
from piqa.errors import InputError, one_line_errors, stopped_with
from piqa.scoring.scorer import Scorer
from piqa.system.command_line import Parser, command
from piqa.system.ownership import locked
from piqa.system.progress import told_if_slow
from piqa.system.sigterm import sigterm_stops
from piqa.weights import state_dicts
from piqa.weights.licences import require_commercial
from piqa.weights.trust import Trust

LEAST_CHECKED = {"32": 16, "16": 16, "int8": 48}  # portraits
SEARCHED = 48  # portraits of the calibration on which sensitive layers are searched
EQUAL = 1e-4  # scores that differ by less are the same, whatever their ranks


def main(args: list[str] | None = None) -> None:
    """Export, from the command line or from a list of its arguments."""
    given = sys.argv[1:] if args is None else args
    parser = Parser(prog="piqa export", description=__doc__)
    parser.add_function_arguments(export, skip={"told"})
    parsed = parser.parse_args(given)
    with one_line_errors():
        export(**parser.instantiate(parsed).as_dict(), told=command("piqa.export", given))


def export(
    ckpt_path: str,
    format: Format = "onnx",
    precision: ExportPrecision = "32",
    out: str | None = None,
    crops: CropsAveraged = "inside",
    pictures: str | None = None,
    check_images: int | None = None,
    calibration_images: int = 300,
    min_spearman: float = 0.999,
    liqe: str | None = None,
    commercial: bool = False,
    overwrite: bool = False,
    trust: Trust = None,
    told: str = "piqa.export",
) -> None:
    """Export a model, check it, and write it.

    Args:
        ckpt_path: A model, as of `piqa predict`.
        format: `onnx`, one file for ONNX Runtime and others; `openvino`, an `.xml` with its `.bin`; or `torchscript`.
        precision: `32`; `16`, weights in float16 and half the size; or `int8`, of ONNX and OpenVINO.
        out: The file to write, whose ending is `.onnx`, `.xml` or `.ts`; by default `model` with it.
        crops: Whether scores are averaged over an image's crops `inside` the file, or `outside`, by whoever runs it.
        pictures: Folder of portraits to calibrate with and to check on, 50 or more; by default such as are generated
            from two portraits in the public domain.
        check_images: Portraits of the check, 5 crops each; by default 16, and 48 for `int8`, the fewest it takes.
        calibration_images: Portraits on which activations are observed for `int8`, one crop each.
        min_spearman: The rank correlation with PyTorch's scores that a file must reach to be written.
        liqe: Path or name of LIQE's checkpoint; default: the one in the model card.
        commercial: Refuse a model that is not known to allow commercial use.
        overwrite: Replace a file that was exported before.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.
        told: The command, for the file's facts.

    Raises:
        InputError: If the model cannot be read or exported, a package is missing, `out` cannot be written or is not
            piqa's, or the file does not score as the model does. Then nothing is written.
        Stopped: By Ctrl-C or SIGTERM; nothing is written.
    """
    least = LEAST_CHECKED[precision]
    count = least if check_images is None else check_images
    _check_arguments(format, precision, count, calibration_images, min_spearman)
    target = check_target(Path(out or f"model{FORMATS[format].suffix}"), format, overwrite)
    extras(FORMATS[format].needs)
    portraits = Portraits.of_folder(pictures)
    if commercial:
        require_commercial(ckpt_path)
    with locked(target), stopped_with("nothing was written"), sigterm_stops():
        with told_if_slow("loading the model"):
            scorer = Scorer.load(ckpt_path, liqe=liqe, device="cpu", trust=trust)
        with workplace(target) as folder:
            run = _Export(scorer, format, precision, crops, portraits, folder, told)
            writer = run.quantised(calibration_images, min_spearman) if precision == "int8" else run.written()
            checks = run.check(writer, count, min_spearman)
            put_in_place(run.file, target)
        name = f"{format}-{precision}"
        kept = keep_in_card(ckpt_path, name, checks[name].to_dict())
    size = sum(file.stat().st_size for file in (target, target.with_suffix(".bin")) if _is_part(file, target))
    print(f"{target}: {size / 1e6:.1f} MB" + (f"; the check is in the model's card as `{name}`" if kept else ""))


def _is_part(file: Path, target: Path) -> bool:
    return file == target or (target.suffix == ".xml" and file.exists())


def _check_arguments(kind: Format, precision: str, count: int, calibration: int, least: float) -> None:
    """Check what the parser cannot; InputError if something is not possible."""
    if precision not in FORMATS[kind].precisions:
        raise InputError(f"{kind} has no `--precision {precision}`; int8 is for onnx and openvino")
    fewest = 48 if precision == "int8" else 3
    if count < fewest:
        raise InputError(f"`check_images` {count}: at least {fewest} are needed for `--precision {precision}`")
    if calibration < SEARCHED and precision == "int8":
        raise InputError(f"`calibration_images` {calibration}: at least {SEARCHED} are needed")
    if not 0 <= least <= 1:
        raise InputError(f"`min_spearman` is {least}; a rank correlation from 0 to 1 is needed")


class _Export:
    """One export: the graph, and what it becomes in a workplace.

    Args:
        scorer: The model, in float32 on the CPU.
        kind: Format.
        precision: Of the file.
        crops: Where crops are averaged.
        portraits: That are calibrated with and checked on.
        folder: The workplace.
        told: The command.
    """

    def __init__(
        self,
        scorer: Scorer,
        kind: Format,
        precision: ExportPrecision,
        crops: CropsAveraged,
        portraits: Portraits,
        folder: Path,
        told: str,
    ) -> None:
        self._scorer, self._kind, self._precision, self._portraits = scorer, kind, precision, portraits
        self._folder, self._told = folder, told
        self.file = folder / f"model{FORMATS[kind].suffix}"
        side = seen_side(scorer.view, scorer.preparation, scorer.crop_size)
        liqe = scorer.preparation.liqe if "liqe_logits" in scorer.network.inputs else None
        with told_if_slow("building the network to export"):
            loaded = None if liqe is None else state_dicts.load_liqe(liqe)
            own = None if takes_any_size(scorer.network) and scorer.view == "whole" else side
            self._graph = GraphModule(scorer.network, loaded, own, crops)
        self._by_image = scorer.network.pools_windows or crops == "inside"

    def written(self) -> Writer:
        """Return what writes the graph in float32 or float16."""
        with told_if_slow(f"writing the network as {self._kind}"):
            return writer_of(self._kind, self._graph, self._precision)

    def quantised(self, calibration: int, least: float) -> Writer:
        """Return what writes the graph in int8, calibrated on portraits of which the check has none."""
        from piqa.conversion.int8 import Quantiser, Way, quantised

        print(f"calibrating with {self._portraits.told()}, up to {calibration}")
        drawn = self._portraits.calibrated(calibration)
        observed = prepared_portraits(self._scorer, drawn, calibration, "preparing for calibration", "one")
        searched = observed[:: max(1, len(observed) // SEARCHED)][:SEARCHED]
        with told_if_slow("writing the network as onnx"):
            model = onnx_model(self._graph)
        inputs = [one.name for one in self._graph.inputs]
        given = (graph_inputs(inputs, one.batch, self._by_image) for one in observed)
        quantiser = Quantiser(model, self._folder, given, len(observed))
        score = partial(self._scores_by_onnx, searched, inputs)
        reference = score(quantiser.in_float)
        ways: Sequence[Way] = ("static",) if self._kind == "openvino" else ("static", "dynamic")
        found = quantised(quantiser, reference.scores, score, least, print, ways)
        print(f"taken: {found.told()}")
        return writer_of_onnx(self._kind, found.model)

    def _scores_by_onnx(self, portraits: Sequence[PreparedPortrait], inputs: Sequence[str], model: Path) -> Timed:
        graph = open_graph(model, "onnxruntime", "cpu")
        return timed_scores(score_by(graph, inputs, self._by_image), portraits, "scoring", quiet=True)

    def check(self, writer: Writer, count: int, least: float) -> dict[str, Check]:
        """Write the file, run it in its engine, and write what that finds into it; return it by name.

        Raises:
            InputError: If it does not score as the model does.
        """
        name = f"{self._kind}-{self._precision}"
        document = document_of(self._scorer, self._graph, self._precision, self._told, {})
        writer.write(self.file, metadata_of(document))
        print(f"checking on {count} spoilt portraits, of {self._portraits.told()}")
        drawn = self._portraits.checked(count)
        portraits = prepared_portraits(self._scorer, drawn, count, "preparing for the check")
        reference = timed_scores(score_by_torch(self._scorer), portraits, "PyTorch")
        with quiet():  # torch says that TorchScript is old
            network = load_exported(self.file, FORMATS[self._kind].engine, "cpu")
        other = timed_scores(score_by_file(network), portraits, network.graph.engine)
        checks = {name: compared(reference, other, portraits)}
        print(checks_table(checks))
        _judge(name, checks[name], least)
        del network
        kept = {one: check.to_dict() for one, check in checks.items()}
        writer.write(self.file, metadata_of(replace(document, checks=kept)))
        return checks


def _judge(name: str, check: Check, least: float) -> None:
    """Refuse a file that does not score as the model does."""
    reached, largest = check.agreement.spearman, check.agreement.largest
    if largest < EQUAL and name.partition("-")[2] != "int8":
        return
    if reached is None or reached < least:
        shown = "undefined, as scores are equal," if reached is None else f"{reached:.5f}"
        advice = "take `--precision 32`" if not name.endswith("-32") else "the network computes something else there"
        raise InputError(
            f"{name} was not written: its Spearman with PyTorch is {shown} over {check.agreement.images} portraits, "
            f"and {least} is asked for by `--min_spearman`; {advice}"
        )


if __name__ == "__main__":
    main()
