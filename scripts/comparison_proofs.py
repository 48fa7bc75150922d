"""Prove what a comparison of devices states: by simulation with known truth, and on the labels of PIQ23.

    python scripts/comparison_proofs.py                  # the simulations, about a minute
    python scripts/comparison_proofs.py --piq23 LABELS   # and the rankings of PIQ23's devices by halves of its scenes

`LABELS` is a folder with `Scores_Overall.csv`, and with `Image Metadata.csv` of PIQ23's repository, which says which
device took an image. Without the latter, the two parts of the official device split stand in for two devices.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from piqa.comparison.intervals import bootstrap_interval, t_interval, wilson_interval
from piqa.comparison.pair import PairResult, SceneResult, Settings
from piqa.comparison.power import sign_scenes, t_scenes
from piqa.comparison.repeated_looks import Spending, critical_values
from piqa.comparison.scene_tests import PrimaryTest, outcomes, sign_p, t_p
from piqa.comparison.several import two_way_effect
from piqa.comparison.shots import normalised
from piqa.comparison.verdict import decide
from piqa.system.csv_text import read_csv

RUNS = 2_000
Array = np.ndarray


def main() -> None:
    """Run the proofs and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="repetitions of every simulation")
    parser.add_argument("--piq23", type=Path, help="folder of PIQ23's label files")
    given = parser.parse_args()
    for line in simulations(given.runs):
        print(line, flush=True)
    if given.piq23 is not None:
        for line in on_piq23(given.piq23):
            print(line, flush=True)


def error(share: float, runs: int) -> float:
    """Return twice the Monte-Carlo standard error of a share."""
    return 2 * float(np.sqrt(share * (1 - share) / runs))


def simulations(runs: int) -> Iterator[str]:
    """Yield a line for each simulation."""
    for scenes in (8, 20, 50):
        for rate in (0.5, 0.7):
            found = coverage(scenes, rate, runs)
            told = ", ".join(f"{name} {share:.3f}" for name, share in found.items())
            about = f"{scenes} scenes, true win rate {rate}"
            yield f"coverage of 95 % intervals, {about}: {told} (+-{error(0.95, runs):.3f})"
    within = f"(+-{error(0.05, runs):.3f})"
    for test in ("t", "sign", "flip"):
        failed, passed = gate_shares(30, 0.0, 0.05, test, runs)
        yield f"gate on equal devices, 30 scenes, alpha 0.05, {test}: fails {failed:.3f} {within}, passes {passed:.3f}"
    failed, passed = gate_shares(30, -0.3, 0.05, "t", runs, margin=0.3)
    yield f"gate at the margin, 30 scenes, alpha 0.05: passes {passed:.3f}, fails {failed:.3f} {within}"
    for effect in (0.4, 0.6):
        n = t_scenes(effect)
        power = t_power_of(n, effect, runs)
        yield f"power of the t test with the planned {n} scenes, d/s {effect}: {power:.3f} (planned 0.8)"
    n = sign_scenes(0.7)
    power = sign_power_of(n, 0.7, runs)
    yield f"power of the sign test with the planned {n} scenes, win rate 0.7: {power:.3f} (planned 0.8)"
    by_scene, by_image = repeats_error(30, 5, 0.8, runs)
    yield f"type I error with 5 repeats, rho 0.8: {by_scene:.3f} over scenes; {by_image:.3f} if images were units"
    for spending in ("pocock", "obrien_fleming", "spending_obrien_fleming"):
        share = looks_error(5, 0.05, spending, 10 * runs)
        yield f"false alarms of 5 looks, {spending}, one-sided 0.05: {share:.4f} (+-{error(0.05, 10 * runs):.4f})"


