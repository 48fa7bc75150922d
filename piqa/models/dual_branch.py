"""DN-PIQA's network: one backbone for the whole image, one for the face, LIQE's logits beside them, one score.

Sun et al., "Dual-Branch Network for Portrait Image Quality Assessment", CVPR 2024 Workshops (arXiv 2405.08555).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from piqa.errors import InputError
from piqa.models.backbone import SWIN_B_384, Backbone
from piqa.models.contract import ScoringModule
from piqa.models.liqe import LIQE_LOGITS

Branch = Literal["whole", "face", "liqe"]
INPUTS: dict[str, str] = {"whole": "whole", "face": "face_crop", "liqe": "liqe_logits"}  # in the published order
_BRANCHES = {name: branch for branch, name in INPUTS.items()}


class DualBranch(ScoringModule):
    """Whole-image backbone + face backbone + LIQE logits -> MLP -> score.

    The branches' features are concatenated in the order whole (1024), face (1024), liqe (495); the MLP is
    2543 -> 128 -> ReLU -> Dropout -> 1, without an activation at its end. The two backbones share no weights. Further
    outputs have MLPs of their own on the same features.

    Args:
        backbone: timm model of both backbones.
        branches: Inputs that are used; leaving one out gives the published ablations.
        image_size: Side in pixels of the backbones' square input crops.
        hidden: Width of the MLP.
        dropout: Dropout rate in front of the last layer.
        attributes: Outputs beside the score, such as `details` and `exposure`, each the score of that attribute.
        score_std: Whether to answer the score's standard deviation, too.

    Raises:
        InputError: If `branches` is empty, repeats one or names an unknown one, an attribute cannot be the name of an
            output, or timm does not know the backbone.

    Examples:
        >>> network = DualBranch("resnet10t", ("whole", "face"), image_size=64).eval()
        >>> pixels = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
        >>> network(whole=pixels, face_crop=pixels)["score"].shape
        torch.Size([2])
    """

    def __init__(
        self,
        backbone: str = SWIN_B_384,
        branches: Sequence[Branch] = ("whole", "face", "liqe"),
        image_size: int = 384,
        hidden: int = 128,
        dropout: float = 0.1,
        attributes: Sequence[str] = (),
        score_std: bool = False,
    ) -> None:
        super().__init__()
        if not branches or len(set(branches)) != len(branches) or not set(branches) <= set(INPUTS):
            raise InputError(f"branches {list(branches)}: name one or more of {', '.join(INPUTS)}, each once")
        self.branches = [name for name in INPUTS if name in branches]
        self.init_args = {"backbone": backbone, "branches": self.branches, "image_size": image_size}
        self.init_args |= {"hidden": hidden, "dropout": dropout}
        self.attributes = [checked_attribute(name) for name in attributes]
        if attributes:
            self.init_args["attributes"] = self.attributes
        if score_std:
            self.init_args["score_std"] = True
        self.inputs = [INPUTS[name] for name in self.branches]
        self.image_size = image_size
        backbones = {name: Backbone(backbone, image_size) for name in self.branches if name != "liqe"}
        self.backbones = nn.ModuleDict(backbones)
        widths = [LIQE_LOGITS if name == "liqe" else backbones[name].features for name in self.branches]
        self.head = _mlp(sum(widths), hidden, dropout)
        self.attribute_heads = nn.ModuleDict({name: _mlp(sum(widths), hidden, dropout) for name in attributes})
        self.std_head = _mlp(sum(widths), hidden, dropout) if score_std else None

    def forward(
        self, whole: Tensor | None = None, face_crop: Tensor | None = None, liqe_logits: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Score portraits; higher is better, and only differences within a scene are meaningful.

        Args:
            whole: Crops of the whole images, uint8 or float in [0, 1], (portraits, 3, image_size, image_size).
            face_crop: Crops of the faces, likewise.
            liqe_logits: LIQE's raw logits, (portraits, 495).

        Returns:
            `score`, each of the attributes, and `score_std` where the network has it, float32 even under autocast,
            shape (portraits,).

        Raises:
            InputError: If an input that a branch needs is absent.
        """
        given = {"whole": whole, "face_crop": face_crop, "liqe_logits": liqe_logits}
        features = {}
        for name, needed in zip(self.branches, self.inputs, strict=True):
            if (values := given[needed]) is None:
                raise InputError(
                    f"this network has the branch '{name}' but was given no `{needed}`; have it prepared "
                    f"(LIQE's logits by `data.preparation.liqe`), or leave '{name}' out of `branches`"
                )
            features[needed] = self.input_features(needed, values)
        return self.outputs_of_features(features)

    def input_features(self, name: str, values: Tensor) -> Tensor:
        """Return the features of one input, by its name as of `forward`: (portraits, width); LIQE's logits as given."""
        return values if name == "liqe_logits" else self.backbones[_BRANCHES[name]](values)

    def score_features(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the scores, (portraits,), of portraits that have these features, by the names of the inputs."""
        return _answer(self.head, self._joined(features))

    def outputs_of_features(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all outputs of portraits that have these features, as `forward` does."""
        joined = self._joined(features)
        outputs = {"score": _answer(self.head, joined)}
        outputs |= {name: _answer(head, joined) for name, head in self.attribute_heads.items()}
        if self.std_head is not None:
            outputs["score_std"] = softplus(_answer(self.std_head, joined))
        return outputs

    def _joined(self, features: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([features[name] for name in self.inputs], dim=1).float()


def checked_attribute(name: str) -> str:
    """Return the name of an attribute.

    Raises:
        InputError: If it is no word, or names another output.
    """
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("score"):
        raise InputError(f"an attribute is called {name!r}; a word such as `details` is needed")
    return name


def _mlp(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))


def _answer(head: nn.Module, joined: Tensor) -> Tensor:
    with torch.autocast(joined.device.type, enabled=False):  # bfloat16 scores, of 3 digits, would tie in a scene
        answers: Tensor = head(joined)  # (portraits, 1)
    return answers.squeeze(1)
