"""Judge the demo's images by a simulated panel over HTTP, train on the scores, and compare with the true scores.

    make demo && python scripts/judged_demo.py    the demo's own data and model; a quarter of an hour of two cores
    python scripts/judged_demo.py --small true    28 scenes and a smaller model; two minutes

The panel's raters see the pairs that the server shows them, and answer as people with Thurstone's noise would, from the
demo's true scores (`piqa.judgement.panel`). The images of the test scenes are not judged. Two models are trained alike,
one on the scores that the study ends with and one on the true ones, with each of some seeds; both are evaluated on the
true scores of the test scenes. No epoch is chosen, as a few validation scenes choose among near-equal ones by chance:
the weights are those of the last one. Everything else is as a lab does it: `piqa serve`, a study with one link a rater,
the CSV of the scores, `piqa.fit`. All of it says how the parts fit together; it says nothing about people.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from kept_runs import keep_runs
from PIL import Image

from piqa import fit
from piqa.data.demo import write_demo
from piqa.judgement.panel import SimulatedRater
from piqa.system.progress import progress

SEED = 0
SCENES, TEST_SCENES, EPOCHS, SIDE = 28, 16, 16, 96  # of the small run; 12 scenes are judged
SMALL = [
    *("--config", "demo.yaml", "--model.network.init_args.branches", "[whole]", "--model.init", "{whole: scratch}"),
    *("--model.network.init_args.image_size", str(SIDE), "--data.inputs.crop_size", str(SIDE)),
    *("--data.preparation", f"{{short_side: {SIDE + 16}, face_rule: none, colour: srgb}}"),
    *("--data.inputs.test_crops", "one", "--data.loading.workers", "0", "--data.store.workers", "0"),
    *("--trainer.max_epochs", str(EPOCHS), "--model.schedule.init_args.T_max", str(EPOCHS)),
    *("--trainer.check_val_every_n_epoch", str(EPOCHS), "--trainer.enable_progress_bar", "false"),
]
DEMO_EPOCHS = "20"  # of demo.yaml
LAST = ["--config", "demo.yaml", "--trainer.max_epochs", DEMO_EPOCHS, "--trainer.check_val_every_n_epoch", DEMO_EPOCHS]
State = dict[str, Any]


def main() -> None:
    """Judge, train twice, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/demo"))
    parser.add_argument("--out", type=Path, default=Path("runs/judged_demo"))
    parser.add_argument("--answers", type=float, default=10, help="Answers divided by images.")
    parser.add_argument("--raters", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3, help="Trainings on each of the two tables.")
    parser.add_argument("--small", type=lambda word: word == "true", default=False, metavar="true|false")
    given = parser.parse_args()
    keep_runs(given.out, **{name: value for name, value in vars(given).items() if name not in ("out", "seeds")})
    if given.small:
        given.data = write_demo(given.out / "demo", scenes=SCENES, test_scenes=TEST_SCENES).parent
    arguments = [*SMALL, "--data.store.folder", str(given.out / "store")] if given.small else LAST
    truth = pd.read_csv(given.data / "demo.csv")
    judged = given.out / "scores.csv"
    if not judged.is_file():
        with serving(given.out / "server", given.data) as client:
            judged.write_text(judge(client, truth, given.data, given.answers, given.raters), encoding="utf-8")
    table = given.data / "judged.csv"
    with_scores(truth, pd.read_csv(judged)).to_csv(table, index=False)
    print(scale_line(truth, pd.read_csv(judged)))
    runs = {}
    for name, csv in (("judged", table), ("true", given.data / "demo.csv")):
        seeds = [
            train([*arguments, "--seed_everything", str(seed)], csv, given.out / f"{name}_{seed}")
            for seed in range(given.seeds)
        ]
        runs[name] = pd.concat(seeds).groupby(level="scene")[["srocc"]].mean()
    print(difference_line(runs["judged"], runs["true"]))


