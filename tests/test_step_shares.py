"""A step's loss is the mean over its shares, whatever the sizes of the groups: so many processes train as one does."""

import pytest
import torch
from small_clip import RESNET
from torch.func import functional_call

from piqa.models import NIMA, CLIPIQAPlus, DualBranch, Regressor, TANet
from piqa.tasks import RankingTask
from piqa.tasks.aesthetic import AestheticTask
from piqa.tasks.clip_iqa import CLIPIQATask
from piqa.tasks.regression import RegressionTask

SIZES = (5, 3, 4, 2)  # images of each group
TINY = {"backbone": "test_byobnet", "image_size": 32}
TASKS = {
    "ranking": lambda: RankingTask(DualBranch(**TINY, branches=["whole"])),
    "plcc": lambda: RegressionTask(Regressor(**TINY), loss="plcc"),
    "mse": lambda: RegressionTask(Regressor(**TINY), loss="mse"),
    "emd": lambda: AestheticTask(NIMA(**TINY), score_range=(0, 1)),
    "marks": lambda: AestheticTask(TANet("tad66k", **TINY), loss="mse", score_range=(0, 1)),
    "clip-iqa": lambda: CLIPIQATask(CLIPIQAPlus(architecture=RESNET), score_range=(0, 1)),
}


def gradient(task, batch, groups, of_groups):
    """Of the loss of some groups by what is trained, as one vector; `groups` is what their sum is divided by."""
    own = torch.isin(batch["group"], torch.tensor(of_groups))
    part = {name: values[own] for name, values in batch.items()} | {"groups": torch.tensor(groups)}
    trained = {name: weight for name, weight in task.network.named_parameters() if weight.requires_grad}
    outputs = functional_call(task.network, trained, (part["whole"],))
    answers = outputs if isinstance(outputs, dict) else {"score": outputs}
    parts = torch.autograd.grad(task.loss_of(answers, part), list(trained.values()), allow_unused=True)
    return torch.cat([part.flatten() for part in parts if part is not None])


@pytest.mark.parametrize("name", TASKS)
def test_the_gradient_of_a_step_is_the_mean_of_its_shares(name):
    torch.manual_seed(0)
    task = TASKS[name]()
    task.network.eval()  # without dropout, and without statistics of a batch
    count = sum(SIZES)
    batch = {
        "whole": torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8),
        "score": torch.rand(count),
        "group": torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES)),
    }
    whole = gradient(task, batch, 4.0, [0, 1, 2, 3])
    shares = [gradient(task, batch, 2.0, groups) for groups in ([0, 3], [1, 2])]
    assert whole.norm() > 0
    assert (torch.stack(shares).mean(dim=0) - whole).norm() < 1e-5 * whole.norm()
