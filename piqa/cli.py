"""The command line that `fit` and `pretrain` share: one YAML holds a run, every field can be overridden."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from piqa import weights
from piqa.arguments import ConfigFile, Parser
from piqa.errors import InputError

CHECKPOINTS = "checkpoints"
BEST, LAST = "best", "last"


class LightningParser(Parser, LightningArgumentParser):
    """LightningCLI's parser, with mistakes in one line."""


class SaveConfig(SaveConfigCallback):
    """Writes the resolved config into the run's folder."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.overwrite = True  # a resumed run may; whether a folder is free is asked before


class PiqaCLI(LightningCLI):
    """LightningCLI with a folder for the run, resuming, and the loggers that piqa always has.

    `--out` is the run's folder: resolved config, record, metrics, checkpoints, results. `--ckpt_path` resumes.
    `--wandb` adds Weights & Biases.
    """

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
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to resume from.")
        parser.add_argument(
            "--wandb", type=Literal["off", "offline", "online"], default="off", help="Log to Weights & Biases as well."
        )
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def before_instantiate_classes(self) -> None:
        """Refuses what cannot end well before anything is built."""
        config = self.config
        self.out = Path(config.out)
        if config.ckpt_path is not None and not Path(config.ckpt_path).is_file():
            raise InputError(f"no checkpoint {config.ckpt_path} to resume from; a run keeps its own in {CHECKPOINTS}/")
        self._claim()

    @rank_zero_only
    def _claim(self) -> None:
        last = self.out / CHECKPOINTS / f"{LAST}.ckpt"
        if last.exists() and self.config.ckpt_path is None and not self.config.overwrite:
            raise InputError(
                f"{self.out} holds a run already; resume it with `--ckpt_path {last}`, choose another `--out`, or "
                f"replace it with `--overwrite true`"
            )
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / ".writable").touch()
            (self.out / ".writable").unlink()
            if self.config.ckpt_path is not None:
                self._keep_metrics()
        except OSError as error:
            raise InputError(
                f"cannot write to the run's folder {self.out}: {error.strerror}; choose another `--out`"
            ) from error

    def _keep_metrics(self) -> None:
        """Moves the metrics of the part of the run before this one, which the logger would delete, out of its way."""
        metrics = self.out / "metrics.csv"
        if metrics.exists():
            part = len(list(self.out.glob("metrics-*.csv"))) + 1
            metrics.rename(self.out / f"metrics-{part}.csv")

    def after_instantiate_classes(self) -> None:
        """Refuses a network and data, or a network and a checkpoint, that do not go together."""
        if self.config.ckpt_path is not None:
            weights.check_resumable(self.config.ckpt_path, self.model.network)
        network, data = self.model.network, self.datamodule
        size = getattr(network, "image_size", data.crop)
        if size != data.crop:
            raise InputError(f"the network was built for {size} px but `data.crop` is {data.crop}; make them equal")
        if "liqe_logits" in getattr(network, "inputs", ()) and data.preparation.liqe is None:
            raise InputError(
                "the network has the branch `liqe`, which needs LIQE's weights: set `data.preparation.liqe` to the "
                "file, or leave the branch out as no_liqe.yaml does"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer, with piqa's loggers unless the config names others, and with its checkpoints."""
        if self.config.trainer.logger in (None, True):
            kwargs["logger"] = self._loggers()
        self.best = ModelCheckpoint(
            self.out / CHECKPOINTS,
            BEST,
            monitor=f"val/{getattr(self.model, 'monitor', 'srocc')}",  # a task may name another measure
            mode="max",
            enable_version_counter=False,
        )
        last = ModelCheckpoint(
            self.out / CHECKPOINTS, LAST, enable_version_counter=False, save_on_exception=True, every_n_epochs=1
        )
        self.trainer_defaults["callbacks"] = [self.best, last]
        return super().instantiate_trainer(default_root_dir=self.out, **kwargs)

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
