"""LIQE: a CLIP whose 495 prompts name a quality, a scene and a distortion.

Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence", CVPR 2023 (arXiv 2303.14968).
It is a model by itself; and DN-PIQA feeds its 495 raw logits to its head, as one vector beside the two backbones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from piqa.errors import InputError
from piqa.models.clip import Architecture, PromptedCLIP, tokenize

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

WINDOW = 224  # px, CLIP ViT-B/32's input
STRIDE = 32  # px between windows
WINDOWS = 15  # windows whose logits are averaged; as many as a small image has, if it has fewer
TRAINING_WINDOWS = 3
LARGE = 1024  # px; of an image with such a side, windows lie further apart in LIQE's own code
LARGE_STRIDE = 48


@dataclass(frozen=True)
class WindowRule:
    """Which windows of 224 x 224 px stand for an image.

    All windows lie on a grid and are numbered row by row. Of the n, every (n // count)-th is taken, from the first;
    or, where a seed is given, `count` are drawn with replacement.

    Args:
        count: How many are taken.
        large_stride: Distance of the grid's windows in an image with a side of 1024 px or more; 32 px in others.
        few: Of an image with fewer than `count`, take `all`, or the `first` alone.
    """

    count: int = WINDOWS
    large_stride: int = LARGE_STRIDE
    few: Literal["all", "first"] = "all"


LIQE_RULE = WindowRule()  # LIQE's own; its code refuses images of fewer than 15 windows
LIQE_TRAINING_RULE = WindowRule(TRAINING_WINDOWS)  # with a seed for each image
# DN-PIQA takes the first of fewer windows 15 times; once is the same mean.
DN_PIQA_RULE = WindowRule(large_stride=STRIDE, few="first")


def window_corners(
    height: int, width: int, rule: WindowRule = DN_PIQA_RULE, seed: int | None = None
) -> list[tuple[int, int]]:
    """Top left corners (y, x) of the windows that stand for an image of at least 224 x 224 pixels.

    They depend on this image's size and seed alone, never on others of a batch.
    """
    stride = rule.large_stride if max(height, width) >= LARGE else STRIDE
    rows, columns = (height - WINDOW) // stride + 1, (width - WINDOW) // stride + 1
    n = rows * columns
    taken: Iterable[int]
    if seed is not None:
        taken = np.random.default_rng(seed).integers(n, size=rule.count).tolist()
    elif n >= rule.count:
        step = n // rule.count
        taken = range(0, step * rule.count, step)
    else:
        taken = range(n) if rule.few == "all" else [0]
    return [(index // columns * stride, index % columns * stride) for index in taken]


def cut_windows(image: Image.Image | np.ndarray, rule: WindowRule = DN_PIQA_RULE, seed: int | None = None) -> Tensor:
    """Cuts an image's windows, and only those: the whole grid of a 12-megapixel image would fill gigabytes.

    A side below 224 px, at which the published code fails, is scaled up to 224 with the other in proportion.

    Args:
        image: RGB image of any size, or its uint8 pixels, (height, width, 3).
        rule: Which windows.
        seed: Draws them; None takes evenly spaced ones.

    Returns:
        uint8 pixels, shape (windows, 3, 224, 224); `rule.count` windows, or fewer for a small image without a seed.
    """
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    short = min(height, width)
    if short < WINDOW:
        whole = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        height, width = (max(WINDOW, side * WINDOW // short) for side in (height, width))
        image = whole.resize((width, height), Image.Resampling.BILINEAR)
    windows = [_cut(image, y, x) for y, x in window_corners(height, width, rule, seed)]
    return torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).contiguous()


def _cut(image: Image.Image | np.ndarray, y: int, x: int) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image[y : y + WINDOW, x : x + WINDOW]
    return np.asarray(image.crop((x, y, x + WINDOW, y + WINDOW)))


def prompts(aspects: Sequence[Aspect] = ("scene", "distortion")) -> list[str]:
    """The prompts; of the 495, prompt (q * 9 + s) * 11 + d names quality q, scene s and distortion d.

    Args:
        aspects: What they name beside the quality: both (495 prompts), the scene (45), the distortion (55), none (5).
    """
    scenes = SCENES if "scene" in aspects else [None]
    distortions = DISTORTIONS if "distortion" in aspects else [None]
    return [_prompt(*names) for names in product(QUALITIES, scenes, distortions)]


def _prompt(quality: str, scene: str | None, distortion: str | None) -> str:
    of_scene = "" if scene is None else f" of a {scene}"
    with_artifacts = "" if distortion is None else f" with {distortion} artifacts"
    if scene is None and distortion is None:
        return f"a photo with {quality} quality"
    return f"a photo{of_scene}{with_artifacts}, which is of {quality} quality"


def scene_labels(tags: Iterable[str]) -> Tensor:
    """Texts such as "human;indoor" as float 0 or 1 for each of the nine scenes, (images, 9); "" is all 0: unknown.

    Raises:
        InputError: If a tag is none of LIQE's.
    """
    return torch.tensor([_tagged(text) for text in tags]).view(-1, len(SCENES))


def _tagged(text: str) -> list[float]:
    found = [tag.strip() for tag in text.split(";") if tag.strip()]
    if unknown := set(found) - set(SCENES):
        raise InputError(f"LIQE knows no scene '{min(unknown)}'; its `scene_tags` are {', '.join(SCENES)}")
    return [float(scene in found) for scene in SCENES]


def distortion_labels(names: Iterable[str]) -> Tensor:
    """Names of distortions as their places in `DISTORTIONS`, int64, (images,); "" is -1: unknown.

    Raises:
        InputError: If a name is none of LIQE's.
    """
    places = {name: place for place, name in enumerate(("", *DISTORTIONS), start=-1)}
    names = list(names)
    if unknown := [name for name in names if name not in places]:
        raise InputError(f"LIQE knows no distortion '{unknown[0]}'; they are {', '.join(DISTORTIONS)}")
    return torch.tensor([places[name] for name in names], dtype=torch.int64)


class LIQE(PromptedCLIP):
    """CLIP ViT-B/32 (QuickGELU) with the prompts of LIQE, randomly initialised; `piqa.weights` fills it.

    The logits of an image are the mean over its windows. Their softmax is the joint probability of quality, scene and
    distortion; its marginals give each of them. An image's answer depends on its own windows alone.

    Args:
        aspects: What the prompts name beside the quality; fewer than both gives the published ablations.
        architecture: Entries of open_clip's config to replace, for a smaller network; None for the published one.

    Raises:
        InputError: If `aspects` names something else or twice, or open_clip cannot build the architecture.
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
        """Scores images; higher is better, on one scale for all.

        Args:
            whole: Windows, uint8 or normalised float: (images, windows, 3, 224, 224), or (images, 3, 224, 224)
                for one of each image.

        Returns:
            Float32 even under autocast: `score`, the expected quality, 1 (bad) to 5 (perfect), (images,); `logits`,
            (images, prompts); and as far as the prompts name them `scene_probabilities`, (images, 9), and
            `distortion_probabilities`, (images, 11), and the most likely `scene` and `distortion`, int64,
            (images,).

        Raises:
            InputError: If the images come in another shape.
        """
        logits = self.window_logits(whole)
        with torch.autocast(logits.device.type, enabled=False):
            return self._marginals(logits)

    def _marginals(self, logits: Tensor) -> dict[str, Tensor]:
        joint = logits.softmax(dim=1).view(-1, *self._axes)  # (images, 5[, 9][, 11])
        quality = joint.flatten(2).sum(dim=2) if joint.ndim > 2 else joint
        outputs = {"score": quality @ torch.arange(1.0, len(QUALITIES) + 1, device=quality.device), "logits": logits}
        for axis, name in enumerate(self.classes, start=2):
            others = [other for other in range(1, joint.ndim) if other != axis]
            outputs[f"{name}_probabilities"] = joint.sum(dim=others)
            outputs[name] = outputs[f"{name}_probabilities"].argmax(dim=1)
        return outputs

    def window_logits(self, windows: Tensor) -> Tensor:
        """Logits of a batch of images, each given by the same number of windows.

        Args:
            windows: As for `forward`.

        Returns:
            float32 logits, exp(logit_scale) x cosine, the mean over windows before any softmax; (images, prompts).
        """
        if windows.ndim == 4:
            windows = windows.unsqueeze(1)
        if windows.ndim != 5 or windows.shape[2:] != (3, WINDOW, WINDOW):
            raise InputError(
                f"LIQE sees windows of 3 x {WINDOW} x {WINDOW}, not {tuple(windows.shape[1:])}; have the images cut "
                f"into windows, or into crops of {WINDOW} px"
            )
        images, count = windows.shape[:2]
        features = self.clip.encode_image(self.pixels(windows.flatten(0, 1)))  # (images * windows, width)
        return self.compare(features).view(images, count, -1).mean(dim=1)

    @torch.inference_mode()
    def logits(self, image: Image.Image) -> np.ndarray:
        """The logits of one RGB image as DN-PIQA takes them, float32, shape (495,), each about 100 x a cosine."""
        windows = cut_windows(image).unsqueeze(0).to(self.mean.device)
        logits: np.ndarray = self.window_logits(windows)[0].float().cpu().numpy()
        return logits
