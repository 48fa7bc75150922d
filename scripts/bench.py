"""Measure speed and memory: each row is the ratio of two ways to do the same, measured in turn on this machine.

    python scripts/bench.py                                  all rows; takes hours, most of them for `long-run`
    python scripts/bench.py training-input scoring           some of them
    python scripts/bench.py --device cuda --markdown BENCHMARKS.md
    python scripts/bench.py --smoke                          tiny sizes, to check that every row works

Machines differ and are noisy. The ways of a row are therefore measured in turn, and a row reports the median and the
range of each. Results are written as JSON; `--markdown` also writes them as a table into a page.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import torch
from bench_rows.machine import machine, matrix_rates
from bench_rows.measure import Settings, cores, cpu_seconds, forget
from bench_rows.tables import fill_page, print_table
from rich.console import Console

from piqa.errors import InputError, one_line_errors
from piqa.system.device import pick_device
from piqa.system.json_text import write_json

# Where each row is. Only those that are measured are imported: each process that one starts imports this file again.
ROWS = {
    "training-input": "inputs.training_input",
    "comparisons": "inputs.comparisons",
    "liqe": "scoring.liqe",
    "scoring": "scoring.scoring",
    "freed-memory": "allocator.freed_memory",
    "training-step": "training.training_step",
    "memory": "memory.memory",
    "long-run": "long_run.long_run",
    "evaluation": "evaluation.evaluation",
    "other-models": "other_models.other_models",
    "prepare-workers": "inputs.prepare_workers",
    "detection": "detection.detection",
    "factors": "factors.factors",
    "pretrain-input": "inputs.pretrain_input",
    "start-up": "start_up.start_up",
    "text-features": "text_features.text_features",
    "official": "official.official",
    "engines": "engines.engines",
    "explanation": "explanation.explanation",
    "light": "light.light",
    "next-pair": "judgement.next_pair",
    "serve": "serve.serve",
}


def main(args: list[str] | None = None) -> None:
    """Measure the chosen rows, print a table and write JSON; exit with status 1 if a row failed."""
    options = parse(args)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # it prints a greeting for each way
    with one_line_errors():
        settings = Settings(pick_device(options.device), options.smoke, options.repeats, options.images, options.pyiqa)
        torch.set_num_threads(options.threads)
        report = kept(options.out, options.show) if options.add or options.show else {"rows": []}
        if not options.show:
            report["matrix_rates"] = matrix_rates(settings.device, settings.smoke)
        for name in [] if options.show else options.rows or ROWS:
            result = measured(name, settings, options.threads)
            report["rows"] = [row for row in report["rows"] if row["row"] != name] + [result]
            report["rows"].sort(key=lambda row: list(ROWS).index(row["row"]))
            report |= {"smoke": settings.smoke, "device": settings.device.type, "machine": machine()}
            write_json(report, options.out)  # after every row: a later one may take an hour, or fail
        print_table(report, Console(width=None if sys.stdout.isatty() else 200))
        if options.markdown is not None:
            fill_page(report, options.markdown)
    sys.exit(any("error" in row for row in report["rows"]))


def parse(args: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to measure, by default all: {', '.join(ROWS)}")
    parser.add_argument("--device", default="cpu", help="where networks run: cpu, cuda, cuda:1, ...")
    parser.add_argument("--smoke", action="store_true", help="use tiny sizes, to check that every row works")
    parser.add_argument("--repeats", type=int, help="measurements of each way; by default each row's own number")
    parser.add_argument(
        "--images",
        type=int,
        help="images of long-run (default 30,000), of the memory of other-models (2,000) and of factors (1,000)",
    )
    parser.add_argument(
        "--pyiqa", type=Path, help="for other-models and factors: the site-packages of an environment with pyiqa"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="threads of torch, unless a row sets its own")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    parser.add_argument("--add", action="store_true", help="keep the other rows in --out, if they are of this machine")
    parser.add_argument("--show", action="store_true", help="measure nothing; print the report in --out")
    parser.add_argument("--markdown", type=Path, help="Markdown page in which the table of this device is replaced")
    options = parser.parse_args(args)
    if unknown := [row for row in options.rows if row not in ROWS]:
        parser.error(f"no row {', '.join(unknown)}; the rows are {', '.join(ROWS)}")
    if options.pyiqa is not None and not (options.pyiqa / "pyiqa").is_dir():
        parser.error(f"{options.pyiqa} has no package pyiqa; name the folder in which it is installed by --pyiqa")
    return options


def kept(path: Path, shown: bool) -> dict[str, Any]:
    """Read a report, to add to it or only to show it.

    Raises:
        InputError: If there is none to show, or the one to add to was made on another machine.
    """
    if not path.is_file():
        if shown:
            raise InputError(f"no report {path} to show; measure first, or name another by --out")
        return {"rows": []}
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not shown and report["machine"] != machine():
        raise InputError(f"{path} was measured on another machine or with other versions; choose another --out")
    return report


def measured(name: str, settings: Settings, threads: int) -> dict[str, Any]:
    """Measure one row, for JSON; a row that fails records why and does not stop the others."""
    start, cpu_start = time.perf_counter(), cpu_seconds()
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module, _, function = ROWS[name].partition(".")
            row = asdict(getattr(importlib.import_module(f"bench_rows.{module}"), function)(settings))
    except Exception as error:  # it must not cost hours of other rows
        traceback.print_exc()
        row = {"row": name, "error": f"{type(error).__name__}: {error}"}
    forget()
    took = {"took_s": round(time.perf_counter() - start, 1), "took_cpu_s": round(cpu_seconds() - cpu_start, 1)}
    return row | {"threads": threads} | took


if __name__ == "__main__":
    main()
