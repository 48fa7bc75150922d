"""Measure the face detectors in hard cases: in the dark, small, half covered, turned, blurred, squeezed.

    python scripts/face_detection.py                    # the generated cases, in some minutes
    python scripts/face_detection.py --images FOLDER    # and the share of images of yours in which a face is found

The cases are made from two public-domain portraits that come with scikit-image and matplotlib, so the table tells how
detectors give way, not how many faces of real photographs they find. A profile cannot be made from a frontal portrait:
`squeezed` narrows the face as a turned head does, but still shows both eyes and the whole mouth; it is a proxy at best.
YuNet takes part where its model file lies in its place (data/README.md).

The table of sides tells what `data.preparation.detection_side` costs and gives: in how many images MTCNN finds a face
at each side, how far its boxes are those at 1600 px, how many faces of a group it finds, and CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from piqa.errors import InputError
from piqa.preparation.faces import Box, Face, FaceDetector, choose_face, find_face, turned_clockwise
from piqa.preparation.image_file import open_image
from piqa.preparation.mtcnn import MTCNNDetector
from piqa.preparation.portrait import THRESHOLDS
from piqa.preparation.yunet import YUNET_PLACE, YuNetDetector

SIDES = (1600, 1200, 800, 640)  # the first is the published one, with which the others are compared
SIZE = 3  # times the portraits are enlarged, to about 3 megapixels
CANVAS = (4000, 3000)  # on which faces are small
READ_NOISE, SHOT_NOISE = 0.002, 0.0004  # of full scale in linear light: about a phone's small sensor at base ISO
Made = tuple[Image.Image, Box]  # an image, and where its face is
Case = Callable[[Image.Image, Box], Made]


def people() -> list[Image.Image]:
    """Return Eileen Collins (NASA) and Grace Hopper (US Navy)."""
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    both = Image.fromarray(skimage.data.astronaut()), Image.open(hopper).convert("RGB")
    return [one.resize((SIZE * one.width, SIZE * one.height), Image.Resampling.LANCZOS) for one in both]


# The cases


def dark(stops: float, pushed: bool) -> Case:
    """Return a case with less light by a number of stops, with the sensor's noise; `pushed` is brightened again."""

    def make(image: Image.Image, box: Box) -> Made:
        stored = np.asarray(image, dtype=np.float64) / 255
        light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4) * 2.0**-stops
        noise = np.random.default_rng(0).standard_normal(light.shape)
        light = light + noise * np.sqrt(READ_NOISE**2 + SHOT_NOISE * light)
        light = (light * 2.0**stops if pushed else light).clip(0, 1)
        stored = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return Image.fromarray(np.rint(stored * 255).astype(np.uint8)), box

    return make


def small(height: int) -> Case:
    """Return a case with a face of this height in pixels in the middle of a plain canvas of 12 megapixels."""

    def make(image: Image.Image, box: Box) -> Made:
        scale = height / (box[3] - box[1])
        person = image.resize((round(image.width * scale), round(image.height * scale)), reducing_gap=3.0)
        left, top = (CANVAS[0] - person.width) // 2, (CANVAS[1] - person.height) // 2
        canvas = Image.new("RGB", CANVAS, (128, 128, 128))
        canvas.paste(person, (left, top))
        return canvas, moved(box, scale, left, top)

    return make


def covered(side: str) -> Case:
    """Return a case with one half of the face under a grey rectangle."""

    def make(image: Image.Image, box: Box) -> Made:
        x1, y1, x2, y2 = box
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        halves = {"left": (x1, y1, middle_x, y2), "right": (middle_x, y1, x2, y2)}
        halves |= {"upper": (x1, y1, x2, middle_y), "lower": (x1, middle_y, x2, y2)}
        image = image.copy()
        ImageDraw.Draw(image).rectangle(halves[side], fill=(110, 110, 110))
        return image, box

    return make


def rotated(degrees: float) -> Case:
    """Return a case turned clockwise about the face; its box is the upright face's own, about the same middle."""

    def make(image: Image.Image, box: Box) -> Made:
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        return image.rotate(-degrees, Image.Resampling.BICUBIC, center=middle, fillcolor=(128, 128, 128)), box

    return make


def blurred(fraction: float) -> Case:
    """Return a case blurred by a Gaussian whose sigma is a fraction of the face's height."""
    return lambda image, box: (image.filter(ImageFilter.GaussianBlur(fraction * (box[3] - box[1]))), box)


def squeezed(scale: float) -> Case:
    """Return a case narrowed to a fraction of its width."""

    def make(image: Image.Image, box: Box) -> Made:
        narrow = image.resize((round(image.width * scale), image.height), Image.Resampling.BICUBIC)
        return narrow, (box[0] * scale, box[1], box[2] * scale, box[3])

    return make


