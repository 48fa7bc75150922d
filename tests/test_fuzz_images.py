import argparse
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from piqa.preparation.image_file import decode_image

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def stumble(files, model, out, memory, messages):
    """The real scoring, but the third file ends the process, or keeps it for ever, as its name says."""
    import fuzz_images

    from piqa.preparation import image_file

    read = image_file.open_image

    def open_image(path, *settings):
        if Path(path).stem == "crash":
            print("the last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if Path(path).stem == "hang":
            print("the last words", file=sys.stderr, flush=True)
            time.sleep(600)
        return read(path, *settings)

    image_file.open_image = open_image
    fuzz_images.score(files, model, out, memory, messages)


@pytest.mark.slow
def test_the_files_at_which_scoring_dies_or_hangs_are_named_and_the_others_go_on(scripts, tmp_path, monkeypatch):
    import fuzz_images
    from hostile_images import sound

    files = [tmp_path / f"{name}.png" for name in ("a", "b", "crash", "d", "hang", "e")]
    for file in files:
        file.write_bytes(sound("PNG", 0))
    files[3].write_bytes(b"no image")
    monkeypatch.setattr(fuzz_images, "score", stumble)
    options = argparse.Namespace(memory=4000, seconds=5)
    found = list(fuzz_images.scored(files, tmp_path, fuzz_images.write_model(tmp_path), options))
    assert [file for file, *_ in found] == files
    assert [outcome for _, outcome, *_ in found] == ["read", "read", "crash", "refused: no image", "hang", "read"]
    assert all("the last words" in found[place][2] for place in (2, 4))
    assert not multiprocessing.active_children()


def turn_round(files, model, out, memory, messages):
    """In place of the real scoring: writes the rows in another order."""
    pd.DataFrame({"file": [str(file) for file in files[::-1]], "score": 1.0, "error": None}).to_csv(out, index=False)


def test_rows_in_another_order_are_noticed(scripts, tmp_path, monkeypatch):
    import fuzz_images

    monkeypatch.setattr(fuzz_images, "score", turn_round)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    options = argparse.Namespace(memory=4000, seconds=60)
    with pytest.raises(RuntimeError, match="out of order"):
        list(fuzz_images.scored(files, tmp_path, tmp_path / "model.json", options))


def test_every_undamaged_encoding_is_read(scripts):
    from hostile_images import ENCODINGS, sound

    for encoding in ENCODINGS:
        assert min(decode_image(sound(encoding, 1), encoding).size) > 100


def test_headers_lie_as_they_are_told(scripts):
    from hostile_images import CLAIMS, sound

    for encoding in ("JPEG", "JPEG, progressive", "PNG", "TIFF, LZW"):
        content = sound(encoding, 0)
        claim = next(claim for magic, claim in CLAIMS.items() if content.startswith(magic))
        with Image.open(io.BytesIO(claim(content, 5000, 3000))) as image:
            assert image.size == (5000, 3000)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_bombs_are_honest_images(scripts, mode):
    from hostile_images import png_bomb, tiff_bomb

    assert decode_image(png_bomb(mode, 300), "bomb").size == (300, 300)
    assert decode_image(tiff_bomb(300), "bomb").size == (300, 300)


def test_what_is_no_regular_file_stands_in_its_place(scripts, tmp_path):
    from hostile_images import Hostile, sound, written

    written(Hostile("PNG", "sparse", sound("PNG", 0)), tmp_path / "sparse")
    written(Hostile("PNG", "a pipe", b""), tmp_path / "pipe")
    assert (tmp_path / "sparse").stat().st_size == 5_000_000_000
    assert (tmp_path / "pipe").is_fifo()


def test_a_seed_gives_the_same_files_again(scripts):
    from hostile_images import hostile

    assert [hostile(3, number) for number in range(10)] == [hostile(3, number) for number in range(10)]
    assert hostile(3, 0) != hostile(4, 0)


@pytest.mark.slow
def test_hostile_files_cost_their_row_and_no_more(scripts, tmp_path):
    from hostile_images import DAMAGES, ENCODINGS

    out = tmp_path / "fuzz.csv"
    done = subprocess.run(
        [sys.executable, SCRIPTS / "fuzz_images.py", "300", "--out", out], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(out)
    assert table["number"].tolist() == list(range(300))
    assert set(table["damage"]) == set(DAMAGES) and set(table["encoding"]) == set(ENCODINGS)
    assert (table.loc[table["damage"] == "none", "outcome"] == "read").all()
    refused = {"no image", "damaged", "too many pixels", "no regular file", "too large a file", "too many scans"}
    assert set(table["outcome"]) > {"read"} | {f"refused: {reason}" for reason in refused}
    assert not table["outcome"].isin(["refused: too little memory", "refused: other"]).any()
