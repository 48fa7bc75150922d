"""GradNorm on a linear layer with two tasks, against the formulas of the paper in numpy."""

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, seed_everything
from rated_images import trainer_of
from torch.utils.data import DataLoader, TensorDataset

from piqa.errors import InputError
from piqa.training.grad_norm import BalancedTask, GradNorm, summed

RNG = np.random.default_rng(3)
W, HEADS = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 3)) * [[1], [4]]  # the gradients of the second are larger
X, Y = RNG.normal(size=(24, 4)), RNG.normal(size=(24, 2))
LR = 0.002  # of the shared layer, by plain gradient descent


class TwoTasks(LightningModule):
    """Two regressions by fixed heads on one shared linear layer."""

    def __init__(self, tasks=("plain", "large"), lr=LR):
        super().__init__()
        self.shared = torch.nn.Linear(4, 3, bias=False).double()
        self.shared.weight.data = torch.tensor(W)
        self.heads, self.tasks, self.lr = torch.tensor(HEADS), tasks, lr
        self.combine_losses, self.history = summed, []

    def shared_weights(self):
        return [self.shared.weight]

    def training_step(self, batch):
        x, y = batch
        errors = (self.shared(x) @ self.heads.T - y).square().mean(dim=0)
        return self.combine_losses(dict(zip(self.tasks, errors, strict=True)))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Saves(Callback):
    """Writes a checkpoint at the end, in the processes that train."""

    def __init__(self, path):
        self.path = path

    def on_train_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.path)


def train(steps, balance, task=None, batch=24, ckpt=None, also=(), **settings):
    seed_everything(0, verbose=False)
    task = task or TwoTasks()
    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=batch)
    trainer = trainer_of(steps, callbacks=[balance, *also], **settings)
    trainer.fit(task, loader, ckpt_path=ckpt, weights_only=ckpt is not None or None)
    return task, trainer


def by_hand(steps, alpha, lr=0.025, initial_steps=1):
    """Return the weights after every step, by the formulas, Adam included, and the layer."""
    layer, w, m, v, initial, updates, history = W.copy(), np.ones(2), np.zeros(2), np.zeros(2), np.zeros(2), 0, []
    for step in range(steps):
        errors = X @ layer.T @ HEADS.T - Y  # (images, tasks)
        losses = (errors**2).mean(axis=0)
        gradients = [2 / len(X) * np.outer(HEADS[i], errors[:, i] @ X) for i in range(2)]
        norms = np.array([np.linalg.norm(gradient) for gradient in gradients])
        layer = layer - LR * sum(weight * gradient for weight, gradient in zip(w, gradients, strict=True))
        if step < initial_steps:
            initial += losses / initial_steps
        if step >= initial_steps - 1:
            rates = losses / initial
            rates = rates / rates.mean()
            weighted = w * norms
            slope = np.sign(weighted - weighted.mean() * rates**alpha) * norms
            updates += 1
            m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
            w = w - lr * (m / (1 - 0.9**updates)) / (np.sqrt(v / (1 - 0.999**updates)) + 1e-8)
            w = np.maximum(w, 0.01)
            w = w * 2 / w.sum()
        history.append(w)
    return np.array(history), layer


@pytest.mark.parametrize(("steps", "alpha", "initial_steps"), [(1, 0.0, 1), (12, 1.5, 1), (12, 0.5, 3)])
def test_weights_are_those_of_the_formulas(steps, alpha, initial_steps):
    balance = GradNorm(alpha=alpha, initial_steps=initial_steps)
    task, _ = train(steps, balance)
    expected, layer = by_hand(steps, alpha, initial_steps=initial_steps)
    assert list(balance.weights.values()) == pytest.approx(expected[-1], abs=1e-5)
    assert task.shared.weight.detach().numpy() == pytest.approx(layer, abs=1e-5)


def test_the_first_step_moves_the_weights_by_the_rate_towards_the_small_gradient():
    balance = GradNorm(alpha=0)
    train(1, balance)
    # Adam's first step is the rate itself, up or down: 1 + 0.025 and 1 - 0.025, which sum to 2 already.
    assert balance.weights == pytest.approx({"plain": 1.025, "large": 0.975}, abs=1e-6)


