"""`python -m piqa.personalise RATINGS.csv --ckpt_path MODEL`: how well a model learns a person's own taste.

The ratings are a CSV with `image,score,user`; of FLICKR-AES, `FlickrAES(root).ratings().to_csv(...)` writes them. Of
each user k images are drawn; a copy of the model is fine-tuned on them and judged by its SROCC on the user's other
images, beside the model as it was. Leaves `users.csv` and `summary.json` in `--out`. An interrupted run goes on with
the first user that is not done.

How it is fine-tuned is fixed beforehand (`--recipe`, see `piqa.tasks.personalisation`), never chosen on images that
judge.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import cast
from urllib.parse import quote

import numpy as np
import pandas as pd
import torch
from rich.console import Console

from piqa.data.dataset import Batch
from piqa.data.tables.ratings import read_ratings
from piqa.data.transforms import collate, crops_of
from piqa.errors import InputError
from piqa.evaluation.metrics import srocc
from piqa.models.contract import inputs_of, score_crops
from piqa.preparation.store import PreparedStore
from piqa.scoring.scorer import Scorer
from piqa.system.command_line import command, run_command
from piqa.system.csv_text import listed
from piqa.system.files import digest_of, replacing
from piqa.system.json_text import write_json
from piqa.system.memory import keep_freed_memory
from piqa.system.ownership import LOCK, MARKER, claim_folder, locked
from piqa.system.progress import progress
from piqa.tasks.personalisation import TuningRecipe, fine_tune, rows_of
from piqa.training.signals import stopped_in_one_line
from piqa.weights import model_file
from piqa.weights.licences import licence_of, require_commercial
from piqa.weights.trust import Trust

OWN = {"users.csv", "settings.json", "summary.json", "models", MARKER, f".piqa{LOCK}"}
UserRow = dict[str, str | int | float]
Summary = dict[str, float | int | None]


def main(args: list[str] | None = None) -> None:
    """Personalise, from the command line or from a list of its arguments."""
    run_command(personalise, args, "piqa personalise", __doc__, "ratings", help="CSV with image, score, user.")


def personalise(
    ratings: str,
    ckpt_path: str,
    k: Sequence[int] = (10, 100),
    draws: int = 10,
    least_test: int = 5,
    recipe: TuningRecipe = TuningRecipe(),  # noqa: B008 (frozen)
    out: str = "runs/personal",
    overwrite: bool = False,
    save: bool = False,
    store: str = "data/prepared",
    seed: int = 0,
    device: str = "auto",
    trust: Trust = None,
    commercial: bool = False,
) -> dict[str, object]:
    """Fine-tune a model for each user and measure it; return the summary, as in `summary.json`.

    Args:
        ratings: CSV with `image` (a path, absolute or below the CSV's folder), `score` (higher is better, on any scale)
            and `user`; one row for each user and image.
        ckpt_path: The model, which has learnt the preferences of people in general.
        k: Numbers of images to learn a user's taste from.
        draws: Number of random draws for each k.
        least_test: Least number of images to test on; users with too few ratings for it are left out and counted.
        recipe: How the model is fine-tuned.
        out: Folder of the results.
        overwrite: Whether results of other settings in it may be replaced.
        save: Whether to keep the models of the first draw, in `models`.
        store: Folder of the prepared store.
        seed: Seed of the draws.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.
        commercial: Refuse a model that is not known to allow commercial use.

    Raises:
        InputError: If there is nobody to learn from, or something cannot be read or written.
    """
    if commercial:
        require_commercial(ckpt_path)
    k = sorted(set(k))
    if not k or k[0] < 2 or draws < 1 or least_test < 2:
        raise InputError(f"`k` {k} and `least_test` {least_test} must be at least 2, `draws` {draws} at least 1")
    frame = read_ratings(ratings)
    counts = frame["user"].value_counts(sort=False)
    users = counts.index[counts >= k[0] + least_test].tolist()
    if not users:
        needed = f"{k[0] + least_test} (`k` + `least_test`)"
        raise InputError(f"no user in {ratings} has the {needed} ratings that are needed, but at most {counts.max()}")
    model = model_file.find_model(ckpt_path)
    settings = {"model": digest_of(model), "ratings": digest_of(ratings), "k": k, "draws": draws, "seed": seed}
    settings |= {"least_test": least_test, **asdict(recipe)}
    folder = Path(out)
    claim_folder(folder, "training run", made_before=_made_by_0_1_0)
    with locked(folder, folder=True):
        rows = _resume(folder, settings, overwrite)
        scorer = Scorer.load(ckpt_path, device=device, trust=trust)
        if scorer.device.type == "cpu":
            keep_freed_memory()
        trial = _Trial(scorer, recipe, k, draws, least_test, seed, folder / "models" if save else None)
        with stopped_in_one_line(lambda: "users that are done are kept; the same command goes on with the others"):
            _try_users(trial, frame, users, rows, store, folder)
        return _write_summary(folder, rows, settings, counts, licence_of(scorer.card))


def _write_summary(
    folder: Path,
    rows: Sequence[UserRow],
    settings: dict[str, object],
    counts: pd.Series[int],
    licence: str | None,
) -> dict[str, object]:
    """Write and print the summary; `counts` holds the ratings of each user, `licence` what is said of the model's."""
    k, least_test = cast("list[int]", settings["k"]), cast(int, settings["least_test"])
    left_out = {str(size): int((counts < size + least_test).sum()) for size in k}
    by_k, console = summarise(pd.DataFrame(rows)), Console()
    summary: dict[str, object] = {"by_k": by_k, "users_left_out": left_out, "settings": settings, "command": command()}
    summary |= {"licence": licence} if licence else {}
    write_json(summary, folder / "summary.json")
    for size, few in left_out.items():
        console.print(_in_words(size, by_k.get(size), few), highlight=False, soft_wrap=True)
    return summary


def summarise(rows: pd.DataFrame) -> dict[str, Summary]:
    """Return mean and standard deviation of SROCC for each k.

    A draw's SROCC is the mean over users. `srocc` is the mean over draws and `srocc_std_of_draws` their standard
    deviation, as in the paper's tables; `srocc_std_of_users` is that of the users' own means. `rows` holds `user`,
    `k`, `draw`, and the SROCCs `generic` and `personal`, NaN where undefined.
    """
    summary = {}
    for size, found in rows.groupby("k"):
        defined = found.dropna(subset=["generic", "personal"])
        by_draw = defined.groupby("draw")[["generic", "personal"]].mean()
        by_user = defined.groupby("user")["personal"].mean()
        values = {
            "srocc": by_draw["personal"].mean(),
            "srocc_std_of_draws": by_draw["personal"].std(ddof=0),
            "srocc_std_of_users": by_user.std(ddof=0),
            "srocc_before": by_draw["generic"].mean(),
        }
        plain = {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
        counts = {"users": int(found["user"].nunique()), "undefined": len(found) - len(defined)}
        summary[str(size)] = {**plain, **counts}
    return summary


@dataclass(frozen=True)
class _Trial:
    """How a model is tried on each user: arguments of `personalise`; `keep` is the folder of the models to keep."""

    scorer: Scorer
    recipe: TuningRecipe
    sizes: Sequence[int]
    draws: int
    least_test: int
    seed: int
    keep: Path | None

    def rows(self, user: str, score: np.ndarray, images: Batch) -> Iterator[UserRow]:
        """Yield a row for each k and draw; the network is afterwards what it was."""
        network, recipe = self.scorer.network, self.recipe
        before = {name: values.clone() for name, values in network.state_dict().items()}
        everything = range(len(score))
        generic = _scores(self.scorer, images, everything, recipe.batch_size)
        sizes = [size for size in self.sizes if len(score) >= size + self.least_test]
        for size, draw in product(sizes, range(self.draws)):
            chance = random.Random(f"{self.seed} {draw} {user}")
            order = chance.sample(everything, len(score))
            own, others = order[:size], order[size:]
            try:
                fine_tune(network, rows_of(images, own, torch.device("cpu")), score[own], recipe, chance)
                personal = _scores(self.scorer, images, others, recipe.batch_size)
                if self.keep is not None and draw == 0:
                    # Which errors were found of the scores, and at which rate, was found of other weights.
                    whose = {"user": user, "k": size, **asdict(recipe)}
                    card = replace(self.scorer.card, personal=whose, uncertainty={})
                    model_file.save(network, self.keep / f"{quote(user, safe='')}-{size}.safetensors", card)
            finally:
                network.load_state_dict(before)
            sroccs = {"generic": srocc(score[others], generic[others]), "personal": srocc(score[others], personal)}
            yield {"user": user, "k": size, "draw": draw, "tested_on": len(others), **sroccs}


def _try_users(
    trial: _Trial, frame: pd.DataFrame, users: Sequence[str], rows: list[UserRow], store: str, folder: Path
) -> None:
    """Try the users that have no rows yet; adds their rows, and writes all after each user."""
    done = {row["user"] for row in rows}
    todo = [user for user in users if user not in done]
    scorer = trial.scorer
    prepared = PreparedStore(store, scorer.preparation)
    prepared.build(frame.loc[frame["user"].isin(todo), "path"], str(scorer.device), max_failed=0)
    with progress(len(users), len(users) - len(todo), task="personalising", unit="users") as advance:
        for user in todo:
            own = frame[frame["user"] == user].sort_values("image")
            # Of each image the centre crop, where the network takes crops.
            seen = (crops_of(prepared.load(path), scorer.crop_size, "one", scorer.view) for path in own["path"])
            images = collate([inputs_of(scorer.network, crops) for crops in seen])
            rows += trial.rows(user, own["score"].to_numpy(), images)
            _write_rows(folder, rows)
            advance(1)


@torch.inference_mode()
def _scores(scorer: Scorer, images: Batch, rows: Sequence[int], batch_size: int) -> np.ndarray:
    starts = range(0, len(rows), batch_size)
    batches = (rows_of(images, rows[start : start + batch_size], scorer.device) for start in starts)
    scores: np.ndarray = torch.cat([score_crops(scorer.network, batch).cpu() for batch in batches]).numpy()
    return scores


def _resume(folder: Path, settings: Mapping[str, object], overwrite: bool) -> list[UserRow]:
    """Return the rows of users that are done; the folder is claimed and locked."""
    table, marker = folder / "users.csv", folder / "settings.json"
    if others := sorted({one.name for one in folder.iterdir()} - OWN):
        found = f"{folder} holds another run of piqa's ({listed(others)})"
        raise InputError(f"{found}, which is left alone; choose another `--out`")
    if table.is_file() and not overwrite:
        replace_them = "replace them by `--overwrite true`"
        try:
            same = json.loads(marker.read_text(encoding="utf-8")) == settings
            rows = pd.read_csv(table, dtype={"user": str}, keep_default_na=False, na_values=[""]).to_dict("records")
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds results that cannot be read; {replace_them}") from error
        if not same:
            found = f"{folder} holds results of another model, other ratings or settings"
            raise InputError(f"{found}; choose another `--out`, or {replace_them}")
        return [{str(name): value for name, value in row.items()} for row in rows]
    for old in (table, folder / "summary.json"):
        old.unlink(missing_ok=True)
    write_json(settings, marker)
    return []


def _made_by_0_1_0(folder: Path) -> bool:
    """Whether a folder without a marker holds results of version 0.1.0."""
    try:
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and {"model", "ratings", "k", "draws"} <= set(settings)


def _write_rows(folder: Path, rows: Sequence[UserRow]) -> None:
    with replacing(folder / "users.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def _in_words(size: str, found: Summary | None, left_out: int) -> str:
    if found is None or found["srocc"] is None:
        return f"{size} images a user: no SROCC is defined; {left_out} users with too few ratings left out"
    undefined = f", {found['undefined']} undefined" if found["undefined"] else ""
    return (
        f"{size} images a user: SROCC {found['srocc']:.3f} +- {found['srocc_std_of_draws']:.3f} over draws, "
        f"+- {found['srocc_std_of_users']:.3f} over users; {found['srocc_before']:.3f} before; {found['users']} users, "
        f"{left_out} with too few ratings left out{undefined}"
    )


if __name__ == "__main__":
    main()
