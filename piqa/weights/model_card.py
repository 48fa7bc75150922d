"""What a model file says beside its weights: how to build the network, and what input it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING

from piqa.errors import InputError
from piqa.weights.trust import LARGEST_SIDE, PUBLIC, shown

if TYPE_CHECKING:  # a card is read without PyTorch
    from piqa.models.contract import Arguments, ScoringModule

CARD_FORMAT = "piqa 1"  # in every card; a change of meaning gets a new number
VIEWS = ("crops", "whole", "windows")  # how a network sees an image: `piqa.data.cuts.View`
FILE_KEYS = {"crop_size": "crop"}  # where a file calls an attribute by another name
FACTS = ("trained_on", "personal", "licence", "preference", "uncertainty", "checks")  # no score depends on them


@dataclass(frozen=True)
class ClassSpec:
    """A class's import path and the arguments of its constructor, as configs and cards name it."""

    class_path: str
    init_args: Arguments = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.class_path, str):
            raise InputError(f"`class_path` is {shown(self.class_path)}; the import path of a class is needed")
        _check_table("init_args", self.init_args)

    @classmethod
    def of(cls, network: ScoringModule) -> ClassSpec:
        """Describe a network, by its public path if it is one of piqa's."""
        kind = type(network)
        path, package = f"{kind.__module__}.{kind.__qualname__}", PUBLIC.get(kind.__name__)
        if package is not None and getattr(import_module(package), kind.__name__) is kind:
            path = f"{package}.{kind.__name__}"
        return cls(path, dict(network.init_args))

    @classmethod
    def from_dict(cls, content: object, source: str) -> ClassSpec:
        """Read a table of `class_path` and `init_args`; arguments and errors as of `ModelCard.from_dict`."""
        table = _known(content, {"class_path", "init_args"}, source)
        if "class_path" not in table:
            raise InputError(f"{source} names no `class_path`")
        try:
            return cls(**table)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error


@dataclass(frozen=True)
class ModelCard:
    """The card of a model.

    Args:
        network: The network.
        preparation: Settings of `piqa.preparation.portrait.Preparation` or its counterpart for clips; None for the
            published ones.
        view: How the network sees an image: `crops`, `whole` or `windows`.
        crop_size: Side in pixels of the square crops. In the file it is called `crop`.
        liqe_digest: Digest of the LIQE checkpoint whose logits the network was trained with.
        weights: Digest or name of weights that are not in the model's own file.
        trained_on: Facts of the training run: table, checkpoint, command.
        personal: Whose taste the model was fine-tuned to, and how.
        licence: What is said of its use: of `code`, `weights` and `data`, and `commercial`, `yes`, `no` or `unknown`.
        preference: How a difference of scores becomes a probability, as `piqa.evaluate` fitted it: what
            `piqa.evaluation.statistics.preference.Preference.to_dict` gives.
        uncertainty: What held-out scenes say of the errors of its scores, as `piqa.evaluate` found it: what
            `piqa.evaluation.statistics.uncertainty.ScoreUncertainty.to_dict` gives. Its `factor` makes the unit of the
            column `score_std`.
        checks: By precision or engine, how far its scores agree with float32: what
            `piqa.scoring.agreement.Agreement.to_dict` gives.
        weights_digest: Digest of the weights file beside the card; `model_file.save` computes it.

    Raises:
        InputError: If a value is not possible.
    """

    network: ClassSpec
    preparation: Arguments | None = None
    view: str = "crops"
    crop_size: int = 384
    liqe_digest: str | None = None
    weights: str | None = None
    trained_on: Arguments = field(default_factory=dict)
    personal: Arguments = field(default_factory=dict)
    licence: Arguments = field(default_factory=dict)
    preference: Arguments = field(default_factory=dict)
    uncertainty: Arguments = field(default_factory=dict)
    checks: Arguments = field(default_factory=dict)
    weights_digest: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.view, str) or self.view not in VIEWS:
            raise InputError(f"`view` is {shown(self.view)}; it must be one of {', '.join(VIEWS)}")
        if not isinstance(self.crop_size, int) or isinstance(self.crop_size, bool) or self.crop_size < 1:
            raise InputError(f"`crop` is {shown(self.crop_size)}; a side of at least 1 px is needed")
        if self.crop_size > LARGEST_SIDE:
            raise InputError(f"`crop` is {shown(self.crop_size)}; a side of at most {LARGEST_SIDE} px is possible")
        for name in ("liqe_digest", "weights", "weights_digest"):
            if not isinstance(value := getattr(self, name), str | None):
                raise InputError(f"`{name}` is {shown(value)}; a text is needed")
        for name in ("preparation", *FACTS) if self.preparation is not None else FACTS:
            _check_table(name, getattr(self, name))

    @classmethod
    def from_dict(cls, content: object, source: str) -> ModelCard:
        """Read a card from its table, as `to_dict` gives it; `source` is what it stands in, for the error's message.

        Raises:
            InputError: If the card is of another format, or has unknown or bad values.
        """
        keys = {FILE_KEYS.get(one.name, one.name): one.name for one in fields(cls)}
        table = _known(content, {"format", *keys}, source)
        if (found := table.pop("format", CARD_FORMAT)) != CARD_FORMAT:
            raise InputError(f"{source} is no card of this version (format {shown(found)} instead of {CARD_FORMAT!r})")
        network = ClassSpec.from_dict(table.pop("network", None), f"`network` in {source}")
        try:
            return cls(network, **{keys[key]: value for key, value in table.items()})
        except InputError as error:
            raise InputError(f"{source}: {error}") from error

    def to_dict(self) -> Arguments:
        """Return the card as JSON holds it; what is not known is left out."""
        network = {"class_path": self.network.class_path, "init_args": self.network.init_args}
        own = {FILE_KEYS.get(one.name, one.name): getattr(self, one.name) for one in fields(self)}
        known = {key: value for key, value in own.items() if value is not None and (value or key not in FACTS)}
        return {"format": CARD_FORMAT, **known, "network": network}


def _known(content: object, names: set[str], source: str) -> Arguments:
    """Return a copy of a table that has these names and no others."""
    if not isinstance(content, Mapping):
        raise InputError(f"{source} is no table but {shown(content)}")
    if unknown := sorted(str(name) for name in content if name not in names):
        raise InputError(f"{source} has the unknown entry `{unknown[0][:80]}`; known are {', '.join(sorted(names))}")
    return dict(content)


def _check_table(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"`{name}` is {shown(value)}; a table is needed")
    if unnamed := [key for key in value if not isinstance(key, str)]:
        raise InputError(f"`{name}` has the entry {shown(unnamed[0])}; its names must be text")
