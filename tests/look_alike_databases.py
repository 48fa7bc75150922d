"""Writers of tiny look-alikes of the public databases, in their layouts: noise grows as the quality falls.

Each writes images of known quality q in [0, 1] and labels as the real database has them: some fall with q. The six of
LIQE get LIQE's lists too, splits 1 and 2, below `root/splits2`.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

KADID_LEVELS = 2
CSIQ_TYPES = {"awgn": "AWGN", "blur": "BLUR", "contrast": "contrast", "fnoise": "fnoise"}
CSIQ_RAW = {"awgn": "white noise", "blur": "gaussian blur", "contrast": "contrast", "fnoise": "fnoise"}
LIVE_FOLDERS = {"jp2k": (227, 58), "jpeg": (233, 58), "wn": (174, 29), "gblur": (174, 29), "fastfading": (174, 29)}
LIVE_RAW = {
    "jp2k": "jpeg2000 compression",
    "jpeg": "jpeg compression",
    "wn": "white noise",
    "gblur": "gaussian blur",
    "fastfading": "white noise",  # as published
}
TAGS = ("human", "landscape\tplant", "animal\thuman\tindoor")
REALISTIC = ("realistic blur", "realistic noise", "overexposure", "other realistic", "underexposure")


def qualities(count: int, seed: int = 0) -> list[float]:
    """Distinct qualities in random order, in (0, 1)."""
    return np.random.default_rng(seed).permutation((np.arange(count) + 0.5) / count).tolist()


def write_image(path: Path, quality: float, size: tuple[int, int] = (32, 24)) -> None:
    """A gradient with noise that is the stronger the lower the quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(int(1e6 * quality)).normal(0, 60 * (1 - quality), (size[1], size[0], 3))
    gradient = np.linspace(90, 165, size[0])[None, :, None]
    Image.fromarray(np.clip(gradient + noise, 0, 255).astype(np.uint8)).save(path)


def noise_of(path: str) -> float:
    """How noisy an image of `write_image` is."""
    with Image.open(path) as image:
        pixels = np.asarray(image, dtype=np.float64)
    return float((pixels - np.linspace(90, 165, pixels.shape[1])[None, :, None]).std())


def write_lists(root: Path, name: str, rows: list[str], units: list[str]) -> None:
    """LIQE's splits 1 and 2, whole units apart: the first two for the test, the next for validation; then rotated."""
    order = list(dict.fromkeys(units))
    for number in (1, 2):
        folder = root / "splits2" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        rotated = order[number - 1 :] + order[: number - 1]
        part = dict.fromkeys(rotated[:2], "test") | dict.fromkeys(rotated[2:4], "val")
        for split in ("train", "val", "test"):
            lines = [row for row, unit in zip(rows, units, strict=True) if part.get(unit, "train") == split]
            (folder / f"{name}_{split}_clip.txt").write_text("\n".join(lines) + "\n")


def list_row(path: str, score: float, distortion: str, number: int) -> str:
    """A row of LIQE's lists: path, score, distortion and three scenes."""
    tags = [*TAGS[number % len(TAGS)].split("\t"), "invalid", "invalid"][:3]
    return "\t".join([path, f"{score:.6f}", distortion, *tags])


def write_koniq(root: Path, count: int = 20) -> Path:
    """KonIQ-10k: official MOS 0..100 with a column `set`, LIQE's lists 1..5; both releases of the images."""
    names = [f"{10004473376 + 7 * number}.jpg" for number in range(count)]
    quality = qualities(count)
    for name, q in zip(names, quality, strict=True):
        write_image(root / "1024x768" / name, q, (64, 48))
        write_image(root / "512x384" / name, q)
    sets = ["training"] * (count - 8) + ["validation"] * 3 + ["test"] * 5
    votes = pd.DataFrame(np.ones((count, 5), int), columns=[f"c{mark}" for mark in range(1, 6)])
    labels = pd.DataFrame({"image_name": names, **votes, "c_total": 5, "MOS": [100 * q for q in quality], "SD": 0.5})
    labels.assign(set=sets).to_csv(root / "koniq10k_distributions_sets.csv", index=False)
    rows = [
        list_row(f"1024x768/{name}", 1 + 4 * q**2, REALISTIC[number % 5], number)  # no linear image of the official MOS
        for number, (name, q) in enumerate(zip(names, quality, strict=True))
    ]
    write_lists(root, "koniq10k", rows, names)
    return root


