"""Where in an image its score comes from: how much lower it would be, were a place blurred.

What is measured is a change that a viewer would see, too: a place loses its detail. It says nothing of places without
any, as of a plain wall, and a blurred place may also raise a score, as where it was noisy. Black or grey patches would
add edges, and change the light. Zeiler and Fergus 2014 moved grey patches over an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from piqa.explanation.geometry import WindowGrid, colour_limit, image_values
from piqa.explanation.parts import BRANCHES, Parts, PartsScorer
from piqa.explanation.seen_image import SeenImage, View
from piqa.factors.maps import ImageMap
from piqa.factors.measured_image import Values
from piqa.scoring.scorer import Scorer
from piqa.system.quick_imports import quick_imports

with quick_imports():
    from torchvision.transforms import functional

BLUR = 10 / 384  # standard deviation of the blur as a fraction of the short side

Progress = Callable[[int, int], object]  # is called with the windows that are done, and with all


def blurred(pixels: Tensor) -> Tensor:
    """Return an image without its detail: float32, (3, height, width), blurred by about 10 px of 384."""
    sigma = max(BLUR * min(pixels.shape[1:]), 0.5)
    size = min(2 * math.ceil(3 * sigma) + 1, 2 * min(pixels.shape[1:]) - 1)
    soft: Tensor = functional.gaussian_blur(pixels.float(), [size, size], [sigma, sigma])
    return soft


def occluded(pixels: Tensor, masks: Values, other: Tensor | None = None) -> Iterator[Tensor]:
    """Yield the image with each window blurred in turn: uint8, (3, height, width), on the device of the image.

    Args:
        pixels: uint8, (3, height, width).
        masks: The weight of the blurred image in each window, (windows, height, width).
        other: What takes the place of the blurred image, float32, (3, height, width).
    """
    other = blurred(pixels) if other is None else other
    change = other - pixels
    for mask in masks:
        weight = torch.from_numpy(mask).to(pixels.device)
        yield (pixels + change * weight).round_().clamp_(0, 255).to(torch.uint8)


class Occlusion:
    """Measures what blurring the windows of what a network sees does to the score.

    Args:
        scorer: Whose network scores.
        batch_size: Windows in one pass through the network.
    """

    def __init__(self, scorer: Scorer, batch_size: int = 8) -> None:
        self._scorer, self._parts, self._batch_size = scorer, PartsScorer(scorer), batch_size

    def effects(
        self,
        view: View,
        parts: Parts,
        other: Tensor | None = None,
        done: Callable[[int], object] = lambda windows: None,
    ) -> Values:
        """Return by how much each window lifts the score: that of the view less that with the window blurred.

        The other inputs are kept as they are. Where the inputs of the network meet only in its head, their features are
        computed once, and only the blurred input goes through its backbone again.

        Args:
            view: What is blurred.
            parts: Those of the image, as of `PartsScorer.parts_of`.
            other: As of `occluded`.
            done: Is called with the number of windows that were just done.

        Returns:
            float32, (rows, columns) of `WindowGrid.over` the view.
        """
        pixels = view.pixels.to(self._scorer.device)
        grid = WindowGrid.over(*pixels.shape[1:])
        own = {name: values[view.crop :][:1] if len(values) > 1 else values for name, values in parts.items()}
        scores = []
        remaining = chain([pixels], occluded(pixels, grid.masks(), other))  # in one batch: its size moves bfloat16
        while batch := list(islice(remaining, self._batch_size)):
            scores.append(self._scores(view, torch.stack(batch), own))
            done(len(batch) if len(scores) > 1 else len(batch) - 1)
        found = torch.cat(scores).double().cpu().numpy()
        effects: Values = (found[0] - found[1:]).reshape(grid.rows, grid.columns).astype(np.float32)
        return effects

    def _scores(self, view: View, pixels: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """Return the scores of images, (images, 3, height, width), in the place of one view."""
        seen = pixels if view.cut is None else view.cut(pixels).to(self._scorer.device)
        if self._parts.separable:
            rows = seen if seen.ndim == 4 else seen.flatten(0, 1)
            scores = self._parts.crop_scores({**own, view.input: self._parts.features(view.input, rows)})
            return scores if seen.ndim == 4 else scores.view(len(seen), -1).mean(dim=1)
        return self._parts.crop_scores({**own, view.input: seen})

    def maps(self, image: SeenImage, parts: Parts, progress: Progress | None = None) -> dict[str, ImageMap]:
        """Return a map for each input of an image that shows it: `score_whole`, and `score_face` of its face crop.

        Each tells of its own branch alone, the other kept as it is: where the face crop lies in the whole image, too,
        the score hangs on a place by both.

        Args:
            image: What the network sees.
            parts: Its parts.
            progress: Is called after every batch.
        """
        total, count = sum(WindowGrid.over(*view.pixels.shape[1:]).windows for view in image.views), 0

        def done(windows: int) -> None:
            nonlocal count
            count += windows
            if progress is not None:
                progress(count, total)

        maps = {}
        for name in dict.fromkeys(view.input for view in image.views):
            views = [view for view in image.views if view.input == name]
            effects = [self.effects(view, parts, done=done) for view in views]
            maps[f"score_{BRANCHES[name]}"] = score_map(name, effects, views, image)
        return maps


def score_map(name: str, effects: Sequence[Values], views: Sequence[View], image: SeenImage) -> ImageMap:
    """Return the effects of windows as a map of the whole upright image."""
    grids = [WindowGrid.over(*view.pixels.shape[1:]) for view in views]
    values = image_values(effects, [view.place for view in views], grids, image.height, image.width)
    return score_image_map(name, values, colour_limit(values))


def score_image_map(name: str, values: Values, limit: float) -> ImageMap:
    """Return values in units of the score as a map with symmetric colours; `name` is that of the input."""
    seen = "the face, as its own crop shows it" if name == "face_crop" else "the whole image"
    legend = ((-limit, "blurring it raises the score"), (0.0, "no change"), (limit, "blurring it lowers the score"))
    title = f"What blurring a place of {seen} takes from the score"
    return ImageMap(f"score_{BRANCHES[name]}", title, "score", values, "diverging", (-limit, limit), legend)
