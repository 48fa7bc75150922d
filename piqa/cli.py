"""The command line that `fit` and `pretrain` share: one YAML holds a run, every field can be overridden."""

from __future__ import annotations

import argparse
import atexit
import importlib
import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from piqa.errors import InputError
from piqa.system.command_line import ConfigFile, Parser
from piqa.system.config_files import find_config
from piqa.system.device import computes_bfloat16
from piqa.system.files import replacing
from piqa.system.json_text import plain
from piqa.system.memory import keep_freed_memory
from piqa.tasks.base import ScoringTask
from piqa.training.checkpoints import CHECKPOINTS, LAST, AtomicCheckpointIO, BestCheckpoint, LastCheckpoints
from piqa.training.signals import StopOnSignal, end_loading_processes
from piqa.weights import model_file


class LightningParser(Parser, LightningArgumentParser):
    """LightningCLI's parser, with mistakes in one line."""


RANKING = "piqa.tasks.RankingTask"


def find_task(args: Sequence[str] | None = None) -> type[ScoringTask]:
    """The task that a command line means, which decides what else may stand there.

    Args:
        args: Arguments of `fit`; by default the program's. The last `--task` counts, else the `task` of the last
            `--config` that has one, else ranking.

    Raises:
        InputError: If it is no task that can be imported.
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
        raise InputError(f"there is no task {path} ({error}); name one such as {RANKING}") from error
    if not (isinstance(task, type) and issubclass(task, ScoringTask)):
        raise InputError(f"{path} is no task; name one such as {RANKING}")
    return task


def _read(config: str) -> dict[str, Any]:
    """A config, from its file or its text; empty where it is none, of which the parser will complain."""
    try:
        content = yaml.safe_load(Path(config).read_text(encoding="utf-8") if Path(config).is_file() else config)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


class SaveConfig(SaveConfigCallback):
    """Writes the resolved config into the run's folder."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.overwrite = True  # a resumed run may; whether a folder is free is asked before


