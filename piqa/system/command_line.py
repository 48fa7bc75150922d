"""Command lines: jsonargparse parsers that report a mistake in one line and look up configs by name."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace, _typehints  # type: ignore[attr-defined]
from jsonargparse._util import import_object

from piqa.errors import one_line_errors
from piqa.system.config_files import find_config
from piqa.system.renamed import new_names


class Parser(ArgumentParser):
    """A parser that reports a mistake in one line instead of printing all its arguments first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)  # `--crop` must not silently mean `--crops`

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """Parse a command line; where it names another class than a config, the config's settings of that are gone."""
        with _settings_of_replaced_classes_dropped():
            return super().parse_args(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the program with exit status 2; jsonargparse calls it. A former name is answered with today's name."""
        text = new_names(message, self.prog) or f"{' '.join(message.split())} (see --help)"
        print(f"piqa: error: {text}", file=sys.stderr)
        self.exit(2)


class ConfigFile(ActionConfigFile):
    """`--config piqa.yaml`: a path, or else a name looked up in `configs/` and `pretrain/`."""

    @staticmethod
    def apply_config(parser: ArgumentParser, cfg: Namespace, dest: str, value: str) -> None:
        """Read the config of this name; called by jsonargparse."""
        ActionConfigFile.apply_config(parser, cfg, dest, find_config(value))


@contextmanager
def _settings_of_replaced_classes_dropped() -> Iterator[None]:
    """Let a class that replaces another one begin with its own defaults, on command lines and between configs.

    jsonargparse would keep the settings whose names both classes know: the folder of one dataset for another one.
    """
    keep_common: Callable[..., None] = _typehints.discard_init_args_on_class_path_change

    def drop_all(parser: object, former: Any, value: Any) -> None:
        """Empty the `init_args` of a former class in place, unless it is the same; called by jsonargparse."""
        if not former or "init_args" not in former:
            return
        paths = former["class_path"], value["class_path"]
        if None in paths:  # settings of the base class, given before the class
            keep_common(parser, former, value)
        elif paths[0] != paths[1] and import_object(paths[0]) is not import_object(paths[1]):
            arguments = former["init_args"]
            for name in list(vars(arguments) if isinstance(arguments, Namespace) else arguments):
                arguments.pop(name)

    _typehints.discard_init_args_on_class_path_change = drop_all
    try:
        yield
    finally:
        _typehints.discard_init_args_on_class_path_change = keep_common


def run_command(
    function: Callable[..., object],
    args: list[str] | None,
    prog: str,
    description: str | None,
    positional: str | None,
    **settings: Any,
) -> None:
    """Run a command: a function whose parameters are the options, all but `positional` with `--`.

    `settings` are those of `positional`, as for `add_argument`, if there is one; `args` None means the program's own.
    """
    parser = Parser(prog=prog, description=description)
    if positional is not None:
        parser.add_argument(positional, type=str, **settings)
    parser.add_function_arguments(function, skip={positional} if positional else set())
    parsed = parser.parse_args(args)
    with one_line_errors():
        function(**parser.instantiate(parsed).as_dict())


def command(module: str | None = None, arguments: Sequence[str] | None = None) -> str:
    """Return the command line as it was given, quoted for a shell, for a run's record.

    Args:
        module: The command's module, such as `piqa.fit`.
        arguments: Its arguments; where they are not those of the program, the command was called from Python.
    """
    program, *given = sys.argv
    if module is not None and arguments is not None and list(arguments) not in (given, given[1:]):
        return shlex.join(["python", "-m", module, *arguments])
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # None for a script
    start = ["python", program] if spec is None else ["python", "-m", spec.name.removesuffix(".__main__")]
    return shlex.join([*(["piqa"] if Path(program).name == "piqa" else start), *given])
