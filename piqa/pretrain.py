"""`python -m piqa.pretrain`: the two backbones that `python -m piqa.fit` starts from.

Stage 1, `pretrain/lsvq.yaml`: ImageNet-22k Swin-B -> LSVQ videos -> the whole-image branch.
Stage 2, `pretrain/gfiqa.yaml`: the result of stage 1 -> GFIQA-20k faces -> the face branch.

Without `--config` both run in order, and a stage whose result is there and was made with the same settings is skipped.
Further arguments go to both. With `--config` one stage runs.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_only

from piqa.cli import PiqaCLI
from piqa.data.datamodule import PortraitData
from piqa.errors import InputError, one_line_errors
from piqa.preparation.digests import digest_of
from piqa.system.command_line import command
from piqa.tasks.regression import RegressionTask
from piqa.training.run_record import fingerprint, write_record
from piqa.weights import model_file

STAGES = ("lsvq.yaml", "gfiqa.yaml")
# Settings that change where and how fast a stage runs, not what comes out.
INCIDENTAL = {"config", "out", "overwrite", "ckpt_path", "wandb", "backbone", "skip_finished"} | {
    "checkpoint_every",
    "checkpoint_keep",
}


class PretrainCLI(PiqaCLI):
    """A stage's command line: that of `fit`, and where its backbone goes."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the stage's own arguments."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--backbone", type=str, required=True, help="The .safetensors file of the best backbone.")
        parser.add_argument(
            "--skip_finished",
            type=bool,
            default=False,
            help="End at once if the backbone is there with these settings.",
        )

    def before_instantiate_classes(self) -> None:
        """Ends here if there is nothing to do."""
        self.settings = _settings_digest(yaml.safe_load(self.parser.dump(self.config)))
        backbone = Path(self.config.backbone)
        if self.config.skip_finished and _made_with(backbone) == self.settings:
            print(f"{backbone} is there already, made with the same settings")
            raise SystemExit(0)
        super().before_instantiate_classes()

    def after_instantiate_classes(self) -> None:
        """Refuses motion features on one side alone."""
        super().after_instantiate_classes()
        clip = self.datamodule.clip
        given = clip is not None and clip.motion is not None
        if given != bool(self.model.network.init_args["motion"]):
            raise InputError(
                "motion features need both `data.clip.motion`, their folder, and `model.network.motion: 256`"
            )


def main(args: list[str] | None = None) -> None:
    """Runs one stage or both, from the command line or from a list of its arguments."""
    args = sys.argv[1:] if args is None else args
    if any(arg.split("=")[0] in ("-c", "--config", "-h", "--help", "--print_config") for arg in args):
        with one_line_errors():
            _run_stage(PretrainCLI(RegressionTask, PortraitData, args))
        return
    for stage in STAGES:
        print(f"Stage {stage}", flush=True)
        # A process of its own: with several GPUs each stage starts its own group of processes.
        status = _wait_for(["-m", "piqa.pretrain", "--config", stage, "--skip_finished=true", *args])
        if status:
            raise SystemExit(status)
    print("`model.init.whole` and `model.init.face` in configs/piqa.yaml use them; its defaults already do.")


def _wait_for(arguments: list[str]) -> int:
    """Runs Python and gives its exit status; hands SIGTERM on, and leaves Ctrl-C, which both get, to the other."""
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
        raise InputError(f"no epoch gave a defined SROCC, so there is no best backbone; see {cli.out / 'metrics.csv'}")
    metrics = cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=best, weights_only=True, verbose=False)[0]
    _leave_backbone(cli, best, metrics)


@rank_zero_only
def _leave_backbone(cli: PretrainCLI, best: str, metrics: Any) -> None:
    backbone: Any = model_file.load_model(best)[0].backbone
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


def _settings_digest(config: dict[str, Any]) -> str:
    """Digest of what a stage's result follows from: its settings, and the content of the weights it starts from."""
    plain = {key: value for key, value in config.items() if key not in INCIDENTAL}
    plain["trainer"] = {key: config["trainer"].get(key) for key in ("max_epochs", "precision")}
    store = {"max_failed": plain["data"]["store"]["max_failed"]}
    plain["data"] = {key: value for key, value in plain["data"].items() if key != "loading"} | {"store": store}
    init = Path(config["model"]["init"])
    text = json.dumps([plain, digest_of(init) if init.is_file() else None], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _made_with(backbone: Path) -> str | None:
    """The settings digest in the card beside a backbone; None where there is no such file or card."""
    try:
        card = json.loads(backbone.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card.get("settings") if backbone.is_file() and isinstance(card, dict) else None


if __name__ == "__main__":
    main()
