"""What the models built on CLIP share: construction, pixel normalisation, prompts and text features.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021 (arXiv 2103.00020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from piqa.errors import InputError
from piqa.models.contract import Arguments, ScoringModule
from piqa.models.pixels import normalised

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Architecture = Arguments  # entries of open_clip's config
SIZES = {"layers": 64, "width": 4096, "heads": 64, "head_width": 1024, "patch_size": 256, "image_size": 1024}  # at most
SIZES |= {"mlp_ratio": 16, "embed_dim": 4096, "vocab_size": 49408, "context_length": 77}
OpenCLIP = Any  # a network of open_clip's, whose attributes have no types
# Gives the text features of a network, which the function computes: `piqa.weights.text_features` keeps them.
TextFeatureSource = Callable[["PromptedCLIP", Callable[[], Tensor]], Tensor]


def build_clip(name: str, architecture: Architecture | None = None) -> OpenCLIP:
    """Build a randomly initialised CLIP.

    Args:
        name: open_clip's name; those that end in `-quickgelu` have the activation of OpenAI's weights.
        architecture: Entries of open_clip's config that replace the named one's, such as
            `{"embed_dim": 64, "vision_cfg": {"layers": 2}}`. Sizes only: other entries would make open_clip download.

    Raises:
        InputError: If open_clip cannot build it, or it cannot hold the vocabulary.
    """
    import open_clip  # slow to import, and not needed by models that do without CLIP

    _check_sizes(architecture or {})
    config = open_clip.get_model_config(name)
    for key, value in (architecture or {}).items():
        config[key] = {**config[key], **value} if isinstance(value, Mapping) and key in config else value
    try:
        clip = open_clip.CLIP(**config)  # not `create_model`, which would warn that no pretrained weights were given
    except Exception as error:  # whatever the entries lead open_clip to
        raise InputError(f"open_clip cannot build '{name}' with `architecture` {architecture}: {error}") from error
    default = open_clip.get_model_config(name)["text_cfg"]
    if (clip.vocab_size, clip.context_length) != (default["vocab_size"], default["context_length"]):
        raise InputError("`architecture` must leave CLIP's vocabulary and context length as they are")
    return clip


def _check_sizes(entries: Mapping[str, Any], inside: str = "") -> None:
    for key, value in entries.items():
        name = f"`architecture` has the entry {f'{inside}.{key}'.lstrip('.')[:80]!r}"
        if key in ("vision_cfg", "text_cfg") and isinstance(value, Mapping) and not inside:
            _check_sizes(value, key)
        elif key not in SIZES:
            raise InputError(f"{name}, which is none of {', '.join(SIZES)}")
        else:
            for one in value if isinstance(value, list | tuple) and len(value) <= 4 else [value]:
                if not isinstance(one, int | float) or isinstance(one, bool) or not 0 < one <= SIZES[key]:
                    raise InputError(f"{name}, which must be a number above 0 and up to {SIZES[key]}")


def tokenize(name: str, prompts: Sequence[str]) -> Tensor:
    """Return CLIP's tokens of prompts, int64, (prompts, 77), padded with 0 after the end token, the highest of all.

    Raises:
        InputError: If a prompt is empty or too long: CLIP would see no word of it, or cut it off.
    """
    import open_clip

    tokenizer = open_clip.get_tokenizer(name)
    for prompt in prompts:
        room, length = tokenizer.context_length - 2, len(tokenizer.encode(prompt))
        if not 0 < length <= room:
            raise InputError(f"the prompt {prompt!r} has {length} tokens; CLIP takes 1 to {room}")
    with torch.device("cpu"):  # also where a network is built without memory
        tokens: Tensor = tokenizer(list(prompts))
    return tokens


def encode_prompts(clip: OpenCLIP, tokens: Tensor, embeddings: Tensor | None = None) -> Tensor:
    """Return normalised text features, shape (prompts, width).

    Args:
        clip: An open_clip CLIP.
        tokens: Rows of `embeddings`, shape (prompts, length); the end token has the highest number.
        embeddings: What the tokens stand for, (vocabulary, text width); None for CLIP's own.
    """
    # CLIP pads to 77 tokens, but attention looks back only: what follows the last token of the longest prompt reaches
    # no feature. The longest of LIQE's 495 has 24: the rest would take two thirds of the time that they cost.
    length = int(tokens.argmax(dim=1).max()) + 1
    changed = {"positional_embedding": clip.positional_embedding[:length]}
    changed["attn_mask"] = clip.attn_mask[:length, :length]
    if embeddings is not None:
        changed["token_embedding.weight"] = embeddings
    features: Tensor = functional_call(clip, changed, (None, tokens[:, :length]))[1]
    return features


class PromptedCLIP(ScoringModule):
    """A CLIP, randomly initialised, and the prompts that images are compared with; `piqa.weights` fills it.

    The scale of the cosines, `logit_scale`, is never trained. Where no gradient is asked for, the prompts' features are
    computed once and kept until `forget_text_features` is called. A pass with gradients for the text side calls it, as
    do `train`, `eval`, loading and moving. Changes in place are noticed, except those by fused optimisers.

    Args:
        name: open_clip's name of the network.
        tokens: The prompts, (prompts, length), as `tokenize` gives them.
        architecture: As for `build_clip`.
    """

    def __init__(self, name: str, tokens: Tensor, architecture: Architecture | None = None) -> None:
        super().__init__()
        self.name = name
        self.clip = build_clip(name, architecture)
        self.clip.logit_scale.requires_grad_(False)
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)
        self.text_feature_source: TextFeatureSource | None = None
        self._text_features: Tensor | None = None
        self._text_version = -1
        # Loading may put other tensors in the place of the weights, and so may a move: their changes count from 0.
        self.register_load_state_dict_post_hook(lambda module, _: module.forget_text_features())  # type: ignore[no-untyped-call]

    inputs = ("whole",)
    clip: OpenCLIP
    tokens: Tensor
    mean: Tensor
    std: Tensor

    def load_openai_weights(self) -> None:
        """Load CLIP's published weights, downloaded or cached; InputError if not available or of another network."""
        import open_clip

        try:
            published = open_clip.create_model(self.name, pretrained="openai", precision="fp32", device="cpu")
        except Exception as error:  # the connection and the cache can fail in any way
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            advice = "connect once so that they are cached, or name a file"
            raise InputError(f"OpenAI's '{self.name}' is not available ({reason}); {advice}") from error
        try:
            self.clip.load_state_dict(published.state_dict())
        except RuntimeError as error:
            advice = "leave it out, or start from `scratch`"
            raise InputError(f"OpenAI's '{self.name}' weights do not fit the `architecture`; {advice}") from error

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PromptedCLIP:
        self.forget_text_features()
        moved: PromptedCLIP = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def train(self, mode: bool = True) -> PromptedCLIP:
        """Switch training mode."""
        self.forget_text_features()
        return super().train(mode)

    def forget_text_features(self) -> None:
        """Drop the cached text features."""
        self._text_features = None

    def _text_weights(self) -> Iterable[nn.Parameter]:
        return (weight for name, weight in self.named_parameters() if not name.startswith("clip.visual."))

    def text_features(self) -> Tensor:
        """Return normalised text features, shape (prompts, width); cached unless the text side needs a gradient."""
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in self._text_weights()):
            self.forget_text_features()
            self.text_feature_source = None  # they are trained, and those of a step are not worth keeping
            return self._encode_prompts()
        # torch counts the changes made to a tensor in place, all but those by fused optimisers.
        version = sum(0 if weight.is_inference() else weight._version for weight in self._text_weights())
        if self._text_features is None or version != self._text_version:
            # A later backward pass could not use inference tensors; and autocast may be off when they are used.
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.mean.device.type, enabled=False):
                source = self.text_feature_source
                self._text_features = self._encode_prompts() if source is None else source(self, self._encode_prompts)
            self._text_version = version
        return self._text_features

    def _encode_prompts(self) -> Tensor:
        return encode_prompts(self.clip, self.tokens)

    def pixels(self, images: Tensor) -> Tensor:
        """Return pixels, uint8 or float in [0, 1], normalised as CLIP takes them."""
        weights: Tensor = next(self.clip.visual.parameters())
        return normalised(images, self.mean, self.std).to(weights.dtype)  # the image tower may hold bfloat16 weights

    def compare(self, features: Tensor) -> Tensor:
        """Return exp(logit_scale) x cosine of images' features, (images, width), with prompts': (images, prompts).

        float32 even under autocast, as bfloat16 has 3 digits.
        """
        prompts = self.text_features().float()
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.clip.logit_scale.exp() * functional.normalize(features.float(), dim=-1) @ prompts.T
        return logits
