"""Saliency without training: the spectral residual of an image, on tensors.

Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.models.light import LUMINANCE

SIDE = 64  # px to which an image is reduced, as in the paper
MEAN = 3  # px: window in which the log spectrum is averaged
SIGMA, TAPS = 2.5, 9  # of the Gaussian that smooths the map, as in SAMP-Net (9 x 9)
HIGHEST = 0.05  # fraction of the map that is cut to one value: above the 0.95 quantile
SMALL = 1e-2  # of a spectrum whose sums go over 4,096 pixels; 8 bits alone give 0.07


class SpectralResidual(nn.Module):
    """What of an image's spectrum is out of the ordinary, back in the image: high where something stands out.

    The Fourier transform is written as products with constant matrices, which every exporter knows.

    Examples:
        >>> image = 0.5 + 0.05 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> image[..., 40:48, 16:24] = 1.0  # a bright square
        >>> found = SpectralResidual()(image)[0, 0]
        >>> bool(found[40:48, 16:24].mean() > 3 * found.mean())
        True
    """

    cosines: Tensor
    sines: Tensor
    gaussian: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = 2 * math.pi / SIDE * torch.outer(torch.arange(SIDE), torch.arange(SIDE)).remainder(SIDE)
        offsets = torch.arange(TAPS) - TAPS // 2
        bell = torch.exp(-(offsets**2) / (2 * SIGMA**2))
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        self.register_buffer("gaussian", (bell / bell.sum()).view(1, 1, TAPS, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the saliency, (images, 1, 64, 64), each map from 0 to 1.

        Args:
            pixels: Float in [0, 1], (images, 3, height, width), of any size; it is stretched to 64 x 64 px.
        """
        weights = torch.tensor(LUMINANCE, dtype=pixels.dtype, device=pixels.device).view(3, 1, 1)
        grey = (pixels * weights).sum(dim=1, keepdim=True)
        grey = functional.interpolate(_reduced(grey), (SIDE, SIDE), mode="bilinear", align_corners=False)
        real, imaginary = self._transformed(grey, torch.zeros_like(grey), -1)
        size = (real**2 + imaginary**2).sqrt() + SMALL
        log_size = size.log()
        residual = (log_size - _mean(log_size)).exp()
        # The phase stays as it is.
        real, imaginary = self._transformed(residual * real / size, residual * imaginary / size, 1)
        power = real**2 + imaginary**2
        smooth = functional.conv2d(power, self.gaussian, padding=(TAPS // 2, 0))
        smooth = functional.conv2d(smooth, self.gaussian.transpose(2, 3), padding=(0, TAPS // 2))
        flat = smooth.flatten(1)
        most = flat.topk(max(1, round(HIGHEST * SIDE**2)), dim=1).values[:, -1:].clamp(min=1e-12)
        scaled: Tensor = (flat / most).clamp(max=1).view(-1, 1, SIDE, SIDE)
        return scaled

    def _transformed(self, real: Tensor, imaginary: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """Return the two-dimensional Fourier transform, without a factor; `sign` -1 for forward, 1 for back."""
        cosines, sines = self.cosines, sign * self.sines
        real, imaginary = cosines @ real - sines @ imaginary, cosines @ imaginary + sines @ real
        return real @ cosines - imaginary @ sines, imaginary @ cosines + real @ sines


def _reduced(grey: Tensor) -> Tensor:
    """Return means of squares, so that an image of twice the side or more is not merely sampled."""
    by = min(grey.shape[-2:]) // SIDE
    return functional.avg_pool2d(grey, by) if by > 1 else grey


def _mean(values: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(values, (1, 1, 1, 1), mode="circular"), MEAN, stride=1)
