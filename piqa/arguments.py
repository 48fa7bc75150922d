"""Command lines: jsonargparse parsers that answer a mistake with one line and look config names up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from piqa.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]
CONFIG_FOLDERS = ("configs", "pretrain")


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


def find_config(value: str) -> str:
    """The path that a config's name means; the value itself where it is a path already, or YAML text.

    Raises:
        InputError: If there is no such file.
    """
    if Path(value).suffix not in (".yaml", ".yml", ".json") or "\n" in value or Path(value).is_file():
        return value
    folders = [base / folder for base in (Path.cwd(), PROJECT) for folder in CONFIG_FOLDERS]
    for folder in folders:
        if (folder / value).is_file():
            return str(folder / value)
    names = sorted({file.name for folder in folders for file in folder.glob("*.yaml")})
    raise InputError(f"no config {value}, here or in {' or '.join(CONFIG_FOLDERS)}/, which have {', '.join(names)}")


def command() -> str:
    """The command line as it was given, for a run's record."""
    program = "piqa" if Path(sys.argv[0]).name == "piqa" else f"python {sys.argv[0]}"
    return " ".join([program, *sys.argv[1:]])
