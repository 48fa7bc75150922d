"""Prove the picks on series with a known best shot: how often it is first, and whether stated probabilities hold.

    python scripts/keeper_proofs.py --ckpt_path runs/demo            300 series; about ten minutes of one core
    python scripts/keeper_proofs.py --ckpt_path runs/demo --liqe data/weights/liqe.pt
    python scripts/keeper_proofs.py --ckpt_path runs/demo --phototriage data/phototriage

- Series of `scripts/keeper_series.py`: focus, motion, exposure, noise, JPEG and mixtures, made of the demo's portraits
  in framings and light that no training has seen, but of the same two people; no series of blinks.
- Keeper recall: the share of series whose best shot is ranked first, with its 95 % interval (Wilson). A random order
  reaches the mean of one in so many shots.
- Rows: the model, measured factors alone, LIQE where its weights are given, the sharpness of the whole image (variance
  of its Laplacian), and chance.
- Reliability: of all pairs of a series, how often the better one is preferred, by the probability that the model's card
  states; the scale was fitted on other scenes, by `piqa evaluate`.
- `--phototriage`: the same on the validation pairs of PhotoTriage, if its files are at hand.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keeper_series import KINDS, Series, write_series
from phototriage import PairList, judged, read_pairs
from PIL import Image
from scipy import ndimage

from piqa import Scorer, pick
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.reliability import Reliability, reliability_of
from piqa.moments.choices import wilson

Scores = Mapping[str, float]  # by the name of a file


@dataclass(frozen=True)
class Recall:
    """How often the best shot of a series is ranked first.

    Attributes:
        first, series: How often, of how many.
        top_two: How often it is one of the first two.
        by_kind: The share, by kind of series.
    """

    first: int
    series: int
    top_two: int
    by_kind: dict[str, float]


def recall(series: Sequence[Series], scores: Scores) -> Recall:
    """Measure the keeper recall of scores; of equal scores the first file counts."""
    place = [_place_of_best(one, scores) for one in series]
    kinds = {
        kind: float(np.mean([at == 0 for one, at in zip(series, place, strict=True) if one.kind == kind]))
        for kind in dict.fromkeys(one.kind for one in series)
    }
    return Recall(sum(at == 0 for at in place), len(series), sum(at < 2 for at in place), kinds)


def _place_of_best(series: Series, scores: Scores) -> int:
    order = sorted(series.strength, key=lambda file: -scores[file])
    return order.index(series.best)


def chance(series: Sequence[Series]) -> float:
    """Return the recall of a random order."""
    return float(np.mean([1 / len(one.strength) for one in series]))


def reliability(series: Sequence[Series], scores: Scores, preference: Preference) -> Reliability:
    """Compare the stated probability of each pair of a series with which of the two is spoilt less."""
    stated, better, number = [], [], []
    for at, one in enumerate(series):
        files = list(one.strength)
        for first in range(len(files)):
            for second in range(first + 1, len(files)):
                stated.append(float(preference.probability(scores[files[first]] - scores[files[second]])))
                better.append(float(one.strength[files[first]] < one.strength[files[second]]))
                number.append(at)
    p, t = np.clip(stated, 1e-12, 1 - 1e-12), np.array(better)
    loss = float(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())
    return reliability_of(stated, better, number, loss)


def ranks_of_command(folder: Path, out: Path, *arguments: str) -> Scores:
    """Run `piqa pick` on folders that are scenes; return minus the rank of each file as its score."""
    pick.main([str(folder), "--scene", "folders", "--out", str(out), *arguments])
    with (out / "picks.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).name: -float(row["rank"] or "inf") for row in csv.DictReader(file)}


def scores_of_model(files: Sequence[Path], model: str, liqe: str | None = None) -> tuple[Scores, Preference | None]:
    """Return a model's scores, and what its card says of probabilities."""
    scorer = Scorer.load(model, liqe=liqe, device="cpu", try_turns=True)
    frame = scorer.score([str(file) for file in files], batch_size=16)
    return dict(zip([file.name for file in files], frame["score"], strict=True)), Preference.from_dict(
        scorer.card.preference
    )


def sharpness(files: Sequence[Path]) -> Scores:
    """Return the variance of the Laplacian of each image, in grey."""
    return {
        file.name: float(ndimage.laplace(np.asarray(Image.open(file).convert("L"), np.float32)).var()) for file in files
    }