def mirrored(image: Image.Image, box: Box) -> Made:
    """Mirror an image."""
    return ImageOps.mirror(image), (image.width - box[2], box[1], image.width - box[0], box[3])


def moved(box: Box, scale: float, left: float, top: float) -> Box:
    """Return a box scaled and then moved."""
    x1, y1, x2, y2 = (scale * edge for edge in box)
    return x1 + left, y1 + top, x2 + left, y2 + top


CASES: dict[str, Case] = {"as it is": lambda image, box: (image, box), "mirrored": mirrored}
CASES |= {f"dark, {stops} stops": dark(stops, False) for stops in (2, 4, 6)}
CASES |= {f"dark, {stops} stops, brightened again": dark(stops, True) for stops in (4, 6, 8)}
CASES |= {f"small: {height} px of 4000 x 3000": small(height) for height in (240, 120, 80, 60, 40)}
CASES |= {f"{side} half covered": covered(side) for side in ("left", "right", "upper", "lower")}
CASES |= {f"turned by {degrees}°": rotated(degrees) for degrees in (15, 30, 45, 60, 90, 180)}
CASES |= {f"blurred, sigma {fraction:.0%} of the face": blurred(fraction) for fraction in (0.03, 0.06, 0.12)}
CASES |= {f"squeezed to {scale:.0%} of the width": squeezed(scale) for scale in (0.7, 0.5, 0.35)}


# The measurement


