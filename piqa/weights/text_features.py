"""Text features of networks built on CLIP, kept on disk: for LIQE's 495 prompts the text tower takes 11 CPU seconds.

They lie in `text_features` of `piqa.weights.cache.home()`, a file for each set of weights, prompts, libraries and kind
of device, so that they are, to the bit, what would be computed. Any number of processes may read and write them. Where
the folder cannot be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from piqa.errors import InputError
from piqa.models.clip import PromptedCLIP
from piqa.system.files import replacing
from piqa.weights.cache import home

FOLDER = "text_features"
VERSION = 1  # raise it when the same weights and prompts give other features
LEAST_PROMPTS = 32  # a prompt takes 0.02 CPU seconds to compute, and the weights 0.3 s to be recognised
LARGEST = 100_000_000  # bytes of a file


def keep_text_features(network: nn.Module) -> None:
    """Let the networks of CLIP in a network, which are to score, take their text features from the disk.

    Those that are not there are computed when they are first needed, and kept. Networks of few prompts, such as
    CLIP-IQA, compute them as before, which is faster.
    """
    for module in network.modules():
        if isinstance(module, PromptedCLIP) and len(module.tokens) >= LEAST_PROMPTS:
            module.text_feature_source = kept_or_computed


def kept_or_computed(network: PromptedCLIP, compute: Callable[[], Tensor]) -> Tensor:
    """Return a network's text features: from the disk, or computed and then kept there."""
    name = _name(network)
    path = home() / FOLDER / f"{name}.safetensors"
    width = int(network.clip.text_projection.shape[-1])
    kept = _read(path, name, (len(network.tokens), width), network.mean.dtype)
    if kept is not None:
        return kept.to(network.mean.device)
    features = compute()
    content = features.detach().cpu().contiguous()
    with suppress(InputError), replacing(path) as temporary:  # a full disk, or a folder of somebody else
        temporary.write_bytes(to_bytes({"features": content, "digest": _digest(name, content)}))
    return features


def _read(path: Path, name: str, shape: tuple[int, int], dtype: torch.dtype) -> Tensor | None:
    """Return what a file holds, once it is checked; None where there is no file, or none that holds."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(LARGEST)
        tensors = load(content)
        features, digest = tensors["features"], tensors["digest"]
    except OSError:
        return None
    except Exception:  # a damaged file makes the reader fail in almost any way
        features = digest = torch.empty(0)
    whole = features.shape == shape and features.dtype == dtype and torch.equal(digest, _digest(name, features))
    if whole and bool(features.isfinite().all()):
        return features
    print(f"piqa: warning: {path} is damaged, or something else; text features are computed anew", file=sys.stderr)
    return None


def _digest(name: str, features: Tensor) -> Tensor:
    """Return the digest of features and of what they were computed from, uint8, (16,)."""
    hasher = hashlib.blake2b(name.encode(), digest_size=16)
    hasher.update(_bytes_of(features))
    return torch.tensor(list(hasher.digest()), dtype=torch.uint8)


def _name(network: PromptedCLIP) -> str:
    """Return a digest of all that the features depend on: weights, prompts, code, and what computes them."""
    device = network.mean.device
    settings: dict[str, object] = {
        "version": VERSION,
        "network": type(network).__qualname__,
        "libraries": {name: version(name) for name in ("torch", "open_clip_torch")},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "products": torch.get_float32_matmul_precision(),
    }
    if device.type == "cpu":  # which sums in another order with other instructions, or on more threads
        settings["cpu"] = [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    hasher = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
    for name, tensor in _text_tensors(network):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(_bytes_of(tensor.detach().cpu()))
    return hasher.hexdigest()


def _text_tensors(network: PromptedCLIP) -> Iterator[tuple[str, Tensor]]:
    """Yield weights and prompts: all tensors of a network but those of its image tower."""
    tensors = chain(network.named_parameters(), network.named_buffers())
    return ((name, tensor) for name, tensor in tensors if not name.startswith("clip.visual."))


def _bytes_of(tensor: Tensor) -> memoryview:
    content: memoryview = tensor.contiguous().flatten().view(torch.uint8).numpy().data
    return content
