"""What an exported model's file says of itself: a JSON document in its metadata, under the key `piqa`.

The file may come from a stranger. The document is read with the same suspicion as a model's card: bounded in size,
every entry known and of its type, and nothing in it is ever imported or opened.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from piqa.errors import InputError
from piqa.weights.model_card import VIEWS, ModelCard
from piqa.weights.trust import LARGEST_SIDE, LONGEST_TEXT, MOST_ITEMS, shown

FORMAT = "piqa export 1"  # a change of meaning gets a new number
METADATA_KEY = "piqa"  # in ONNX's metadata_props, OpenVINO's rt_info and TorchScript's extra files
FACES_KEY = "piqa_mtcnn"  # the face detector's networks, as `faces_text` writes them
LARGEST_DOCUMENT = 10_000_000  # letters, as of a card
LARGEST_FACES = 40_000_000  # letters; the published networks take 2.7 million
FACE_NETWORKS = ("pnet", "rnet", "onet")  # of MTCNN, in the order in which they look

GRAPH_INPUTS = ("whole", "face_crop", "face_box", "liqe_windows")
ExportPrecision = Literal["32", "16", "int8"]
CropsWhere = Literal["inside", "outside"]


@dataclass(frozen=True)
class ExportedModel:
    """The facts of an exported model.

    Args:
        card: The card of the model that was exported; its network is described, but never built.
        preparation: Settings of `piqa.preparation.portrait.Preparation` without its paths `liqe` and `yunet`.
        inputs: The graph's inputs out of `whole`, `face_crop` and `liqe_windows`, uint8, normalised inside; and
            `face_box`, float32, as `piqa.data.face_boxes` tells.
        outputs: Names of the graph's outputs that become columns: one number an image; `score` is among them.
        liqe: Whether LIQE's image tower is inside, and with it the input `liqe_windows`.
        view: How the network sees an image, as in the card.
        crop_size: Side in pixels of the square crops.
        classes: The classes' names of each output that holds class indices.
        crops: Whether the mean over an image's crops is taken `inside` the graph, whose pixels then have an axis of
            crops; or `outside`, by whoever runs it.
        precision: Of its arithmetic: `32`, `16` (float16) or `int8`.
        checks: How far its scores agree with those of PyTorch, in the form of `ModelCard.checks`.
        made_by: `version` of piqa and `command`.

    Raises:
        InputError: If a value is not possible.
    """

    card: ModelCard
    preparation: dict[str, Any]
    inputs: Sequence[str]
    outputs: Sequence[str]
    liqe: bool = False
    view: str = "crops"
    crop_size: int = 384
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    crops: CropsWhere = "outside"
    precision: ExportPrecision = "32"
    checks: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("preparation", "classes", "checks", "made_by"):
            _check_table(name, getattr(self, name))
        for name in ("inputs", "outputs"):
            _check_names(name, getattr(self, name))
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if unknown := [name for name in self.inputs if name not in GRAPH_INPUTS]:
            raise InputError(f"`inputs` names {shown(unknown[0])}; known are {', '.join(GRAPH_INPUTS)}")
        if "whole" not in self.inputs:
            raise InputError("`inputs` lacks `whole`, which every model takes")
        if "score" not in self.outputs:
            raise InputError("`outputs` lacks `score`")
        if type(self.liqe) is not bool or self.liqe != ("liqe_windows" in self.inputs):
            raise InputError(f"`liqe` is {shown(self.liqe)}; it must tell whether `inputs` names `liqe_windows`")
        for known, name in ((VIEWS, "view"), (get_args(CropsWhere), "crops"), (get_args(ExportPrecision), "precision")):
            if not isinstance(value := getattr(self, name), str) or value not in known:
                raise InputError(f"`{name}` is {shown(value)}; it must be one of {', '.join(known)}")
        if type(self.crop_size) is not int or not 1 <= self.crop_size <= LARGEST_SIDE:
            raise InputError(f"`crop_size` is {shown(self.crop_size)}; a side of 1 to {LARGEST_SIDE} px is needed")
        if paths := [name for name in ("liqe", "yunet") if name in self.preparation]:
            raise InputError(f"`preparation` names `{paths[0]}`, a path; it must be left out")
        for name, classes in self.classes.items():
            if name not in self.outputs:
                raise InputError(f"`classes` names {shown(name)}, which is no output")
            _check_names("classes", classes)

    def text(self) -> str:
        """Return the document, as it is written into the file.

        Raises:
            InputError: If a value is nothing that JSON holds.
        """
        own = ("view", "crop_size", "crops", "precision", "preparation", "classes", "checks", "made_by")
        content = {name: getattr(self, name) for name in own}
        content["preparation"] = {**self.preparation, "liqe": self.liqe}
        names = {"inputs": [*self.inputs], "outputs": [*self.outputs]}
        try:
            return json.dumps({"format": FORMAT, "card": self.card.to_dict(), **content, **names}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the model's facts cannot be written as JSON: {error}") from error

    @classmethod
    def from_text(cls, text: object, source: str) -> ExportedModel:
        """Read the document that `text` returned.

        Args:
            text: What stands under `METADATA_KEY`; None where the file has nothing there.
            source: The file, for the error's message.

        Raises:
            InputError: If it is no such document, of another version, or has unknown or bad values.
        """
        table = _read_document(text, source)
        if (found := table.pop("format", None)) != FORMAT:
            raise InputError(f"{source} is no export of this version (format {shown(found)} instead of {FORMAT!r})")
        known = set(cls.__dataclass_fields__) - {"liqe"}
        if unknown := sorted(str(name) for name in table if name not in known):
            raise InputError(f"{source} has the unknown entry `{shown(unknown[0])[1:-1]}` in its document")
        for needed in ("card", "preparation", "inputs", "outputs"):
            if needed not in table:
                raise InputError(f"{source} lacks the entry `{needed}` in its document")
        card = ModelCard.from_dict(table.pop("card"), f"the card in {source}")
        try:
            _check_table("preparation", table["preparation"])
            preparation = dict(table.pop("preparation"))
            return cls(card, preparation, liqe=preparation.pop("liqe", False), **table)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error


def faces_text(networks: Mapping[str, bytes]) -> str:
    """Return the face detector's networks, by the names `FACE_NETWORKS`, each an ONNX file's bytes, as metadata."""
    return json.dumps({name: base64.b64encode(networks[name]).decode("ascii") for name in FACE_NETWORKS})


def read_faces(text: object, source: str) -> dict[str, bytes] | None:
    """Return what `faces_text` wrote; None where the file has nothing under `FACES_KEY`.

    Raises:
        InputError: If it is something else.
    """
    if text is None:
        return None
    table = _parsed(text, LARGEST_FACES, f"`{FACES_KEY}` in {source}")
    if set(table) != set(FACE_NETWORKS) or not all(isinstance(value, str) for value in table.values()):
        raise InputError(f"`{FACES_KEY}` in {source} does not hold {', '.join(FACE_NETWORKS)}; export the model again")
    try:
        return {name: base64.b64decode(table[name], validate=True) for name in FACE_NETWORKS}
    except (binascii.Error, ValueError) as error:
        raise InputError(f"`{FACES_KEY}` in {source} is damaged ({error}); export the model again") from error


def _read_document(text: object, source: str) -> dict[str, Any]:
    if text is None:
        raise InputError(f"{source} was not exported by piqa: it does not say how images are prepared; see piqa export")
    return _parsed(text, LARGEST_DOCUMENT, f"the document in {source}")


def _parsed(text: object, longest: int, source: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise InputError(f"{source} is no text but {shown(text)}")
    if len(text) > longest:
        raise InputError(f"{source} has {len(text) / 1e6:.0f} million letters; at most {longest / 1e6:.0f} are read")
    try:
        table = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is no JSON that can be read: {shown(str(error))}") from error
    if not isinstance(table, dict):
        raise InputError(f"{source} is no table but {shown(table)}")
    return table


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _check_table(name: str, value: object) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"`{name}` is {shown(value)}; a table is needed")


def _check_names(name: str, value: object) -> None:
    """Check a list of different short texts."""
    listed = value if isinstance(value, list | tuple) and len(value) <= MOST_ITEMS else ()
    if not listed or not all(isinstance(one, str) and 0 < len(one) <= LONGEST_TEXT for one in listed):
        raise InputError(f"`{name}` is {shown(value)}; a list of names is needed")
    if len(set(listed)) < len(listed):
        raise InputError(f"`{name}` names something twice: {shown(value)}")
