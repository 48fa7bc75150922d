"""Prove the explanations of scores on a small model that learnt known local spoilings, and print what was found.

    python scripts/explanation_proofs.py            a model is trained first; about two minutes of one core
    python scripts/explanation_proofs.py --factors  only whether two images' measured factors name what was spoilt

- Deletion: blurring an image in the order of its map lowers its score faster than in random orders of the same grain.
- Pointing game: of an image and the same with one place blurred, the change of the map points to that place; counted
  are places whose blurring changes the score by more than the crops of one image differ.
- Controls: the maps of a network with random weights, and of one trained on shuffled labels, are unlike the model's
  (Spearman's correlation). The latter loses the pointing game, as no change of a place moves its score by more than the
  crops of an image differ; were these places counted, the change of its map would point to many of them, as blurring
  what is blurred already changes nothing for any network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from cause_proofs import GRADES, OTHER_GRADES, SIZES, prove_causes
from local_spoilings import SIDE, TEST_SCENES, Disc, centre, drawn_for_test, scorer_of, spoilt, trained, untrained, view
from scipy.stats import spearmanr

from piqa import Scorer
from piqa.explanation.explainer import Explainer
from piqa.explanation.geometry import WindowGrid, profiles
from piqa.explanation.occlusion import blurred
from piqa.factors.measured_image import Values
from piqa.models import DualBranch
from piqa.preparation.image_file import Pixels

Scores = Callable[[list[Pixels]], np.ndarray]  # of images that a network sees

RADIUS = SIDE / 6
PLACES = np.linspace(RADIUS, SIDE - RADIUS, 5)
MARGIN = 15 / 384 * SIDE
DELETION_STEPS, RANDOM_ORDERS = 20, 5


def map_of(scorer: Scorer, pixels: Pixels) -> Values:
    """Return the map of an image that the network sees whole, one value for each pixel."""
    found = Explainer(scorer, test_crops="one", batch_size=50).explain(pixels)
    return found.maps["score_whole"].values


def scores(scorer: Scorer, images: list[Pixels]) -> np.ndarray:
    """Return the scores of images that the network sees whole."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return scorer.outputs({"whole": batch})["score"].double().numpy()


@dataclass(frozen=True)
class Points:
    """What came of the pointing game.

    Attributes:
        hits: How often the map pointed to the spoilt place.
        counted: How many places counted.
        places: All places.
        chance: The expected fraction of hits of a map that points anywhere.
    """

    hits: int
    counted: int
    places: int
    chance: float

    @property
    def rate(self) -> float:
        """The fraction of hits; NaN where no place counts."""
        return self.hits / self.counted if self.counted else float("nan")


def pointing_game(scorer: Scorer, scenes: tuple[int, ...], least: float | None = None) -> Points:
    """Blur places of a grid in test scenes, one at a time, and see whether the map's change points there.

    Args:
        scorer: Whose maps are asked.
        scenes: Out of `TEST_SCENES`.
        least: Change of the score from which a place counts; None for what the crops of the image differ by.
    """
    hits = counted = 0
    chances = []
    for scene in scenes:
        clean = centre(view(scene))
        before = map_of(scorer, clean)
        needed = crop_spread(scorer, scene) if least is None else least
        for disc in (Disc(y, x, RADIUS) for y in PLACES for x in PLACES):
            bad = spoilt(clean, disc)
            change = scores(scorer, [clean, bad])
            if change[0] - change[1] <= needed:
                continue
            counted += 1
            y, x = np.unravel_index(np.argmax(before - map_of(scorer, bad)), before.shape)
            hits += disc.holds(y + 0.5, x + 0.5, MARGIN)
            at = np.indices(clean.shape[:2]) + 0.5
            chances.append(float((np.hypot(at[0] - disc.y, at[1] - disc.x) <= RADIUS + MARGIN).mean()))
    return Points(hits, counted, len(scenes) * len(PLACES) ** 2, float(np.mean(chances or [np.nan])))


def crop_spread(scorer: Scorer, scene: int) -> float:
    """Return the standard deviation of the scores of the five crops of a clean image."""
    pixels = view(scene)
    bottom, right = (side - SIDE for side in pixels.shape[:2])
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return float(scores(scorer, [pixels[y : y + SIDE, x : x + SIDE] for y, x in corners]).std())


