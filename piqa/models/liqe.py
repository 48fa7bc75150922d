"""LIQE: a CLIP whose 495 prompts name a quality, a scene and a distortion.

Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence", CVPR 2023 (arXiv 2303.14968).
It is a model of its own; DN-PIQA also takes its 495 raw logits, beside the features of the two backbones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from piqa.errors import InputError
from piqa.models.clip import Architecture, PromptedCLIP, tokenize
from piqa.models.liqe_windows import WINDOW, cut_windows

Aspect = Literal["scene", "distortion"]

QUALITIES = ("bad", "poor", "fair", "good", "perfect")
SCENES = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")
DISTORTIONS = (
    "jpeg2000 compression",
    "jpeg compression",
    "noise",
    "blur",
    "color",
    "contrast",
    "overexposure",
    "underexposure",
    "spatial",
    "quantization",
    "other",
)
LIQE_LOGITS = len(QUALITIES) * len(SCENES) * len(DISTORTIONS)  # 495, quality outermost, distortion innermost

CLIP_NAME = "ViT-B-32-quickgelu"  # open_clip's name for the original's activation, x * sigmoid(1.702 x)


def prompts(aspects: Sequence[Aspect] = ("scene", "distortion")) -> list[str]:
    """Return the prompts; of the 495, prompt (q * 9 + s) * 11 + d names quality q, scene s and distortion d.

    Args:
        aspects: What they name besides the quality: both (495 prompts), the scene (45), the distortion (55), none (5).
    """
    if not aspects:
        return [f"a photo with {quality} quality" for quality in QUALITIES]
    scenes = [f" of a {scene}" for scene in SCENES] if "scene" in aspects else [""]
    artifacts = [f" with {distortion} artifacts" for distortion in DISTORTIONS] if "distortion" in aspects else [""]
    return [f"a photo{s}{d}, which is of {quality} quality" for quality, s, d in product(QUALITIES, scenes, artifacts)]


def scene_labels(tags: Iterable[str]) -> Tensor:
    """Return "human;indoor" or "" as 0 or 1 for each of nine scenes, float, (images, 9); InputError if not LIQE's."""
    found = [{tag.strip() for tag in text.split(";") if tag.strip()} for text in tags]
    if unknown := set[str]().union(*found) - set(SCENES):
        raise InputError(f"LIQE knows no scene '{min(unknown)}'; its `scene_tags` are {', '.join(SCENES)}")
    return torch.tensor([[float(scene in own) for scene in SCENES] for own in found]).view(-1, len(SCENES))


def distortion_labels(names: Iterable[str]) -> Tensor:
    """Return places in `DISTORTIONS`, int64, (images,); of "", which is unknown, -1. InputError if not LIQE's."""
    places = {name: place for place, name in enumerate(("", *DISTORTIONS), start=-1)}
    try:
        return torch.tensor([places[name] for name in names], dtype=torch.int64)
    except KeyError as error:
        raise InputError(f"LIQE knows no distortion {error}; they are {', '.join(DISTORTIONS)}") from error


class LIQE(PromptedCLIP):
    """CLIP ViT-B/32 (QuickGELU) with the prompts of LIQE, randomly initialised; `piqa.weights` fills it.

    The logits of an image are the mean over its windows. Their softmax is the joint probability of quality, scene and
    distortion; its marginals give each of them. The outputs for an image depend on its own windows alone.

    Args:
        aspects: What the prompts name besides the quality; fewer than both gives the published ablations.
        architecture: Entries of open_clip's config to replace, for a smaller network; None for the published one.

    Raises:
        InputError: If `aspects` names something else or twice, or open_clip cannot build the architecture.

    Examples:
        >>> small = {"embed_dim": 64, "vision_cfg": {"layers": 1, "width": 64}}
        >>> small["text_cfg"] = {"layers": 1, "width": 64, "heads": 2}  # published: architecture=None
        >>> outputs = LIQE(architecture=small).eval()(torch.rand(2, 3, 224, 224))
        >>> outputs["score"].shape, outputs["logits"].shape
        (torch.Size([2]), torch.Size([2, 495]))
    """

    pools_windows = True  # the mean over `whole`'s second axis is taken here, not over scores

    def __init__(
        self, aspects: Sequence[Aspect] = ("scene", "distortion"), architecture: Architecture | None = None
    ) -> None:
        if len(set(aspects)) < len(aspects) or not set(aspects) <= {"scene", "distortion"}:
            raise InputError(f"`aspects` {list(aspects)}: name `scene`, `distortion`, both or none, each once")
        super().__init__(CLIP_NAME, tokenize(CLIP_NAME, prompts(aspects)), architecture)
        self.init_args = {"aspects": list(aspects), "architecture": architecture}
        known = {"scene": SCENES, "distortion": DISTORTIONS}  # in the order of the prompts
        self.classes = {name: texts for name, texts in known.items() if name in aspects}
        self._axes = [len(QUALITIES), *(len(names) for names in self.classes.values())]

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Score images; higher is better, on one scale for all.

        Args:
            whole: Windows, uint8 or float in [0, 1]: (images, windows, 3, 224, 224), or (images, 3, 224, 224)
                for one of each image.

        Returns:
            Float32 even under autocast: `score`, the expected quality, 1 (bad) to 5 (perfect), (images,); `logits`,
            (images, prompts); and if the prompts name them `scene_probabilities`, (images, 9), and
            `distortion_probabilities`, (images, 11), and the most likely `scene` and `distortion`, int64,
            (images,).

        Raises:
            InputError: If the images come in another shape.
        """
        logits = self.window_logits(whole)
        with torch.autocast(logits.device.type, enabled=False):
            joint = logits.softmax(dim=1).view(-1, *self._axes)  # (images, 5[, 9][, 11])
            quality = joint.flatten(2).sum(dim=2) if joint.ndim > 2 else joint
            outputs = {"score": quality @ torch.arange(1.0, len(QUALITIES) + 1, device=quality.device)}
            for axis, name in enumerate(self.classes, start=2):
                others = [other for other in range(1, joint.ndim) if other != axis]
                outputs[f"{name}_probabilities"] = joint.sum(dim=others)
                outputs[name] = outputs[f"{name}_probabilities"].argmax(dim=1)
        return outputs | {"logits": logits}

    def window_logits(self, windows: Tensor) -> Tensor:
        """Return the logits of a batch of images, each given by the same number of windows.

        Args:
            windows: As for `forward`.

        Returns:
            As of `compare`, the mean over windows before any softmax; (images, prompts).

        Raises:
            InputError: If the windows have another size.
        """
        if windows.ndim == 4:
            windows = windows.unsqueeze(1)
        if windows.ndim != 5 or windows.shape[2:] != (3, WINDOW, WINDOW):
            raise InputError(
                f"LIQE takes windows of 3 x {WINDOW} x {WINDOW}, not {tuple(windows.shape[1:])}; have the images cut "
                f"into windows, or into crops of {WINDOW} px"
            )
        images, count = windows.shape[:2]
        features = self.clip.encode_image(self.pixels(windows.flatten(0, 1)))  # (images * windows, width)
        return self.compare(features).view(images, count, -1).mean(dim=1)

    @torch.inference_mode()
    def logits(self, image: Image.Image) -> np.ndarray:
        """Return the logits of an RGB image as DN-PIQA takes them, float32, shape (495,), each about 100 x a cosine."""
        windows = cut_windows(image).unsqueeze(0).to(self.mean.device)
        logits: np.ndarray = self.window_logits(windows)[0].float().cpu().numpy()
        return logits
