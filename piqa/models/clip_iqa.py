"""CLIP-IQA: the probability of "Good photo." against "Bad photo."; CLIP-IQA+ learns the words around them.

Wang et al., "Exploring CLIP for Assessing the Look and Feel of Images", AAAI 2023 (arXiv 2207.12396).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError
from piqa.models.clip import Architecture, OpenCLIP, PromptedCLIP, encode_prompts, tokenize
from piqa.models.image_sides import SMALLEST

CLIP_NAME = "RN50-quickgelu"  # open_clip's; the QuickGELU is in the text tower

# The published prompts, full stop included. The score is the probability of the first of a pair. The published config
# has the pair of noisiness the other way round, as has its name; here, as in torchmetrics, the clean photo comes first,
# so that all attributes of quality rise with it.
ATTRIBUTES: dict[str, tuple[str, str]] = {
    "quality": ("Good photo.", "Bad photo."),
    "brightness": ("Bright photo.", "Dark photo."),
    "sharpness": ("Sharp photo.", "Blurry photo."),
    "noisiness": ("Clean photo.", "Noisy photo."),
    "colorfulness": ("Colorful photo.", "Dull photo."),
    "contrast": ("High contrast photo.", "Low contrast photo."),
    "aesthetic": ("Aesthetic photo.", "Not aesthetic photo."),
    "happy": ("Happy photo.", "Sad photo."),
    "natural": ("Natural photo.", "Synthetic photo."),
    "new": ("New photo.", "Old photo."),
    "scary": ("Scary photo.", "Peaceful photo."),
    "complex": ("Complex photo.", "Simple photo."),
}


def encode_any_size(visual: OpenCLIP, pixels: Tensor, positions_added: bool = False) -> Tensor:
    """Return features of CLIP's ResNet for images of any size: without the attention pool's positional embedding.

    Args:
        visual: open_clip's `ModifiedResNet`.
        pixels: Normalised, (images, 3, height, width), no side below 32.
        positions_added: Whether to add that embedding nevertheless, stretched to the number of positions as a table of
            numbers, as IQA-PyTorch does: neighbours in it are those in the order of rows, not those in the image.

    Returns:
        Not normalised, (images, width).
    """
    maps = visual.stem(pixels)
    for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        maps = stage(maps)
    pool = visual.attnpool
    positions = maps.flatten(2).transpose(1, 2)  # (images, positions, channels)
    mean = positions.mean(dim=1, keepdim=True)  # the one query whose output is used
    tokens = torch.cat([mean, positions], dim=1)
    if positions_added:
        table = pool.positional_embedding[None, None].float()  # (1, 1, positions, channels)
        table = functional.interpolate(table, size=tokens.shape[1:], mode="bicubic")[0]
        tokens = tokens + table.to(tokens.dtype)
        mean = tokens[:, :1]
    query, key, value = (
        projected.unflatten(2, (pool.num_heads, -1)).transpose(1, 2)  # (images, heads, tokens, channels / heads)
        for projected in (pool.q_proj(mean), pool.k_proj(tokens), pool.v_proj(tokens))
    )
    attended = functional.scaled_dot_product_attention(query, key, value)  # (images, heads, 1, channels / heads)
    features: Tensor = pool.c_proj(attended.transpose(1, 2).flatten(1))
    return features


class AntonymCLIP(PromptedCLIP):
    """CLIP RN50 and pairs of antonymous prompts. CLIP is frozen, and in evaluation mode even during training.

    Args:
        tokens: Tokens of the prompts, the first and the second of each pair in turn, (2 * pairs, length).
        attributes: Names of the pairs that become outputs of their own.
        architecture: Entries of open_clip's config to replace; None for the published network.
        positions: As `positions_added` of `encode_any_size`.
    """

    def __init__(
        self,
        tokens: Tensor,
        attributes: Sequence[str] = (),
        architecture: Architecture | None = None,
        positions: bool = False,
    ) -> None:
        super().__init__(CLIP_NAME, tokens, architecture)
        self._positions = positions
        self.attributes = list(attributes)
        self.clip.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> AntonymCLIP:
        """Switch training mode of what is trained; CLIP's running statistics stay those of its own training."""
        super().train(mode)
        self.clip.eval()
        return self

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Score images; higher is better, on one scale for all.

        Args:
            whole: Images or crops of any size from 32 px, uint8 or float in [0, 1], (images, 3, height, width).

        Returns:
            Float32 even under autocast, (images,) each, in 0..1: `score`, the probability of the first prompt of the
            first pair against the second; and that of each attribute by its name.

        Raises:
            InputError: If a side is too small.
        """
        if whole.ndim != 4 or min(whole.shape[2:]) < SMALLEST:
            needed = f"images of 3 x height x width with sides of {SMALLEST} px or more"
            found = tuple(whole.shape[1:])
            raise InputError(f"CLIP-IQA takes {needed}, not {found}; leave such an image out, or enlarge it")
        logits = self.compare(encode_any_size(self.clip.visual, self.pixels(whole), self._positions))
        probabilities = logits.reshape(-1, logits.shape[1] // 2, 2).softmax(dim=2)[..., 0]  # (images, pairs)
        named = {name: probabilities[:, place] for place, name in enumerate(self.attributes)}
        return {"score": probabilities[:, 0], **named}


class CLIPIQA(AntonymCLIP):
    """CLIP-IQA: nothing is trained; the prompts define what is measured.

    Args:
        attributes: What is measured, each an output by its name; the first is the score. Names of `ATTRIBUTES` or of
            `prompts`; by default those of `prompts`, or `quality`.
        prompts: Your own pairs of prompts by name, the better one first, such as
            `{"pose": ["A relaxed pose.", "A stiff pose."]}`.
        architecture: Entries of open_clip's config to replace; None for the published network.

    Raises:
        InputError: If an attribute is unknown or named twice, or a pair is none.

    Examples:
        >>> small = {"embed_dim": 64, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8}}
        >>> small["text_cfg"] = {"layers": 1, "width": 64, "heads": 2}
        >>> prompts = {"pose": ["A relaxed pose.", "A stiff pose."]}
        >>> sorted(CLIPIQA(prompts=prompts, architecture=small).eval()(torch.rand(2, 3, 64, 96)))
        ['pose', 'score']
    """

    def __init__(
        self,
        attributes: Sequence[str] | None = None,
        prompts: Mapping[str, Sequence[str]] | None = None,
        architecture: Architecture | None = None,
    ) -> None:
        own = {name: _checked_pair(name, pair) for name, pair in (prompts or {}).items()}
        asked = list(attributes if attributes is not None else own or ["quality"])
        known = ATTRIBUTES | own
        unknown = [name for name in asked if name not in known]
        if unknown or not asked or len(set(asked)) < len(asked):
            raise InputError(f"`attributes` {asked}: name one or more of {', '.join(known)}, each once")
        super().__init__(tokenize(CLIP_NAME, [prompt for name in asked for prompt in known[name]]), asked, architecture)
        plain = {name: list(pair) for name, pair in own.items()}
        self.init_args = {"attributes": asked, "prompts": plain, "architecture": architecture}


class CLIPIQAPlus(AntonymCLIP):
    """CLIP-IQA+: CLIP-IQA whose prompts are completed by learned context tokens, shared by both.

    A prompt is `[start][half of the context][words][other half][rest][end]`. As in the published code, a further "." is
    put behind the words, and what follows as many tokens as the words have by themselves is the rest. For "Good photo."
    that is nothing: its "." and the further one become one token, "..".

    Args:
        pair: The words, the better ones first.
        context: Number of learned tokens; 16 as published.
        architecture: Entries of open_clip's config to replace; None for the published network.
        shared_context: Whether both prompts share the learned tokens, as published; IQA-PyTorch trains some for each.
        positions: Whether CLIP's positional embedding of the image is added, stretched to its size, as IQA-PyTorch does
            where it trains; as published it is not.

    Raises:
        InputError: If `pair` is no pair, does not fit into CLIP's 77 tokens, or `context` is below 1.

    Examples:
        >>> small = {"embed_dim": 64, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8}}
        >>> small["text_cfg"] = {"layers": 1, "width": 64, "heads": 2}
        >>> CLIPIQAPlus(context=4, architecture=small).context.shape
        torch.Size([4, 64])
    """

    def __init__(
        self,
        pair: Sequence[str] = ATTRIBUTES["quality"],
        context: int = 16,
        architecture: Architecture | None = None,
        shared_context: bool = True,
        positions: bool = False,
    ) -> None:
        if context < 1:
            raise InputError(f"`context` must be at least 1 token, not {context}")
        words = _checked_pair("pair", pair)
        vocabulary, tokens = _templates(words, context, shared_context)
        super().__init__(tokens, architecture=architecture, positions=positions)
        self.init_args = {"pair": list(words), "context": context, "architecture": architecture}
        # As in cards of former versions where nothing else is asked for.
        self.init_args |= {} if shared_context else {"shared_context": False}
        self.init_args |= {"positions": True} if positions else {}
        self.register_buffer("vocabulary", vocabulary, persistent=False)
        learned = [context] if shared_context else [len(words), context]
        self.context = nn.Parameter(torch.empty(*learned, self.clip.token_embedding.embedding_dim))
        nn.init.normal_(self.context, std=0.02)

    vocabulary: Tensor

    def _encode_prompts(self) -> Tensor:
        known = self.clip.token_embedding(self.vocabulary)
        learned = self.context.flatten(0, -2)  # (prompts * context, width) where each prompt has its own
        embeddings = torch.cat([known[:-1], learned, known[-1:]])  # the end token last: its number is the highest
        return encode_prompts(self.clip, self.tokens, embeddings)


def _checked_pair(name: str, pair: Sequence[str]) -> tuple[str, str]:
    if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
        raise InputError(f"`{name}` needs two different prompts, the better one first, not {pair!r}")
    if name == "score":
        raise InputError("a pair of prompts cannot be called `score`, which is the name of the first one's output")
    return pair[0], pair[1]


def _templates(pair: Sequence[str], context: int, shared: bool = True) -> tuple[Tensor, Tensor]:
    """Return two prompts' vocabulary, ascending, without the learned tokens, (known,), and the prompts, (2, length).

    In these 0 ... known - 2 stand for the vocabulary, then come the learned tokens, of the first prompt before those of
    the second where they are not `shared`, then the end token.
    """
    own = [int(tokens.argmax()) - 1 for tokens in tokenize(CLIP_NAME, pair)]  # without start and end
    full = tokenize(CLIP_NAME, [f"{'X ' * context}{words}." for words in pair])  # X keeps the place of a learned token
    half = context // 2
    every = list(range(-context if shared else -context * len(pair), 0))  # told from CLIP's by their sign, for now
    rows = []
    for place, (tokens, count) in enumerate(zip(full, own, strict=True)):
        learned = every if shared else every[place * context :][:context]
        start, *rest = tokens[: int(tokens.argmax()) + 1].tolist()
        words, rest = rest[context : context + count], rest[context + count :]
        rows.append([start, *learned[:half], *words, *learned[half:], *rest])
    vocabulary = sorted({token for row in rows for token in row if token >= 0})
    places = {token: place for place, token in enumerate([*vocabulary[:-1], *every, vocabulary[-1]])}
    length = max(map(len, rows))
    prompts = [[places[token] for token in row] + [0] * (length - len(row)) for row in rows]
    return torch.tensor(vocabulary, device="cpu"), torch.tensor(prompts, device="cpu")
