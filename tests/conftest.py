"""What several test files share: the parity numbers, the official checkpoints, the two portraits."""

import json
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

PARITY = Path(__file__).parent / "parity"
sys.path.insert(0, str(PARITY))
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def golden():
    return json.loads(Path(os.environ.get("PIQA_GOLDEN", PARITY / "golden.json")).read_text())


@pytest.fixture(scope="session")
def official_checkpoint(golden, tmp_path_factory):
    """Writes (once) a full-size synthetic checkpoint of an official layout: official_checkpoint("liqe")."""
    import torch
    from make_checkpoint import build_state_dict, fingerprint

    folder = tmp_path_factory.mktemp("official")

    def write(layout, prefix=""):
        path = folder / f"{prefix}{layout}.pth"
        if not path.is_file():
            state = build_state_dict(layout, golden["seed"], prefix)
            assert fingerprint(state)["crc32"] == golden["checkpoints"][layout]["crc32"]
            torch.save(state, path)
        return path

    return write
