"""The row on the server: many clients at once, against `piqa.predict` on the same images, and one client alone."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import requests

from bench_rows.measure import Figures, Row, Settings, resident_mb, spread, write_jpegs
from piqa.models import DualBranch
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

BACKBONE, SIDE = "test_byobnet", 160  # those of the demo's model
CLIENTS = 50
SECONDS = "PIQA_BENCH_SERVE_SECONDS"  # a variable: how long the clients ask
ALONE = 10  # requests of the client alone


def serve(settings: Settings) -> Row:
    """Let clients ask for two minutes; compare with the command on the same images, before and after."""
    seconds = float(os.environ.get(SECONDS, 3 if settings.smoke else 120))
    clients, count, lone = (4, 4, 1) if settings.smoke else (CLIENTS, settings.images or 100, ALONE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = DualBranch(BACKBONE, ["whole", "face"], SIDE)
        card = ModelCard(ClassSpec.of(network), {"short_side": 192}, crop_size=SIDE)
        model_file.save(network, folder / "model.safetensors", card)
        (folder / "images").mkdir()
        images = write_jpegs(folder / "images", count, 0.128 if settings.smoke else 1)
        command = [predicted(folder)]
        used = children()
        process, address = started(folder, settings)
        try:
            alone = [asked(address, image, Counter()) for image in images[:1] * (2 + lone)][2:]
            first = resident_mb("VmRSS", process.pid)
            statuses, rate, middle = clients_ask(address, images, clients, seconds, process.pid)
            last = resident_mb("VmRSS", process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        used = (children() - used) / (statuses[200] + 2 + lone)
        if not settings.smoke:  # in which most of its time is its start
            command.append(predicted(folder))
    ways: dict[str, Figures] = {
        "server": {**spread([1 / rate], [used]), "images_per_s": rate},
        "piqa.predict": spread([wall for wall, _ in command], [cpu for _, cpu in command]),
    }
    ways["piqa.predict"]["images_per_s"] = 1 / ways["piqa.predict"]["median_s"]
    return Row(
        row="serve",
        what=f"{clients} clients for {seconds:g} s, each with one JPEG of about 1 MP at a time, and `piqa.predict` on "
        f"{count} of the same, before and after, its start left out, but not of the CPU seconds; "
        "a model of the demo's size, random weights",
        ratio=rate * ways["piqa.predict"]["median_s"],
        compared="images/s of the server, with its clients on the same cores : of piqa.predict",
        expected=">= 0.9, no answer but 200 and 503, memory flat, one image < 0.3 s when idle",
        clock="wall",
        ways=ways,
        facts={
            "answers_200": statuses[200],
            "answers_503": statuses[503],
            "other_answers": sum(statuses.values()) - statuses[200] - statuses[503],
            "one_image_alone_s": statistics.median(alone),
            "resident_mb_before": first,
            "resident_mb_halfway": middle,
            "resident_mb_after": last,
        },
    )


def predicted(folder: Path) -> tuple[float, float]:
    """Return seconds an image of `piqa.predict`, by its own clock without start and loading, and its CPU seconds."""
    out = folder / f"{time.monotonic_ns()}.csv"
    command = [sys.executable, "-m", "piqa.predict", "images", "--ckpt_path", "model.safetensors", "--workers", "0"]
    before = children()
    subprocess.run([*command, "--out", str(out)], cwd=folder, check=True, capture_output=True)
    summary = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    return summary["seconds"] / summary["scored_now"], (children() - before) / summary["scored_now"]


def children() -> float:
    """Return the CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def started(folder: Path, settings: Settings) -> tuple[subprocess.Popen[str], str]:
    """Start a server; return it and its address."""
    command = [sys.executable, "-m", "piqa.serve", "--data", "lab", "--port", "0"]
    command += ["--ckpt_path", "small=model.safetensors", "--device", str(settings.device)]
    command += ["--workers", "1"] if settings.smoke else []  # the start of each takes 4 CPU seconds
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"http://\S+?:\d+", line)
    if found is None:
        raise RuntimeError(f"the server did not start: {line}")
    return process, found[0]


def asked(address: str, image: Path, statuses: Counter[int], session: requests.Session | None = None) -> float:
    """Ask for the score of an image; count the status, and return the seconds that it took."""
    start = time.perf_counter()
    try:
        files = [("images", (image.name, image.read_bytes()))]
        answer = (session or requests).post(f"{address}/api/score", files=files, timeout=300)
        statuses[answer.status_code] += 1
        if answer.status_code == 503:
            time.sleep(float(answer.headers["Retry-After"]))
        elif answer.json()[0]["scores"]["small"]["error"] is not None:
            statuses[-1] += 1
    except requests.RequestException:
        statuses[0] += 1
    return time.perf_counter() - start


def clients_ask(
    address: str, images: list[Path], clients: int, seconds: float, process: int
) -> tuple[Counter[int], float, float]:
    """Let clients ask, one image after another; return the statuses, images a second, and MB half the way."""
    statuses: Counter[int] = Counter()
    start = time.monotonic()

    def ask(number: int) -> None:
        with requests.Session() as session:
            turn = number
            while time.monotonic() - start < seconds:
                asked(address, images[turn % len(images)], statuses, session)
                turn += clients

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    middle = resident_mb("VmRSS", process)
    for thread in threads:
        thread.join()
    return statuses, statuses[200] / (time.monotonic() - start), middle
