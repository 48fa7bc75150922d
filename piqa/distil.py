"""`python -m piqa.distil --config light.yaml --teacher runs/piqa --pictures FOLDER`: train a light network by a model.

The teacher scores the pictures once, by way of the prepared store and with its own preparation; its scores are kept in
`--scoring.folder`. The student, a network of the config, learns to prefer what the teacher prefers among the pictures
of one folder, and, where `--data.table` names scored images, on these too. Its arithmetic and parameters are counted
and compared with `--limits` before anything is prepared. What a run leaves, and how it is resumed, is as of `piqa.fit`.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from pathlib import Path

from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from piqa.cli import PiqaCLI
from piqa.data.distillation import DistillationData
from piqa.errors import InputError, one_line_errors
from piqa.fit import train_and_test
from piqa.models.contract import Arguments
from piqa.scoring.arithmetic import Arithmetic, Limits, score_arithmetic
from piqa.scoring.file_list import expand
from piqa.scoring.kept_scores import KeepingOptions, KeptScores
from piqa.system.command_line import command
from piqa.system.json_text import plain
from piqa.tasks.distillation import DistillationTask
from piqa.training.process_settings import set_up_process
from piqa.weights.licences import licence_of
from piqa.weights.model_card import ModelCard

LABELS_TABLE = "piqa.data.CSVTable"


class DistilCLI(PiqaCLI):
    """The command line of `piqa distil`: that of `fit`, with a teacher, pictures and limits."""

    program = "piqa distil"
    arithmetic: Arithmetic
    teacher: KeptScores

    def __init__(self, args: list[str] | None = None, held: ExitStack | None = None) -> None:
        super().__init__(DistillationTask, DistillationData, args, held)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the arguments of this command."""
        super().add_arguments_to_parser(parser)
        text = "The teacher: a run's folder, or any other model that `predict` takes."
        parser.add_argument("--teacher", type=str, required=True, help=text)
        text = "Folder of pictures without scores; those of one folder are a scene."
        parser.add_argument("--pictures", type=str | None, default=None, help=text)
        parser.add_argument("--scoring", type=KeepingOptions, default=KeepingOptions(), help="How the teacher scores.")
        parser.add_argument("--limits", type=Limits, default=Limits(), help="What the student may take.")
        parser.link_arguments("pictures", "data.pictures")

    def before_instantiate_classes(self) -> None:
        """Check that the student does not take its teacher's place.

        Raises:
            InputError: If the teacher lies in the folder of the run.
        """
        teacher, out = Path(self.config.teacher).resolve(), Path(self.config.out).resolve()
        if teacher == out or out in teacher.parents:
            raise InputError(
                f"the teacher {self.config.teacher} lies in {self.config.out}, where the student would replace it; "
                "choose another `--out`"
            )
        super().before_instantiate_classes()

    def after_instantiate_classes(self) -> None:
        """Count the student's arithmetic, give the data their teacher, and check that the parts fit."""
        options, data = self.config_init, self.datamodule
        self.arithmetic = score_arithmetic(
            self.model.network, data.preparation, data.inputs.crop_size, data.inputs.view, data.inputs.test_crops
        )
        self._judge(options.limits)
        if data.unscored is not None:
            data.unscored.find = functools.partial(expand, tell=rank_zero_warn)
        self.teacher = KeptScores(options.teacher, data.store.folder, options.scoring, data.store.max_failed)
        _ = self.teacher.scorer  # an error of the teacher is told before anything is prepared
        data.teacher = self.teacher
        self.model.licence = inherited_licence(self.teacher.card, options.teacher)
        super().after_instantiate_classes()

    def _judge(self, limits: Limits) -> None:
        """Print what the student takes, against the limits.

        Raises:
            InputError: If it takes more, and is to be refused.
        """
        rank_zero_only(print)(f"student: {self.arithmetic}; limits: {limits}")
        if (fault := limits.fault(self.arithmetic)) is None:
            return
        if limits.exceeded == "refuse":
            raise InputError(
                f"{fault}; choose a smaller `model.network` or `data.inputs.crop_size`, fewer "
                "`data.inputs.test_crops`, or raise `--limits`"
            )
        rank_zero_warn(fault)

    def facts(self) -> dict[str, object]:
        """Return what the card tells of the teacher, the labels and the student's arithmetic."""
        facts: dict[str, object] = {"teacher": self.teacher.facts(), "arithmetic": self._told()}
        facts["pictures"] = self.config.pictures
        labels = self.datamodule.write_labels(self.out) if self.trainer.is_global_zero else None
        if labels is not None:
            own = {"csv": str(labels), "root": self.config.pictures}
            facts["data"] = {"table": {"class_path": LABELS_TABLE, "init_args": own}, "seed": self.config.data.seed}
        if self.record is not None:
            kept = {"scores": str(self.teacher.table), "scores_digest": self.teacher.digest()}
            self.record.add(teacher=plain(self.teacher.facts()) | kept, arithmetic=self._told())
        return facts

    def _told(self) -> Arguments:
        found = self.arithmetic
        return {"flop": found.flop, "parameters": found.parameters, "crops": found.crops}


def inherited_licence(teacher: ModelCard, name: str) -> Arguments:
    """Return the licence of a student, which may be used as its teacher may: nothing is known where nothing is said.

    Examples:
        >>> from piqa.weights.model_card import ClassSpec
        >>> teacher = ModelCard(ClassSpec("piqa.models.NIMA"), licence={"weights": "cc-by-nc-4.0", "commercial": "no"})
        >>> inherited_licence(teacher, "runs/nima")
        {'line': 'taught by runs/nima: weights: cc-by-nc-4.0; commercial: no', 'commercial': 'no'}
    """
    line = licence_of(teacher)
    if line is None:
        return {}
    return {"line": f"taught by {name}: {line}", "commercial": teacher.licence.get("commercial", "unknown")}


def main(args: list[str] | None = None) -> None:
    """Train a student, from the command line or from a list of arguments."""
    with one_line_errors(), ExitStack() as held:
        set_up_process()
        cli = DistilCLI(args, held)
        line = command("piqa.distil", args)
        with cli.session(line):
            train_and_test(cli, line, cli.facts)


if __name__ == "__main__":
    main()
