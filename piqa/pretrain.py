"""`python -m piqa.pretrain`: train the two backbones that `python -m piqa.fit` starts from.

Stage 1, `pretrain/lsvq.yaml`: ImageNet-22k Swin-B -> LSVQ videos -> the whole-image branch.
Stage 2, `pretrain/gfiqa.yaml`: the result of stage 1 -> GFIQA-20k faces -> the face branch.

Without `--config` both stages run in order, and a stage whose result exists and was made with the same settings is
skipped. Further arguments go to both stages. With `--config` one stage runs.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_only

from piqa.cli import PiqaCLI
from piqa.data.datamodule import PortraitData
from piqa.errors import InputError, one_line_errors
from piqa.models.contract import Arguments
from piqa.models.regressor import Regressor
from piqa.system.command_line import command
from piqa.system.files import digest_of
from piqa.tasks.regression import RegressionTask
from piqa.training.process_settings import set_up_process
from piqa.training.run_record import fingerprint, write_record
from piqa.weights import model_file

STAGES = ("lsvq.yaml", "gfiqa.yaml")
# Settings that do not change the result of a stage.
INCIDENTAL = {"config", "out", "overwrite", "ckpt_path", "wandb", "backbone", "skip_finished"} | {
    "checkpoint_every",
    "checkpoint_keep",
}


class PretrainCLI(PiqaCLI):
    """The command line of a stage: that of `fit`, and the file of its backbone."""

    program = "piqa pretrain"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the arguments of a stage."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--backbone", type=str, required=True, help="The .safetensors file for the best backbone.")
        text = "Skip the stage if the backbone exists and was made with these settings."
        parser.add_argument("--skip_finished", type=bool, default=False, help=text)

    def before_instantiate_classes(self) -> None:
        """Exit if there is nothing to do, else validate the config."""
        self.settings = _settings_digest(yaml.safe_load(self.parser.dump(self.config)))
        backbone = Path(self.config.backbone)
        if self.config.skip_finished and _made_with(backbone) == self.settings:
            print(f"{backbone} is there already, made with the same settings")
            raise SystemExit(0)
        super().before_instantiate_classes()

    def after_instantiate_classes(self) -> None:
        """Check that data and network both have motion features, or neither."""
        super().after_instantiate_classes()
        clip = self.datamodule.clip
        given = clip is not None and clip.motion is not None
        if given != bool(self.model.network.init_args["motion"]):
            raise InputError(
                "motion features need both `data.clip.motion`, their folder, and `model.network.motion: 256`"
            )


def main(args: list[str] | None = None) -> None:
    """Run one stage or both, from the command line or from a list of arguments."""
    args = sys.argv[1:] if args is None else args
    if any(arg.split("=")[0] in ("-c", "--config", "-h", "--help", "--print_config") for arg in args):
        with one_line_errors():
            set_up_process()
            _run_stage(PretrainCLI(RegressionTask, PortraitData, args))
        return
    for stage in STAGES:
        print(f"Stage {stage}", flush=True)
        # In its own process: with several GPUs each stage starts its own group of processes.
        status = _wait_for(["-m", "piqa.pretrain", "--config", stage, "--skip_finished=true", *args])
        if status:
            raise SystemExit(status)
    print("`model.init.whole` and `model.init.face` in configs/piqa.yaml use them; its defaults already do.")


def _wait_for(arguments: list[str]) -> int:
    """Run Python and return its exit status; pass SIGTERM on, and ignore Ctrl-C, which both processes receive."""
    process = subprocess.Popen([sys.executable, *arguments])
    former = signal.signal(signal.SIGTERM, lambda *_: process.terminate()), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, former[0])
        signal.signal(signal.SIGINT, former[1])


def _run_stage(cli: PretrainCLI) -> None:
    cli.train()
    best = cli.best.best_model_path
    if not best:
        raise InputError(f"no epoch has a defined SROCC, so there is no best backbone; see {cli.out / 'metrics.csv'}")
    metrics = cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=best, weights_only=True, verbose=False)[0]
    _write_backbone(cli, best, metrics)


@rank_zero_only
def _write_backbone(cli: PretrainCLI, best: str, metrics: Mapping[str, float]) -> None:
    backbone = cast(Regressor, model_file.load_model(best)[0]).backbone
    data = fingerprint(cli.datamodule.splits)
    card = {
        "stage": Path(cli.config.backbone).stem,
        "backbone": {"name": backbone.name, "image_size": backbone.image_size},
        "input": {"mean": backbone.mean.flatten().tolist(), "std": backbone.std.flatten().tolist()},
        "trained_on": {"table": cli.datamodule.table.name, "data": data, "command": command()},
        "validation": {name.removeprefix("val/"): value for name, value in metrics.items()},
        "settings": cli.settings,
    }
    path = model_file.save(backbone, cli.config.backbone, card)
    write_record(cli.out, command(), data)
    srocc, plcc = metrics["val/srocc"], metrics["val/plcc"]
    print(f"{cli.datamodule.table.name}: validation SROCC {srocc:.4f}, PLCC {plcc:.4f}; backbone: {path}")


def _settings_digest(config: Arguments) -> str:
    """Return a digest of what determines the result of a stage: its settings and the weights that it starts from."""
    plain = {key: value for key, value in config.items() if key not in INCIDENTAL}
    plain["trainer"] = {key: config["trainer"].get(key) for key in ("max_epochs", "precision")}
    store = {"max_failed": plain["data"]["store"]["max_failed"]}
    plain["data"] = {key: value for key, value in plain["data"].items() if key != "loading"} | {"store": store}
    init = Path(config["model"]["init"])
    text = json.dumps([plain, digest_of(init) if init.is_file() else None], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _made_with(backbone: Path) -> str | None:
    """Return the settings digest in the card beside a backbone; None without such a file or card."""
    try:
        card = json.loads(backbone.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card.get("settings") if backbone.is_file() and isinstance(card, dict) else None


if __name__ == "__main__":
    main()
