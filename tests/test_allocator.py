"""Freed memory stays with the process where networks run on a CPU, and goes back to the system elsewhere."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import write_images, write_tiny_model

from piqa import cli, fit
from piqa.system import memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
MEGABYTES = 200
RESIDENT = f"""
import numpy as np

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

before = resident()
block = np.ones({MEGABYTES} << 17)
assert resident() > before + {MEGABYTES * 0.9}
del block
print(resident() - before)
"""
KEEP = f"import runpy; runpy.run_path({str(Path(memory.__file__))!r})['keep_freed_memory']()\n"


def megabytes_left(setting_up, **variables):
    """What a process still holds of a large array that it has freed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", setting_up + RESIDENT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | variables)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def test_a_freed_array_goes_back_to_the_system_by_default():
    assert megabytes_left("") < 20


def test_a_freed_array_is_kept_when_asked_for():
    assert megabytes_left(KEEP) > MEGABYTES * 0.9


@pytest.mark.parametrize("variable", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_settings_of_the_user_are_left_alone(variable):
    assert megabytes_left(KEEP, **{variable: "131072"}) < 20


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("from piqa import Scorer; Scorer.load('{model}', device='cpu').score(['{image}'])", False),
        ("from piqa import predict; predict.predict(['{image}'], '{model}', '{model}/scores.csv', device='cpu')", True),
    ],
)
def test_the_command_that_scores_on_a_cpu_keeps_it_and_the_library_leaves_the_process_alone(tmp_path, command, kept):
    write_tiny_model(tmp_path)
    (image,) = write_images(tmp_path / "images", 1)
    left = megabytes_left(command.format(model=tmp_path, image=image) + "\n")
    assert left > MEGABYTES * 0.9 if kept else left < MEGABYTES * 0.2


def test_training_on_a_cpu_keeps_it(tiny_config, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: asked.append(True))
    fit.main(["--config", str(tiny_config), "--out", str(tmp_path / "run"), "--trainer.max_epochs", "1"])
    assert asked == [True]
