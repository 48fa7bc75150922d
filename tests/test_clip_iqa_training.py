"""CLIP-IQA+'s loss, recipe and training."""

import numpy as np
import pytest
import torch
from graded_images import GradedData, quiet_trainer
from small_clip import RESNET

from piqa.errors import InputError
from piqa.models import CLIPIQAPlus
from piqa.models.clip_iqa import encode_any_size
from piqa.tasks.clip_iqa import CLIPIQATask, clip_iqa_schedule, clip_iqa_sgd


@pytest.fixture(scope="module")
def data():
    """Images under blur; scores from 1 to 5."""
    return GradedData(windows=False, distortions=("blur",))


def able_network(images):
    """A small random CLIP that tells images and words apart, as a trained one does and a random one hardly."""
    torch.manual_seed(0)
    network = CLIPIQAPlus(architecture=RESNET)
    visual, pixels = network.clip.visual, network.pixels(images)
    with torch.no_grad():
        for module in visual.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1)
                module.momentum = None  # statistics of the images, from one pass
                module.train()
        encode_any_size(visual, pixels)
        visual.eval()
        visual.attnpool.c_proj.bias -= encode_any_size(visual, pixels).mean(dim=0)
        network.clip.token_embedding.weight.mul_(5)
        network.clip.logit_scale.fill_(np.log(100))
    return network


def train(data, **arguments):
    task = CLIPIQATask(
        able_network(data.train.images),
        "scratch",
        score_range=(1, 5),
        optimizer=lambda weights: torch.optim.SGD(weights, lr=1.0),
        schedule=lambda optimizer: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0),
    )
    trainer = quiet_trainer(check_val_every_n_epoch=arguments.get("max_epochs", 1), **arguments)
    trainer.fit(task, data)
    return task, {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.slow
def test_training_learns_the_scores_and_just_as_well_their_opposite(data, monkeypatch):
    _, learnt = train(data, max_epochs=12)
    monkeypatch.setitem(data.train.labels, "score", 6 - data.train.labels["score"])
    _, opposite = train(data, max_epochs=12)
    # The same network at the start: whatever it knows by luck speaks against one of the two.
    assert learnt["val/srocc"] > 0.7
    assert opposite["val/srocc"] < -0.7


def test_training_changes_the_context_and_nothing_else(data):
    before = able_network(data.train.images).state_dict()
    task, _ = train(data, max_steps=3, limit_val_batches=1)
    changed = {name for name, values in task.network.state_dict().items() if not torch.equal(values, before[name])}
    assert changed == {"context"}


def test_the_loss_is_the_squared_error_on_the_scale():
    task = CLIPIQATask(CLIPIQAPlus(architecture=RESNET))
    batch = {"score": torch.tensor([70.0, 10.0]), "group": torch.zeros(2), "groups": torch.tensor(1.0)}
    loss = task.loss(torch.tensor([0.5, 0.2]), batch)
    assert loss.item() == pytest.approx((0.2**2 + 0.1**2) / 2)


def test_an_empty_scale_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"`model\.score_range`"):
        CLIPIQATask(CLIPIQAPlus(architecture=RESNET), score_range=(100, 0))


def test_the_learning_rate_falls_by_steps_as_published():
    optimizer = clip_iqa_sgd([torch.nn.Parameter(torch.zeros(1))])
    schedule = clip_iqa_schedule(optimizer)
    assert optimizer.param_groups[0]["momentum"] == optimizer.param_groups[0]["weight_decay"] == 0
    rates = []
    for step in (0, 80_000, 150_000, 299_999, 300_000):
        schedule.step(step)
        rates.append(schedule.get_last_lr()[0])
    assert rates == pytest.approx([2e-3, 1.669e-3, 1.00005e-3, 1e-7, 2e-3], rel=1e-3)


def test_the_schedule_counts_steps_and_the_optimiser_holds_the_context_alone():
    task = CLIPIQATask(CLIPIQAPlus(architecture=RESNET))
    made = task.configure_optimizers()
    assert made["lr_scheduler"]["interval"] == "step"
    [group] = made["optimizer"].param_groups
    assert [weight is task.network.context for weight in group["params"]] == [True]