class PiqaCLI(LightningCLI):
    """LightningCLI with a folder for the run, resuming, and the loggers that piqa always has.

    `--out` is the run's folder: resolved config, record, metrics, checkpoints, results. `--ckpt_path` resumes.
    `--wandb` adds Weights & Biases. Where the device has bfloat16, training uses it unless `--trainer.precision` says
    otherwise.
    """

    ckpt_path: str | None = None  # what the run is resumed from
    trainer: Any = None  # none where images are prepared alone

    def __init__(self, task: type, data: type, args: list[str] | None = None) -> None:
        for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
            logging.getLogger(name).addFilter(lambda record: "litlogger" not in record.getMessage())  # an advertisement
        warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's own affair with torch
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # `piqa fit` hands its arguments over
            super().__init__(
                task,
                data,
                save_config_callback=SaveConfig,
                save_config_kwargs={"save_to_log_dir": True},
                seed_everything_default=0,
                args=args,
                run=False,
                auto_configure_optimizers=False,  # the task takes its optimiser as an argument
                load_from_checkpoint_support=False,  # a model's card does that
                trainer_defaults={
                    "max_epochs": 10,
                    "log_every_n_steps": 10,
                    "use_distributed_sampler": False,  # the data share themselves out
                    "enable_model_summary": False,
                },
            )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose `--config` looks names up."""
        parser = LightningParser(**kwargs)
        parser.add_argument("-c", "--config", action=ConfigFile, help="A YAML file, or the name of one in configs/.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds piqa's own arguments."""
        parser.add_argument("--out", type=str, default="runs/piqa", help="Folder of the run.")
        parser.add_argument(
            "--overwrite", type=bool, default=False, help="Whether a run that is in the folder already may be replaced."
        )
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Checkpoint to resume from; `last` is the run's own newest, or a fresh start where it has none.",
        )
        parser.add_argument(
            "--checkpoint_every",
            type=int,
            default=250,
            help="Optimiser steps between checkpoints, besides that of every epoch; 0 for those alone.",
        )
        parser.add_argument("--checkpoint_keep", type=int, default=2, help="Checkpoints to keep, besides the best one.")
        parser.add_argument(
            "--wandb", type=Literal["off", "offline", "online"], default="off", help="Log to Weights & Biases as well."
        )
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def before_instantiate_classes(self) -> None:
        """Refuses what cannot end well before anything is built."""
        config = self.config
        self.out = Path(config.out)
        self.last = self.out / CHECKPOINTS / f"{LAST}.ckpt"
        self.ckpt_path = config.ckpt_path
        if config.ckpt_path == LAST:
            self.ckpt_path = str(self.last) if self.last.is_file() else None
        elif config.ckpt_path is not None and not Path(config.ckpt_path).is_file():
            raise InputError(f"no checkpoint {config.ckpt_path} to resume from; a run keeps its own in {CHECKPOINTS}/")
        if self.ckpt_path is not None and config.trainer.max_steps != -1:
            raise InputError("a run is resumed by epochs; set `--trainer.max_epochs` instead of `max_steps`")
        if config.trainer.precision is None and not config.trainer.plugins:
            config.trainer.precision = _usual_precision(config.trainer.accelerator)
        self._claim()

    @rank_zero_only
    def _claim(self) -> None:
        if self.last.exists() and self.ckpt_path is None and not self.config.overwrite:
            raise InputError(
                f"{self.out} holds a run already; resume it with `--ckpt_path {self.last}`, choose another `--out`, or "
                f"replace it with `--overwrite true`"
            )
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / ".writable").touch()
            (self.out / ".writable").unlink()
            if self.ckpt_path is None:
                for checkpoint in self.last.parent.glob("*.ckpt"):  # nobody shall resume what has been replaced
                    checkpoint.unlink()
        except OSError as error:
            raise InputError(
                f"cannot write to the run's folder {self.out}: {error.strerror}; choose another `--out`"
            ) from error

    @rank_zero_only
    def _keep_metrics(self, checkpoint: str) -> None:
        """Moves the metrics up to a checkpoint, which the logger would delete, out of its way.

        Those of the steps after it are left out, as these steps are done again.
        """
        metrics = self.out / "metrics.csv"
        if not metrics.exists():
            return
        part = self.out / f"metrics-{len(list(self.out.glob('metrics-*.csv'))) + 1}.csv"
        steps = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
        rows = pd.read_csv(metrics, dtype=str)
        done = rows["step"].astype(int) < steps
        if done.all():
            metrics.rename(part)
            return
        with replacing(part) as temporary:
            rows[done].to_csv(temporary, index=False)
        metrics.unlink()

    def after_instantiate_classes(self) -> None:
        """Refuses parts that do not go together: network and data, network and checkpoint, batches and processes."""
        if self.ckpt_path is not None:
            model_file.check_resumable(self.ckpt_path, self.model.network)
        network, data = self.model.network, self.datamodule
        if not network.init_args:  # somebody else's, which the model's card must tell how to build
            arguments = self.config.model.network.get("init_args")
            network.init_args = plain(arguments.as_dict() if arguments else {})
        size = network.image_size
        if size is not None and size != data.side:
            seen = "images of many shapes" if data.side is None else f"squares of {data.side} px"
            raise InputError(
                f"the network was built for {size} px but is shown {seen}; set `data.crop`, or of whole images "
                f"`data.preparation` to `{{short_side: {size}, resize: stretch}}`"
            )
        if "liqe_logits" in network.inputs and data.preparation.liqe is None:
            raise InputError(
                "the network has the branch `liqe`, which needs LIQE's weights: set `data.preparation.liqe` to the "
                "file, or leave the branch out as no_liqe.yaml does"
            )
        if self.trainer is not None:
            data.check_shares(self.trainer.world_size, self.trainer.accumulate_grad_batches)
        if self.ckpt_path is not None:
            self._keep_metrics(self.ckpt_path)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer, with piqa's loggers unless the config names others, and with its checkpoints."""
        if self.config.trainer.logger in (None, True):
            kwargs["logger"] = self._loggers()
        folder, config = self.last.parent, self.config
        stop = StopOnSignal(self.last)
        self.best = BestCheckpoint(folder, getattr(self.model, "monitor", "srocc"))  # a task may name another measure
        last = LastCheckpoints(folder, config.checkpoint_every, config.checkpoint_keep, stop)
        self.trainer_defaults["callbacks"] = [stop, self.best, last]  # the last one saves what the best one knows
        plugins = [*(self.config_init.trainer.plugins or []), AtomicCheckpointIO()]
        return super().instantiate_trainer(default_root_dir=self.out, plugins=plugins, **kwargs)

    def train(self) -> None:
        """Trains, from the start or from `--ckpt_path`; a network without anything to train is only validated."""
        atexit.register(end_loading_processes)
        if self.ckpt_path is None:
            self.model.load_initial_weights()
        if not self.trainable:
            rank_zero_warn(f"{type(self.model.network).__name__} has nothing to train; it is evaluated as it is")
            self.trainer.validate(self.model, self.datamodule, verbose=False)
            return
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it; no effect on a CPU
        try:
            self.trainer.fit(self.model, self.datamodule, ckpt_path=self.ckpt_path, weights_only=True)
        except InputError:
            self._end_other_processes()
            raise
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            self._end_other_processes()
            raise InputError(
                f"a process that loads images has died, for want of memory perhaps: {error} Go on with "
                f"`--ckpt_path {self.last}`, with fewer of them (`--data.workers`) if it happens again"
            ) from error

    @property
    def trainable(self) -> bool:
        """Whether the network has weights to train."""
        return any(weight.requires_grad for weight in self.model.network.parameters())

    def _end_other_processes(self) -> None:
        launcher = self.trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGKILL)  # they would wait for this process for ever

    def _loggers(self) -> list[Logger]:
        loggers: list[Logger] = [CSVLogger(self.out.parent, name=self.out.name, version="")]
        if self.config.wandb != "off":
            try:
                wandb = WandbLogger(self.out.name, self.out, offline=self.config.wandb == "offline", project="piqa")
                _ = wandb.experiment  # asks for the account now, not in the first epoch
                loggers.append(wandb)
            except Exception as error:  # whatever W&B stumbles over, training does not need it
                rank_zero_warn(f"going on without Weights & Biases: {error}")
        return loggers


class TaskCLI(PiqaCLI):
    """The command line of a config that names its `task`."""

    def __init__(self, data: type, args: list[str] | None = None) -> None:
        super().__init__(find_task(args), data, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the task."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--task", type=str, default=RANKING, help="The class of what is trained, below `model`.")


def _usual_precision(accelerator: Any) -> str:
    """bfloat16 where the device multiplies it in hardware; weights, optimiser and loss stay float32."""
    cuda = torch.cuda.is_available()
    device = {"auto": "cuda" if cuda else "cpu", "gpu": "cuda", "cuda": "cuda", "cpu": "cpu"}.get(accelerator, "")
    return "bf16-mixed" if computes_bfloat16(device) else "32-true"
