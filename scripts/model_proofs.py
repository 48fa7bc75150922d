"""Check the maps of a model of your own: deletion of what it looks at, and a control with random weights.

    python scripts/model_proofs.py runs/demo data/demo/images/*/reference.png

Of each image's centre crop the places of each input are blurred in the order of its map, and the mean score on the way
is compared with that of random orders of the same grain and of the reverse order. The control is the same network with
random weights: its maps must be unlike the model's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch
from explanation_proofs import Scores, deletion_orders, interval, per_pixel
from scipy.stats import spearmanr

from piqa import Scorer
from piqa.explanation.geometry import WindowGrid
from piqa.explanation.occlusion import Occlusion
from piqa.explanation.parts import PartsScorer
from piqa.explanation.seen_image import Seer, View
from piqa.factors.measured_image import Values
from piqa.preparation.image_file import Pixels


def views_of(scorer: Scorer, file: str) -> tuple[list[View], dict[str, torch.Tensor]]:
    """Return what can be blurred of the centre crop of an image, and the network's inputs."""
    seer = Seer(scorer, "one")
    seen = seer(seer.label(file))
    return [view for view in seen.views if view.cut is None], seen.inputs


def effects_of(scorer: Scorer, view: View, inputs: dict[str, torch.Tensor]) -> Values:
    """Return the effects of blurring the windows of a view."""
    return Occlusion(scorer).effects(view, PartsScorer(scorer).parts_of(inputs))


def scores_of(scorer: Scorer, view: View, inputs: dict[str, torch.Tensor]) -> Scores:
    """Return a function that scores images in the place of a view, the other inputs kept."""

    def scores(images: list[Pixels]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(scorer.device)
        others = {name: (v[None] if v.ndim == 1 else v).expand(len(batch), *v.shape[-3:]) for name, v in inputs.items()}
        return scorer.outputs({**others, view.input: batch})["score"].double().cpu().numpy()

    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the gains of each input's order, and the likeness to random weights; return 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="as of `Scorer.load`")
    parser.add_argument("images", nargs="+")
    options = parser.parse_args(arguments)
    scorer, control = (Scorer.load(options.model, device="cpu") for _ in range(2))
    torch.manual_seed(0)
    for module in control.network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    rng, failed = np.random.default_rng(0), False
    gains: dict[tuple[str, str], list[float]] = {}
    like: dict[str, list[float]] = {}
    for file in options.images:
        views, inputs = views_of(scorer, file)
        for view in views:
            effects, score = effects_of(scorer, view, inputs), scores_of(scorer, view, inputs)
            order = per_pixel(effects, WindowGrid.over(*view.pixels.shape[1:]))
            pixels = view.pixels.permute(1, 2, 0).contiguous().numpy()
            for name, gain in deletion_orders(score, pixels, order, rng).items():
                gains.setdefault((view.input, name), []).append(gain)
            other = effects_of(control, view, inputs)
            like.setdefault(view.input, []).append(float(spearmanr(effects, other, axis=None).statistic))
    for (name, order), values in gains.items():
        mean, low, high = interval(np.array(values), rng)
        failed |= low <= 0
        print(f"{name}: deletion against {order} order {mean:.3f}, 95 % interval {low:.3f} to {high:.3f}")
    for name, values in like.items():
        print(f"{name}: likeness to maps of random weights (Spearman) {np.mean(values):.2f}")
        failed |= abs(np.mean(values)) >= 0.5
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
