"""Command lines: jsonargparse parsers that answer a mistake with one line and look config names up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from piqa.errors import one_line_errors
from piqa.system.config_files import find_config


class Parser(ArgumentParser):
    """A parser that names a mistake in one line instead of printing all its arguments first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)  # `--crop` must not silently mean `--crops`

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with exit status 2; jsonargparse calls it."""
        print(f"piqa: error: {' '.join(message.split())} (see --help)", file=sys.stderr)
        self.exit(2)


class ConfigFile(ActionConfigFile):
    """`--config piqa.yaml`: a path, or else a name looked up in `configs/` and `pretrain/`."""

    @staticmethod
    def apply_config(parser: Any, cfg: Any, dest: str, value: str) -> None:
        """Reads the file that the value means; jsonargparse calls it."""
        ActionConfigFile.apply_config(parser, cfg, dest, find_config(value))


def run_command(
    function: Callable[..., object],
    args: list[str] | None,
    prog: str,
    description: str | None,
    positional: str,
    **settings: Any,
) -> None:
    """Run a command: a function whose parameters are the options.

    Args:
        function: What is run.
        args: Arguments; None for the program's own.
        prog: Name of the command.
        description: What `--help` tells first.
        positional: The function's parameter that is given without `--`.
        settings: Of that one, as for `add_argument`: `help`, and `nargs` where it takes several values.
    """
    parser = Parser(prog=prog, description=description)
    parser.add_argument(positional, type=str, **settings)
    parser.add_function_arguments(function, skip={positional})
    parsed = parser.parse_args(args)
    with one_line_errors():
        function(**parser.instantiate(parsed).as_dict())


def command() -> str:
    """The command line as it was given, for a run's record."""
    program = "piqa" if Path(sys.argv[0]).name == "piqa" else f"python {sys.argv[0]}"
    return " ".join([program, *sys.argv[1:]])