def coverage(scenes: int, rate: float, runs: int, seed: int = 0) -> dict[str, float]:
    """Return how often each interval holds the truth; d is normal over scenes, with the win rate `rate`."""
    generator, shift = np.random.default_rng(seed), float(stats.norm.ppf(rate))
    hits = {"t": 0, "bootstrap": 0, "win rate": 0}
    for run in range(runs):
        d = generator.normal(shift, 1.0, scenes)
        for name, interval, truth in (
            ("t", t_interval(d), shift),
            ("bootstrap", bootstrap_interval(d, seed=run, samples=1_000), shift),
            ("win rate", wilson_interval(float((d > 0).sum()), scenes), rate),
        ):
            hits[name] += interval.low <= truth <= interval.high
    return {name: count / runs for name, count in hits.items()}


def pair_of(differences: Array, settings: Settings) -> PairResult:
    """Return a pair of devices with these differences."""
    rows = [SceneResult(str(i), "", 1, 1, float(d), 0.0, float(d), float("nan")) for i, d in enumerate(differences)]
    return PairResult("a", "b", "", rows, settings)


def gate_shares(
    scenes: int, shift: float, alpha: float, test: PrimaryTest, runs: int, margin: float = 0.0, seed: int = 1
) -> tuple[float, float]:
    """Return how often a gate fails and passes where the true difference is `shift` deviations."""
    generator, states = np.random.default_rng(seed), []
    for run in range(runs):
        settings = Settings(test=test, margin=margin, alpha=alpha, seed=run)
        states.append(decide("a worse than b", pair_of(generator.normal(shift, 1.0, scenes), settings), {}, ()).state)
    return states.count("failed") / runs, states.count("passed") / runs


def t_power_of(scenes: int, effect: float, runs: int, seed: int = 2) -> float:
    """Return how often the two-sided t test at 0.05 finds an effect."""
    generator = np.random.default_rng(seed)
    return float(np.mean([t_p(generator.normal(effect, 1.0, scenes)) <= 0.05 for _ in range(runs)]))


def sign_power_of(scenes: int, rate: float, runs: int, seed: int = 3) -> float:
    """Return how often the two-sided sign test at 0.05 finds a win rate."""
    generator = np.random.default_rng(seed)
    drawn = np.where(generator.random((runs, scenes)) < rate, 1.0, -1.0)
    return float(np.mean([sign_p(row) <= 0.05 for row in drawn]))


def repeats_error(scenes: int, repeats: int, rho: float, runs: int, seed: int = 4) -> tuple[float, float]:
    """Return the type I errors of the t test at 0.05 over scenes, and if every picture were a unit."""
    generator, over_scenes, over_pictures = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        of_scene = generator.normal(0, np.sqrt(rho), (scenes, 1))
        outcome = of_scene + generator.normal(0, np.sqrt(1 - rho), (scenes, repeats))
        over_scenes += t_p(outcome.mean(axis=1)) <= 0.05
        over_pictures += t_p(outcome.ravel()) <= 0.05
    return over_scenes / runs, over_pictures / runs


def looks_error(looks: int, alpha: float, spending: Spending, runs: int, seed: int = 5) -> float:
    """Return how often any of equally spaced one-sided looks crosses its boundary, without any difference."""
    steps = np.random.default_rng(seed).normal(size=(runs, looks)).cumsum(axis=1)
    z = steps / np.sqrt(np.arange(1, looks + 1))
    return float((z >= critical_values(looks, alpha, spending)).any(axis=1).mean())


# PIQ23


def cells_of(labels: Path, attribute: str = "Overall") -> tuple[Array, list[str], list[str]] | None:
    """Return the mean score of every device in every scene, NaN where it has none; None where devices are not known."""
    devices = find(labels, "Image Metadata.csv")
    scores = find(labels, f"Scores_{attribute}.csv")
    if devices is None or scores is None:
        return None
    of_image = {row["Image"].lower(): normalised(row["Device"]) for row in read_csv(devices).to_dict("records")}
    cells: dict[tuple[str, str], list[float]] = {}
    for row in read_csv(scores).to_dict("records"):
        cells.setdefault((row["SCENE"], of_image[row["IMAGE"].lower()]), []).append(float(row["JOD"]))
    return as_array(cells)


