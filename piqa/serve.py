"""`python -m piqa.serve --data FOLDER --ckpt_path NAME=MODEL`: one page, and a REST interface, for everybody of a lab.

Photos are uploaded in a browser or by programs, are measured and scored, and stay in projects in the folder. Without a
model they are measured alone. The address is printed; Ctrl-C ends it, and the same command goes on. It listens to this
machine alone, unless `--host` says otherwise, for which a `--token` is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from piqa.data.cuts import Crops
from piqa.errors import InputError, late_imports
from piqa.scoring.options import Precision, check_scoring
from piqa.server.settings import Keep, Limits, ModelSettings, ServerSettings
from piqa.system.command_line import run_command
from piqa.weights.trust import Trust

TOKEN = "PIQA_TOKEN"  # a variable, as command lines are seen by everybody on a machine
REPEATED = "--ckpt_path"
LIMITS = Limits()


def main(args: list[str] | None = None) -> None:
    """Serve, from the command line or from a list of its arguments."""
    given = sys.argv[1:] if args is None else args
    run_command(serve, [*map(_appending, given)], "piqa serve", __doc__, None)


def serve(
    data: str = "server",
    ckpt_path: list[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    root: str | None = None,
    keep: Keep = "all",
    database: str | None = None,
    device: str = "auto",
    precision: Precision = "32",
    test_crops: Crops = "five",
    batch_size: int | None = None,
    workers: int | None = None,
    liqe: str | None = None,
    trust: Trust = None,
    limits: Limits = LIMITS,
) -> None:
    """Serve the pages and the REST interface until Ctrl-C.

    Args:
        data: The folder of all that is kept: new, empty, or a server's of before.
        ckpt_path: Models, each `name=PATH` or `PATH`, as of `piqa predict`; the option may be given several times.
        host: The address that is listened to.
        port: Its port; 0 for any that is free.
        token: What every client must know, at least 16 characters; by default the variable `PIQA_TOKEN`, if it is set.
        root: A folder whose images clients may name instead of uploading them.
        keep: Whether uploaded images are kept (`all`), or forgotten once they are scored (`none`).
        database: Address of a database that several servers share, such as `postgresql+psycopg://user@host/piqa`; by
            default a file in `data`.
        device: Where the models run: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: Of the models, as of `piqa predict`.
        test_crops: `five` crops whose scores are averaged, or `one` from the centre.
        batch_size: Images in one pass through a network; by default 4, or 16 on a GPU.
        workers: Processes that prepare images for each model; 0 does it in the server's own. By default all cores of a
            GPU machine. Where networks run on the same cores, as many as serve best by the time that preparation and
            network take, 8 at most; for networks of 30 million parameters and more, and exported ones, a fourth of
            the cores.
        liqe: Path of LIQE's checkpoint; default: the one in a model's card.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.
        limits: What a client may ask for at once.

    Raises:
        InputError: If an argument cannot be used, a model cannot be read, the port is taken, or `data` is not piqa's or
            another server's.
        Stopped: By Ctrl-C or SIGTERM.
    """
    check_scoring(test_crops, 1 if batch_size is None else batch_size, precision, workers=workers or 0)
    try:
        with late_imports():
            from piqa.server.models import models_by_name
            from piqa.server.run import run
    except ModuleNotFoundError as error:
        absent = (error.name or "").partition(".")[0]
        raise InputError(f"`piqa serve` needs {absent}; `pip install 'dn-piqa[web]'`") from error
    run(
        ServerSettings(
            data=Path(data),
            database=database,
            root=None if root is None else Path(root),
            token=token or os.environ.get(TOKEN) or None,
            host=host,
            port=port,
            keep=keep,
            models=models_by_name(ckpt_path or []),
            scoring=ModelSettings(device, precision, test_crops, batch_size, workers, liqe, trust),
            limits=limits,
        )
    )


def _appending(argument: str) -> str:
    """Return an argument as jsonargparse takes an option that is given several times."""
    name, equals, value = argument.partition("=")
    return f"{REPEATED}+{equals}{value}" if name == REPEATED else argument


__all__: Sequence[str] = ["main", "serve"]

if __name__ == "__main__":
    main()
