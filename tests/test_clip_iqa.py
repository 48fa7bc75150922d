"""CLIP-IQA and CLIP-IQA+: the image tower at any size, prompts, pairs, and what is trained of them."""

import json

import numpy as np
import open_clip
import pytest
import torch
from inputs import test_image
from small_clip import RESNET
from torch.func import functional_call

from piqa.errors import InputError
from piqa.models import CLIPIQA, CLIPIQAPlus
from piqa.models.clip import build_clip, tokenize
from piqa.models.clip_iqa import ATTRIBUTES, CLIP_NAME, encode_any_size
from piqa.weights import model_file, state_dicts


def randomised(network, seed=0):
    """Random weights everywhere, running statistics too; a new CLIP ResNet's blocks pass nothing on."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if name.endswith("running_var"):
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
            elif name.endswith("logit_scale"):
                values.fill_(np.log(20))
            elif values.is_floating_point() and values.ndim == 1 and name.endswith("weight"):
                values.copy_(torch.rand(values.shape, generator=generator) * 0.4 + 0.8)  # of a normalisation
            elif values.is_floating_point():
                fan_in = max(1, values[0].numel())
                values.copy_(torch.randn(values.shape, generator=generator) / fan_in**0.5)
    return network


@pytest.fixture
def clip_iqa():
    return randomised(CLIPIQA(architecture=RESNET))


@pytest.fixture
def plus():
    return randomised(CLIPIQAPlus(architecture=RESNET))


def images(*size, count=3):
    return torch.stack([torch.from_numpy(test_image(*size, seed=seed)).permute(2, 0, 1) for seed in range(count)])


def pooled_by_hand(pool, maps, positional):
    """CLIP's attention pool of one image's feature maps (channels, height, width), head by head, in float64."""

    def matrix(linear):
        return linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()

    tokens = maps.double().numpy().reshape(len(maps), -1).T
    tokens = np.concatenate([tokens.mean(axis=0, keepdims=True), tokens])
    if positional:
        tokens = tokens + pool.positional_embedding.detach().double().numpy()
    (wq, bq), (wk, bk), (wv, bv), (wc, bc) = map(matrix, (pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj))
    query, key, value = wq @ tokens[0] + bq, tokens @ wk.T + bk, tokens @ wv.T + bv
    width = len(query) // pool.num_heads
    heads = []
    for head in range(pool.num_heads):
        part = slice(head * width, (head + 1) * width)
        similar = key[:, part] @ query[part] / np.sqrt(width)
        attention = np.exp(similar - similar.max())
        heads.append(attention / attention.sum() @ value[:, part])
    return wc @ np.concatenate(heads) + bc


def feature_maps(visual, pixels):
    maps = visual.stem(pixels)
    for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        maps = stage(maps)
    return maps


# The image tower


def test_the_attention_pool_is_clips_without_its_positional_embedding(clip_iqa):
    visual, pixels = clip_iqa.clip.visual, clip_iqa.pixels(images(224, 224, count=1))
    with torch.inference_mode():
        maps = feature_maps(visual, pixels)[0]
        ours, clips = encode_any_size(visual, pixels)[0], visual(pixels)[0]
    without, with_embedding = (pooled_by_hand(visual.attnpool, maps, positional) for positional in (False, True))
    np.testing.assert_allclose(ours, without, rtol=0, atol=1e-5)
    np.testing.assert_allclose(clips, with_embedding, rtol=0, atol=1e-5)  # so the plain pool is CLIP's
    assert np.abs(without - with_embedding).max() > 0.01  # and the two can be told apart


@pytest.mark.parametrize("size", [(32, 32), (33, 95), (160, 96), (224, 300)])
def test_any_size_is_seen_as_clip_would_with_an_embedding_of_zeros(clip_iqa, size):
    visual, pixels = clip_iqa.clip.visual, clip_iqa.pixels(images(*size))
    channels = visual.attnpool.positional_embedding.shape[1]
    with torch.inference_mode():
        zeros = torch.zeros(feature_maps(visual, pixels)[0, 0].numel() + 1, channels)
        expected = functional_call(visual, {"attnpool.positional_embedding": zeros}, (pixels,))
        torch.testing.assert_close(encode_any_size(visual, pixels), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(31, 200), (200, 16)])
def test_an_image_without_features_is_refused_in_one_line(clip_iqa, size):
    with pytest.raises(InputError, match="sides of 32 px or more"):
        clip_iqa(images(*size))


def test_bytes_are_normalised_as_clip_wants_them(clip_iqa):
    mean, std = np.array(open_clip.OPENAI_DATASET_MEAN), np.array(open_clip.OPENAI_DATASET_STD)
    pixels = test_image(64, 64, seed=0)
    wanted = torch.from_numpy((pixels / 255 - mean) / std).float().permute(2, 0, 1)[None]
    floats = torch.from_numpy(pixels / 255).permute(2, 0, 1)[None]
    for given in (images(64, 64, count=1), floats, floats.float()):
        torch.testing.assert_close(clip_iqa.pixels(given), wanted, rtol=0, atol=1e-6)


def test_an_image_gets_its_own_answer_whatever_the_batch(clip_iqa):
    batch = images(96, 64, count=4)
    with torch.inference_mode():
        together = clip_iqa(batch)["score"]
        alone = torch.cat([clip_iqa(image[None])["score"] for image in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert len(set(together.tolist())) == 4


def test_training_mode_changes_no_answer_and_no_statistics(clip_iqa):
    before = {name: values.clone() for name, values in clip_iqa.state_dict().items()}
    with torch.no_grad():
        expected = clip_iqa(images(64, 64))
        torch.testing.assert_close(clip_iqa.train()(images(64, 64)), expected)
    assert all(torch.equal(before[name], values) for name, values in clip_iqa.state_dict().items())


# Prompts of CLIP-IQA


def test_the_score_is_the_softmax_over_the_two_prompts(clip_iqa):
    with torch.inference_mode():
        score = clip_iqa(images(64, 96))["score"]
        image = torch.nn.functional.normalize(encode_any_size(clip_iqa.clip.visual, clip_iqa.pixels(images(64, 96))))
        texts = clip_iqa.clip.encode_text(open_clip.tokenize(["Good photo.", "Bad photo."]), normalize=True)
        expected = (20 * image @ texts.T).softmax(dim=1)[:, 0]
    torch.testing.assert_close(score, expected, rtol=0, atol=1e-5)


def test_the_text_tower_has_openais_activation():
    names = {type(module).__name__ for module in build_clip(CLIP_NAME, RESNET).transformer.modules()}
    assert "QuickGELU" in names
    assert "GELU" not in names


def test_every_attribute_that_is_asked_for_is_answered():
    network = randomised(CLIPIQA(list(ATTRIBUTES), architecture=RESNET))
    with torch.inference_mode():
        answers = network(images(64, 64))
    assert list(answers) == ["score", *ATTRIBUTES]
    assert torch.equal(answers["score"], answers["quality"])
    for name in ("brightness", "complex"):
        alone = CLIPIQA([name], architecture=RESNET)
        alone.load_state_dict(network.state_dict())
        with torch.inference_mode():
            torch.testing.assert_close(alone(images(64, 64))["score"], answers[name], rtol=0, atol=1e-5)


def test_the_first_attribute_is_the_score():
    network = CLIPIQA(["sharpness", "quality"], architecture=RESNET)
    with torch.inference_mode():
        answers = network(images(64, 64))
    assert torch.equal(answers["score"], answers["sharpness"])


def test_a_clean_photo_is_less_noisy_is_the_order_that_was_chosen():
    assert ATTRIBUTES["noisiness"] == ("Clean photo.", "Noisy photo.")


def test_a_users_own_pair_is_asked_and_turned_round_gives_the_rest():
    pair = ["A relaxed pose.", "A stiff pose."]
    network = randomised(CLIPIQA(prompts={"pose": pair}, architecture=RESNET))
    turned = CLIPIQA(prompts={"pose": pair[::-1]}, architecture=RESNET)
    turned.load_state_dict(network.state_dict())
    with torch.inference_mode():
        answers, rest = network(images(64, 64)), turned(images(64, 64))
    assert list(answers) == ["score", "pose"]
    torch.testing.assert_close(answers["pose"], 1 - rest["pose"], rtol=0, atol=1e-5)


def test_own_pairs_and_published_ones_go_together():
    network = CLIPIQA(["quality", "pose"], {"pose": ["A relaxed pose.", "A stiff pose."]}, RESNET)
    assert torch.equal(
        network.tokens, tokenize(CLIP_NAME, [*ATTRIBUTES["quality"], "A relaxed pose.", "A stiff pose."])
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attributes": ["beauty"]}, r"`attributes` \['beauty'\]: name one or more of quality, brightness"),
        ({"attributes": []}, "name one or more"),
        ({"attributes": ["quality", "quality"]}, "each once"),
        ({"prompts": {"pose": ["A relaxed pose."]}}, "`pose` needs two different prompts"),
        ({"prompts": {"pose": ["Same.", "Same."]}}, "`pose` needs two different prompts"),
        ({"prompts": {"score": ["Good.", "Bad."]}}, "cannot be called `score`"),
        ({"prompts": {"pose": ["", "Bad."]}}, "the prompt '' has 0 tokens"),
        ({"prompts": {"pose": ["good " * 76, "Bad."]}}, "has 76 tokens; CLIP takes 1 to 75"),
    ],
)
def test_prompts_that_cannot_be_asked_are_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        CLIPIQA(**arguments, architecture=RESNET)


@pytest.mark.parametrize("network", ["clip_iqa", "plus"])
def test_init_args_rebuild_the_network(network, request):
    network = request.getfixturevalue(network)
    again = type(network)(**json.loads(json.dumps(network.init_args)))
    again.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(images(64, 64))["score"], network(images(64, 64))["score"])


# Prompts of CLIP-IQA+


def prompt_by_hand(clip, context, words):
    """[start][8][words][8][rest][end], embedded and encoded in full length, one prompt by itself."""
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    count = len(tokenizer.encode(words))
    tokens = tokenizer([" ".join(["X"] * len(context)) + " " + words + "."])
    embedded = clip.token_embedding(tokens)[0]
    half = len(context) // 2
    after = 1 + len(context)
    x = torch.cat(
        [embedded[:1], context[:half], embedded[after : after + count], context[half:], embedded[after + count :]]
    )
    x = clip.transformer((x + clip.positional_embedding)[None], attn_mask=clip.attn_mask)
    end = int(tokens.argmax())
    return torch.nn.functional.normalize(clip.ln_final(x)[0, end] @ clip.text_projection, dim=0)


@pytest.mark.parametrize("pair", [("Good photo.", "Bad photo."), ("A flattering portrait", "Dull")])
@pytest.mark.parametrize("context", [1, 3, 16])
def test_prompts_are_the_published_ones_with_the_context_in_their_middle(pair, context):
    network = randomised(CLIPIQAPlus(pair, context, RESNET))
    with torch.inference_mode():
        expected = torch.stack([prompt_by_hand(network.clip, network.context, words) for words in pair])
        torch.testing.assert_close(network.text_features(), expected, rtol=0, atol=1e-5)


def test_the_two_full_stops_of_a_published_prompt_are_one_token(plus):
    decode = open_clip.get_tokenizer(CLIP_NAME).decode
    texts = [decode([token]).strip() for token in plus.vocabulary.tolist()]
    learned = len(texts) - 1  # the first of their numbers; 16 later comes the end token
    for row, first in zip(plus.tokens.tolist(), ("good", "bad"), strict=True):
        assert row[1:9] == list(range(learned, learned + 8))
        assert [texts[token] for token in row[9:12]] == [first, "photo", ".."]
        assert row[12:20] == list(range(learned + 8, learned + 16))
        assert row[20:] == [learned + 16]


def test_a_context_that_does_not_fit_is_refused_in_one_line():
    with pytest.raises(InputError, match="CLIP takes 1 to 75"):
        CLIPIQAPlus(context=75, architecture=RESNET)
    with pytest.raises(InputError, match="`context` must be at least 1"):
        CLIPIQAPlus(context=0, architecture=RESNET)


@pytest.mark.slow
def test_the_published_network_has_8192_trainable_values():
    network = CLIPIQAPlus()
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    assert {name: weight.shape for name, weight in trained.items()} == {"context": (16, 512)}
    assert sum(weight.numel() for weight in trained.values()) == 8192
    assert network.context.std().item() == pytest.approx(0.02, abs=0.001)
    assert abs(network.context.mean().item()) < 0.001


def test_a_step_of_training_changes_the_context_and_nothing_else(plus):
    before = {name: values.clone() for name, values in plus.state_dict().items()}
    optimizer = torch.optim.SGD(plus.train().parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        plus(images(64, 64))["score"].sum().backward()
        optimizer.step()
    changed = {name for name, values in plus.state_dict().items() if not torch.equal(values, before[name])}
    assert changed == {"context"}


def test_scores_follow_the_context_as_it_is_trained(plus):
    with torch.no_grad():
        before = plus(images(64, 64))["score"]
    plus(images(64, 64))["score"].sum().backward()
    torch.optim.SGD([plus.context], lr=10.0).step()
    with torch.no_grad():
        after = plus(images(64, 64))["score"]
    plus.forget_text_features()
    with torch.no_grad():
        assert torch.equal(plus(images(64, 64))["score"], after)
    assert after.sum() < before.sum() - 0.01  # SGD goes down


def test_the_prompts_are_not_encoded_again_for_every_batch(plus, monkeypatch):
    calls = []
    encode = plus.clip.encode_text
    monkeypatch.setattr(
        plus.clip, "encode_text", lambda tokens, **options: calls.append(1) or encode(tokens, **options)
    )
    with torch.inference_mode():
        plus(images(64, 64))
        plus(images(64, 64))
    assert len(calls) == 1


# Weights


def openai_state(network, half=True):
    """A state dict as OpenAI's archive has it: half precision, three facts, no counters of batches."""
    state = {name: values.half() if half else values for name, values in network.clip.state_dict().items()}
    state = {name: values for name, values in state.items() if not name.endswith("num_batches_tracked")}
    facts = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    return state | {name: torch.tensor(value) for name, value in facts.items()}


