"""What training starts from: pretrained backbones, a CLIP, or a whole trained model."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from piqa.models.backbone import Backbone
from piqa.models.clip import PromptedCLIP
from piqa.models.tanet import TANet
from piqa.weights import model_file, published, state_dicts
from piqa.weights.hosts.hugging_face import asked_if_reachable
from piqa.weights.registry import entry_named


@dataclass
class InitialWeights:
    """What training starts from.

    Where a file is named, a name that `piqa models` lists will do: the file is fetched if need be.

    Args:
        whole: Weights of the whole-image backbone: a file (an LSVQ, GFIQA, TOPIQ, timm or piqa backbone), `imagenet`
            for timm's own, or `scratch`.
        face: The same for the face backbone.
        model: A trained model to start from, published or piqa's own; then the other fields are ignored.
        theme: Places365 weights of TANet's theme stream: the official file, or `scratch`.
        clip: Weights of a network that is built on CLIP: `openai` for CLIP's own, a file (a CLIP state dict, such as
            the official LIQE.pt, or piqa's own), or `scratch`.
    """

    whole: str = "data/weights/lsvq.safetensors"
    face: str = "data/weights/gfiqa.safetensors"
    model: str | None = None
    theme: str = "data/weights/resnet18_places365.pth.tar"
    clip: str = "openai"

    def load(self, network: nn.Module) -> None:
        """Load the weights into a network.

        Raises:
            InputError: If a file is missing or does not fit.
        """
        if self.model is not None:
            if (entry := entry_named(self.model)) is not None:
                published.fill(network, entry)
            else:
                state_dicts.load_model_weights(network, model_file.find_model(self.model))
            return
        sources = {"whole": self.whole, "face": self.face}
        for branch, backbone in getattr(network, "backbones", {}).items():
            source = sources.get(branch)
            if source is None or not isinstance(backbone, Backbone):
                continue  # of a network of the user's own, which starts from what it was built with
            if source == "imagenet":
                with asked_if_reachable():
                    backbone.load_timm_weights()
            elif source == "scratch":
                rank_zero_warn(f"the {branch} backbone starts from scratch, without any pretraining")
            else:
                kind = "lsvq" if branch == "whole" else "gfiqa"
                state_dicts.load_backbone(backbone, state_dicts.require(source, kind))
        if isinstance(network, PromptedCLIP):
            if self.clip == "scratch":
                rank_zero_warn("the network starts from a random CLIP, without any pretraining")
            else:
                state_dicts.load_clip(network, self.clip)
        if isinstance(network, TANet):
            if self.theme == "scratch":
                rank_zero_warn("TANet's theme stream, which is never trained, keeps its random weights")
            else:
                state_dicts.load_places365(network.theme, self.theme)
