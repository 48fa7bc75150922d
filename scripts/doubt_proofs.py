"""Prove the standard deviations of scores on the demo, whose labels are as noisy as real ones.

    python scripts/doubt_proofs.py --out runs/doubt_proofs        about three minutes of one core

- Three runs of a small network with `score_std`, on 16 scenes with other seeds; 8 validation scenes fit the factor, and
  16 test scenes, which nothing has seen, tell how far it holds: coverage and reliability, with intervals over scenes.
- Three ways to a standard deviation: learnt from pairs, an ensemble of the three runs, dropout in 20 passes.
- Conformal answers: thresholds of the validation scenes on the test scenes.
- Out of range: pictures without a face, drawings and noise, none of which any run has seen. AUC is the share of pairs
  of one of them and a test portrait in which the former has the larger standard deviation: 0.5 is chance. Its interval
  resamples both.

The network sees the whole image alone, and no face is looked for, which spares time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.data
from kept_runs import keep_runs
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from synthetic_moments import SURROUNDINGS

from piqa import Scorer, evaluate, fit
from piqa.data.demo import SIZE, write_demo
from piqa.evaluation.statistics.conformal import answers
from piqa.evaluation.statistics.doubt import apply_uncertainty, measure_doubt
from piqa.evaluation.statistics.pair_probability import PairProbability
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import Images, ScoreUncertainty
from piqa.scoring.dropout_engine import with_dropout
from piqa.scoring.ensemble import load_ensemble

SCENES, TEST, RUNS, PASSES, EACH = 40, 16, 3, 20, 40
RESAMPLES = 1000
Pictures = dict[str, list[Image.Image]]


def train(folder: Path, csv: Path, epochs: int, runs: int) -> list[Path]:
    """Train the runs that are not there, find their scale on the validation scenes, and return their folders."""
    found = []
    for seed in range(runs):
        out = folder / f"run_{seed}"
        if not (out / "model.safetensors").is_file():
            settings = {
                "data.table.csv": csv,
                "model.network.init_args.score_std": "true",
                "model.network.init_args.branches": "[whole]",
                "model.init.face": "null",
                "data.preparation.face_rule": "none",
                "data.validation_fraction": "0.34",
                "data.store.folder": folder / "prepared",
                "data.loading.workers": "0",
                "trainer.max_epochs": epochs,
                "model.schedule.init_args.T_max": epochs,
                "seed_everything": seed,
            }
            given = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
            fit.main(["--config", "demo.yaml", *given, "--out", str(out)])
            scoring = ["--scoring.store", str(folder / "prepared"), "--statistics.bootstrap_samples", "50"]
            evaluate.main(["--ckpt_path", str(out), "--split", "val", *scoring])
        found.append(out)
    return found


def out_of_range(count: int, seed: int = 0) -> Pictures:
    """Return pictures that are no portraits, of the size of the demo's, by kind."""
    generator = np.random.default_rng(seed)
    kinds: dict[str, Callable[[int], Image.Image]] = {
        "no face": lambda at: no_face(at, generator),
        "drawing": lambda at: drawing(generator),
        "noise": lambda at: noise(generator),
    }
    return {kind: [make(at) for at in range(count)] for kind, make in kinds.items()}


def no_face(at: int, generator: np.random.Generator) -> Image.Image:
    """Return a part of a public-domain picture that shows nobody."""
    name = SURROUNDINGS[at % len(SURROUNDINGS)]
    pixels = getattr(skimage.data, name)()
    image = Image.fromarray(pixels[0] if isinstance(pixels, tuple) else pixels).convert("RGB")
    side = generator.uniform(0.5, 1) * min(image.width / SIZE[0], image.height / SIZE[1])
    width, height = side * SIZE[0], side * SIZE[1]
    left, top = generator.uniform(0, image.width - width), generator.uniform(0, image.height - height)
    return image.resize(SIZE, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))


def drawing(generator: np.random.Generator) -> Image.Image:
    """Return a drawing of a few flat shapes and lines."""
    image = Image.new("RGB", SIZE, _colour(generator))
    pen = ImageDraw.Draw(image)
    for _ in range(int(generator.integers(4, 16))):
        (x1, x2), (y1, y2) = (sorted(generator.uniform(0, side, 2).tolist()) for side in SIZE)
        shape = (pen.ellipse, pen.rectangle)[int(generator.integers(2))]
        shape((x1, y1, x2, y2), fill=_colour(generator), outline=_colour(generator), width=3)
        pen.line((*generator.uniform(0, SIZE[0], 2), *generator.uniform(0, SIZE[1], 2)), _colour(generator), 2)
    return image