def write_bid(root: Path, count: int = 20) -> Path:
    """BID: .JPG names with four digits; the spreadsheet as CSV with the image's number and its score."""
    quality = qualities(count)
    numbers = list(range(1, 5 * count, 5))
    rows = []
    for number, q in zip(numbers, quality, strict=True):
        name = f"ImageDatabase/DatabaseImage{number:04d}.JPG"
        write_image(root / name, q)
        rows.append(list_row(name, 5 * q, REALISTIC[number % 5], number))
    scores = [5 * q for q in quality]
    pd.DataFrame({"Image Number": numbers, "Average Subjective Grade": scores}).to_csv(
        root / "DatabaseGrades.csv", index=False
    )
    write_lists(root, "bid", rows, rows)
    return root


def write_clive(root: Path, count: int = 20) -> Path:
    """CLIVE: .bmp and .JPG; label files with seven practice images at their head, the images of which are apart."""
    names = [f"{number}.{'bmp' if number % 2 else 'JPG'}" for number in range(3, 3 + count)]
    quality = qualities(count)
    for name, q in zip(names, quality, strict=True):
        write_image(root / "Images" / name, q)
    (root / "Data").mkdir()
    cells = np.array([*[f"t{number}.bmp" for number in range(1, 8)], *names], dtype=object)[:, None]
    mos = [*[1.0] * 7, *[100 * q for q in quality]]
    savemat(root / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.array([mos])})
    savemat(root / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": np.full((1, len(mos)), 17.5)})
    rows = [list_row(f"Images/{name}", mos[7 + i], REALISTIC[i % 5], i) for i, name in enumerate(names)]
    write_lists(root, "clive", rows, names)
    return root


def write_kadid(root: Path, references: int = 10) -> Path:
    """KADID-10k: 25 distortions at two levels of every reference; `dmos` rises with quality."""
    names = [
        f"I{reference:02d}_{kind:02d}_{level:02d}.png"
        for reference in range(1, references + 1)
        for kind in range(1, 26)
        for level in range(1, KADID_LEVELS + 1)
    ]
    quality = qualities(len(names))
    for name, q in zip(names, quality, strict=True):
        write_image(root / "images" / name, q, (12, 8))
    scores = [1 + 4 * q for q in quality]
    originals = [f"{name[:3]}.png" for name in names]
    pd.DataFrame({"dist_img": names, "ref_img": originals, "dmos": scores, "var": 0.5}).to_csv(
        root / "dmos.csv", index=False
    )
    rows = [
        list_row(f"images/{name}", score, "lens", int(name[1:3])) for name, score in zip(names, scores, strict=True)
    ]
    write_lists(root, "kadid10k", rows, originals)
    return root


def write_csiq(root: Path, references: int = 10) -> Path:
    """CSIQ: dmos 0..1, lower is better, in csiq_label.txt; LIQE's lists hold 1 - dmos."""
    images = [
        (folder, f"ref{reference}.{kind}.{level}.png", f"ref{reference}")
        for reference in range(references)
        for folder, kind in CSIQ_TYPES.items()
        for level in (1, 2)
    ]
    quality = qualities(len(images))
    for (folder, name, _), q in zip(images, quality, strict=True):
        write_image(root / "dst_imgs" / folder / name, q)
    labels = [f"{name} {1 - q:.6f}" for (_, name, _), q in zip(images, quality, strict=True)]
    (root / "csiq_label.txt").write_text("\n".join(labels) + "\n")
    rows = [
        list_row(f"dst_imgs/{folder}/{name}", q, CSIQ_RAW[folder], int(reference.removeprefix("ref")))
        for (folder, name, reference), q in zip(images, quality, strict=True)
    ]
    write_lists(root, "csiq", rows, [reference for *_, reference in images])
    return root


def write_live(root: Path, references: bool = True) -> Path:
    """LIVE: the label files name all 982 images, references among them; fast fading has its five levels in a row.

    LIQE's lists hold the levels of fast fading with scenes that differ within a content, as the real ones. All others
    of one content agree.
    """
    images, names, originals = [], [], []
    for folder, (count, pristine) in LIVE_FOLDERS.items():
        for number in range(count):
            images.append(f"{folder}/img{number + 1}.bmp")
            original = number >= count - pristine
            content = number // 5 if folder == "fastfading" and not original else number % 29
            names.append(f"content{content}.bmp")
            originals.append(int(original))
    quality = np.array(qualities(len(images)))
    dmos = np.where(np.array(originals) == 1, 0, 100 * (1 - quality))
    for image, q in zip(images, quality, strict=True):
        write_image(root / image, q, (8, 6))
    savemat(root / "dmos.mat", {"dmos": dmos[None], "orgs": np.array([originals], dtype=np.uint8)})
    realigned = dmos + np.where(np.array(originals) == 1, 0, 4)
    savemat(root / "dmos_realigned.mat", {"dmos_new": realigned[None], "orgs": np.array([originals], dtype=np.uint8)})
    if references:
        savemat(root / "refnames_all.mat", {"refnames_all": np.array(names, dtype=object)[None]})
    rows, units = [], []
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        if not originals[row]:
            folder = image.split("/")[0]
            content = int(name.removeprefix("content").removesuffix(".bmp"))
            tags = row if folder == "fastfading" else content
            rows.append(list_row(image, 114.4 * quality[row], LIVE_RAW[folder], tags))
            units.append(name)
    write_lists(root, "live", rows, units)
    return root


def votes_for(quality: float, total: int = 200) -> list[int]:
    """Ten counts whose mean rises with the quality."""
    marks = np.arange(1, 11)
    weights = np.exp(-0.5 * ((marks - 1 - 9 * quality) / 1.5) ** 2)
    return np.maximum(np.round(total * weights / weights.sum()), 1).astype(int).tolist()


def write_ava(root: Path, count: int = 40) -> Path:
    """AVA: AVA.txt, the official list of test ids (every fifth), and TANet's three files."""
    ids = [str(953619 - 11 * number) for number in range(count)]
    quality = qualities(count)
    lines, rows = [], []
    for number, (name, q) in enumerate(zip(ids, quality, strict=True)):
        write_image(root / "images" / f"{name}.jpg", q)
        lines.append(" ".join(map(str, [number + 1, name, *votes_for(q), 1, 22, 1396])))
        rows.append([name, *votes_for(q), 1, 22, 1396])
    (root / "AVA.txt").write_text("\n".join(lines) + "\n")
    listed = root / "aesthetics_image_lists" / "generic_test.jpgl"
    listed.parent.mkdir()
    listed.write_text("\n".join([*ids[::5], "999999999"]) + "\n")
    (root / "tanet").mkdir()
    header = ["image_id", *[f"score{place}" for place in range(2, 12)], "tag1", "tag2", "tag3"]
    for split, part in (("train", rows[:-10]), ("val", rows[-10:-5]), ("test", rows[-5:])):
        pd.DataFrame(part, columns=header).to_csv(root / "tanet" / f"{split}.csv", index=False)
    return root


def write_tad66k(root: Path, count: int = 40) -> Path:
    """TAD66K: merged labels, and the same images by theme in another partition; half of the names hold an @."""
    names = [f"437518{number}{'@N08' if number % 2 else 'lan'}{5618633908 + number}.jpg" for number in range(count)]
    quality = qualities(count)
    for name, q in zip(names, quality, strict=True):
        write_image(root / "TAD66K" / name, q)
    labels = pd.DataFrame({"image": names, "score": [f"{10 * q:.2f}" for q in quality]})
    _csv(labels[: count - 10], root / "labels" / "merge" / "train.csv")
    _csv(labels[count - 10 :], root / "labels" / "merge" / "test.csv")
    for place, theme in enumerate(("portrait", "sky")):
        own = labels[place::2]
        _csv(own[5:], root / "labels" / "unmerge" / "train" / f"{theme}.csv")
        _csv(own[:5], root / "labels" / "unmerge" / "test" / f"{theme}.csv")
    return root


def write_flickr_aes(root: Path, count: int = 60, users: int = 10) -> Path:
    """FLICKR-AES: mean scores with a blank before every line, and every person's marks with blanks in the header.

    User u rates 6 + u images; marks rise with the quality.
    """
    names = [f"farm1_{262 + number}_2000907{number}.jpg" for number in range(count)]
    quality = qualities(count)
    for name, q in zip(names, quality, strict=True):
        write_image(root / "40K" / name, q)
    lines = [f" {name} {q:.4f}" for name, q in zip(names, quality, strict=True)]
    (root / "FLICKR-AES_image_score.txt").write_text("\n".join(lines) + "\n")
    rng = np.random.default_rng(1)
    rows = ["worker, imagePair, score"]
    for user in range(users):
        for image in rng.permutation(count)[: 6 + user].tolist():
            rows.append(f"A{user}X,{names[image]},{1 + round(4 * quality[image])}")
    (root / "FLICKR-AES_image_labeled_by_each_worker.csv").write_text("\n".join(rows) + "\n")
    return root


def _csv(labels: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels.to_csv(path, index=False)


def write_tid2013(root: Path, references: int = 25, levels: int = 1) -> Path:
    """TID2013: 24 distortions of every reference, MOS with names, deviations in the same order; some in capitals."""
    names = [
        f"{'I' if reference == 3 else 'i'}{reference:02d}_{kind:02d}_{level}.bmp"
        for reference in range(1, references + 1)
        for kind in range(1, 25)
        for level in range(1, levels + 1)
    ]
    quality = qualities(len(names))
    for name, q in zip(names, quality, strict=True):
        write_image(root / "distorted_images" / name, q, (12, 8))
    lines = [f"{9 * q:.5f} {name.lower()}" for name, q in zip(names, quality, strict=True)]
    (root / "mos_with_names.txt").write_text("\n".join(lines) + "\n")
    (root / "mos_std.txt").write_text("\n".join(f"{0.1 + q / 10:.5f}" for q in quality) + "\n")
    return root


SPAQ_SCENES = ("Animal", "Cityscape", "Human", "Indoor scene", "Landscape", "Night scene", "Plant", "Still-life")
SPAQ_ATTRIBUTES = ("Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness")


def write_spaq(root: Path, count: int = 30, write=None) -> Path:
    """SPAQ: three sheets, here exported as CSV unless `write(frame, path without an ending)` does otherwise.

    Noisiness rises with the quality, as in the real database. The images' numbers end beyond 10,000.
    """
    write = write or (lambda frame, path: frame.to_csv(f"{path}.csv", index=False))
    names = [f"{number:05d}.jpg" for number in range(10_006 - count + 1, 10_007)]
    quality = qualities(count)
    for name, q in zip(names, quality, strict=True):
        write_image(root / "TestImage" / name, q)
    folder = root / "Annotations"
    folder.mkdir()
    scores = pd.DataFrame({"Image name": names, "MOS": [100 * q for q in quality]})
    for place, name in enumerate(SPAQ_ATTRIBUTES):
        scores[name] = [round(90 * q + place, 2) for q in quality]
    write(scores, folder / "MOS and Image attribute scores")
    shares = pd.DataFrame(0.0, index=range(count), columns=[*SPAQ_SCENES, "Others"])
    for row in range(count):
        shares.iloc[row, row % 8], shares.iloc[row, (row + 1) % 8] = (0.6, 0.4) if row % 2 else (0.8, 0.2)
    write(pd.concat([scores[["Image name"]], shares], axis=1), folder / "Scene category labels")
    exif = pd.DataFrame({"Image name": names, "Focal length": 4.2, "F-number": 1.8, "Exposure time": 0.01})
    exif = exif.assign(ISO=[100 + row for row in range(count)], Brightness=3.5, Flash=0, Time="2018")
    write(exif, folder / "EXIF_tags")
    return root


CADB_KINDS = ("center", "diagonal", "rule_of_thirds", "none")


def write_cadb(root: Path, count: int = 40) -> Path:
    """CADB: five ratings an image whose mean rises with the quality, elements by class, scenes, the official split."""
    names = [f"{10_003 + 7 * number}.jpg" for number in range(count)]
    quality = qualities(count)
    scores, elements, scenes = {}, {}, {}
    for number, (name, q) in enumerate(zip(names, quality, strict=True)):
        write_image(root / "images" / name, q)
        total = round(5 + 20 * q)  # the five ratings as alike as their sum allows
        ratings = [float(total // 5 + (place < total % 5)) for place in range(5)]
        fractions = [ratings.count(level) / 5 for level in range(1, 6)]
        scores[name] = {"scores": ratings, "dist": fractions, "mean": sum(ratings) / 5}
        kind = CADB_KINDS[number % 4]
        elements[name] = {kind: []} if number % 5 else {kind: [], "horizontal": [[0, 0, 1, 1]]}
        scenes[name] = ("human", "static", "architecture", "other")[number % 4]
    split = {"train": names[: count - 8], "test": names[count - 8 :]}
    files = {"composition_scores": scores, "composition_elements": elements, "scene_categories": scenes, "split": split}
    for name, content in files.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


def write_fivek(root: Path, count: int = 20) -> Path:
    """FiveK: expert C's pictures, and the same darker or brighter: the further off, the lower the quality."""
    quality = qualities(count)
    for number, q in enumerate(quality, start=1):
        name = f"a{number:04d}-jmac_DSC{1400 + number}"
        write_image(root / "expertC" / f"{name}.png", 0.95, (32, 24))
        with Image.open(root / "expertC" / f"{name}.png") as image:
            light = (np.asarray(image) / 255.0) ** 2.2
        stops = 3 * (1 - q) * (-1 if number % 2 else 1)
        spoilt = 255 * np.clip(light * 2**stops, 0, 1) ** (1 / 2.2)
        (root / "input").mkdir(parents=True, exist_ok=True)
        Image.fromarray(spoilt.round().astype(np.uint8)).save(root / "input" / f"{name}.jpg", quality=95)
    return root
