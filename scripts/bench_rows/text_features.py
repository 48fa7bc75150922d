"""The row on LIQE's text features: read from the disk, against computed in every process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench_rows.measure import Row, Settings, in_turn
from bench_rows.other_models import SMALL
from piqa.models import LIQE
from piqa.weights.text_features import keep_text_features


def text_features(settings: Settings) -> Row:
    """Time the features of LIQE's 495 prompts, which every process needs before its first image."""
    torch.manual_seed(0)
    network = LIQE(architecture=SMALL["liqe"] if settings.smoke else None).to(settings.device).eval()

    def features(kept: bool) -> torch.Tensor:
        network.forget_text_features()
        network.text_feature_source = None
        if kept:
            keep_text_features(network)
        with torch.no_grad():
            return network.text_features()

    with own_home():
        ways = in_turn(
            {"from the disk": lambda: features(True), "computed": lambda: features(False)},
            settings.times(3),
            "wall",
            settings.device,
        )
        same = torch.equal(features(True), features(False))
    return Row(
        row="text-features",
        what=f"text features of LIQE's {len(network.tokens)} prompts, random weights, as the first image of a process "
        "needs them; reading them includes the digest of the weights",
        ratio=ways["computed"]["cpu_s"] / max(ways["from the disk"]["cpu_s"], 1e-3),
        compared="CPU seconds computed : from the disk",
        expected=">= 10, the same to the bit",
        clock="wall",
        ways=ways,
        facts={"same": same},
    )


@contextmanager
def own_home() -> Iterator[None]:
    """Let piqa keep what it keeps in an empty folder, and not in the user's."""
    before = os.environ.get("PIQA_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PIQA_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["PIQA_HOME"]
            if before is not None:
                os.environ["PIQA_HOME"] = before