def overlap(box: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width, height = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (Face(box, 1.0).area + Face(other, 1.0).area - shared)


def detectors(yunet: str) -> dict[str, tuple[FaceDetector, float]]:
    """Return the detectors by name, each with its threshold."""
    made: dict[str, tuple[FaceDetector, float]] = {
        f"MTCNN, {side} px": (MTCNNDetector(side), THRESHOLDS["mtcnn"]) for side in SIDES
    }
    try:
        made["YuNet, 640 px"] = YuNetDetector(yunet), THRESHOLDS["yunet"]
    except InputError as error:
        print(f"without YuNet: {error}\n")
    return made


def outcome(case: Case, detector: FaceDetector, threshold: float, portraits: list[Made]) -> str:
    """Return in how many portraits the face is found, the lowest probability and the lowest IoU with the clean box."""
    found, probabilities, overlaps = 0, [], []
    for image, clean in portraits:
        made, expected = case(image, clean)
        faces = [face for face in detector.detect(made) if overlap(face.box, expected) > 0.3]
        face = choose_face(faces, "most_confident", 0.0)
        if face is not None:
            found += face.probability >= threshold
            probabilities.append(face.probability)
            overlaps.append(overlap(face.box, expected))
    if len(probabilities) < len(portraits):
        return f"{found} of {len(portraits)}"
    return f"{found} of {len(portraits)}, p {min(probabilities):.3f}, IoU {min(overlaps):.2f}"


def hard_cases(known: dict[str, tuple[FaceDetector, float]]) -> Iterator[list[str]]:
    """Yield the rows of the table of cases."""
    yield ["case", *known]
    portraits = [
        [(image, max(detector.detect(image), key=lambda face: face.probability).box) for image in people()]
        for detector, _ in known.values()
    ]
    for name, case in CASES.items():
        pairs = zip(known.values(), portraits, strict=True)
        yield [name, *(outcome(case, *detector, clean) for detector, clean in pairs)]


def turns(known: dict[str, tuple[FaceDetector, float]]) -> Iterator[list[str]]:
    """Yield the rows that tell what `try_turns` makes of the portraits stored in other ways, and what it costs."""
    yield [
        "detector",
        "turned right, of 6",
        "false turns, of 2 upright",
        "s, face",
        "s, no face",
        "s, no face, no turns",
    ]
    empty = Image.new("RGB", CANVAS, (128, 128, 128))
    empty.paste(
        Image.fromarray(np.random.default_rng(0).integers(90, 160, (1500, 2000, 3), dtype=np.uint8)), (900, 700)
    )
    large = people()[1].resize((3000, 3516))
    for name, (detector, threshold) in known.items():
        right = wrong = 0
        for image in people():
            for turn in (0, 90, 180, 270):
                found = find_face(
                    turned_clockwise(image, 360 - turn if turn else 0), detector, "largest", threshold, True
                )
                right += turn > 0 and found[1] == turn
                wrong += turn == 0 and found[1] != 0
        seconds = []
        for image, tried in ((large, True), (empty, True), (empty, False)):
            start = time.process_time()
            find_face(image, detector, "largest", threshold, tried)
            seconds.append(f"{time.process_time() - start:.2f}")
        yield [name, str(right), str(wrong), *seconds]


def group(height: int, people_in_all: int = 40) -> Image.Image:
    """Return a group picture of 12 megapixels: two people in turn, with faces of this height in pixels."""
    canvas = Image.new("RGB", CANVAS, (128, 128, 128))
    detector = MTCNNDetector(SIDES[0])
    small_people = []
    for person in people():
        _, y1, _, y2 = max(detector.detect(person), key=lambda face: face.probability).box
        scale = height / (y2 - y1)
        size = round(person.width * scale), round(person.height * scale)
        small_people.append(person.resize(size, Image.Resampling.LANCZOS))
    columns, rows = 8, people_in_all // 8
    for place in range(people_in_all):
        person = small_people[place % 2]
        left = (2 * (place % columns) + 1) * CANVAS[0] // (2 * columns) - person.width // 2
        top = (2 * (place // columns) + 1) * CANVAS[1] // (2 * rows) - person.height // 2
        canvas.paste(person, (left, top))
    return canvas


GROUPS = (120, 80, 60, 45)  # heights of the faces of 40 people


def sides(images: dict[str, list[Image.Image]], side_groups: dict[int, Image.Image]) -> Iterator[list[str]]:
    """Yield the rows that compare the sides of MTCNN's copy on the same images, with 1600 px as the reference."""
    names = [f"faces found, {name} ({len(some)})" for name, some in images.items()]
    groups = [f"of 40 faces of {height} px" for height in side_groups]
    yield ["side", *names, "lost", "IoU with 1600 px: median", "5 %", "lowest", *groups, "CPU s an image"]
    reference: list[Face | None] = []
    for side in SIDES:
        detector, found, start = MTCNNDetector(side), [], time.process_time()
        for some in images.values():
            found.append([choose_face(detector.detect(image), "largest", THRESHOLDS["mtcnn"]) for image in some])
        seconds = (time.process_time() - start) / sum(map(len, found))
        chosen = [face for some in found for face in some]
        reference = reference or chosen
        pairs = list(zip(reference, chosen, strict=True))
        lost = sum(before is not None and now is None for before, now in pairs)
        overlaps = [overlap(now.box, before.box) for before, now in pairs if before is not None and now is not None]
        counts = [str(sum(face is not None for face in some)) for some in found]
        of_groups = [_counted(detector, image) for image in side_groups.values()]
        told = [f"{np.quantile(overlaps, part):.2f}" for part in (0.5, 0.05, 0)]
        yield [f"{side} px", *counts, str(lost), *told, *map(str, of_groups), f"{seconds:.2f}"]


def _counted(detector: FaceDetector, image: Image.Image) -> int:
    return sum(face.probability >= THRESHOLDS["mtcnn"] for face in detector.detect(image))


def made_images() -> dict[str, list[Image.Image]]:
    """Return the portraits and all cases made of them."""
    detector = MTCNNDetector(SIDES[0])
    clean = [(image, max(detector.detect(image), key=lambda face: face.probability).box) for image in people()]
    hard = [case(*one)[0] for name, case in CASES.items() if name != "as it is" for one in clean]
    return {"as they are": [image for image, _ in clean], "hard cases": hard}


def of_folder(folder: Path, known: dict[str, tuple[FaceDetector, float]]) -> Iterator[list[str]]:
    """Yield the rows that tell in how many images of a folder each detector finds a face."""
    yield ["detector", "images with a face", "median of the longer side of the box, px"]
    images = [open_image(file) for file in sorted(folder.rglob("*")) if file.is_file()]
    for name, (detector, threshold) in known.items():
        faces = [choose_face(detector.detect(image), "largest", threshold) for image in images]
        boxes = np.array([face.box for face in faces if face is not None]).reshape(-1, 4)
        median = np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)) if len(boxes) else np.nan
        yield [name, f"{len(boxes)} of {len(images)}", f"{median:.0f}"]


def show(rows: Iterator[list[str]]) -> None:
    """Print rows as a Markdown table, each as soon as it is known."""
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |", flush=True)
        if number == 0:
            print("|" + "---|" * len(row))
    print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yunet", default=YUNET_PLACE, help="YuNet's model file")
    parser.add_argument("--sides", action="store_true", help="only compare the sides of MTCNN's copy")
    parser.add_argument("--images", type=Path, help="folder of images of yours")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = made_images()
    if options.images is not None:
        files = sorted(file for file in options.images.rglob("*") if file.is_file())
        images |= {"of the folder": [open_image(file) for file in files]}
    show(sides(images, {height: group(height) for height in GROUPS}))
    if options.sides:
        return
    known = detectors(options.yunet)
    show(hard_cases(known))
    show(turns(known))
    if options.images is not None:
        show(of_folder(options.images, known))


if __name__ == "__main__":
    main()