def told(name: str, found: Recall) -> str:
    """Return a row of the table."""
    low, high = wilson(found.first, found.series)
    kinds = " ".join(f"{found.by_kind[kind]:>8.2f}" if kind in found.by_kind else " " * 8 for kind in KINDS)
    two = found.top_two / found.series
    return f"{name:22}{found.first / found.series:>6.3f} [{low:.3f}, {high:.3f}] {two:>8.3f} {kinds}"


def main() -> None:
    """Make the series, rank them by everything there is, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", help="a model whose card knows probabilities, such as runs/demo")
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--liqe", help="LIQE's checkpoint; without it LIQE is left out")
    parser.add_argument("--phototriage", help="folder of PhotoTriage's files")
    parser.add_argument("--folder", help="where series and picks stay; by default nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(given.folder or temporary)
        prove_series(place, given.series, given.ckpt_path, given.liqe)
        if given.phototriage:
            prove_phototriage(Path(given.phototriage), place, given.ckpt_path)


def prove_series(place: Path, count: int, model: str | None, liqe: str | None) -> None:
    """Print keeper recall and reliability on synthetic series."""
    series = write_series(place / "series", count)
    files = [place / "series" / one.name / file for one in series for file in one.strength]
    rows = {"factors": ranks_of_command(place / "series", place / "picks")}
    preference, scores = None, None
    if model is not None:
        rows["model"] = ranks_of_command(place / "series", place / "picks", "--ckpt_path", model)
        scores, preference = scores_of_model(files, model)
    if liqe is not None:
        rows["LIQE"] = scores_of_model(files, "liqe", liqe)[0]
    rows["sharpness"] = sharpness(files)
    print(f"\n{len(series)} series of {len(files)} shots; how often the best is first, with its 95 % interval")
    print(f"{'':22}{'recall':>6} {'':16}{'in two':>8} {' '.join(f'{kind:>8}' for kind in KINDS)}")
    for name, found in rows.items():
        print(told(name, recall(series, found)))
    print(f"{'chance':22}{chance(series):>6.3f}")
    if liqe is None:
        print("LIQE: left out, as no weights are given; `--liqe PATH` measures it")
    if preference is None or scores is None:
        print("no probabilities: no model, or its card has none; `piqa evaluate` fits them")
        return
    found = reliability(series, scores, preference)
    print(f"\n{found.pairs} pairs, by the probability that the card of {model} states ({preference.source})")
    print_reliability(found)


def print_reliability(found: Reliability) -> None:
    """Print stated and found shares."""
    print(f"{'stated':12}{'pairs':>7}{'mean':>8}{'found':>8}   95 % interval")
    for band in found.bands:
        ends = "" if band.agreed_low is None else f"{band.agreed_low:.3f} to {band.agreed_high:.3f}"
        print(f"{band.low:.1f} to {band.high:.1f}  {band.pairs:>7}{band.stated:>8.3f}{band.agreed:>8.3f}   {ends}")
    print(f"log loss {found.log_loss:.3f} (a coin: 0.693), mean distance {found.error:.3f}")


def prove_phototriage(root: Path, place: Path, model: str | None) -> None:
    """Print how often the first of a series is its best, and pairs in the order of the majority, on PhotoTriage."""
    pairs = read_pairs(root, "val")
    rows = {"factors": _by_files(pairs, root, place, ())}
    if model is not None:
        rows["model"] = _by_files(pairs, root, place, ("--ckpt_path", model))
    for name, scores in rows.items():
        print(f"PhotoTriage, {name}: {judged(pairs, scores)}")


def _by_files(pairs: PairList, root: Path, place: Path, more: Sequence[str]) -> dict[tuple[int, int], float]:
    """Rank the photographs of the pairs' series; return minus the rank of each."""
    files = pairs.files(root)
    table, names = place / "phototriage.csv", place / "phototriage.txt"
    table.write_text("file,series\n" + "".join(f"{path},{series}\n" for (series, _), path in files.items()))
    names.write_text("".join(f"{path}\n" for path in files.values()))
    out = place / f"phototriage_{'model' if more else 'factors'}"
    pick.main(["--list", str(names), "--scene", "series", "--table", str(table), "--out", str(out), *more])
    with (out / "picks.csv").open(newline="", encoding="utf-8") as file:
        ranks = {Path(row["file"]).name: -float(row["rank"] or "inf") for row in csv.DictReader(file)}
    return {key: ranks[path.name] for key, path in files.items()}


if __name__ == "__main__":
    main()
