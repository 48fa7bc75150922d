"""pyiqa's models in a process of their own, with weights that are given: `peer.Peer` starts it.

    python pyiqa_peer.py FOLDER DEVICE THREADS

FOLDER has the weights of those models that are asked for: the CLIP state dicts `liqe.pt` and `clip-iqa.pt`, `niqe.mat`,
`brisque.pt`. Each line that comes in is a request in JSON and each line that goes out its answer: `{"model": "liqe",
"files": [...]}` and `{"scores": [...]}`; `{"model": "niqe", "decoded": FILE}` and `{"score": ..., "cpu_s": ...,
"peak_mb": ...}` of an image that was decoded before. The first line out tells versions. Nothing is downloaded, and
nothing is left in pyiqa's cache.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import PeakMemory


def main(folder: str, device: str, threads: str) -> None:
    """Answer requests until there are no more."""
    out, sys.stdout = sys.stdout, sys.stderr  # pyiqa prints
    torch.set_num_threads(int(threads))
    nets, version = load(Path(folder), torch.device(device))
    print(json.dumps({"pyiqa": version, "torch": torch.__version__}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        net = nets[request["model"]]
        if "decoded" in request:
            answer = cost(net, request["decoded"], torch.device(device))
        else:
            answer = {"scores": [float(net(file)) for file in request["files"]]}
        print(json.dumps(answer), file=out, flush=True)


def cost(net: Any, file: str, device: torch.device) -> dict[str, float]:
    """Return the score of an image, and what it costs beyond decoding the file."""
    from pyiqa.utils.img_util import imread2tensor

    pixels = imread2tensor(file, rgb=True)[None].to(device)
    with PeakMemory(device) as peak:
        start = time.process_time()
        score = float(net(pixels))
        seconds = time.process_time() - start
    return {"score": score, "cpu_s": seconds, "peak_mb": peak.mb}


@torch.no_grad()
def load(folder: Path, device: torch.device) -> tuple[dict[str, Any], str]:
    """Return the models whose weights are in the folder by this benchmark's names, and pyiqa's version."""
    from pyiqa.models.inference_model import InferenceModel
    from pyiqa.version import __version__

    nets: dict[str, Any] = {}
    if (folder / "liqe.pt").is_file():
        from pyiqa.archs import clip_model, clipiqa_arch, liqe_arch

        def given(file: Path, *_: object) -> torch.nn.Module:
            """Replace pyiqa's loader, which would download OpenAI's weights."""
            built: torch.nn.Module = clip_model.build_model(torch.load(file, weights_only=True))
            return built.float()

        liqe_arch.load, clipiqa_arch.load = (partial(given, folder / name) for name in ("liqe.pt", "clip-iqa.pt"))
        liqe_arch.DEFAULT_CACHE_DIR = str(folder)  # text features are cached by name alone, whatever the weights
        nets["liqe"] = InferenceModel("liqe_mix", device=device, pretrained=False, mtl=True)
        nets["clip-iqa"] = InferenceModel("clipiqa", device=device, pretrained=False)
    for name, weights in (("niqe", folder / "niqe.mat"), ("brisque", folder / "brisque.pt")):
        if weights.is_file():
            nets[name] = InferenceModel(name, device=device, pretrained_model_path=str(weights))
    return nets, __version__


if __name__ == "__main__":
    main(*sys.argv[1:])
