"""Tensors from files into networks: piqa's own, and the published layouts of DN-PIQA, LSVQ, GFIQA, LIQE and others.

A file is known by the keys inside it, not by its name. Every load is strict: what is missing, unexpected or of another
shape is named. Code in a file is never executed: `torch.load(weights_only=True)` and safetensors only.
"""

from __future__ import annotations

import errno
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from piqa.errors import FileAccessError, InputError
from piqa.models import LIQE, Backbone
from piqa.models.clip import PromptedCLIP
from piqa.weights.download import named_file
from piqa.weights.hosts.hugging_face import asked_if_reachable
from piqa.weights.initialisation import WithoutInitialisation
from piqa.weights.text_features import keep_text_features

State = dict[str, Tensor]

SLACK = 100_000_000  # bytes that a compressed archive may unpack to; what `torch.save` writes is not compressed
CKPT_CARD = "piqa"  # where a Lightning checkpoint keeps the model card
CKPT_NETWORK = "network."  # the task's attribute that holds the network
CKPT_LIQE = "liqe"  # where the one weights file of a challenge's submission keeps LIQE's tensors

# Prefixes of the backbone in each official layout.
WHOLE = "feature_extraction.feature_extraction."
FACE = "feature_extraction_face.feature_extraction.feature_extraction."
BACKBONE_PREFIX = {"lsvq": "feature_extraction.", "gfiqa": WHOLE, "timm": "", "piqa backbone": "net."}
BACKBONE_PREFIX |= {"topiq": "semantic_model."}

LAYOUTS: dict[str, str | tuple[str, ...]] = {  # prefixes of the keys by which each is known; the first that fits
    "dn_piqa": FACE,
    "gfiqa": WHOLE,
    "lsvq": "feature_extraction.",
    "liqe": "token_embedding.",
    "piqa model": ("backbones.", "head.0."),
    "piqa backbone": "net.",
    "pyiqa liqe": "clip_model.",
    "pyiqa nima": "base_model.",
    "topiq": "semantic_model.",
    "clip-iqa+ context": ("prompt_learner.ctx", "generator.prompt_learner.ctx"),
    "timm": ("patch_embed.", "conv", "stem"),
}

CLIP_LAYOUTS = ("liqe", "pyiqa liqe")  # a whole CLIP, as OpenAI, open_clip and LIQE's authors write it, and IQA-PyTorch

WHAT_IT_IS = {
    "lsvq": "the Swin-B/384 pretrained on LSVQ videos, start of the whole-image branch "
    "(official: Swin_b_384_in22k_SlowFast_Fast_LSVQ.pth)",
    "gfiqa": "the Swin-B/384 pretrained on GFIQA-20k faces, start of the face branch "
    "(official: Swin_b_384_in22k_SlowFast_Fast_pretrained_GFIQA_*.pth)",
    "liqe": "LIQE's multi-database checkpoint, which gives the 495 logits (official: LIQE.pt of zwx8981/LIQE)",
    "places365": "the ResNet-18 trained on Places365, TANet's theme stream (official: resnet18_places365.pth.tar)",
}
BY_NAME = {"lsvq": "dn-piqa-lsvq", "gfiqa": "dn-piqa-gfiqa", "liqe": "liqe", "places365": "places365"}
# Takes the tensors out of a TorchScript archive.
TAKE_OUT = """python -c "import torch; torch.save(torch.jit.load('{0}', 'cpu').state_dict(), '{0}.tensors.pth')\""""
HOW_WITHOUT = {
    "lsvq": "make it with `python -m piqa.pretrain`, or train without it by `--model.init.whole imagenet` or `scratch`",
    "gfiqa": "make it with `python -m piqa.pretrain`, or train without it by `--model.init.face imagenet` or `scratch`",
    "liqe": "train without it by `--config no_liqe.yaml`",
    "places365": "train with a theme stream that knows no themes by `--model.init.theme scratch`",
}


def require(path: str | Path, kind: str) -> Path:
    """Return the path of a weights file, or of what a name stands for, fetched if need be.

    Args:
        path: The file, or a name that `piqa models` lists.
        kind: What is wanted, a key of `WHAT_IT_IS`.

    Raises:
        InputError: If there is none; it says what it is and how to do without.
    """
    if (named := named_file(path)) is not None:
        return named
    path = Path(path)
    if not path.is_file():
        by_name = f"download it by naming `{BY_NAME[kind]}` in its place"
        raise InputError(
            f"no file {path}: it is {WHAT_IT_IS[kind]}; put it there, or {by_name}, or {HOW_WITHOUT[kind]}"
        )
    return path


def read_state_dict(path: str | Path) -> State:
    """Read the tensors of a `.safetensors` or `torch.save` file, without any `module.` prefix.

    Of a training checkpoint of piqa's these are the network's tensors.

    Raises:
        InputError: If the file is absent, unreadable, holds code instead of tensors, or is no state dict.
    """
    return tensors_of(read_file(path), path)


