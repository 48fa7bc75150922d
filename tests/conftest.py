"""What several test files share: the parity numbers, the official checkpoints, the two portraits."""

import gc
import json
import os
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as programs that the tests start have, for the same bits
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

PARITY = Path(__file__).parent / "parity"
sys.path.insert(0, str(PARITY))
sys.path.insert(0, str(Path(__file__).parent))

from browser import chromium, opened  # noqa: E402, F401 - fixtures
from filelock import FileLock  # noqa: E402
from hypothesis import settings  # noqa: E402
from postgresql import postgresql  # noqa: E402, F401 - a fixture

# The same examples on every machine: a fault that a random example finds goes into a test by `@example`.
# `pytest --hypothesis-profile default` looks for new ones.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


# Files that take longest, those first that take most. The others follow by name: where two processes
# share the files out, a long one that begins last is waited for by the other process.
LONGEST = (
    "bench",
    "docs",
    "documented_commands",
    "models_together",
    "judged_loop",
    "photos_pages",
    "distributed",
    "explanation_proofs",
    "factor_proofs",
    "clip_iqa_training",
    "server_jobs",
    "submission",
    "resume",
    "pretrain",
    "published",
    "parity",
    "parity_five_crop",
    "liqe_training",
    "predict_ray",
    "predict_distributed",
    "mixed_training",
    "fit",
    "predict_faults",
    "serve",
    "server",
    "server_refusals",
    "judge_browser",
    "lab_browser",
    "distil",
    "attributes_run",
    "attributes_proof",
    "noise_net",
    "studies",
    "learned",
    "fuzz_images",
    "evaluate",
    "store_faults",
    "hub",
    "download",
    "report_browser",
    "page",
)


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # pytest-xdist would begin with the files of most tests


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for no garbage while all tests are imported, nor later among what is there to stay, 800,000 objects.

    It took a third of the CPU seconds of the collection, and half a second each time during the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    """Sort the files; the tests of a file stay together and in order."""
    place = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def of_all_processes(tmp_path_factory):
    """A folder that the processes of the suite share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory, of_all_processes):
    """No test reads or writes the user's cache of weights and of what is computed from them.

    Text features are shared, as any number of processes may: those of the official LIQE take 11 CPU seconds.
    """
    home, shared = tmp_path_factory.mktemp("piqa_home"), of_all_processes / "text_features"
    shared.mkdir(exist_ok=True)
    (home / "text_features").symlink_to(shared, target_is_directory=True)
    os.environ["PIQA_HOME"] = str(home)


SIGNALS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def pytest_runtest_setup():
    """Each test begins with the handlers of the start: libraries, Ray for one, leave their own to the process."""
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def golden():
    return json.loads(Path(os.environ.get("PIQA_GOLDEN", PARITY / "golden.json")).read_text())


@pytest.fixture(scope="session")
def official_checkpoint(golden, of_all_processes):
    """Writes (once for all processes) a full-size synthetic checkpoint of a layout: official_checkpoint("liqe")."""
    import torch
    from make_checkpoint import build_state_dict, fingerprint

    folder = of_all_processes / "official"
    folder.mkdir(exist_ok=True)

    def write(layout, prefix=""):
        path = folder / f"{prefix}{layout}.pth"
        with FileLock(folder / f"{path.name}.lock"):
            if not path.is_file():
                state = build_state_dict(layout, golden["seed"], prefix)
                assert fingerprint(state)["crc32"] == golden["checkpoints"][layout]["crc32"]
                torch.save(state, path.with_suffix(".part"))
                path.with_suffix(".part").rename(path)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    """A config that trains a tiny network on a PIQ23 look-alike in seconds; `tiny_config.parent` is its folder."""
    from look_alike import write_piq23

    folder = tmp_path_factory.mktemp("tiny")
    write_piq23(folder / "piq23", scenes=6, images_per_scene=6)
    config = folder / "tiny.yaml"
    config.write_text(
        f"""
model:
  network:
    class_path: piqa.models.DualBranch
    init_args: {{backbone: test_resnet, branches: [whole, face], image_size: 64}}
  init: {{whole: scratch, face: scratch}}
data:
  table: {{class_path: piqa.data.PIQ23, init_args: {{root: {folder / "piq23"}}}}}
  preparation: {{short_side: 72}}
  store: {{folder: {folder / "store"}, workers: 0}}
  inputs: {{crop_size: 64}}
  loading: {{workers: 0}}
trainer: {{max_epochs: 2, accelerator: cpu, precision: 32-true, enable_progress_bar: false}}
out: {folder / "run"}
"""
    )
    return config


@pytest.fixture(scope="session")
def tiny_run(tiny_config):
    """The folder of a run trained with `tiny_config`."""
    from piqa import fit

    fit.main(["--config", str(tiny_config)])
    return tiny_config.parent / "run"


@pytest.fixture
def server():
    """Plays the hosts that weights are fetched from."""
    from model_server import ModelServer

    played = ModelServer()
    yield played
    played.stop()


@pytest.fixture
def names(server, tmp_path, monkeypatch):
    """Names of the test's own, a cache of its own, and no other host than the server."""
    from named_models import Names, at_the_server

    from piqa.weights import registry

    at_the_server(server, tmp_path, monkeypatch)
    yield Names(server, tmp_path, monkeypatch)
    registry.entries.cache_clear()