def noise(generator: np.random.Generator) -> Image.Image:
    """Return noise, from fine to coarse."""
    values = generator.normal(size=(SIZE[1], SIZE[0], 3))
    values = gaussian_filter(values, (*[generator.uniform(0, 4)] * 2, 0))
    low, high = np.quantile(values, [0.01, 0.99])
    return Image.fromarray((np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8))


def _colour(generator: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = generator.integers(0, 256, 3).tolist()
    return red, green, blue


def auc(outside: np.ndarray, inside: np.ndarray) -> float:
    """Return the share of pairs in which the first is larger, equal ones counted half.

    Examples:
        >>> auc(np.array([3.0, 1.0]), np.array([2.0, 0.0]))
        0.75
    """
    ranks = rankdata(np.concatenate([outside, inside]))[: len(outside)]
    return float((ranks.sum() - len(outside) * (len(outside) + 1) / 2) / (len(outside) * len(inside)))


def auc_with_interval(outside: np.ndarray, inside: np.ndarray, scene: np.ndarray, seed: int = 0) -> list[float]:
    """Return the AUC and its 95 % interval by resampling the pictures and the scenes of the portraits."""
    generator, drawn = np.random.default_rng(seed), []
    by_scene = [inside[scene == one] for one in np.unique(scene)]
    for _ in range(RESAMPLES):
        scenes = generator.integers(len(by_scene), size=len(by_scene))
        portraits = np.concatenate([by_scene[at] for at in scenes])
        drawn.append(auc(generator.choice(outside, len(outside)), portraits))
    return [auc(outside, inside), *np.quantile(drawn, [0.025, 0.975]).tolist()]


def reliability(run: Path, table: pd.DataFrame, found: pd.DataFrame) -> dict[str, object]:
    """Return how good standard deviations are on the test scenes, before and after calibration on validation scenes."""
    card = Scorer.load(run, device="cpu").card
    kept = ScoreUncertainty.from_dict(card.uncertainty)
    assert kept is not None and kept.factor is not None
    raw = found["score_std"].to_numpy() / kept.factor
    labels = table["scene"].to_numpy(), raw, table["score_std"].to_numpy()
    images = Images.of(found["score"], table["score"], *labels)
    one = ScoreUncertainty(kept.gain, kept.centre, kept.std, source=kept.source)
    before = ScoreUncertainty(kept.gain, kept.centre, kept.std, 1.0, 1.0)
    ways = {
        "as stated": apply_uncertainty(images, before),
        "calibrated on validation scenes": apply_uncertainty(images, kept),
        "one for all, of validation scenes": apply_uncertainty(images, one),
    }
    return {"factor": kept.factor, "scale": kept.scale, **{name: asdict(way) for name, way in ways.items()}} | {
        "conformal": conformal(images, kept, card.preference)
    }


def conformal(images: Images, kept: ScoreUncertainty, preference: Mapping[str, object]) -> dict[str, object]:
    """Return how often clear pairs of test scenes are answered, and wrongly, by the validation scenes' thresholds."""
    pairs = images.pairs()
    gap = images.score[pairs.first] - images.score[pairs.second]
    clear = np.abs(gap) >= 1.96 * np.hypot(images.score_std[pairs.first], images.score_std[pairs.second])
    assert kept.factor is not None
    std = kept.factor * images.std
    pair = PairProbability(Preference.from_dict(preference), kept)
    f = images.prediction
    p = pair(f[pairs.first], f[pairs.second], std[pairs.first], std[pairs.second])[clear]
    truth, scene, rows = np.where(gap[clear] > 0, "A", "B"), pairs.scene[clear], {}
    for rate in (0.12, 0.2):
        said = np.array(answers(p, pair.least(rate)))
        told, wrong = said != "cannot tell", (said != "cannot tell") & (said != truth)
        per_scene = pd.DataFrame({"scene": scene, "told": told, "wrong": wrong}).groupby("scene").mean()
        rows[f"{rate:g}"] = {"told": float(per_scene["told"].mean()), "wrong": float(per_scene["wrong"].mean())}
    return {"validation scenes": len(kept.nonconformity), "clear pairs": int(clear.sum()), **rows}


def shown(way: Mapping[str, object]) -> str:
    """Return a row of the table of reliability."""
    cells = []
    for one in way["coverage"]:  # type: ignore[attr-defined]
        cells.append(f"{one['inside']:.2f} ({one['low']:.2f} to {one['high']:.2f})")
    ece = f"{way['ece']:.3f} ({way['ece_low']:.3f} to {way['ece_high']:.3f})"
    return f"| {' | '.join([*cells, ece, format(way['brier'], '.4f')])} |"


def main() -> None:
    """Run the proofs, and print their tables; everything stands in `proofs.json` too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/doubt_proofs"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--test_scenes", type=int, default=TEST)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--each", type=int, default=EACH, help="Pictures of each kind that is out of range.")
    asked = parser.parse_args()
    keep_runs(asked.out, epochs=asked.epochs, scenes=asked.scenes, test_scenes=asked.test_scenes)
    csv = write_demo(asked.out / "demo", scenes=asked.scenes, test_scenes=asked.test_scenes)
    runs = train(asked.out, csv, asked.epochs, asked.runs)
    found = prove(runs, csv, asked.each)
    (asked.out / "proofs.json").write_text(json.dumps(found, indent=1))
    print_tables(found)


def prove(runs: Sequence[Path], csv: Path, each: int) -> dict[str, object]:
    """Score the test scenes and the pictures out of range in every way, and return what is found."""
    table = pd.read_csv(csv)
    table = table[table["split"] == "test"].reset_index(drop=True)
    files, scene = [str(csv.parent / image) for image in table["image"]], table["scene"].to_numpy()
    outside = out_of_range(each)
    load = {"device": "cpu"}
    ways = {
        "learnt": (Scorer.load(runs[0], **load), "score_std"),
        "dropout": (with_dropout(Scorer.load(runs[0], **load), PASSES), "model_std"),
        "ensemble": (load_ensemble(runs, **load), "model_std"),
        "ensemble and learnt": (load_ensemble(runs, **load), "score_std"),
    }
    aucs, doubts, own = {}, {}, pd.DataFrame()
    for name, (scorer, column) in ways.items():
        inside = scorer.score(files, test_crops="one", batch_size=16)
        own = inside if name == "learnt" else own
        stds = {kind: scorer.score(some, test_crops="one", batch_size=16)[column] for kind, some in outside.items()}
        stds["all"] = pd.concat([*stds.values()])
        aucs[name] = {kind: auc_with_interval(std.to_numpy(), inside[column].to_numpy(), scene)
                      for kind, std in stds.items()}  # fmt: skip
        tested = measure_doubt(inside["score"], table["score"], scene, inside[column], table["score_std"])
        assert tested is not None
        doubts[name] = {way.way: asdict(way) for way in tested.ways} | {"ause_of_chance": tested.ause_of_chance}
    held_out = reliability(runs[0], table, own)
    return {"reliability": held_out, "ways, scenes left out in turn": doubts, "out of range": aucs}


def print_tables(found: Mapping[str, object]) -> None:
    """Print what was found as tables of Markdown."""
    held: Mapping[str, Mapping[str, object]] = found["reliability"]  # type: ignore[assignment]
    levels = " | ".join(f"{one['level']:.0%} interval holds" for one in held["as stated"]["coverage"])  # type: ignore
    print(f"| {levels} | ECE | Brier |\n|{'---|' * 6}")
    for name in (one for one in held if isinstance(held[one], dict) and "coverage" in held[one]):
        print(f"| {name} {shown(held[name])}")
    print(f"\nfactor {held['factor']:.3f}; conformal answers: {json.dumps(held['conformal'])}\n")
    print("| way | Brier | AUSE | wrong of all clear pairs | of the surer half |\n|---|---|---|---|---|")
    doubts: Mapping[str, Mapping[str, Mapping[str, object]]] = found["ways, scenes left out in turn"]  # type: ignore
    for name, ways in doubts.items():
        one = ways["calibrated"]
        wrong: Sequence[float] = one["wrong"]  # type: ignore[assignment]
        print(f"| {name} | {one['brier']:.4f} | {one['ause']:.3f} | {wrong[0]:.4f} | {wrong[-1]:.4f} |")
    one = doubts["learnt"]["one for all"]
    print(f"| one for all | {one['brier']:.4f} | | {one['wrong'][0]:.4f} | {one['wrong'][-1]:.4f} |")  # type: ignore
    print(f"chance has an AUSE of {doubts['learnt']['ause_of_chance']:.3f}\n")
    aucs: Mapping[str, Mapping[str, Sequence[float]]] = found["out of range"]  # type: ignore[assignment]
    print(f"| AUC | {' | '.join(next(iter(aucs.values())))} |\n|{'---|' * 5}")
    for name, kinds in aucs.items():
        cells = [f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in kinds.values()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
