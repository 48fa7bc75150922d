r"""Train a recipe step by step, each step with one switch more, and tell what each is worth, with intervals.

    python scripts/ladder.py                                   the demo, reduced: some minutes of two cores
    python scripts/ladder.py --alone                           each switch against the plain recipe
    python scripts/ladder.py --config piqa_plus.yaml --epochs 0 --seeds 5 --ema_decay 0.999 \
        --attributes details exposure --common --data.table.root data/piq23 --data.table.also '[details, exposure]'

The plain recipe is the config with the switches off, whether the config has them or not; its backbone is the config's.
Every step is trained with the same seeds, and measured by its SROCC in each test scene. A step's value is the mean over
scenes and seeds; its interval is a bootstrap over scenes. It is compared with the step before, scene by scene, seed by
seed. What it prints holds for the table that it names and for no other.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from kept_runs import keep_runs
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from piqa import Scorer, srocc
from piqa.data.cuts import Crops
from piqa.data.demo import write_demo
from piqa.errors import one_line_errors
from piqa.scoring.arithmetic import score_arithmetic
from piqa.system.json_text import write_json

DRAWS = 5000
Arguments = tuple[str, ...]
OFF: Arguments = ("--model.target", "published", "--ema_decay", "null", "--model.layer_decay", "1")  # the plain recipe
DEMO, DEMO_ATTRIBUTES = "demo.yaml", ("detail", "exposure")


@dataclass(frozen=True)
class Rung:
    """A step of the ladder.

    Attributes:
        name: The switch that it adds.
        arguments: Arguments of `piqa.fit` for it.
        cost: What it costs, in words.
        at_test: Arguments of `piqa.evaluate`, where it changes nothing but the test: no network is trained.
    """

    name: str
    arguments: Arguments = ()
    cost: str = "none"
    at_test: Arguments = ()


def rungs(options: argparse.Namespace) -> list[Rung]:
    """Return the steps in order; that of another backbone and that of attributes only where some are named."""
    steps = [
        Rung("plain"),
        Rung("label noise in the target", ("--model.target", "score_std")),
        Rung("average of the weights", ("--ema_decay", str(options.ema_decay)), "a copy of the weights in training"),
        Rung("rates by layer", ("--model.layer_decay", str(options.layer_decay))),
    ]
    if options.backbone:
        steps.append(Rung("backbone", ("--model.network.backbone", options.backbone), "as its arithmetic says"))
    if options.attributes:
        names = json.dumps(options.attributes)
        more: Arguments = ("--task", "piqa.tasks.AttributesTask", "--model.network.attributes", names)
        more += ("--model.selection", "overall")  # the attributes help, and do not choose
        steps.append(Rung("attributes as further tasks", more, "a head for each in training"))
    steps.append(
        Rung("mirrored crops at the test", (), "twice the arithmetic of a score", ("--scoring.test_crops", "ten"))
    )
    return steps


def main() -> None:
    """Train all steps that are not trained yet, print the table and write it as JSON."""
    options = parse()
    folder = Path(options.out)
    common: Arguments = tuple(options.common)
    names = ("config", "epochs", "scenes", "test_scenes", "demo_seed", "common")  # the switches are in the runs' names
    keep_runs(folder, **{name: getattr(options, name) for name in names})
    if not common and options.config == DEMO:
        demo = write_demo(folder / "demo", options.demo_seed, options.scenes, options.test_scenes)
        common = ("--data.table.csv", str(demo))
    if options.epochs:
        common += ("--trainer.max_epochs", str(options.epochs), "--trainer.check_val_every_n_epoch", "1")
        common += ("--model.schedule.T_max", str(options.epochs)) if options.config == DEMO else ()
    steps, costs = rungs(options), []
    found: dict[str, NDArray[np.float64]] = {}
    with one_line_errors():
        for position, rung in enumerate(steps):
            added = steps[: position + 1] if not options.alone else [rung]
            given = tuple(word for one in added for word in one.arguments)
            columns = [of_run(options, folder, given, rung.at_test, common, seed) for seed in range(options.seeds)]
            found[rung.name] = np.stack(columns)  # (seeds, scenes)
            costs.append(gflop(run_of(folder, given, 0), "ten" if rung.at_test else "five"))
        report = told(steps, found, options.alone)
        report = [line | {"gflop": cost} for line, cost in zip(report, costs, strict=True)]
        facts = {"config": options.config, "common": list(common), "seeds": options.seeds, "alone": options.alone}
        write_json({**facts, "rungs": report}, folder / "ladder.json")
        show(report, options.alone)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=DEMO, help="the plain recipe")
    parser.add_argument("--out", default="runs/ladder", help="folder of runs and results; what is trained is not again")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each step")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each run; 0 for those of the config")
    parser.add_argument("--scenes", type=int, default=28, help="of the reduced demo")
    parser.add_argument("--test_scenes", type=int, default=12, help="of these, for the test")
    parser.add_argument("--demo_seed", type=int, default=5, help="of the reduced demo; no choice has seen these scenes")
    parser.add_argument("--ema_decay", type=float, default=0.95)
    parser.add_argument("--layer_decay", type=float, default=0.75)
    parser.add_argument("--backbone", default="", help="timm name; by default the step is left out")
    text = "attributes that the table has scores of; by default the demo's, and none of another config"
    parser.add_argument("--attributes", nargs="*", help=text)
    parser.add_argument("--alone", action="store_true", help="each switch alone, against the plain recipe")
    parser.add_argument("--common", nargs=argparse.REMAINDER, default=[], help="arguments of all runs, last")
    options = parser.parse_args()
    if options.attributes is None:
        options.attributes = list(DEMO_ATTRIBUTES) if options.config == DEMO else []
    return options


def of_run(
    options: argparse.Namespace, folder: Path, given: Arguments, at_test: Arguments, common: Arguments, seed: int
) -> NDArray[np.float64]:
    """Return the SROCC of every test scene by a run; it is trained where it is not there yet."""
    run = run_of(folder, given, seed)
    if not (run / "test" / "predictions.csv").is_file():
        own = ["--out", str(run), "--seed_everything", str(seed), "--ckpt_path", "last"]
        python("piqa.fit", ["--config", options.config, *OFF, *common, *given, *own])
    if not at_test:
        return by_scene(run / "test" / "predictions.csv")
    out = run / "at_test"
    if not (out / "predictions.csv").is_file():
        python("piqa.evaluate", ["--ckpt_path", str(run), "--out", str(out), "--preference", "false", *at_test])
    return by_scene(out / "predictions.csv")


def run_of(folder: Path, given: Arguments, seed: int) -> Path:
    """Return the folder of a run, named after its switches."""
    words = [re.sub(r"[^\w.]+", "_", word.strip("-")) for word in given]
    return folder / "-".join(["run", *words, f"seed{seed}"])


def gflop(run: Path, crops: Crops) -> float:
    """Return the arithmetic of one score by the model of a run, in billions; a multiply-add counts as two."""
    scorer = Scorer.load(run, device="cpu")
    counted = score_arithmetic(scorer.network, scorer.preparation, scorer.crop_size, scorer.view, crops)
    return round(counted.flop / 1e9, 4)


def python(module: str, arguments: Sequence[str]) -> None:
    """Run a command of piqa's; the script ends where it fails."""
    print(f"{module} {' '.join(arguments)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.DEVNULL)


def by_scene(file: Path) -> NDArray[np.float64]:
    """Return the SROCC of each scene, in the order of their names."""
    table = pd.read_csv(file)
    return np.array([srocc(one["score"], one["prediction"]) for _, one in table.groupby("scene")])


def told(steps: Sequence[Rung], found: dict[str, NDArray[np.float64]], alone: bool) -> list[dict[str, object]]:
    """Return each step's mean, its interval, and the difference to the step before (or to the plain recipe)."""
    rng = np.random.default_rng(0)
    scenes = found[steps[0].name].shape[1]
    drawn = rng.integers(scenes, size=(DRAWS, scenes))
    report = []
    for position, rung in enumerate(steps):
        own = found[rung.name].mean(axis=0)
        line: dict[str, object] = {"name": rung.name, "cost": rung.cost, **measured(own, drawn)}
        line["seeds"] = [round(float(value), 4) for value in found[rung.name].mean(axis=1)]
        if position:
            before = found[steps[0 if alone else position - 1].name].mean(axis=0)
            line["difference"] = measured(own - before, drawn)
        report.append(line)
    return report


def measured(values: NDArray[np.float64], drawn: NDArray[np.int64]) -> dict[str, object]:
    """Return the mean over scenes and its 95 % interval."""
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return {"srocc": round(float(values.mean()), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def show(report: Sequence[dict[str, object]], alone: bool) -> None:
    """Print the table."""
    table = Table(title="SROCC per test scene, mean over scenes and seeds; 95 % intervals over scenes")
    against = f"against the {'plain' if alone else 'step before'}"
    for column in ("step", "SROCC", "interval", against, "interval", "GFLOP a score", "cost"):
        table.add_column(column)
    for line in report:
        difference = line.get("difference")
        own = ["", ""]
        if isinstance(difference, dict):
            own = [f"{difference['srocc']:+.3f}", words(difference["interval"])]
        own += [f"{line['gflop']:.3g}", str(line["cost"])]
        table.add_row(str(line["name"]), f"{line['srocc']:.3f}", words(line["interval"]), *own)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def words(interval: object) -> str:
    """Return an interval as the table shows it."""
    assert isinstance(interval, list)
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


if __name__ == "__main__":
    main()