def test_a_state_dict_of_openais_layout_fills_the_network(clip_iqa, tmp_path):
    torch.save(openai_state(clip_iqa, half=False), tmp_path / "RN50.pth")
    network = CLIPIQA(architecture=RESNET)
    with torch.inference_mode():
        network(images(64, 64))
        state_dicts.load_clip(network, tmp_path / "RN50.pth")
        assert torch.equal(network(images(64, 64))["score"], clip_iqa(images(64, 64))["score"])


def test_weights_in_half_precision_become_single(clip_iqa, tmp_path):
    torch.save(openai_state(clip_iqa), tmp_path / "RN50.pth")
    state_dicts.load_clip(clip_iqa, tmp_path / "RN50.pth")
    assert {values.dtype for values in clip_iqa.state_dict().values() if values.is_floating_point()} == {torch.float32}


def test_the_published_weights_come_from_open_clip_by_name(clip_iqa, monkeypatch):
    asked = []

    def create_model(name, pretrained, **options):
        asked.append((name, pretrained))
        return clip_iqa.clip

    monkeypatch.setattr(open_clip, "create_model", create_model)
    network = CLIPIQA(architecture=RESNET)
    state_dicts.load_clip(network, "openai")
    assert asked == [("RN50-quickgelu", "openai")]
    assert torch.equal(network.clip.text_projection, clip_iqa.clip.text_projection)


