"""LIQE: a CLIP whose 495 prompts name a quality, a scene and a distortion.

Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence", CVPR 2023 (arXiv 2303.14968).
DN-PIQA feeds the 495 raw logits of the whole picture to its head, as one vector beside the two backbones.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

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

WINDOW = 224  # px, CLIP ViT-B/32's input
STRIDE = 32  # px between windows, always, in DN-PIQA's use of LIQE
WINDOWS = 15  # windows whose logits are averaged

CLIP_NAME = "ViT-B-32-quickgelu"  # open_clip's name for the original's activation, x * sigmoid(1.702 x)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def prompts() -> list[str]:
    """The 495 prompts; prompt (q * 9 + s) * 11 + d names quality q, scene s and distortion d."""
    return [
        f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
        for quality, scene, distortion in product(QUALITIES, SCENES, DISTORTIONS)
    ]


def window_corners(height: int, width: int) -> list[tuple[int, int]]:
    """Top left corners (y, x) of the windows that stand for a picture of at least 224 x 224 pixels.

    All windows lie on a grid of 32 px and are numbered row by row; every (n // 15)-th of the n is taken, 15 in all.
    With fewer than 15 that step is 0, and the reference takes the first window 15 times: here it is taken once, as the
    mean is the same.
    """
    rows, columns = (height - WINDOW) // STRIDE + 1, (width - WINDOW) // STRIDE + 1
    step = rows * columns // WINDOWS
    taken = range(0, step * WINDOWS, step) if step else [0]
    return [(index // columns * STRIDE, index % columns * STRIDE) for index in taken]


def cut_windows(image: Image.Image) -> Tensor:
    """Cuts a picture's windows, and only those: the whole grid of a 12-megapixel picture would fill gigabytes.

    A side below 224 px, at which the reference fails, is scaled up to 224 with the other in proportion.

    Args:
        image: RGB picture of any size.

    Returns:
        uint8 pixels, shape (windows, 3, 224, 224), with 15 windows, or 1 for a picture of fewer than 15.
    """
    short = min(image.size)
    if short < WINDOW:
        width, height = (max(WINDOW, side * WINDOW // short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    windows = [
        np.asarray(image.crop((x, y, x + WINDOW, y + WINDOW))) for y, x in window_corners(image.height, image.width)
    ]
    return torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).contiguous()


class LIQE(nn.Module):
    """CLIP ViT-B/32 (QuickGELU) with the 495 prompts of LIQE, randomly initialised; `piqa.weights` fills it.

    The text features are computed once and kept until weights change: loading a state dict or `train()` drops them.
    """

    def __init__(self) -> None:
        super().__init__()
        import open_clip  # slow to import, and not needed by models that do without LIQE

        # Not `create_model`, which would warn that no pretrained weights were given.
        self.clip = open_clip.CLIP(**open_clip.get_model_config(CLIP_NAME))
        tokens = open_clip.get_tokenizer(CLIP_NAME)(prompts())
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)
        self._text_features: Tensor | None = None
        self.register_load_state_dict_post_hook(lambda module, _: module.forget_text_features())  # type: ignore[no-untyped-call]
        self.eval()

    tokens: Tensor
    mean: Tensor
    std: Tensor

    def forget_text_features(self) -> None:
        """Drops the cached text features, as whatever changes the text tower must."""
        self._text_features = None

    def train(self, mode: bool = True) -> LIQE:
        """Switches training mode; a text tower in training has no features worth keeping."""
        self.forget_text_features()
        return super().train(mode)

    def text_features(self) -> Tensor:
        """Normalised text features, shape (495, 512); cached outside training."""
        if self.training:
            return self._encode_prompts()
        if self._text_features is None or self._text_features.device != self.tokens.device:
            # Not as inference tensors, even if `logits` asks first: a later backward pass could not use them.
            with torch.inference_mode(False), torch.no_grad():
                self._text_features = self._encode_prompts()
        return self._text_features

    def _encode_prompts(self) -> Tensor:
        # CLIP pads to 77 tokens, but attention looks back only: what follows the last token of the longest prompt, its
        # 24th, reaches no feature, and takes two thirds of the half minute that all 495 cost on one core.
        length = int(self.tokens.argmax(dim=1).max()) + 1  # the end token has the highest number
        shortened = {
            "positional_embedding": self.clip.positional_embedding[:length],
            "attn_mask": self.clip.attn_mask[:length, :length],
        }
        features: Tensor = functional_call(self.clip, shortened, (None, self.tokens[:, :length]))[1]
        return features

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of a batch of pictures, each given by the same number of windows.

        Args:
            windows: uint8 pixels, shape (pictures, windows, 3, 224, 224).

        Returns:
            float32 logits, exp(logit_scale) x cosine, averaged over the windows before any softmax; (pictures, 495).
        """
        pictures, count = windows.shape[:2]
        pixels = (windows.flatten(0, 1).float().div(255) - self.mean) / self.std  # (pictures * windows, 3, 224, 224)
        pixels = pixels.to(self.clip.visual.proj.dtype)  # the picture tower may hold bfloat16 weights
        features = functional.normalize(self.clip.encode_image(pixels).float(), dim=-1)
        logits = self.clip.logit_scale.exp() * features @ self.text_features().T  # (pictures * windows, 495)
        mean: Tensor = logits.view(pictures, count, -1).mean(dim=1)
        return mean

    @torch.inference_mode()
    def logits(self, image: Image.Image) -> np.ndarray:
        """The 495 logits of one RGB picture, float32, shape (495,), each about 100 x a cosine."""
        windows = cut_windows(image).unsqueeze(0).to(self.mean.device)
        logits: np.ndarray = self(windows)[0].float().cpu().numpy()
        return logits
