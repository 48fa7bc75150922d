"""Scores of a model that are made once and kept: the labels that a teacher gives a student.

    scores/
      <settings>.json    the model and how it scores
      <settings>.csv     digest of an image's content, score

A file is named after everything that its scores depend on but the image: the model by its content, the preparation,
the crops, the precision. An image that changes has another digest and no score yet. Scores are written while they are
made, so that a run that was stopped goes on with the images that are left.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.preparation.portrait import Portrait
from piqa.preparation.store import PreparedStore
from piqa.scoring.options import Precision, check_scoring
from piqa.scoring.scorer import Scorer
from piqa.system.files import digest_of, replacing
from piqa.system.json_text import write_json
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import progress
from piqa.system.shown_paths import shown_path
from piqa.system.sigterm import sigterm_stops
from piqa.weights.model_card import ModelCard
from piqa.weights.model_places import find_model
from piqa.weights.trust import Trust

KIND = "kept scores"
DIGEST, SCORE = "digest", "score"
WRITTEN_EVERY = 512  # images; a killed process loses the scores of as many, at most


@dataclass(frozen=True)
class KeepingOptions:
    """How a model's scores are made, and where they are kept.

    Args:
        folder: Where the scores are kept; several models may share it.
        test_crops: `five` crops whose scores are averaged, or `one` from the centre.
        batch_size: Images in one pass through the network.
        device: Where the model runs: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: As of `predict`.
        liqe: Path of LIQE's checkpoint; default: the one in the model card.
        trust: Packages besides piqa whose networks the model may name; they are imported, which runs their code.

    Raises:
        InputError: If a setting is not possible.
    """

    folder: str = "data/teacher_scores"
    test_crops: Crops = "five"
    batch_size: int = 8
    device: str = "auto"
    precision: Precision = "32"
    liqe: str | None = None
    trust: Trust = None

    def __post_init__(self) -> None:
        check_scoring(self.test_crops, self.batch_size, precision=self.precision)


class KeptScores:
    """A model's scores of images, by way of the prepared store.

    Args:
        model: As for `Scorer.load`.
        store: Folder of the prepared store; the model's own preparation has its own part of it.
        options: How it scores.
        max_failed: Fraction of the images that may fail to be prepared.

    Raises:
        InputError: If there is no such model.
    """

    def __init__(
        self,
        model: str | Path,
        store: str | Path,
        options: KeepingOptions = KeepingOptions(),
        max_failed: float = 0.01,
    ) -> None:
        self.model, self.options = str(model), options
        self._store_folder, self._max_failed = store, max_failed
        self._file = find_model(model)
        self._known: dict[str, float] | None = None

    @cached_property
    def _scorer(self) -> Scorer:
        options = self.options
        scorer = Scorer.load(
            self.model, liqe=options.liqe, device=options.device, precision=options.precision, trust=options.trust
        )
        if not scorer.takes_portraits:
            raise InputError(
                f"{self.model} has LIQE inside, and looks at windows of the files; give the model that it was made of"
            )
        return scorer

    @cached_property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._scorer.card

    @property
    def scorer(self) -> Scorer:
        """The model, loaded when it is first asked for."""
        return self._scorer

    @cached_property
    def settings(self) -> dict[str, object]:
        """All that the scores depend on but the image."""
        return {**self._scorer.settings(self._file), "crops": self.options.test_crops}

    @cached_property
    def table(self) -> Path:
        """The CSV of the scores."""
        text = json.dumps(self.settings, sort_keys=True, default=str)
        return Path(self.options.folder) / f"{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.csv"

    @cached_property
    def _store(self) -> PreparedStore[Portrait]:
        return PreparedStore(self._store_folder, self._scorer.preparation)

    def make(self, paths: Iterable[str], workers: int | None = None) -> str:
        """Score the images that have no score yet; return the counts in words.

        Args:
            paths: Image files.
            workers: Processes that prepare images, as of the store.

        Raises:
            InputError: If too many images cannot be prepared, a score is no number, or something cannot be written.
        """
        names = list(dict.fromkeys(map(str, paths)))
        folder = Path(self.options.folder)
        report = self._store.build(names, str(self._scorer.device), workers, self._max_failed)
        failed = {path for path, _ in report.failed}
        claim_folder(folder, KIND)
        with locked(folder, folder=True):
            known = self._read()
            by_digest = {self._digest(path): path for path in names if path not in failed}
            left = {digest: path for digest, path in by_digest.items() if digest not in known}
            if left:
                write_json(self.settings | {"name": shown_path(self.model)}, self.table.with_suffix(".json"))
                self._score(left, known, len(by_digest))
        self._known = known
        self.release()
        done = f"{len(left)} scored, {len(by_digest) - len(left)} kept, {len(failed)} failed"
        return f"scores of {self.model}: {done}: {self.table}"

    def _score(self, left: Mapping[str, str], known: dict[str, float], total: int) -> None:
        """Score images by digest; `known` takes the scores, and what is done is kept whatever ends it."""
        remaining, written = iter(left.items()), 0
        with sigterm_stops(), progress(total, total - len(left), task="the teacher scores") as advance:
            try:
                while batch := dict(islice(remaining, self.options.batch_size)):
                    portraits: Iterator[Portrait] = map(self._store.load, batch.values())
                    scores = self._scorer.score_portraits(
                        portraits, test_crops=self.options.test_crops, batch_size=self.options.batch_size
                    )
                    known.update(zip(batch, scores, strict=True))
                    written += len(batch)
                    if written >= WRITTEN_EVERY:
                        written = self._write(known)
                    advance(len(batch))
            finally:
                self._write(known)

    def of(self, paths: Sequence[str]) -> dict[str, float]:
        """Return the kept scores of images by path; without those that have none."""
        if self._known is None:
            self._known = self._read()
        found = {}
        for path in paths:
            with suppress(InputError):  # it cannot be read, and has no score
                if (digest := self._digest(path)) in self._known:
                    found[path] = self._known[digest]
        self.release()
        return found

    def digest(self) -> str:
        """Return the digest of the file of the scores, for a record."""
        return digest_of(self.table)

    def facts(self) -> dict[str, object]:
        """Return what a student's card and record tell of the model."""
        card = self.card
        trained = {
            name: card.trained_on[name] for name in ("table", "attribute", "selected_on") if name in card.trained_on
        }
        own: dict[str, object] = {
            "model": self.model,
            "digest": self.settings["model"],
            "network": asdict(card.network),
        }
        return {**own, "test_crops": self.options.test_crops, "trained_on": trained, "licence": dict(card.licence)}

    def release(self) -> None:
        """Give the network's memory back; what was asked of it before stays known."""
        _ = self.settings, self.card, self.table, self._store
        self.__dict__.pop("_scorer", None)

    def _digest(self, path: str) -> str:
        return self._store.entry(path).stem

    def _read(self) -> dict[str, float]:
        """Return the scores in the file by digest; none where there is none.

        Raises:
            InputError: If it is damaged.
        """
        if not self.table.is_file():
            return {}
        try:
            with self.table.open(encoding="utf-8", newline="") as file:
                known = {row[DIGEST]: float(row[SCORE]) for row in csv.DictReader(file)}
            if all(map(math.isfinite, known.values())):
                return known
            reason = "a score is no number"
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error)
        raise InputError(f"{self.table} cannot be read ({reason}); delete it, and the images are scored again")

    def _write(self, known: Mapping[str, float]) -> int:
        with replacing(self.table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([(DIGEST, SCORE), *((digest, repr(score)) for digest, score in known.items())])
        return 0
