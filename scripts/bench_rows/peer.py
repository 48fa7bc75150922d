"""pyiqa, which some rows are measured against: it runs in a process of its own and is given its weights."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench_rows.measure import Figures, Settings


@contextmanager
def peer(folder: Path, settings: Settings) -> Iterator[Peer | None]:
    """Return pyiqa, ready to score; None if it is neither named nor installed."""
    if settings.pyiqa is None and importlib.util.find_spec("pyiqa") is None:
        yield None
        return
    with closing(Peer(folder, settings)) as running:
        yield running


class Peer:
    """A running `pyiqa_peer.py`.

    Args:
        folder: Has the weights, and takes its messages.
        settings: Where it runs, and where pyiqa is.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._log = (folder / "pyiqa.log").open("w+")
        program = Path(__file__).with_name("pyiqa_peer.py")
        arguments = [folder, settings.device, torch.get_num_threads()]
        places = [str(place) for place in (settings.pyiqa, os.environ.get("PYTHONPATH")) if place]
        self._process = subprocess.Popen(
            [sys.executable, str(program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        )
        try:
            versions = self._answer()
        except RuntimeError:
            self.close()
            raise
        self.version = f"{versions['pyiqa']} with torch {versions['torch']}"

    def score(self, model: str, files: list[Path]) -> np.ndarray:
        """Return pyiqa's scores, one image after another, as it takes files."""
        return np.array(self._asked(model=model, files=list(map(str, files)))["scores"])

    def cost(self, model: str, file: Path) -> Figures:
        """Return the CPU seconds (`cpu_s`) and the peak memory (`peak_mb`) of scoring an image that is decoded."""
        return self._asked(model=model, decoded=str(file))

    def _asked(self, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._process.wait()
        self._log.seek(0)
        raise RuntimeError(f"pyiqa's process ended: {self._log.read()[-500:]}")
