"""How a training program ends."""

import subprocess
import sys

# Loaders that something still refers to when the program exits, as a traceback may.
PROGRAM = """
import atexit, sys
from torch.utils.data import DataLoader
from piqa.data.loader import ignore_signals
from piqa.training.signals import end_loading_processes

atexit.register(end_loading_processes)
loader = DataLoader(range(10), num_workers=2, persistent_workers=True, worker_init_fn=ignore_signals)
sys.still_held = iter(loader)
next(sys.still_held)
sys.exit(2)
"""


def test_a_program_that_still_holds_its_loading_processes_ends():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr
