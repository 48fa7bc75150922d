"""What the tests of the prepared store share: eight small images, and what a store makes of them."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from portraits import collins, hopper

import piqa
from piqa.preparation.portrait import Preparation

SETTINGS = Preparation(short_side=64)
NOISE = 6  # images without a face
PEOPLE = {"collins.png": collins, "hopper.png": hopper}


def write_images(folder):
    """Paths of eight images: noise without a face, and two portraits."""
    folder.mkdir()
    for name, person in PEOPLE.items():
        person().resize((200, 240)).save(folder / name)
    rng = np.random.default_rng(0)
    for number in range(NOISE):
        Image.fromarray(rng.integers(0, 256, (60, 50 + number, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return sorted(map(str, folder.iterdir()))


def build(store, images, **options):
    return store.build(images, **{"workers": 0, "max_failed": 0.0, "progress": False} | options)


def counts(report):
    return report.prepared, report.reused


def same(portrait, other):
    def equal(one, two):
        return np.array_equal(one, two) and getattr(one, "dtype", None) == getattr(two, "dtype", None)

    return (
        equal(portrait.whole, other.whole)
        and equal(portrait.face_crop, other.face_crop)
        and portrait.face_box == other.face_box
        and equal(portrait.liqe_logits, other.liqe_logits)
    )


def holds_all(store, images, preparer):
    return all(same(store.load(image), preparer(image)) for image in images)


def entries(store):
    return sorted(store.root.rglob("*.safetensors"))


def leftovers(store):
    return sorted(store.root.rglob("*.part"))


def python(script, *arguments):
    """A process of its own that imports the store and runs a script.

    Where the processor is short, it is what waits, so that a test that interrupts it comes before its end.
    """
    start = f"""
import os, sys, time
from pathlib import Path
from piqa.preparation.portrait import Preparation
from piqa.preparation.store import PreparedStore
SETTINGS = {SETTINGS!r}
"""
    command = [sys.executable, "-c", start + script, *map(str, arguments)]
    settings = {"cwd": Path(piqa.__file__).parents[1], "preexec_fn": partial(os.nice, 10)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **settings)


def flip(path, position):
    """Flips the bits of one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def flip_in(entry, name):
    """Flips a byte in the middle of one array of an entry."""
    content = entry.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    begin, end = json.loads(content[8:header])[name]["data_offsets"]
    flip(entry, header + (begin + end) // 2)


@contextmanager
def within(seconds):
    """Ends what hangs with a TimeoutError."""

    def end(*_):
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