def split_cells(labels: Path, attribute: str = "Overall") -> tuple[Array, list[str], list[str]]:
    """Return the same for the two parts of the device split, as if each were a device."""
    split, scores = find(labels, "Device Split.csv"), find(labels, f"Scores_{attribute}.csv")
    assert split is not None and scores is not None
    part = {row["IMAGE"]: row["SPLIT"].lower() for row in read_csv(split).to_dict("records")}
    cells: dict[tuple[str, str], list[float]] = {}
    for row in read_csv(scores).to_dict("records"):
        cells.setdefault((row["SCENE"], part[row["IMAGE"]]), []).append(float(row["JOD"]))
    return as_array(cells)


def find(folder: Path, name: str) -> Path | None:
    """Return a file below a folder; None where there is none."""
    return next(iter(sorted(folder.rglob(name))), None)


def as_array(cells: dict[tuple[str, str], list[float]]) -> tuple[Array, list[str], list[str]]:
    """Return mean scores as an array, scenes by devices, and their names."""
    scenes = list(dict.fromkeys(scene for scene, _ in cells))
    devices = sorted({device for _, device in cells})
    found = np.full((len(scenes), len(devices)), np.nan)
    for (scene, device), values in cells.items():
        found[scenes.index(scene), devices.index(device)] = np.mean(values)
    return found, scenes, devices


def halves(cells: Array, runs: int, score: Callable[[Array], Array], seed: int = 0) -> Array:
    """Return the rank correlation of the devices by two random halves of the scenes, of each run."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(runs):
        order = generator.permutation(len(cells))
        first, second = score(cells[order[: len(order) // 2]]), score(cells[order[len(order) // 2 :]])
        both = np.isfinite(first) & np.isfinite(second)
        found.append(float(stats.spearmanr(first[both], second[both]).statistic))
    return np.asarray(found)


def plain_means(cells: Array) -> Array:
    """Return each device's mean over its scenes."""
    known = np.isfinite(cells)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, cells, 0).sum(axis=0) / known.sum(axis=0))


def effects(cells: Array) -> Array:
    """Return each device's effect of the two-way fit, NaN for devices without a scene."""
    scene, device = np.nonzero(np.isfinite(cells))
    there, number = np.unique(device, return_inverse=True)
    found = np.full(cells.shape[1], np.nan)
    found[there] = two_way_effect(cells[scene, device], np.unique(scene, return_inverse=True)[1], number)
    return found


def on_piq23(labels: Path) -> Iterator[str]:
    """Yield what PIQ23's labels say."""
    found = cells_of(labels)
    if found is None:
        cells, scenes, devices = split_cells(labels)
        d = (cells[:, 0] - cells[:, 1])[np.isfinite(cells).all(axis=1)]
        won = outcomes(d)
        yield (
            f"no `Image Metadata.csv`: the parts {devices[0]} and {devices[1]} of the device split, {len(d)} scenes: "
            f"mean difference {d.mean():.4f}, {won.wins} wins, sign test p {sign_p(d):.5f}, t test p {t_p(d):.5f}"
        )
        return
    cells, scenes, devices = found
    often = np.isfinite(cells).sum(axis=0) >= 20
    yield f"{len(devices)} devices after normalising, {often.sum()} of them in 20 scenes or more, {len(scenes)} scenes"
    for name, score in (("plain means", plain_means), ("two-way effects", effects)):
        rho = halves(cells[:, often], 300, score)
        low, high = np.quantile(rho, [0.025, 0.975])
        yield f"SROCC by two random halves of the scenes, {name}: {rho.mean():.3f} ({low:.3f}-{high:.3f})"
    rho = stats.spearmanr(plain_means(cells)[often], effects(cells)[often]).statistic
    yield f"SROCC of plain means and two-way effects: {rho:.3f}"


if __name__ == "__main__":
    main()
