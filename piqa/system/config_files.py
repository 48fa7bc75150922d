"""Find configs by their names."""

from __future__ import annotations

from pathlib import Path

from piqa.errors import InputError

PROJECT = Path(__file__).resolve().parents[2]
CONFIG_FOLDERS = ("configs", "pretrain")


def find_config(value: str) -> str:
    """Return the path of the config with this name, or raise InputError; a path or YAML text is returned as it is.

    Examples:
        >>> Path(find_config("piqa.yaml")).name
        'piqa.yaml'
    """
    if Path(value).suffix not in (".yaml", ".yml", ".json") or "\n" in value or Path(value).is_file():
        return value
    folders = [base / folder for base in (Path.cwd(), PROJECT) for folder in CONFIG_FOLDERS]
    for folder in folders:
        if (folder / value).is_file():
            return str(folder / value)
    names = sorted({file.name for folder in folders for file in folder.glob("*.yaml")})
    raise InputError(f"no config {value}, here or in {' or '.join(CONFIG_FOLDERS)}/, which have {', '.join(names)}")
