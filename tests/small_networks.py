"""Small networks in files, for the tests of `piqa.weights.state_dicts` and of `piqa.weights.model_file`."""

import torch

from piqa.models import DualBranch
from piqa.weights import model_file

BACKBONE, SIDE = "mobilenetv3_small_050", 32
CARD = {"preparation": {"short_side": 40}, "crop": SIDE}


def tiny(branches=("whole", "face", "liqe"), seed=0, **settings):
    torch.manual_seed(seed)
    return DualBranch(BACKBONE, branches, SIDE, **settings)


def card_of(network):
    return CARD | {"network": {"class_path": "piqa.models.DualBranch", "init_args": network.init_args}}


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