def tensors_of(content: Mapping[str, object], path: str | Path) -> State:
    """The tensors among what `read_file` gave, as `read_state_dict`."""
    prefix = CKPT_NETWORK if CKPT_CARD in content else "module."
    for wrapper in ("state_dict", "model", "params"):  # Lightning's and mmedit's, Swin's own, IQA-PyTorch's releases
        if isinstance(inner := content.get(wrapper), Mapping):
            content = inner
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(content):
        raise InputError(f"{path} holds no state dict (a table of named tensors); is it a weights file?")
    for key, value in tensors.items():
        if value.layout is not torch.strided or value.nbytes > value.untyped_storage().nbytes() or value.is_meta:
            raise InputError(f"{path} cannot be read as weights: {key[:80]} claims more numbers than the file holds")
    state = {key.removeprefix(prefix): value for key, value in tensors.items()}
    if any(key.startswith("res365_last.") for key in state):
        raise InputError(
            f"{path} is a published TANet checkpoint, which only works in a network that scores an image by its "
            "neighbours in the batch; train `piqa.models.TANet` instead"
        )
    return state


def read_file(path: str | Path, lone: str | None = None) -> dict[str, object]:
    """Read a weights file, a table whose values need not be tensors; errors as of `read_state_dict`.

    Args:
        path: The file.
        lone: What a file is called that holds a tensor and no table; None if there must be a table.
    """
    path = Path(path)
    _check_readable(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*TorchScript archive")  # it is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the readers fail in almost any way; the file is at fault
        if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ESTALE):
            raise FileAccessError(f"cannot read {path}: {error.strerror}; is its drive still there?") from error
        reason = "it is damaged or something else"
        if "unsupported global" in str(error).lower():  # torch's words for whatever is not plain data
            reason = "it holds more than tensors; save its state_dict() alone"
        elif "torchscript" in str(error).lower():
            reason = "it is a TorchScript archive, as OpenAI's CLIP files are, which holds code; if you trust where it "
            reason += f"comes from, take its tensors out: {TAKE_OUT.format(path)}"
        raise InputError(f"{path} cannot be read as weights: {reason}") from error
    if isinstance(content, Tensor) and lone is not None:
        return {lone: content}
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise InputError(f"{path} holds a {found}, not a table of named tensors; save its state_dict()")
    return dict(content)


def _check_readable(path: Path) -> None:
    """Check, before a reader takes memory for it, that a file is there and holds as many bytes as it claims."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the file of the weights in it")
        if not path.is_file():
            kind = "is no regular file but a device, a pipe or a socket" if path.exists() else ""
            raise InputError(f"{path} {kind}; give a file of weights" if kind else f"no weights file {path}")
        size = path.stat().st_size
        if not size:
            raise InputError(f"{path} cannot be read as weights: it is empty; copy or download it again")
        with path.open("rb") as file:
            claimed = _unpacked_bytes(file)
    except OSError as error:
        advice = "check its permissions" if isinstance(error, PermissionError) else "check the path and the drive"
        raise FileAccessError(f"cannot read {path}: {error.strerror or error}; {advice}") from error
    if claimed > 2 * size + SLACK:
        found = f"it claims {claimed / 1e9:.3g} GB but has {size / 1e9:.3g} GB"
        raise InputError(f"{path} cannot be read as weights: {found}; copy or download it again")


def _unpacked_bytes(file: BinaryIO) -> int:
    """Return how large the parts of a zip, such as `torch.save` writes, are when unpacked; 0 of any other file."""
    if file.read(4) != b"PK\x03\x04":
        return 0
    try:
        with zipfile.ZipFile(file) as archive:
            return sum(part.file_size for part in archive.infolist())
    except OSError:
        raise
    except Exception:  # a damaged zip, in which case the reader of weights says so
        return 0


def layout_of(state: Mapping[str, Tensor]) -> str:
    """Name the layout of a state dict by its keys: one of `LAYOUTS`, or `unknown`."""
    found = (name for name, prefix in LAYOUTS.items() if any(key.startswith(prefix) for key in state))
    return next(found, "unknown")


def load_backbone(backbone: Backbone, path: str | Path) -> None:
    """Fill a backbone from a file, or a name: LSVQ's, GFIQA's, TOPIQ's, timm's or piqa's, without the head in it.

    Raises:
        InputError: If the file is not to be had, is of another layout, or does not fit.
    """
    path = named_file(path) or path
    state = read_state_dict(path)
    if (layout := layout_of(state)) not in BACKBONE_PREFIX:
        needed = ", ".join(BACKBONE_PREFIX)
        raise InputError(f"{path} has the layout '{layout}', but a backbone starts from one of {needed}")
    prefix = BACKBONE_PREFIX[layout]
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if layout in ("timm", "topiq"):  # a classifier is the one thing that a bare network has and a backbone has not
        names = backbone.net.pretrained_cfg.get("classifier") or ()
        classifier = ("head", names) if isinstance(names, str) else ("head", *names)
        own = backbone.net.state_dict()
        part = {key: value for key, value in part.items() if key in own or not key.startswith(classifier)}
    load_strictly(backbone.net, _current_swin_keys(part), path)


def load_model_weights(network: nn.Module, path: str | Path) -> None:
    """Fill a network from an official DN-PIQA checkpoint or from piqa's own file; InputError if it does not fit."""
    state = read_state_dict(path)
    if (layout := layout_of(state)) in ("lsvq", "gfiqa", "piqa backbone", "liqe"):
        advice = "give a DN-PIQA or piqa model file"
        raise InputError(f"{path} has the layout '{layout}', which is no whole model; {advice}")
    load_strictly(network, from_dn_piqa(state) if layout == "dn_piqa" else state, path)