@contextmanager
def serving(data: Path, root: Path) -> Iterator[httpx.Client]:
    """Run `piqa serve` on images below `root`; yield a client of it."""
    command = [sys.executable, "-m", "piqa.serve", "--data", str(data), "--root", str(root), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = re.match(r"http://\S+?:\d+", process.stdout.readline())
        if address is None:
            raise SystemExit("the server did not start")
        with httpx.Client(base_url=address[0], timeout=120, follow_redirects=True) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def judge(client: httpx.Client, truth: pd.DataFrame, root: Path, answers_per_image: float, raters: int) -> str:
    """Let a panel judge all images that are not of the test split; return the CSV of the scores."""
    images = truth[truth["split"] != "test"]
    project = checked(client.post("/api/projects", json={"name": "Demo"})).json()["id"]
    for start in range(0, len(images), 200):
        names = images["image"].iloc[start : start + 200].tolist()
        added = checked(client.post(f"/api/projects/{project}/photos", json={"names": names})).json()
        if added["job"]:  # the photos need not be measured to be judged
            checked(client.post(f"/api/jobs/{added['job']}/stop"))
    each = round(answers_per_image * len(images) / raters)
    scenes = images[["image", "scene"]].to_csv(index=False).encode()
    wanted = {"name": "Demo", "project": project, "scenes": "csv", "answers": each, "training": 0, "break_every": 0}
    made = client.post("/judge/studies", data=wanted, files={"csv": ("scenes.csv", scenes)}, follow_redirects=False)
    if made.status_code != 303:
        raise SystemExit(made.text)
    study = made.headers["location"]
    panel = [SimulatedRater(f"rater {number}") for number in range(1, raters + 1)]
    links = []
    for rater in panel:
        page = checked(client.post(f"{study}/raters", data={"name": rater.name})).text
        links.append(next(link for link in re.findall(r"/rate/[\w-]+", page) if link not in links))
    seeing = Panel(client, truth, root)
    with progress(each * raters, task="judging", unit="answers") as advance:
        states = {link: begun(client, link) for link in links}
        while waiting := [link for link, state in states.items() if state["phase"] != "done"]:
            for rater, link in zip(panel, links, strict=True):  # in turn, as if they sat at it together
                if link in waiting:
                    states[link] = seeing.answer(rater, link, states[link])
            advance(len(waiting))
    return checked(client.get(f"{study}/scores.csv")).text


class Panel:
    """Raters who recognise an image by its pixels, as nothing else of it is told.

    Args:
        client: Of the server.
        truth: The demo's table; `image` is a path below `root`.
        root: The folder of the demo.
    """

    def __init__(self, client: httpx.Client, truth: pd.DataFrame, root: Path) -> None:
        rows = truth[["image", "score"]].itertuples(index=False)
        self._client, self._rng = client, np.random.default_rng(SEED)
        self._scores = {pixels_digest((root / image).read_bytes()): float(score) for image, score in rows}
        self._seen: dict[str, float] = {}

    def answer(self, rater: SimulatedRater, link: str, state: State) -> State:
        """Answer the question of a rater's page; return what the page shows then."""
        left, right = (self._score(image["address"]) for image in state["question"]["images"])
        chosen = rater.answer(left, right, "a", self._rng)
        given = {"question": state["question"]["id"], "choice": "left" if chosen == "a" else "right", "seconds": 2.0}
        return checked(self._client.post(f"{link}/answers", json=given)).json()["state"]

    def _score(self, address: str) -> float:
        name = address.rpartition("/")[2]
        if name not in self._seen:
            self._seen[name] = self._scores[pixels_digest(checked(self._client.get(address)).content)]
        return self._seen[name]


def pixels_digest(content: bytes) -> str:
    """Return a digest of an image's pixels, however they are coded."""
    return hashlib.sha256(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).tobytes()).hexdigest()


def begun(client: httpx.Client, link: str) -> State:
    """Open a rater's page, and begin; return what it shows."""
    checked(client.get(link))
    return checked(client.post(f"{link}/begin", json={"light": "dim"})).json()["state"]


def checked(answer: httpx.Response) -> httpx.Response:
    """Return an answer that tells no error."""
    if answer.is_error:
        raise SystemExit(f"{answer.request.url} answered {answer.status_code}: {answer.text[:500]}")
    return answer


def with_scores(truth: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the demo's table with the study's scores in place of the true ones, but for the test split."""
    found = scores.set_index("image")
    judged = truth["image"].isin(found.index)
    table = truth[judged | (truth["split"] == "test")].copy()
    for column in ("score", "score_std"):
        table[column] = table["image"].map(found[column]).fillna(table[column]).round(4)
    return table


def train(arguments: Sequence[str], csv: Path, out: Path) -> pd.DataFrame:
    """Train on a table unless that is done; return the measures of each test scene."""
    if not (out / "test/per_scene.csv").is_file():
        fit.main([*arguments, "--data.table.csv", str(csv), "--out", str(out)])
    return pd.read_csv(out / "test/per_scene.csv").set_index("scene")


def scale_line(truth: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Return how the study's scores agree with the true ones."""
    both = scores.merge(truth[["image", "score"]], on="image", suffixes=("", "_true"))
    by_scene = [
        rows["score"].corr(rows["score_true"], method="spearman") for _, rows in both.groupby("scene", sort=True)
    ]
    inside = (both["low"] - centred(both) <= 0) & (both["high"] - centred(both) >= 0)
    return (
        f"{len(both)} images, {both['answers'].sum() / 2:.0f} answers: SROCC {np.mean(by_scene):.3f} with the true "
        f"scores (mean over {len(by_scene)} scenes), {inside.mean():.1%} of the 95 % intervals hold the true score"
    )


def centred(both: pd.DataFrame) -> pd.Series[float]:
    """Return the true scores with a mean of 0 in each scene, as the study's have."""
    return both["score_true"] - both.groupby("scene")["score_true"].transform("mean")


def difference_line(judged: pd.DataFrame, true: pd.DataFrame) -> str:
    """Return the difference of two models in SROCC, with its interval over the scenes."""
    both = pd.concat({"judged": judged["srocc"], "true": true["srocc"]}, axis=1)
    differences = (both["judged"] - both["true"]).to_numpy()
    drawn = np.random.default_rng(SEED).choice(differences, (10_000, len(differences))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return (
        f"SROCC over {len(both)} test scenes: {both['judged'].mean():.3f} trained on the study's scores, "
        f"{both['true'].mean():.3f} on the true ones; difference {differences.mean():+.3f} "
        f"(95 % of the resampled scenes: {low:+.3f} to {high:+.3f})"
    )


if __name__ == "__main__":
    main()
