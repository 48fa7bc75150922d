"""What the training commands share: one YAML file describes a run, and every field can be overridden."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, Literal, cast

import yaml
from jsonargparse import ArgumentParser, Namespace  # type: ignore[attr-defined]
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from piqa.errors import InputError
from piqa.system.command_line import ConfigFile, Parser
from piqa.system.config_files import find_config
from piqa.system.device import computes_bfloat16, pick_device
from piqa.system.files import replacing
from piqa.system.json_text import plain
from piqa.system.launched import taken_from_launcher
from piqa.system.ownership import claim_folder, locked
from piqa.tasks.base import ScoringTask
from piqa.training.averaged_weights import AveragedWeights
from piqa.training.checkpoints import CHECKPOINTS, LAST, AtomicCheckpointIO, BestCheckpoint, LastCheckpoints
from piqa.training.failures import failed_in_one_line
from piqa.training.metrics_log import MetricsFile, keep_metrics
from piqa.training.process_settings import set_up_training
from piqa.training.progress_bar import TrainingProgress
from piqa.training.run_folder import (
    CONFIG,
    KIND,
    claim_run,
    holds_result,
    holds_run,
    newest_checkpoint,
    remove_former_run,
)
from piqa.training.run_record import RunRecord, fingerprint
from piqa.training.signals import StopOnSignal, stopped_in_one_line
from piqa.weights import model_file
from piqa.weights.licences import licence_lines

RANKING = "piqa.tasks.RankingTask"


class LightningParser(Parser, LightningArgumentParser):
    """LightningCLI's parser, with errors in one line; `task` is the class that `model` describes."""

    task: type | None = None


class TaskConfig(ConfigFile):
    """`--config`, without the settings of a task that another one replaces."""

    @staticmethod
    def apply_config(parser: ArgumentParser, cfg: Namespace, dest: str, value: str) -> None:
        """Read a config; of the `model` of another task only the network is of use. Called by jsonargparse."""
        content = dict(_read(find_config(value)))
        former, task = content.get("task", cfg.get("task")), getattr(parser, "task", None)
        if former is not None and task is not None and not issubclass(task, _class_at(former) or type(None)):
            content.pop("task", None)
            if isinstance(model := content.get("model"), dict):
                content["model"] = {name: model[name] for name in model if name.split(".")[0] == "network"}
            value = yaml.safe_dump(content)
        ConfigFile.apply_config(parser, cfg, dest, value)


def _class_at(path: object) -> type | None:
    """Return the class of an import path, or None if there is none."""
    module, _, name = str(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) else None


def find_task(args: Sequence[str] | None = None) -> type[ScoringTask]:
    """Return the task that a command line names: by its last `--task`, else the last config with one, else ranking.

    Args:
        args: Arguments of `fit`; default: those of the program.

    Raises:
        InputError: If it cannot be imported, or is no task.
    """
    given = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    given.add_argument("--task")
    given.add_argument("-c", "--config", action="append", default=[])
    known, _ = given.parse_known_args(sys.argv[1:] if args is None else list(args))
    path = known.task
    for config in reversed(known.config):
        path = path or _read(find_config(config)).get("task")
    module, _, name = str(path or RANKING).rpartition(".")
    try:
        task = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"there is no task {path} ({error}); name a task such as {RANKING}") from error
    if not (isinstance(task, type) and issubclass(task, ScoringTask)):
        raise InputError(f"{path} is no task; name a task such as {RANKING}")
    return task


def _read(config: str) -> Mapping[str, object]:
    """Return a config from its file or its text; empty where it cannot be read, which the parser will report."""
    try:
        content = yaml.safe_load(Path(config).read_text(encoding="utf-8") if Path(config).is_file() else config)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


