"""The models of a server: loaded before it listens, each with its queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from piqa.engines.graph import is_exported
from piqa.errors import InputError, late_imports
from piqa.evaluation.statistics.preference import Preference
from piqa.report.names import printable
from piqa.server.names import NAME
from piqa.server.refusals import RequestError
from piqa.server.scoring_queue import ModelQueue
from piqa.server.settings import ServerSettings
from piqa.system.device import core_count
from piqa.system.memory import keep_freed_memory
from piqa.system.phrases import Phrase
from piqa.system.threads import thread_count, use_threads

CORES_PER_WORKER = 4  # as of `piqa predict`: where the network runs on the same cores
MOST_WORKERS = 16


@dataclass(frozen=True)
class Model:
    """A model that clients can name.

    Attributes:
        name: By which they do.
        queue: Where its images wait.
        settings: Digest of all that its scores depend on.
        licence: One line; None where the card names none.
        preference: How a difference of scores becomes a probability; None where the card does not say.
    """

    name: str
    queue: ModelQueue
    settings: str
    licence: str | None
    preference: Preference | None


def models_by_name(given: list[str]) -> dict[str, str]:
    """Return paths of models by name, from `name=PATH` or `PATH`, whose name is then that of its run or file.

    Raises:
        InputError: If a name is none, or stands for two.

    Examples:
        >>> models_by_name(["overall=runs/a", "runs/detail"])
        {'overall': 'runs/a', 'detail': 'runs/detail'}
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            path = text
            stem = Path(text).stem if Path(text).suffix in (".safetensors", ".ckpt", ".pth", ".yaml") else ""
            name = (Path(text).parent.name if stem in ("model", "last") else stem) or Path(text).name.partition(":")[2]
            name = name or Path(text).name
        if not NAME.fullmatch(name) or not path:
            raise InputError(
                f"`--ckpt_path {printable(text)}`: write name=PATH, the name of letters, digits, `.`, `-` and `_`"
            )
        if name in found:
            raise InputError(f"two models are called {name}; give them names, as in --ckpt_path a=PATH")
        found[name] = path
    return found


class Models:
    """All models of a server.

    Args:
        settings: Of the server.

    Raises:
        InputError: If a model cannot be loaded.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._by_name: dict[str, Model] = {}
        for name, path in settings.models.items():
            self._by_name[name] = _loaded(name, path, settings)

    def __iter__(self) -> Iterator[Model]:
        """Yield the models in the order in which they were given."""
        return iter(self._by_name.values())

    def __len__(self) -> int:
        """The number of models."""
        return len(self._by_name)

    @property
    def names(self) -> list[str]:
        """What clients call them."""
        return [*self._by_name]

    @property
    def current(self) -> Mapping[str, str]:
        """What each model's scores depend on, by its name: another digest of a kept score makes it outdated."""
        return {name: model.settings for name, model in self._by_name.items()}

    def __getitem__(self, name: str) -> Model:
        """Return a model.

        Raises:
            RequestError: If there is none of this name.
        """
        if name not in self._by_name:
            known, asked = ", ".join(self.names) or Phrase("none"), printable(name[:64])
            raise RequestError(
                404, Phrase("there is no model {name}; this server has {models}", name=asked, models=known)
            )
        return self._by_name[name]

    def chosen(self, names: list[str] | None) -> list[Model]:
        """Return the models of these names; all of them for None."""
        return [*self] if names is None else [self[name] for name in dict.fromkeys(names)]

    def start(self) -> None:
        """Start to score."""
        for model in self:
            model.queue.start()

    def close(self) -> None:
        """End after what is being scored."""
        for model in self:
            model.queue.close()


def _loaded(name: str, path: str, settings: ServerSettings) -> Model:
    with late_imports():
        import hashlib
        import json

        from piqa.scoring.precision import tell_precision
        from piqa.scoring.scorer import Scorer
        from piqa.server.worker_choice import chosen_workers
        from piqa.system.json_text import plain
        from piqa.weights.licences import licence_of
        from piqa.weights.model_places import find_model
    scoring = settings.scoring
    scorer = Scorer.load(
        path,
        liqe=scoring.liqe,
        device=scoring.device,
        precision=scoring.precision,
        try_turns=True,
        trust=scoring.trust,
    )
    tell_precision(scorer.card, scoring.precision, path)
    depends_on = scorer.settings(find_model(path)) | {"crops": scoring.test_crops}
    digest = hashlib.blake2b(json.dumps(plain(depends_on), sort_keys=True).encode(), digest_size=16).hexdigest()
    on_cpu = scorer.device.type == "cpu"
    workers = scoring.workers
    if workers is None and on_cpu and not is_exported(path):
        workers = chosen_workers(scorer, scoring.test_crops, core_count() // len(settings.models))
    if workers is None:
        workers = core_count() // CORES_PER_WORKER if on_cpu else min(core_count(), MOST_WORKERS)
    if on_cpu:
        keep_freed_memory()
        if not is_exported(path):
            use_threads(max(1, min(thread_count(), core_count() - workers)))
    batch_size = scoring.batch_size or (4 if on_cpu else 16)
    queue = ModelQueue(name, scorer, scoring, settings.limits.waiting_images, batch_size, workers)
    return Model(name, queue, digest, licence_of(scorer.card), Preference.from_dict(scorer.card.preference))