def load_liqe(path: str | Path) -> LIQE:
    """Load LIQE with the weights of the official `LIQE.pt` (a full CLIP state dict, text tower included).

    A submission's weights file, which carries them beside the network's, will do as well.

    Raises:
        InputError: If the file is absent, of another layout, or incomplete.
    """
    content = read_file(require(path, "liqe"))
    part = content.get(CKPT_LIQE)
    state = tensors_of(part if isinstance(part, Mapping) else content, path)
    if (layout := layout_of(state)) not in CLIP_LAYOUTS:
        raise InputError(f"{path} has the layout '{layout}', not that of LIQE (a CLIP ViT-B/32 state dict)")
    with WithoutInitialisation():
        liqe = LIQE()
    load_strictly(liqe.clip, clip_state(state, liqe.clip), path)
    keep_text_features(liqe)
    return liqe.eval()


def load_clip(network: PromptedCLIP, source: str | Path) -> None:
    """Fill LIQE, CLIP-IQA or CLIP-IQA+.

    Args:
        network: What to fill.
        source: `openai` for the weights that CLIP was published with, downloaded or from the local cache; a file with
            the state dict of a CLIP, OpenAI's, open_clip's or LIQE's; piqa's own file of such a network; or a name.

    Raises:
        InputError: If the weights are not available, are of another layout, or do not fit.
    """
    if source == "openai":
        with asked_if_reachable():
            network.load_openai_weights()
        return
    source = named_file(source) or source
    state = read_state_dict(source)
    if any(key.startswith("clip.") for key in state):
        load_strictly(network, state, source)
    elif (layout := layout_of(state)) in CLIP_LAYOUTS:
        load_strictly(network.clip, clip_state(state, network.clip), source)
    else:
        raise InputError(f"{source} has the layout '{layout}', not that of a CLIP state dict")


def clip_state(state: State, clip: nn.Module) -> State:
    """Return tensors of a published CLIP as open_clip's network takes them: float32, without the facts beside them."""
    facts = ("input_resolution", "context_length", "vocab_size")
    state = {key.removeprefix("clip_model."): value for key, value in state.items()}
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    return counters(clip) | {key: value for key, value in tensors.items() if key not in facts}


def counters(network: nn.Module) -> State:
    """Return how many batches each normalisation has seen: it matters to no result, and not every file tells it."""
    return {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}


def load_places365(network: nn.Module, path: str | Path) -> None:
    """Fill a torchvision ResNet-18 of 365 outputs from the official file; InputError if absent or another's."""
    load_strictly(network, counters(network) | read_state_dict(require(path, "places365")), path)


def from_dn_piqa(state: State) -> State:
    """Rename keys of the official DN-PIQA checkpoint to those of `DualBranch`."""
    ours: State = {}
    for branch, prefix in (("whole", WHOLE), ("face", FACE)):
        part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        ours |= {f"backbones.{branch}.net.{key}": value for key, value in _current_swin_keys(part).items()}
    for key, value in state.items():
        if not key.startswith((WHOLE, FACE)):
            ours[re.sub(r"^quality\.", "head.", key)] = value
    return ours


def _current_swin_keys(state: State) -> State:
    """Rename Swin keys of timm < 0.9: no fixed buffers, and downsampling opens a stage instead of closing one."""
    kept = {key: value for key, value in state.items() if not key.endswith(("relative_position_index", "attn_mask"))}
    if "layers.0.downsample.reduction.weight" not in kept:
        return kept
    return {
        re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", key): value
        for key, value in kept.items()
    }


def load_strictly(module: nn.Module, state: State, path: str | Path) -> None:
    """Fill a module; errors as of `check_state_dict`."""
    check_state_dict(module, state, path)
    module.load_state_dict(state)


def check_state_dict(module: nn.Module, state: State, path: str | Path) -> None:
    """Check that tensors fit a module; InputError if one is missing, unexpected or of another shape."""
    expected = module.state_dict()
    found = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    if faults := [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in found.items()
        if names
    ]:
        raise InputError(f"{path} does not fit this network: {'; '.join(faults)}; is it the file of another model?")
