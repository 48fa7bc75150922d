"""Find configs by their names."""

from __future__ import annotations

from pathlib import Path

from piqa.errors import InputError

CONFIG_FOLDERS = ("configs", "pretrain")
PACKAGE = Path(__file__).resolve().parents[1]


def find_config(value: str) -> str:
    """Return the path of the config with this name, or raise InputError; a path or YAML text is returned as it is.

    Examples:
        >>> Path(find_config("piqa.yaml")).name
        'piqa.yaml'
    """
    if Path(value).suffix not in (".yaml", ".yml", ".json") or "\n" in value or Path(value).is_file():
        return value
    own = [Path.cwd() / folder for folder in CONFIG_FOLDERS]
    folders = [*own, *shipped_folders()]
    for folder in folders:
        if (folder / value).is_file():
            return str(folder / value)
    names = sorted({file.name for folder in folders for file in folder.glob("*.yaml")})
    raise InputError(f"no config {value}, here or in {' or '.join(CONFIG_FOLDERS)}/, which have {', '.join(names)}")


def shipped_folders() -> list[Path]:
    """Return the folders of piqa's own configs: inside an installed package, or beside it in a clone of the project."""
    installed = PACKAGE / "configs"
    if installed.is_dir():
        return [installed, installed / "pretrain"]
    return [PACKAGE.parent / folder for folder in CONFIG_FOLDERS]
