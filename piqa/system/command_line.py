"""Command lines: jsonargparse parsers that report a mistake in one line and look up configs by name."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from piqa.system.config_files import find_config


class Parser(ArgumentParser):
    """A parser that reports a mistake in one line instead of printing all its arguments first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)  # `--crop` must not silently mean `--crops`

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the program with exit status 2; called by jsonargparse."""
        print(f"piqa: error: {' '.join(message.split())} (see --help)", file=sys.stderr)
        self.exit(2)


class ConfigFile(ActionConfigFile):
    """`--config piqa.yaml`: a path, or else a name looked up in `configs/` and `pretrain/`."""

    @staticmethod
    def apply_config(parser: ArgumentParser, cfg: Namespace, dest: str, value: str) -> None:
        """Read the config of this name; called by jsonargparse."""
        ActionConfigFile.apply_config(parser, cfg, dest, find_config(value))


def command() -> str:
    """Return the command line as it was given, quoted for a shell, for a run's record."""
    program, *arguments = sys.argv
    module = getattr(sys.modules["__main__"], "__spec__", None)  # None for a script
    if Path(program).name == "piqa":
        start = ["piqa"]
    elif module is None:
        start = ["python", program]
    else:
        start = ["python", "-m", module.name.removesuffix(".__main__")]
    return shlex.join([*start, *arguments])
