"""pyiqa's LIQE and CLIP-IQA in a process of their own, with weights that are given: `other_models.Peer` starts it.

    python pyiqa_peer.py FOLDER DEVICE THREADS

FOLDER has the CLIP state dicts `liqe.pt` and `clip-iqa.pt`. Each line that comes in is a request in JSON,
`{"model": "liqe", "files": [...]}`, and each line that goes out an answer, `{"scores": [...]}`; the first line out
tells versions. Nothing is downloaded, and nothing is left in pyiqa's cache.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch


def main(folder: str, device: str, threads: str) -> None:
    """Answer requests until there are no more."""
    out, sys.stdout = sys.stdout, sys.stderr  # pyiqa prints
    torch.set_num_threads(int(threads))
    nets, version = load(Path(folder), torch.device(device))
    print(json.dumps({"pyiqa": version, "torch": torch.__version__}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        scores = [float(nets[request["model"]](file)) for file in request["files"]]
        print(json.dumps({"scores": scores}), file=out, flush=True)


@torch.no_grad()
def load(folder: Path, device: torch.device) -> tuple[dict[str, Any], str]:
    """Return the metrics by this benchmark's names, and pyiqa's version."""
    from pyiqa.archs import clip_model, clipiqa_arch, liqe_arch
    from pyiqa.models.inference_model import InferenceModel
    from pyiqa.version import __version__

    def given(file: Path, *_: object) -> torch.nn.Module:
        """Replace pyiqa's loader, which would download OpenAI's weights."""
        built: torch.nn.Module = clip_model.build_model(torch.load(file, weights_only=True))
        return built.float()

    liqe_arch.load, clipiqa_arch.load = (partial(given, folder / name) for name in ("liqe.pt", "clip-iqa.pt"))
    liqe_arch.DEFAULT_CACHE_DIR = str(folder)  # text features are cached by name alone, whatever the weights
    nets = {
        "liqe": InferenceModel("liqe_mix", device=device, pretrained=False, mtl=True),
        "clip-iqa": InferenceModel("clipiqa", device=device, pretrained=False),
    }
    return nets, __version__


if __name__ == "__main__":
    main(*sys.argv[1:])
