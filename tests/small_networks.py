"""Small networks in files, for the tests of `piqa.weights.state_dicts` and of `piqa.weights.model_file`."""

import torch

from piqa.models import DualBranch
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

BACKBONE, SIDE = "mobilenetv3_small_050", 32


def tiny(branches=("whole", "face", "liqe"), seed=0, **settings):
    torch.manual_seed(seed)
    return DualBranch(BACKBONE, branches, SIDE, **settings)


def card_of(network):
    return ModelCard(ClassSpec.of(network), {"short_side": 40}, crop_size=SIDE)


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def saved(path, content):
    torch.save(content, path)
    return path


def saved_model(folder):
    """A file of piqa's own in this folder, and the network in it."""
    network = tiny()
    return model_file.save(network, folder / "model.safetensors", card_of(network)), network
