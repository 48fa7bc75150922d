"""`python -m piqa.prepare --config piqa.yaml`: fill the prepared store with the images of a training config.

`fit` does the same before it trains. This command prepares on another machine or ahead of time.
"""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser

from piqa.cli import TaskCLI
from piqa.data.datamodule import PortraitData
from piqa.errors import one_line_errors
from piqa.training.process_settings import set_up_process
from piqa.training.signals import stopped_in_one_line


class PrepareCLI(TaskCLI):
    """Reads a training config and uses its data; errors anywhere in the config are reported."""

    program = "piqa prepare"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the argument of this command."""
        super().add_arguments_to_parser(parser)
        text = "Verify the checksums of everything in the store, and prepare damaged images again."
        parser.add_argument("--verify", type=bool, default=False, help=text)

    def before_instantiate_classes(self) -> None:
        """Claim no folder, as no run starts."""

    def instantiate_classes(self) -> None:
        """Build everything but the trainer."""
        parts = self.parser.instantiate(self.config)
        self.datamodule, self.model = parts.data, parts.model

    def after_instantiate_classes(self) -> None:
        """Check that network and data fit."""
        self.check_network()


def main(args: list[str] | None = None) -> None:
    """Prepare what is missing, from the command line or from a list of arguments."""
    with one_line_errors():
        set_up_process()
        cli = PrepareCLI(PortraitData, args)
        with stopped_in_one_line(lambda: "what was prepared is kept; the same command goes on with the rest"):
            cli.datamodule.prepare_data(verify=cli.config.verify)


if __name__ == "__main__":
    main()
