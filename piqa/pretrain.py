"""`python -m piqa.pretrain`: train the two backbones that `python -m piqa.fit` starts from.

Stage 1, `pretrain/lsvq.yaml`: ImageNet-22k Swin-B -> LSVQ videos -> the whole-image branch.
Stage 2, `pretrain/gfiqa.yaml`: the result of stage 1 -> GFIQA-20k faces -> the face branch.

Without `--config` both stages run in order, and a stage whose result exists and was made with the same settings and
labels is skipped. Further arguments go to both stages. With `--config` one stage runs.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
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
from piqa.system.json_text import plain
from piqa.system.ownership import locked
from piqa.tasks.regression import RegressionTask
from piqa.training.process_settings import set_up_process
from piqa.training.progress_bar import measure_name
from piqa.training.run_record import fingerprint
from piqa.weights import model_file
from piqa.weights.download import named_file
from piqa.weights.model_card import CARD_FORMAT

STAGES = ("lsvq.yaml", "gfiqa.yaml")
# Settings that do not change the result of a stage; whatever else there is does, or may.
INCIDENTAL = {
    "": {"config", "out", "overwrite", "ckpt_path", "wandb", "backbone", "skip_finished"}
    | {"checkpoint_every", "checkpoint_keep"},
    "data": {"loading"},
    "data.store": {"folder", "workers", "device"},
    "trainer": {"accelerator", "devices", "num_nodes", "logger", "profiler", "default_root_dir", "log_every_n_steps"}
    | {"enable_progress_bar", "enable_model_summary", "enable_checkpointing", "num_sanity_val_steps"},
}


class PretrainCLI(PiqaCLI):
    """The command line of a stage: that of `fit`, and the file of its backbone."""

    program = "piqa pretrain"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the arguments of a stage."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--backbone", type=str, required=True, help="The .safetensors file for the best backbone.")
        text = "Skip the stage if the backbone exists and was made with these settings and labels."
        parser.add_argument("--skip_finished", type=bool, default=False, help=text)

    def before_instantiate_classes(self) -> None:
        """Exit if there is nothing to do, else validate the config."""
        self.settings = _settings_digest(yaml.safe_load(self.parser.dump(self.config)))
        backbone = Path(self.config.backbone)
        card = _check_backbone(backbone)
        if self.config.skip_finished and backbone.is_file() and card.get("settings") == self.settings:
            if card.get("labels") == _labels(self.parser.instantiate(self.config).data):
                print(f"{backbone} is there already, made with the same settings and labels")
                raise SystemExit(0)
        super().before_instantiate_classes()

    @rank_zero_only
    def _claim(self) -> None:
        """Claim the file of the backbone, too."""
        super()._claim()
        self._held.enter_context(locked(self.config.backbone))

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
        with one_line_errors(), ExitStack() as held:
            set_up_process()
            line = command("piqa.pretrain", args)
            cli = PretrainCLI(RegressionTask, PortraitData, args, held)
            with cli.session(line):
                _run_stage(cli, line)
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


def _run_stage(cli: PretrainCLI, line: str) -> None:
    cli.train()
    best = cli.best.best_model_path
    if not best:
        undefined = f"no epoch had a defined {measure_name(cli.model.monitor)}"
        raise InputError(f"{undefined}, so there is no best backbone; see {cli.out / 'metrics.csv'}")
    metrics = cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=best, weights_only=True, verbose=False)[0]
    _write_backbone(cli, best, metrics, line)


@rank_zero_only
def _write_backbone(cli: PretrainCLI, best: str, metrics: Mapping[str, float], line: str) -> None:
    backbone = cast(Regressor, model_file.load_model(best)[0]).backbone
    data = fingerprint(cli.datamodule.splits)
    card = {
        "stage": Path(cli.config.backbone).stem,
        "backbone": {"name": backbone.name, "image_size": backbone.image_size},
        "input": {"mean": backbone.mean.flatten().tolist(), "std": backbone.std.flatten().tolist()},
        "trained_on": {"table": cli.datamodule.table.name, "data": data, "command": line},
        "validation": plain({name.removeprefix("val/"): value for name, value in metrics.items()}),
        "settings": cli.settings,
        "labels": _labels(cli.datamodule),
    }
    path = model_file.save(backbone, cli.config.backbone, card)
    srocc, plcc = metrics["val/srocc"], metrics["val/plcc"]
    print(f"{cli.datamodule.table.name}: validation SROCC {srocc:.4f}, PLCC {plcc:.4f}; backbone: {path}")


def _settings_digest(config: Arguments) -> str:
    """Return a digest of what determines the result of a stage: its settings and the weights that it starts from."""

    def shaping(settings: Arguments, place: str) -> Arguments:
        below = {key: f"{place}.{key}".strip(".") for key in settings.keys() - INCIDENTAL[place]}
        return {
            key: shaping(settings[key], inner) if inner in INCIDENTAL else settings[key] for key, inner in below.items()
        }

    init = named_file(config["model"]["init"]) or Path(config["model"]["init"])
    text = json.dumps([shaping(config, ""), digest_of(init) if init.is_file() else None], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _labels(data: PortraitData) -> str:
    """Return a digest of all labels of the table, whether or not their images can be prepared."""
    table = data.table.load()
    parts = {str(split): rows for split, rows in table.groupby("split")}
    return hashlib.blake2b(json.dumps(fingerprint(parts), sort_keys=True).encode(), digest_size=16).hexdigest()


def _check_backbone(backbone: Path) -> Mapping[str, object]:
    """Return the card beside a backbone, empty where there is none.

    Raises:
        InputError: If the file or its card is there and is not piqa's, and would be replaced.
    """
    if backbone.suffix != ".safetensors":
        raise InputError(
            f"`--backbone {backbone}` must name a .safetensors file; its card gets the same name with .json"
        )
    card = backbone.with_suffix(".json")
    content: object = None
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(card.read_text(encoding="utf-8"))
    own = isinstance(content, dict) and content.get("format") == CARD_FORMAT and "backbone" in content
    for path in (card, backbone):
        if path.exists() and not own:
            raise InputError(
                f"{path} is there and is no backbone of piqa's; name another `--backbone`, or move it away"
            )
    if not isinstance(content, dict):
        return {}
    written = content.get("weights_digest")  # which the cards of former versions lack
    if written is not None and backbone.is_file() and written != digest_of(backbone):
        raise InputError(f"{backbone} was changed since piqa wrote it; name another `--backbone`, or move it away")
    return content


if __name__ == "__main__":
    main()
