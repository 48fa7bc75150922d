"""`python -m piqa.prepare --config piqa.yaml`: fills the prepared store with the images of a training config.

`fit` does the same before it trains; alone it is for preparing on another machine or ahead of time.
"""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser

from piqa.cli import TaskCLI
from piqa.data.datamodule import PortraitData
from piqa.errors import one_line_errors


class PrepareCLI(TaskCLI):
    """Reads a training config, of which it uses the data; a mistake anywhere in it is found all the same."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the one argument of its own."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--verify",
            type=bool,
            default=False,
            help="Check all that is in the store against its checksums, and prepare anew what is damaged.",
        )

    def before_instantiate_classes(self) -> None:
        """No run starts, so no folder is claimed."""

    def instantiate_classes(self) -> None:
        """Everything but the trainer."""
        parts = self.parser.instantiate(self.config)
        self.datamodule, self.model = parts.data, parts.model


def main(args: list[str] | None = None) -> None:
    """Prepares what is missing, from the command line or from a list of its arguments."""
    with one_line_errors():
        cli = PrepareCLI(PortraitData, args)
        cli.datamodule.prepare_data(verify=cli.config.verify)


if __name__ == "__main__":
    main()