def test_with_alpha_0_the_norms_become_alike():
    balance = GradNorm(alpha=0)
    _, trainer = train(150, balance, TwoTasks(lr=0.0), log_every_n_steps=1)
    logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
    assert logged["grad_norm/plain"] == pytest.approx(logged["grad_norm/large"], rel=0.1)
    errors = X @ W.T @ HEADS.T - Y
    norms = [np.linalg.norm(2 / len(X) * np.outer(HEADS[i], errors[:, i] @ X)) for i in range(2)]
    expected = (1 / np.array(norms)) / np.mean(1 / np.array(norms))  # w_i |g_i| equal, sum 2
    assert list(balance.weights.values()) == pytest.approx(expected, abs=0.03)
    assert norms[1] / norms[0] > 3 and sum(balance.weights.values()) == pytest.approx(2)
    assert logged["task_loss/plain"] == pytest.approx((errors[:, 0] ** 2).mean(), rel=1e-5)


def test_weights_stay_positive_however_large_the_rate():
    balance = GradNorm(alpha=0, lr=5.0)
    train(6, balance)
    assert min(balance.weights.values()) > 0.004 and sum(balance.weights.values()) == pytest.approx(2)


def test_accumulated_batches_give_the_weights_of_the_whole_step():
    whole, divided = GradNorm(), GradNorm()
    one, _ = train(8, whole)
    other, _ = train(8, divided, batch=6, accumulate_grad_batches=4)
    assert divided.weights == pytest.approx(whole.weights, abs=1e-6)
    assert torch.allclose(one.shared.weight, other.shared.weight)


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(tmp_path):
    whole, first, second = GradNorm(initial_steps=2), GradNorm(initial_steps=2), GradNorm(initial_steps=2)
    expected, _ = train(8, whole)
    _, trainer = train(3, first)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    found, _ = train(8, second, ckpt=tmp_path / "last.ckpt")
    assert second.weights == whole.weights != first.weights
    assert torch.equal(found.shared.weight, expected.shared.weight)


def test_a_checkpoint_of_other_tasks_is_refused(tmp_path):
    _, trainer = train(1, GradNorm())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="resume with the same tasks"):
        train(2, GradNorm(), TwoTasks(("plain", "other")), ckpt=tmp_path / "last.ckpt")


class HalfLabelled(TwoTasks):
    """The second task has a label in no image."""

    def training_step(self, batch):
        x, y = batch
        error = (self.shared(x) @ self.heads[0] - y[:, 0]).square().mean()
        return self.combine_losses({"plain": error, "large": 0 * self.shared(x).sum()})


def test_a_step_in_which_a_task_has_no_label_leaves_the_weights():
    balance = GradNorm()
    train(4, balance, HalfLabelled())
    assert balance.weights == {"plain": 1, "large": 1}


def test_without_it_the_losses_are_summed_again():
    task, _ = train(2, GradNorm())
    assert isinstance(task, BalancedTask) and task.combine_losses is summed
    assert summed({"one": torch.tensor(2.0), "other": torch.tensor(3.0)}) == 5


def test_a_task_with_one_loss_is_refused():
    class OneTask(LightningModule):
        pass

    with pytest.raises(InputError, match="OneTask has one"):
        GradNorm().setup(None, OneTask(), "fit")


@pytest.mark.parametrize("setting", [{"alpha": -1}, {"lr": 0}, {"initial_steps": 0}, {"smallest": 1}])
def test_numbers_out_of_range_are_refused(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        GradNorm(**setting)


@pytest.mark.slow
def test_two_processes_have_the_weights_of_one(tmp_path):
    """Each process sees every other image; gradients are reduced before their norms."""
    expected = GradNorm()
    one, _ = train(6, expected)
    settings = {"devices": 2, "strategy": "ddp_spawn", "use_distributed_sampler": True, "batch": 12}
    train(6, GradNorm(), also=[Saves(tmp_path / "last.ckpt")], **settings, default_root_dir=tmp_path)
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    found = last["callbacks"]["GradNorm"]["weights"]
    assert found.tolist() == pytest.approx(list(expected.weights.values()), abs=1e-6)
    assert torch.allclose(last["state_dict"]["shared.weight"], one.shared.weight)
