import numpy as np
import pytest
import torch
from rated_images import data_of, trainer_of, write_rated
from test_nima import pixels, tiny_task
from torch.nn import functional

from piqa.errors import InputError
from piqa.models import NIMA, TANet
from piqa.models.tanet import ColourRelations, ThemeRules
from piqa.tasks import InitialWeights
from piqa.weights import model_file

TINY = {"backbone": "test_byobnet", "image_size": 64, "dropout": 0.1}


def with_lively_statistics(network):
    """Batch normalisation that has seen something, so that a fault in it would show."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network


@pytest.mark.parametrize("head", ["ava", "tad66k"])
def test_a_score_does_not_depend_on_the_neighbours(head):
    network = with_lively_statistics(TANet(head, **TINY)).eval()
    images = pixels(5)
    together = network(images)["score"]
    alone = torch.cat([network(image[None])["score"] for image in images])
    among_others = network(torch.cat([pixels(7, seed=9), images[2:3]]))["score"][-1]
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    assert among_others.item() == pytest.approx(together[2].item(), abs=1e-5)
    assert together.std() > 1e-4  # the images do differ


def test_in_training_too_the_theme_rules_mix_no_images_but_by_batch_normalisation():
    rules = ThemeRules(dropout=0.0).train()
    rules.features[1] = torch.nn.Identity()
    places = torch.randn(4, 365, requires_grad=True)
    rules(places)[0].sum().backward()
    assert places.grad[0].abs().sum() > 0 and places.grad[1:].abs().sum() == 0


def test_ten_theme_values_hold_the_scalar_product_of_equation_3():
    rules = with_lively_statistics(ThemeRules()).eval()
    places = torch.randn(3, 365)
    theta, b, q = rules.generate_weights(places), rules.generate_bias(places), rules.features(places)
    values = rules(places)
    assert values.shape == (3, 10)
    summed = torch.stack([theta[row] @ q[row] + 10 * b[row, 0] for row in range(3)])
    assert values.sum(dim=1).tolist() == pytest.approx(summed.tolist(), abs=1e-4)


def test_colour_similarities_are_cosines_between_the_patches():
    image = torch.randn(1, 3, 48, 48)
    patches = image[0].unflatten(1, (12, 4)).unflatten(3, (12, 4)).mean(dim=(2, 4)).flatten(1).T  # (144, 3)
    ours = ColourRelations.similarities(image)[0]
    assert ours.shape == (144, 144)
    for first, second in [(0, 0), (0, 143), (13, 77)]:
        expected = functional.cosine_similarity(patches[first], patches[second], dim=0)
        assert ours[first, second].item() == pytest.approx(expected.item(), abs=1e-5)


def test_heads_answer_on_their_scales():
    ava, tad66k = (TANet(head, **TINY).eval()(pixels(3)) for head in ("ava", "tad66k"))
    assert set(ava) == {"score", "std", "distribution"} and ava["distribution"].shape == (3, 10)
    assert ava["distribution"].sum(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert set(tad66k) == {"score"} and ((tad66k["score"] > 0) & (tad66k["score"] < 10)).all()


def test_the_published_streams_have_the_published_sizes():
    network = TANet()
    assert network.backbones["whole"].features == 1280
    assert sum(values.numel() for values in network.theme.parameters()) == 11_363_757  # ResNet-18 with 365 outputs
    assert network.colours.head[2].in_features == 20_736 and network.head[2].in_features == 30


def test_an_unknown_head_is_refused():
    with pytest.raises(InputError, match="tad66k"):
        TANet("piq23")


@pytest.mark.parametrize(("head", "loss"), [("ava", "emd"), ("tad66k", "mse")])
def test_it_learns_what_the_untrained_network_does_not_know(head, loss, tmp_path):
    score_range = {"emd": (1, 10), "mse": (0, 10)}[loss]
    torch.manual_seed(0)
    task = tiny_task(network=TANet(head, **TINY), loss=loss, score_range=score_range, lr=1e-3)
    theme = {name: values.clone() for name, values in task.network.theme.state_dict().items()}
    data, trainer = data_of(write_rated(tmp_path)), trainer_of(10)
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    after = trainer.validate(task, data, verbose=False)[0]
    # 24 images: a correlation of 0.8 has a chance of one in a million.
    assert before["val/srocc"] < 0.5 and after["val/srocc"] > 0.8
    assert all(torch.equal(values, theme[name]) for name, values in task.network.theme.state_dict().items())


def test_every_part_but_the_theme_gets_a_gradient():
    network = TANet(**TINY).train()
    network(pixels(4))["score"].sum().backward()
    without = {name.split(".")[0] for name, values in network.named_parameters() if values.grad is None}
    assert without == {"theme"} and not network.theme.training


def places365(path, drop=(), **settings):
    """The official file's layout: old serialisation, `module.` prefixes, no counters, facts beside the tensors."""
    from torchvision.models import resnet18

    torch.manual_seed(3)
    state = resnet18(num_classes=settings.pop("num_classes", 365)).state_dict()
    state = {f"module.{key}": value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    content = {"epoch": 90, "arch": "resnet18", "state_dict": state, "best_prec1": torch.tensor([54.2])}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path, state


def test_the_theme_stream_starts_from_the_places365_file(tmp_path):
    path, state = places365(tmp_path / "resnet18_places365.pth.tar")
    network = TANet(**TINY)
    InitialWeights(whole="scratch", theme=str(path)).load(network)
    held = network.theme.state_dict()
    assert all(torch.equal(held[key.removeprefix("module.")], value) for key, value in state.items())


def test_a_missing_places365_file_is_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"Places365.*scratch"):
        InitialWeights(whole="scratch", theme=str(tmp_path / "no.pth.tar")).load(TANet(**TINY))


def test_a_resnet_of_other_classes_is_no_theme_stream(tmp_path):
    path, _ = places365(tmp_path / "imagenet.pth", num_classes=1000)
    with pytest.raises(InputError, match=r"fc\.weight \(1000, 512\) instead of \(365, 512\)"):
        InitialWeights(whole="scratch", theme=str(path)).load(TANet(**TINY))


def test_published_tanet_checkpoints_are_refused_with_the_reason(tmp_path):
    torch.save(
        {"res365_last.conv1.weight": torch.zeros(1), "hypernet.last_out_w.weight": torch.zeros(1)}, tmp_path / "t"
    )
    with pytest.raises(InputError, match="neighbours in the batch"):
        model_file.load_model(tmp_path / "t")
    with pytest.raises(InputError, match="neighbours in the batch"):
        InitialWeights(model=str(tmp_path / "t")).load(TANet(**TINY))


def test_a_saved_network_answers_alike(tmp_path):
    network = TANet("tad66k", **TINY).eval()
    card = {"network": {"class_path": "piqa.models.TANet", "init_args": network.init_args}}
    model_file.save(network, tmp_path / "tanet.safetensors", card)
    again, _ = model_file.load_model(tmp_path / "tanet.safetensors")
    assert np.array_equal(again(pixels(2))["score"].detach(), network(pixels(2))["score"].detach())


def test_the_file_of_another_model_is_refused(tmp_path):
    card = {"network": {"class_path": "piqa.models.NIMA", "init_args": {}}}
    model_file.save(NIMA("test_byobnet", 64), tmp_path / "nima.safetensors", card)
    with pytest.raises(InputError, match="does not fit this network"):
        InitialWeights(model=str(tmp_path / "nima.safetensors")).load(TANet(**TINY))
