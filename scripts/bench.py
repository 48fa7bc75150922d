"""Speed and memory, each row two ways compared in one run: `python scripts/bench.py [ROW ...] --out bench.json`.

Machines differ and are noisy, so a row gives the ratio of two ways measured in turn, with the median and the spread of
each. Rows: detection (12-megapixel pictures against 2), liqe (15 windows cut against the whole grid), pretrain-input
(LSVQ clips out of the store against decoding the video every time).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]


def in_turn(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """CPU seconds of each way, measured in turn so that a busy moment hits all; the first call is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if repeat:
                seconds[name].append(time.process_time() - start)
    return {
        name: {"median_cpu_s": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in seconds.items()
    }


def portrait(megapixels: float) -> Image.Image:
    """The demo's astronaut, enlarged and stretched to 3:4 of that many million pixels."""
    import skimage.data

    side = (megapixels * 1e6 / 12) ** 0.5
    return Image.fromarray(skimage.data.astronaut()).resize(
        (round(3 * side), round(4 * side)), Image.Resampling.BICUBIC
    )


def detection(repeats: int) -> Row:
    """Finding faces: a picture of 12 megapixels against one of 2, on the bounded copy and without the bound."""
    from piqa.faces import FaceDetector

    bounded, unbounded = FaceDetector(), FaceDetector(detection_side=1_000_000)
    small, large = portrait(2), portrait(12)
    times = in_turn(
        {
            "2 MP": lambda: bounded.detect(small),
            "12 MP": lambda: bounded.detect(large),
            "12 MP, no bound": lambda: unbounded.detect(large),
        },
        repeats,
    )
    ratio = times["12 MP"]["median_cpu_s"] / times["2 MP"]["median_cpu_s"]
    return {"row": "detection", "what": "face detection, 12 MP over 2 MP", "ratio": ratio, "ways": times}


def liqe(repeats: int) -> Row:
    """LIQE's windows of a 12-megapixel picture: cutting 15 against unfolding the grid; memory in child processes."""
    image = portrait(12)
    times = in_turn({"15 cut": lambda: cut(image), "whole grid": lambda: unfold(image)}, repeats)
    for name in times:
        times[name]["peak_extra_mb"] = _peak_of(name)
    ratio = times["whole grid"]["peak_extra_mb"] / max(times["15 cut"]["peak_extra_mb"], 0.1)
    return {"row": "liqe", "what": "LIQE windows of 12 MP, peak memory of grid over cut", "ratio": ratio, "ways": times}


def cut(image: Image.Image) -> torch.Tensor:
    """The product's way."""
    from piqa.models.liqe import cut_windows

    return cut_windows(image)


def unfold(image: Image.Image) -> torch.Tensor:
    """The published way: all windows, in float32, then 15 of them."""
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float().div(255)
    windows = pixels.unfold(1, 224, 32).unfold(2, 224, 32).permute(1, 2, 0, 3, 4).reshape(-1, 3, 224, 224)
    return windows[:: len(windows) // 15][:15].clone()


def _peak_of(way: str) -> float:
    """Growth of the peak memory in MB while a fresh process cuts windows in one way."""
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bench; bench.print_peak({way!r})"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


def print_peak(way: str) -> None:
    """What the child process of `_peak_of` runs."""
    image = portrait(12)
    cut(portrait(0.1))  # import everything first
    before = _peak_mb()
    {"15 cut": cut, "whole grid": unfold}[way](image)
    print(_peak_mb() - before)


def _peak_mb() -> float:
    """Peak resident memory of this process (Linux); unlike ru_maxrss it is not inherited from the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def pretrain_input(repeats: int) -> Row:
    """Clips of 8 frames of a 10 s 1080p video: out of the store, in each encoding, against decoding it every time."""
    from piqa.data.transforms import TrainingCrops
    from piqa.store import PreparedStore
    from piqa.video import Clip, ClipPreparation, decode_clip

    crops = TrainingCrops(384)

    def sample(clip: Clip) -> torch.Tensor:
        return crops.of_frames(clip.frames, seed=0)

    with tempfile.TemporaryDirectory() as folder:
        video = write_video(Path(folder, "portrait.mp4"))
        ways: dict[str, Callable[[], object]] = {"decode": lambda: sample(decode_clip(video, ClipPreparation()))}
        sizes = {"decode": 0.0}
        for encoding in ("raw", "webp"):
            store: PreparedStore[Clip] = PreparedStore(Path(folder, "store"), ClipPreparation(encoding=encoding))
            store.build([video], workers=0, progress=False)
            ways[f"store, {encoding}"] = partial(lambda store: sample(store.load(video)), store)
            sizes[f"store, {encoding}"] = store.entry(video).stat().st_size / 1e6
        times = in_turn(ways, repeats)
    for name, size in sizes.items():
        times[name] |= {"entry_mb": size, "clips_per_cpu_s": 1 / times[name]["median_cpu_s"]}
    seconds = _step_seconds()
    times["one training step of 6 clips, Swin-B/384"] = {"median_cpu_s": seconds, "min": seconds, "max": seconds}
    times["one training step of 6 clips, Swin-B/384"]["clips_per_s"] = 6 / seconds
    ratio = times["decode"]["median_cpu_s"] / times["store, raw"]["median_cpu_s"]
    return {"row": "pretrain-input", "what": "LSVQ clip, decoding over raw store", "ratio": ratio, "ways": times}


def write_video(path: Path) -> Path:
    """10 s of 1080p H.264 at 25 frames a second: the astronaut under a camera that pans."""
    import av

    picture = np.asarray(portrait(12))  # 3000 pixels wide: room to pan 4 pixels a frame
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(250):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture[number : number + 1080, 4 * number :][:, :1920])
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _step_seconds() -> float:
    """Wall seconds of a training step of 6 clips of 8 frames on the device at hand, from one clip's on a CPU."""
    from piqa.models import Regressor

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clips = 6 if device.type == "cuda" else 1  # a CPU's time is proportional to the pictures
    network = Regressor().to(device)
    images = torch.randint(0, 256, (8 * clips, 3, 384, 384), dtype=torch.uint8, device=device)
    for _ in range(3 if device.type == "cuda" else 1):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            network(images).float().square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - start) * 6 / clips


ROWS: dict[str, Callable[[int], Row]] = {"detection": detection, "liqe": liqe, "pretrain-input": pretrain_input}


def main() -> None:
    """Measures the rows that are asked for, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    args = parser.parse_args()
    if unknown := [row for row in args.rows if row not in ROWS]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    torch.set_num_threads(args.threads)
    results = [ROWS[row](args.repeats) for row in args.rows or ROWS]
    table = Table("row", "ratio", "way", "median s", "spread", "more")
    for result in results:
        for number, (name, way) in enumerate(result["ways"].items()):
            first = ("", "") if number else (result["what"], f"{result['ratio']:.2f}")
            spread = f"{way['min']:.3f} to {way['max']:.3f}"
            more = ", ".join(
                f"{key} {value:.1f}" for key, value in way.items() if key not in ("median_cpu_s", "min", "max")
            )
            table.add_row(*first, name, f"{way['median_cpu_s']:.3f}", spread, more)
    Console().print(table)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"threads": args.threads, "repeats": args.repeats, "rows": results}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
