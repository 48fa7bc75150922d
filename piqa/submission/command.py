"""`python -m piqa.evaluate submission --ckpt_path MODEL --name LAST FIRST`: the NTIRE 2024 challenge's zip, checked.

Writes `submission_<LAST>_<FIRST>.zip`, then runs it alone on sample images and measures it against the limits. Exit
status 1 where something does not pass; the zip stays. What lies in it: `piqa/submission/__init__.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from piqa.data.cuts import Crops
from piqa.errors import InputError, one_line_errors
from piqa.scoring.options import Precision
from piqa.scoring.scorer import Scorer
from piqa.submission.check import Finding, Limits, check_submission
from piqa.submission.pack import bytes_of, check_free, pack, weights_file
from piqa.system.command_line import Parser
from piqa.system.memory import keep_freed_memory
from piqa.weights.trust import Trust

LIMITS = Limits()


def main(args: list[str] | None = None) -> None:
    """Pack and check, from the command line or from a list of its arguments."""
    parser = Parser(prog="piqa evaluate submission", description=__doc__)
    parser.add_argument("--name", nargs=2, required=True, metavar=("LAST", "FIRST"), help="Who submits.")
    parser.add_argument("--half", action="store_true", help="Store the weights in float16, whatever their size.")
    parser.add_function_arguments(submit, skip={"name", "half"})
    parsed = parser.parse_args(args)
    with one_line_errors():
        _, findings = submit(**parser.instantiate(parsed).as_dict())
        print_findings(findings, Console())
    if not all(finding.passed for finding in findings):
        raise SystemExit(1)


def submit(
    name: Sequence[str],
    ckpt_path: str,
    out: str = ".",
    half: bool = False,
    test_crops: Crops = "five",
    precision: Precision = "32",
    images: str | None = None,
    liqe: str | None = None,
    limits: Limits = LIMITS,
    trust: Trust = None,
) -> tuple[Path, list[Finding]]:
    """Write the challenge's zip and check it; report what is being done, as the check takes minutes on a CPU.

    Args:
        name: Last and first name. Accents are taken off, spaces, hyphens and apostrophes left out.
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, or an official DN-PIQA checkpoint.
        out: Folder of the zip.
        half: Store the weights in float16; done unasked where they would exceed the limit.
        test_crops: `five` crops whose scores are averaged, or `one` from the centre, which is five times faster.
        precision: What the zip computes in: `32`, or mixed precision in `bf16` or `16`.
        images: Folder of sample images for the check; by default two public-domain portraits in the challenge's sizes.
        liqe: Path of LIQE's checkpoint; default: the one in the model card.
        limits: What the challenge allows.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.

    Returns:
        The zip, and what the check found.

    Raises:
        InputError: If the name, the model or the images will not do, or the zip cannot be written.
    """
    full_name = "_".join(plain(part) for part in name)
    archive = Path(out) / f"submission_{full_name}.zip"
    check_free(archive, full_name)
    if images is not None and not Path(images).is_dir():
        raise InputError(f"there is no folder {images} of sample images")
    say = partial(Console().print, highlight=False, soft_wrap=True)
    source = Scorer.load(ckpt_path, liqe=liqe, trust=trust)
    if source.device.type == "cpu":
        keep_freed_memory()
    content = weights_file(source, half)
    if not half and bytes_of(content) > limits.weights_gb * 1e9:
        half, content = True, weights_file(source, half=True)
        say(f"the weights exceed {limits.weights_gb:g} GB and are stored in half precision")
    pack(content, full_name, archive, test_crops, precision)
    del content
    say(f"written: {archive}; now it is run alone on sample images")
    # Another scorer, as one of less precision may hold less precise weights than were to be packed.
    scorer = source if precision == "32" else Scorer.load(ckpt_path, liqe=liqe, precision=precision, trust=trust)
    samples = None if images is None else Path(images)
    return archive, check_submission(archive, full_name, scorer, test_crops, half, samples, limits)


def plain(name: str) -> str:
    """Return a name as part of file names: `Núñez-O'Hara` gives `NunezOHara`; InputError for other letters."""
    letters = unicodedata.normalize("NFKD", name)
    kept = "".join(c for c in letters if not unicodedata.combining(c) and not c.isspace() and c not in "-.'_")
    if not (kept.isascii() and kept.isalnum()):
        raise InputError(f"the name '{name}' has no form in plain Latin letters and digits; write it in those alone")
    return kept


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print a line for each finding."""
    table = Table("", "found", "limit", "")
    for finding in findings:
        table.add_row(finding.what, finding.value, finding.limit, "[green]pass" if finding.passed else "[red]fail")
    console.print(table)
