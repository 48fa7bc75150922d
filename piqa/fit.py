"""`python -m piqa.fit --config piqa.yaml`: train a model, by the `task` that its config names, and evaluate it.

Prepares the images that the store lacks, trains, takes the best checkpoint on the validation scenes, and tests it once
on the test split. Writes to the folder of the run (`--out`): `model.safetensors` with its card, `test/` with
predictions, measures and plot, `metrics.csv` by epoch, `config.yaml`, `record.json` and `checkpoints/`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from rich.console import Console

from piqa.cli import PiqaCLI, TaskCLI
from piqa.data.datamodule import PortraitData
from piqa.errors import one_line_errors
from piqa.evaluation.report import ReportFacts, print_report, write_attribute_reports, write_report
from piqa.system.command_line import command
from piqa.system.json_text import plain
from piqa.training.process_settings import set_up_process
from piqa.training.progress_bar import measure_name
from piqa.weights import model_file


def main(args: list[str] | None = None) -> None:
    """Run one training, from the command line or from a list of arguments."""
    with one_line_errors(), ExitStack() as held:
        set_up_process()
        cli = TaskCLI(PortraitData, args, held)
        line = command("piqa.fit", args)
        with cli.session(line):
            train_and_test(cli, line)


def train_and_test(cli: PiqaCLI, line: str, more: Callable[[], dict[str, object]] = dict) -> None:
    """Train, write the model, and test it once, in the session of a run.

    Args:
        cli: The command line, with everything built.
        line: The command line in words.
        more: Returns further facts for the card, when training is over; `data` takes the place of the table's.
    """
    cli.train()
    best = cli.best.best_model_path or None  # None if the measure was never defined: the last weights are kept
    facts = _facts(cli, best, line)
    _write_model(cli, best, facts, more())
    if cli.datamodule.splits["test"].empty:
        rank_zero_only(print)(f"{facts['table']} has no test split, so nothing is tested")
        return
    cli.trainer.test(cli.model, cli.datamodule, ckpt_path=best, weights_only=True, verbose=False)
    _write_report(cli, facts)


def _facts(cli: PiqaCLI, best: str | None, line: str) -> dict[str, object]:
    chosen_on = {"validation": "val", "test": "test"}[cli.datamodule.checkpoint_selection_split]
    undefined = f"no epoch had a defined {measure_name(cli.model.monitor)}"
    why = f"the last epoch, as {undefined}" if cli.trainable else "the network has nothing to train"
    if best is None and cli.trainable:
        rank_zero_warn(f"{undefined}, so no checkpoint is chosen: the model has the weights of the last epoch")
    value = cli.best.best_model_score if best else None
    return {
        "table": cli.datamodule.table.name,
        "split": "test",
        "attribute": cli.datamodule.table.attribute,
        "selected_on": chosen_on if best else f"nothing: {why}",
        f"selected_{cli.model.monitor}": None if value is None else float(value),
        "checkpoint": best or ("last epoch" if cli.trainable else "as it was"),
        "command": line,
    }


@rank_zero_only
def _write_model(cli: PiqaCLI, best: str | None, facts: dict[str, object], more: dict[str, object]) -> None:
    own = [type(cli.model.network).__module__]  # named in the config
    network = cli.model.network if best is None else model_file.load_model(best, own)[0]
    if "data" not in more:
        data = {"table": plain(cli.config.data.table.as_dict()), "seed": cli.config.data.seed}
        if cli.datamodule.checkpoint_selection_split == "validation":
            data["validation_fraction"] = cli.datamodule.validation_fraction
        more = {"data": data, **more}
    card = replace(cli.model.card(), trained_on={**facts, **more})
    model_file.save(network, cli.out / "model.safetensors", card)
    print(f"Model: {cli.out / 'model.safetensors'}")


@rank_zero_only
def _write_report(cli: PiqaCLI, facts: dict[str, object]) -> None:
    told, folder = ReportFacts.from_dict(facts), cli.out / "test"
    cli.model.test_table.attrs["std_of_ratings"] = cli.datamodule.table.std_of_ratings
    of_attributes = write_attribute_reports(cli.model.test_table, cli.model.attributes, folder, told)
    print_report(write_report(cli.model.test_table, folder, told), Console())
    for attribute, report in of_attributes.items():
        srocc, place = report.summary["official"]["srocc"], report.metrics_json.parent
        print(f"{attribute}: SROCC {srocc:.3f} (median over scenes); written to {place}")


if __name__ == "__main__":
    main()
