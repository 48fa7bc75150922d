"""Where the file of a model lies, by what the user gives for it; nothing in it is read."""

from __future__ import annotations

import errno
from pathlib import Path

from piqa.errors import FileAccessError, InputError
from piqa.system.config_files import find_config
from piqa.weights.download import named_file
from piqa.weights.registry import advice_on

EXPORTED = (".onnx", ".xml", ".ts")  # endings of exported models, which `piqa.engines` runs


def find_model(path: str | Path) -> Path:
    """Find a model file by its path (the ending may lack), a run's folder, a config's name or a published name.

    A file that a name stands for (`piqa models`, or `hf:owner/name` for a model of piqa's own) is fetched if need be. A
    path that exists comes before a name.

    Raises:
        InputError: If there is none, or it is not to be had.
    """
    given, named = path, named_file(path)
    if named is not None:
        return named
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return Path(find_config(str(path)))
    candidates = [path, path / "model.safetensors"]
    if path.name:  # that of `.` or `/` has no ending
        candidates.append(path.with_name(path.name + ".safetensors"))
    try:
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        special = path.exists() and not path.is_dir()
    except OSError as error:  # a folder that may not be entered, or a name of 300 letters
        kind = InputError if error.errno == errno.ENAMETOOLONG else FileAccessError
        raise kind(f"cannot look up the model {path}: {error.strerror}; check path and permissions") from error
    if special:
        raise InputError(f"{path} is no regular file but a device, a pipe or a socket; give the file of a model")
    advice = f"give a .safetensors, .ckpt or .pth file, or the folder of a finished run, {advice_on(given)}"
    raise InputError(f"no model at {path}; {advice}")