class PiqaCLI(LightningCLI):
    """LightningCLI with a folder for the run, resuming, and piqa's loggers.

    Args:
        task: Class of the task.
        data: Class of the data.
        args: Arguments; default: those of the program.
        held: Gets the locks of what the run writes, to be released when the command ends.
    """

    program = "piqa fit"
    ckpt_path: str | None = None  # the checkpoint that the run is resumed from

    def __init__(self, task: type, data: type, args: list[str] | None = None, held: ExitStack | None = None) -> None:
        self._held = held or ExitStack()
        self.record: RunRecord | None = None  # of the first process, once the run has begun
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # `piqa fit` passes its arguments
            super().__init__(
                task,
                data,
                save_config_callback=None,  # `_begin` writes it, whole or not at all
                seed_everything_default=0,
                args=args,
                run=False,
                parser_kwargs={"prog": self.program},
                auto_configure_optimizers=False,  # the task takes its optimiser as an argument
                load_from_checkpoint_support=False,  # the model's card does that
                trainer_defaults={
                    "max_epochs": 10,
                    "log_every_n_steps": 10,
                    "use_distributed_sampler": False,  # the datamodule divides the data among processes
                    "enable_model_summary": False,
                },
            )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser whose `--config` takes names of configs in the project as well."""
        parser = LightningParser(**kwargs)
        parser.task = cast(type, self.model_class)
        parser.add_argument("-c", "--config", action=TaskConfig, help="A YAML file, or the name of one in configs/.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add piqa's own arguments."""
        for name, kind, default, text in (
            ("out", str, "runs/piqa", "Folder of the run."),
            ("overwrite", bool, False, "Replace the run that the folder holds, if there is one."),
            (
                "ckpt_path",
                str | None,
                None,
                "Checkpoint to resume from; `last`: the newest of this run, or a fresh start.",
            ),
            ("checkpoint_every", int, 250, "Optimiser steps between checkpoints; 0 for the ends of epochs only."),
            ("checkpoint_keep", int, 2, "Newest checkpoints to keep, besides the best."),
            (
                "ema_decay",
                float | None,
                None,
                "Keep the moving average of the weights with this decay, such as 0.99.",
            ),
            ("wandb", Literal["off", "offline", "online"], "off", "Also log to Weights & Biases."),
        ):
            parser.add_argument(f"--{name}", type=kind, default=default, help=text)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def before_instantiate_classes(self) -> None:
        """Validate the config before anything is built."""
        config = self.config
        self.out = Path(config.out)
        self.last = self.out / CHECKPOINTS / f"{LAST}.ckpt"
        self.ckpt_path = config.ckpt_path
        if config.ckpt_path == LAST:
            newest = newest_checkpoint(self.out)
            self.ckpt_path = None if newest is None else str(newest)
        elif config.ckpt_path is not None and not Path(config.ckpt_path).is_file():
            raise InputError(f"no checkpoint {config.ckpt_path} to resume from; a run keeps its own in {CHECKPOINTS}/")
        if self.ckpt_path is not None and config.trainer.max_steps != -1:
            raise InputError("a run is resumed by epochs; set `--trainer.max_epochs` instead of `max_steps`")
        if config.trainer.precision is None and not config.trainer.plugins:
            config.trainer.precision = default_precision(config.trainer.accelerator)
        self._claim()

    @property
    def _goes_on(self) -> bool:
        """Whether the run goes on with a checkpoint of its own folder."""
        return self.ckpt_path is not None and self.out.resolve() in Path(self.ckpt_path).resolve().parents

    @rank_zero_only
    def _claim(self) -> None:
        """Check that the folder of the run is piqa's and free, or may be replaced; keep other processes from it."""
        claim_run(self.out, model_file.is_checkpoint, self.config.overwrite)
        self._held.enter_context(locked(self.out, folder=True))
        if self.config.overwrite or self._goes_on:
            return
        # With `last`, what a run has left that was stopped before its first checkpoint is no reason to stop.
        if holds_result(self.out) if self.config.ckpt_path == LAST else holds_run(self.out):
            newest = newest_checkpoint(self.out)
            resume = f"resume it with `--ckpt_path {quote(str(newest))}`, " if newest else ""
            raise InputError(
                f"{self.out} already holds a run; {resume}choose another `--out`, or replace it with `--overwrite true`"
            )

    @contextmanager
    def session(self, command: str) -> Iterator[None]:
        """Run what follows as a session of the run: recorded, and ended in one line where the user stops it.

        Args:
            command: The command line, for the record.

        Raises:
            Stopped: Where Ctrl-C ends it.
            InputError: If the data are at fault, the disk is full, or a loading process dies.
        """
        self._begin(command)
        with ExitStack() as around:
            if self.record is not None:
                around.enter_context(self.record.completed())
            around.enter_context(stopped_in_one_line(self._kept, speaks=self.record is not None))
            around.enter_context(failed_in_one_line(self._kept, self._end_other_processes))
            yield

    @rank_zero_only
    def _begin(self, command: str) -> None:
        """Begin the run in its folder: remove the one that it replaces, write the config and the record."""
        new = self.config.overwrite and not self._goes_on
        if self._goes_on and self.ckpt_path is not None:
            keep_metrics(self.out, self.ckpt_path)
        else:
            remove_former_run(self.out)
            claim_folder(self.out, KIND, renew=new)
        with replacing(self.out / CONFIG) as temporary:
            self.parser.save(self.config, str(temporary), skip_unset=False, overwrite=True, multifile=False)
        self.record = RunRecord(self.out, command, self.ckpt_path, new)
        settings = plain(self.config.as_dict())
        if lines := licence_lines([settings["model"], settings["data"].get("preparation")]):
            self.record.add(licences=lines)

    def _kept(self) -> str:
        """Return what is kept of a session that was stopped, and how to go on."""
        newest = newest_checkpoint(self.out)
        if newest is None:
            return "images that were prepared are kept; start again with the same command"
        return f"resume with `--ckpt_path {quote(str(newest))}`"

    def after_instantiate_classes(self) -> None:
        """Check that the parts fit: network and data, network and checkpoint, batches and processes."""
        if self.ckpt_path is not None:
            model_file.check_resumable(self.ckpt_path, self.model.network)
        self.check_network()
        self.datamodule.check_shares(self.trainer.world_size, self.trainer.accumulate_grad_batches)

    def check_network(self) -> None:
        """Check that the network takes the images that the data give.

        Raises:
            InputError: If it takes images of another size, or what the data lack: LIQE's logits, or face boxes.
        """
        network, data = self.model.network, self.datamodule
        if not network.init_args:  # a network of the user's own; the model's card must say how to build it
            arguments = self.config.model.network.get("init_args")
            network.init_args = plain(arguments.as_dict() if arguments else {})
        size = network.image_size
        if size is not None and size != data.side:
            seen = "images of many shapes" if data.side is None else f"squares of {data.side} px"
            raise InputError(
                f"the network was built for {size} px but is shown {seen}; set `data.inputs.crop_size`, or of "
                f"whole images `data.preparation` to `{{short_side: {size}, resize: stretch}}`"
            )
        if "liqe_logits" in network.inputs and data.preparation.liqe is None:
            raise InputError(
                "the network has the branch `liqe`, which needs LIQE's weights: set `data.preparation.liqe` to the "
                "file, or leave the branch out as no_liqe.yaml does"
            )
        if "face_box" in network.inputs and (data.clip is not None or data.inputs.view == "windows"):
            raise InputError("the network takes `face_box`, which neither videos nor windows have; take another view")
        if "face_box" in network.inputs and data.preparation.face_rule == "none":
            rank_zero_warn(
                "the network takes the face box, and no face is looked for; set `data.preparation.face_rule: largest`"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer, with piqa's loggers unless the config names others, and with its checkpoints."""
        if self.config.trainer.logger in (None, True):
            kwargs["logger"] = self._loggers()
        folder, config = self.last.parent, self.config
        stop = StopOnSignal(self.last)
        self.best = BestCheckpoint(folder, self.model.monitor)
        last = LastCheckpoints(folder, config.checkpoint_every, config.checkpoint_keep, stop)
        callbacks: list[Callback] = [stop, self.best, last, _DataRecorder(self)]  # `last` saves the state of `best`
        if config.ema_decay is not None:
            callbacks.insert(0, AveragedWeights(config.ema_decay))
        others = self.config_init.trainer.callbacks or []
        if config.trainer.enable_progress_bar in (None, True) and not any(isinstance(o, ProgressBar) for o in others):
            callbacks.append(TrainingProgress())
        self.trainer_defaults["callbacks"] = callbacks
        plugins = [*(self.config_init.trainer.plugins or []), AtomicCheckpointIO()]
        return super().instantiate_trainer(default_root_dir=self.out, plugins=plugins, **kwargs)

    def train(self) -> None:
        """Train, from the start or from `--ckpt_path`; a network without trainable weights is only validated."""
        if self.ckpt_path is None:
            self.model.load_initial_weights()
        if not self.trainable:
            rank_zero_warn(f"{type(self.model.network).__name__} has no trainable weights; it is evaluated as it is")
            self.trainer.validate(self.model, self.datamodule, verbose=False)
            return
        set_up_training(self.trainer.strategy.root_device)
        self.trainer.fit(self.model, self.datamodule, ckpt_path=self.ckpt_path, weights_only=True)

    @property
    def trainable(self) -> bool:
        """Whether the network has trainable weights."""
        return any(weight.requires_grad for weight in self.model.network.parameters())

    def _end_other_processes(self) -> None:
        launcher = self.trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            for process in taken_from_launcher(launcher):
                process.kill()  # they would wait for this process forever

    def _loggers(self) -> list[Logger]:
        loggers: list[Logger] = [MetricsFile(self.out)]
        if self.config.wandb != "off":
            try:
                logger = WandbLogger(self.out.name, self.out, mode=self.config.wandb, project="piqa")
                run = logger.experiment  # asks for the account now, not in the first epoch
                # A run that stays open would take the log of the next training of this process.
                self._held.push(lambda kind, *_: run.finish(exit_code=int(kind is not None)))
                loggers.append(logger)
            except Exception as error:  # of any kind: training does not need W&B
                rank_zero_warn(f"training without Weights & Biases: {error}")
        return loggers


class _DataRecorder(Callback):
    """Adds to the record what the run is trained and validated on, as soon as that is known."""

    def __init__(self, cli: PiqaCLI) -> None:
        self._cli = cli

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record the data; Lightning has split them by now."""
        data, record = self._cli.datamodule, self._cli.record
        if record is not None and stage in ("fit", "validate"):
            compute = self._cli.model.compute_options.decide(self._cli.model.network)
            record.add(data=fingerprint(data.splits), left_out=data.left_out, compute=compute)


class TaskCLI(PiqaCLI):
    """The command line of commands whose config names its `task`."""

    def __init__(self, data: type, args: list[str] | None = None, held: ExitStack | None = None) -> None:
        super().__init__(find_task(args), data, args, held)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the task."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--task", type=str, default=RANKING, help="Class of the task; `model` holds its arguments.")


def default_precision(accelerator: str) -> str:
    """Return bfloat16 where the device multiplies it in hardware; weights, optimiser and loss stay float32."""
    device = pick_device("auto").type if accelerator in ("auto", "gpu") else accelerator
    return "bf16-mixed" if computes_bfloat16(device) else "32-true"
