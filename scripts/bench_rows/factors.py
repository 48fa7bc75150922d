"""The row on factors: what measuring a photograph costs beyond decoding it and finding its face, and in a stream."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import scipy.io
import torch

from bench_rows.measure import (
    Figures,
    PeakMemory,
    Row,
    Settings,
    in_child,
    in_turn,
    resident_mb,
    spread,
    threads,
    write_jpegs,
)
from bench_rows.peer import Peer, peer
from piqa.factors.families import FACTORS
from piqa.factors.measure import PREPARATION, FactorMeasurer, PortraitFactors, factors_of
from piqa.preparation.file_facts import read_file_facts
from piqa.preparation.image_file import open_image
from piqa.preparation.portrait import Preparer
from piqa.system.memory import keep_freed_memory

NOT_AT_HAND = "not at hand"
OTHERS = ("niqe", "brisque")
FEATURES, SUPPORT_VECTORS = 36, 774  # of NIQE and BRISQUE, and of BRISQUE's published weights
STREAM = (0.3, 0.5, 0.8, 1.2)  # million pixels of the photographs in a stream


def factors(settings: Settings) -> Row:
    """Time the factors of a photograph by CPU seconds of one thread, and measure their memory and that of a stream."""
    megapixels, images = (0.5, settings.images or 4) if settings.smoke else (12.0, settings.images or 1000)
    with tempfile.TemporaryDirectory() as name, threads(1):
        folder = Path(name)
        (file,) = write_jpegs(folder, 1, megapixels)
        ways, measured = costs(file, settings)
        write_weights(folder)
        with peer(folder, settings) as other:
            for model in OTHERS if other is not None else ():
                ways[f"pyiqa {model}"] = cost_of(other, model, file, settings.times(5))
            version = other.version if other else NOT_AT_HAND
        peaks = in_child(peak_memory, file, fresh=not settings.smoke)
        for way, peak in peaks.items():
            ways[way]["peak_mb"] = peak
    rivals, against = ["decoding", "finding the face"], "the faster of decoding and finding the face"
    if version != NOT_AT_HAND:
        rivals, against = [f"pyiqa {model}" for model in OTHERS], "the faster of pyiqa's NIQE and BRISQUE"
    ways[f"stream of {images} photographs"] = in_child(stream_memory, images, fresh=not settings.smoke)
    return Row(
        row="factors",
        what=f"all {len(FACTORS)} factors of a JPEG of {megapixels:g} MP that is decoded and whose face is found; one "
        "thread; NIQE and BRISQUE with weights of their size. Memory: peak in a fresh process, and in a stream at the "
        f"end against the second quarter (photographs of {', '.join(map(str, STREAM))} MP, faces found)",
        ratio=min(ways[way]["median_s"] for way in rivals) / ways["factors"]["median_s"],
        compared=f"CPU seconds of {against} : those of all factors",
        expected="factors of 12 MP in <= 0.4 CPU s and < 400 MB, stream growth < 50 MB",
        clock="cpu",
        ways=ways,
        facts={"pyiqa": version, "factors": len(FACTORS), "measured": measured},
    )


def costs(file: Path, settings: Settings) -> tuple[dict[str, Figures], int]:
    """Time decoding, finding the face, the factors, and these with the maps; return how many factors have a value."""
    preparer, facts = Preparer(PREPARATION), read_file_facts(file)
    image = open_image(file, "srgb")
    found = preparer.find_face(image)

    def measure() -> PortraitFactors:
        return factors_of(image, found, facts)

    ways: dict[str, Callable[[], object]] = {
        "decoding": lambda: open_image(file, "srgb"),
        "finding the face": lambda: preparer.find_face(image),
        "factors": measure,
        "factors and maps": lambda: measure().maps,
    }
    measured = sum(value is not None for value in measure().values.values())
    return in_turn(ways, settings.times(5), "cpu", torch.device("cpu")), measured


def write_weights(folder: Path) -> None:
    """Write weights for NIQE and BRISQUE as pyiqa reads them: they change the score, and neither time nor memory."""
    rng = np.random.default_rng(0)
    scipy.io.savemat(folder / "niqe.mat", {"mu_prisparam": rng.random(FEATURES), "cov_prisparam": np.eye(FEATURES)})
    torch.save((torch.rand(SUPPORT_VECTORS), torch.rand(SUPPORT_VECTORS, FEATURES)), folder / "brisque.pt")


def cost_of(other: Peer, model: str, file: Path, repeats: int) -> Figures:
    """Return CPU seconds and peak memory of a model of pyiqa's; its first call does not count."""
    calls = [other.cost(model, file) for _ in range(1 + repeats)]
    cpu = [call["cpu_s"] for call in calls[1:]]
    return spread(cpu, cpu) | {"peak_mb": max(call["peak_mb"] for call in calls)}


def peak_memory(file: Path) -> dict[str, float]:
    """Return by how much memory grows while a decoded photograph is measured, in MB, by way."""
    keep_freed_memory()
    image = open_image(file, "srgb")
    found, facts, cpu = Preparer(PREPARATION).find_face(image), read_file_facts(file), torch.device("cpu")
    small = image.resize((300, 400))
    factors_of(small, found).maps  # noqa: B018 -- imports, which are no memory of a photograph
    with PeakMemory(cpu) as of_factors:
        measured = factors_of(image, found, facts)
    with PeakMemory(cpu) as of_maps:
        measured.maps  # noqa: B018 -- made now
    return {"factors": of_factors.mb, "factors and maps": of_factors.mb + of_maps.mb}


def stream_memory(images: int) -> Figures:
    """Return the resident memory of a fresh process that measures many photographs from their files."""
    keep_freed_memory()
    measure, held = FactorMeasurer(), []
    with tempfile.TemporaryDirectory() as name:
        files = []
        for place, megapixels in enumerate(STREAM):
            (Path(name) / str(place)).mkdir()
            files += write_jpegs(Path(name) / str(place), 2, megapixels)
        for file in islice(cycle(files), images):
            measure(file)
            held.append(resident_mb("VmRSS"))
    part = max(len(held) // 4, 1)  # the first quarter warms up
    late, early = statistics.median(held[-part:]), statistics.median(held[part : 2 * part])
    return {"memory_mb": late, "memory_growth_mb": late - early, "most_memory_mb": max(held)}