def test_weights_that_cannot_be_downloaded_cost_one_line(clip_iqa, monkeypatch):
    def create_model(name, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", create_model)
    with pytest.raises(InputError, match=r"is not available \(no route to host\); connect once .* or name a file"):
        state_dicts.load_clip(clip_iqa, "openai")


def test_published_weights_do_not_fit_another_architecture(clip_iqa, monkeypatch):
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **options: torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="do not fit the `architecture`"):
        state_dicts.load_clip(clip_iqa, "openai")


def test_open_clip_knows_the_names_of_the_published_weights():
    assert open_clip.pretrained.is_pretrained_cfg("RN50-quickgelu", "openai")
    assert open_clip.pretrained.is_pretrained_cfg("ViT-B-32-quickgelu", "openai")


def test_a_saved_network_of_ones_own_comes_back_whole(plus, tmp_path):
    path = model_file.save(plus, tmp_path / "model.safetensors", {"network": {}})
    again = CLIPIQAPlus(architecture=RESNET)
    state_dicts.load_clip(again, path)
    assert all(torch.equal(values, again.state_dict()[name]) for name, values in plus.state_dict().items())


def test_weights_of_another_network_are_refused_in_one_line(clip_iqa, tmp_path):
    other = openai_state(clip_iqa) | {"visual.conv1.weight": torch.zeros(2, 2)}
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"does not fit this network: 1 of another shape \(visual.conv1.weight"):
        state_dicts.load_clip(clip_iqa, tmp_path / "other.pth")
    torch.save({"patch_embed.proj.weight": torch.zeros(2)}, tmp_path / "swin.pth")
    with pytest.raises(InputError, match="layout 'timm', not that of a CLIP"):
        state_dicts.load_clip(clip_iqa, tmp_path / "swin.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_archive_is_refused_with_the_way_to_convert_it(clip_iqa, tmp_path, recwarn):
    archive = tmp_path / "RN50.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(archive)
    recwarn.clear()
    with pytest.raises(InputError, match="TorchScript archive") as refusal:
        state_dicts.load_clip(clip_iqa, archive)
    assert not recwarn.list
    assert "\n" not in str(refusal.value)
    command = str(refusal.value).split('python -c "')[1].rstrip('"')
    exec(compile(command, "the command of the message", "exec"), {})
    assert set(state_dicts.read_state_dict(f"{archive}.tensors.pth")) == {"weight", "bias"}
