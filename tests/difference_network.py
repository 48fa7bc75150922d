"""A network of one layer whose scores hang on small differences, which int8 cannot hold."""

import torch
from torch import nn


class Difference(nn.Module):
    inputs = ("whole",)

    def __init__(self):
        super().__init__()
        self.init_args = {}
        self.layer = nn.Linear(3, 1)
        self.layer.weight.data = torch.tensor([[1.0, -2.0, 1.0]])

    def forward(self, whole):
        return {"score": self.layer(whole.float().div(255).mean(dim=(2, 3))).squeeze(1)}