def deleted(pixels: Pixels, order: Values) -> list[Pixels]:
    """Return the image with more and more of its pixels blurred, those of the largest values first."""
    soft = blurred(torch.tensor(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    ranks = np.argsort(np.argsort(-order, axis=None)).reshape(order.shape) / order.size
    shares = np.linspace(0, 1, DELETION_STEPS + 1)
    return [np.where((ranks < share)[..., None], np.rint(soft), pixels).astype(np.uint8) for share in shares]


def deletion_curve(score: Scores, pixels: Pixels, order: Values) -> float:
    """Return how far the score lies above its end while the image is deleted in an order: the mean on the way."""
    curve = score(deleted(pixels, order))
    return float((curve - curve[-1]).mean())


def deletion_orders(score: Scores, pixels: Pixels, own: Values, rng: np.random.Generator) -> dict[str, float]:
    """Return by how much lower the curve in the map's own order is than in random orders and in the reverse one."""
    grid = WindowGrid.over(*own.shape)
    random = []
    for _ in range(RANDOM_ORDERS):  # with the grain of a map
        effects = rng.normal(size=(grid.rows, grid.columns)).astype(np.float32)
        random.append(deletion_curve(score, pixels, per_pixel(effects, grid)))
    curve = deletion_curve(score, pixels, own)
    return {"random": float(np.mean(random)) - curve, "reverse": deletion_curve(score, pixels, -own) - curve}


def per_pixel(effects: Values, grid: WindowGrid) -> Values:
    """Return the effects of windows for each pixel of what a network sees."""
    sides = ((grid.height, grid.rows), (grid.width, grid.columns))
    down, across = (profiles(np.arange(side) + 0.5, side, count) for side, count in sides)
    values: Values = down @ effects @ across.T / (down.sum(axis=1)[:, None] * across.sum(axis=1)[None])
    return values


def deletion_test(scorer: Scorer, images: list[Pixels]) -> dict[str, tuple[float, float, float]]:
    """Return the gains of `deletion_orders`: mean and 95 % interval over images."""
    rng = np.random.default_rng(0)
    score = partial(scores, scorer)
    gains = [deletion_orders(score, pixels, map_of(scorer, pixels), rng) for pixels in images]
    return {name: interval(np.array([one[name] for one in gains]), rng) for name in ("random", "reverse")}


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the mean of values and its 95 % interval by the bootstrap."""
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def likeness(one: Scorer, other: Scorer, images: list[Pixels]) -> float:
    """Return the mean Spearman correlation of two networks' maps of the same images."""
    return float(np.mean([_correlation(map_of(one, image), map_of(other, image)) for image in images]))


def stability(scorer: Scorer, images: list[Pixels]) -> float:
    """Return the mean Spearman correlation of the maps of images and of the same shifted by a pixel."""
    shifted = [np.roll(image, 1, axis=1) for image in images]
    pairs = [
        (map_of(scorer, one)[:, :-1], map_of(scorer, two)[:, 1:]) for one, two in zip(images, shifted, strict=True)
    ]
    return float(np.mean([_correlation(*pair) for pair in pairs]))


def _correlation(one: Values, other: Values) -> float:
    return float(spearmanr(one, other, axis=None).statistic)


def prove_maps(model: DualBranch, control: DualBranch) -> list[str]:
    """Print what was found of a trained model and of its control; return what fails."""
    scorer, shuffled, random = scorer_of(model), scorer_of(control), scorer_of(untrained(seed=1))
    images, labels = drawn_for_test(120)
    rank = float(spearmanr(scores(scorer, images), labels).statistic)
    some = images[:16]
    deletion = deletion_test(scorer, some)
    points, lost = (pointing_game(one, tuple(TEST_SCENES)) for one in (scorer, shuffled))
    anywhere = pointing_game(shuffled, tuple(TEST_SCENES)[:2], least=-np.inf)
    like = {name: likeness(scorer, one, some) for name, one in (("random", random), ("shuffled", shuffled))}
    steady = stability(scorer, some)
    rows = [
        ("SROCC of the model on spoilt test scenes", f"{rank:.2f}", rank > 0.4),
        *(
            (f"deletion against {name} order, 95 % interval", f"{mean:.3f} ({low:.3f} to {high:.3f})", low > 0)
            for name, (mean, low, high) in deletion.items()
        ),
        (
            "pointing game",
            f"{points.hits} of {points.counted}, {points.rate:.2f}; {points.places} places, chance {points.chance:.2f}",
            points.rate >= 0.8,
        ),
        (
            "the same, labels shuffled: places that count",
            f"{lost.counted} of {lost.places}, {lost.hits} hits",
            lost.hits < points.hits / 4,
        ),
        ("the same, labels shuffled, whether they count or not", f"{anywhere.rate:.2f}", None),
        ("likeness to maps of random weights (Spearman)", f"{like['random']:.2f}", abs(like["random"]) < 0.5),
        ("likeness to maps with labels shuffled", f"{like['shuffled']:.2f}", abs(like["shuffled"]) < 0.5),
        ("likeness of maps after a shift by a pixel", f"{steady:.2f}", steady >= 0.9),
    ]
    for name, found, passed in rows:
        print(f"{name:<55} {found:<60} {'' if passed is None else 'ok' if passed else 'FAILS'}")
    return [f"{name}: {found}" for name, found, passed in rows if passed is False]


def main(arguments: list[str] | None = None) -> int:
    """Print all proofs; return 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", action="store_true", help="only those that need no model")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    failed = [] if options.factors else prove_maps(trained(), trained(shuffled=True))
    for size in SIZES:
        failed += prove_causes(size, GRADES)
    failed += prove_causes(SIZES[0], OTHER_GRADES)
    print("\n".join(failed) or "all that must hold does")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
