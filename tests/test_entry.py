"""An entry gives back what was written, in whole or in part, or tells that it is damaged."""

import numpy as np
import pytest
from stores import flip, flip_in

from piqa.errors import InputError
from piqa.preparation.portrait import STORED_WHOLE, Portrait, Preparation
from piqa.preparation.store_entry import CHECKSUM_ROWS, EntryDamagedError, EntryNotFoundError, open_entry, write_entry
from piqa.preparation.video import Clip, ClipPreparation


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def a_portrait(height=3 * CHECKSUM_ROWS + 5, width=40, face=True):
    logits = np.random.default_rng(1).normal(size=495).astype(np.float32)
    whole = noise(height, width, 3)
    return Portrait(whole, noise(33, 50, 3, seed=2) if face else whole, (1, 2, 3, 4) if face else None, logits)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "entry.safetensors"


def read(path):
    with open_entry(path) as entry:
        return entry.read(), entry.facts


def crop(path, rows, columns, name=STORED_WHOLE):
    with open_entry(path) as entry:
        return entry.read(late=True)[name][rows, columns]


@pytest.mark.parametrize("height", [1, CHECKSUM_ROWS - 1, CHECKSUM_ROWS, CHECKSUM_ROWS + 1, 3 * CHECKSUM_ROWS])
@pytest.mark.parametrize("face", [True, False])
def test_a_portrait_comes_back_as_it_was(path, height, face):
    portrait = a_portrait(height, face=face)
    write_entry(path, portrait, "a.png")
    found = Preparation().unpack(*read(path), "a.png")
    assert np.array_equal(found.whole, portrait.whole)
    assert np.array_equal(found.face_crop, portrait.face_crop)
    assert found.face_box == portrait.face_box
    assert np.array_equal(found.liqe_logits, portrait.liqe_logits) and found.liqe_logits.dtype == np.float32


@pytest.mark.parametrize("encoding", ["raw", "webp"])
def test_a_clip_comes_back_as_it_was_whole_and_frame_by_frame(path, encoding):
    frames = noise(3, 2 * CHECKSUM_ROWS + 1, 50, 3)
    write_entry(path, Clip(frames, encoding=encoding), "a.mp4")
    settings = ClipPreparation(encoding=encoding)
    assert np.array_equal(settings.unpack(*read(path), "a.mp4").frames, frames)
    with open_entry(path) as entry:
        late = settings.unpack(entry.read(late=True), entry.facts, "a.mp4").frames
        for frame, expected in zip(late, frames, strict=True):
            assert frame.shape == expected.shape
            assert np.array_equal(frame[7:21, 3:44], expected[7:21, 3:44])


def test_every_window_is_what_numpy_would_cut_out(path):
    portrait = a_portrait()
    write_entry(path, portrait, "a.png")
    height, width, _ = portrait.whole.shape
    with open_entry(path) as entry:
        stored = entry.read(late=True)[STORED_WHOLE]
        assert stored.shape == portrait.whole.shape
        for top in range(height):
            for bottom in {top + 1, min(top + CHECKSUM_ROWS, height), height}:
                columns = slice(top % width, width - top // 3)
                assert np.array_equal(stored[top:bottom, columns], portrait.whole[top:bottom, columns])
        assert np.array_equal(stored[:, :], portrait.whole)


def test_a_crop_is_sound_while_other_rows_are_damaged(path):
    portrait = a_portrait()
    write_entry(path, portrait, "a.png")
    flip(path, path.read_bytes().index(portrait.whole.swapaxes(1, 2)[-1].tobytes()))
    below = slice(CHECKSUM_ROWS, 3 * CHECKSUM_ROWS)  # two bands, of which the damaged rows are the next
    assert np.array_equal(crop(path, below, slice(0, 9)), portrait.whole[below, :9])
    with pytest.raises(EntryDamagedError, match="checksums"):
        crop(path, slice(CHECKSUM_ROWS, 3 * CHECKSUM_ROWS + 1), slice(0, 9))
    with pytest.raises(EntryDamagedError):
        read(path)


def test_flipped_pixels_anywhere_in_its_rows_are_told(path):
    write_entry(path, a_portrait(), "a.png")
    flip_in(path, "face_crop")
    assert crop(path, slice(0, 40), slice(0, 9)).shape == (40, 9, 3)
    with pytest.raises(EntryDamagedError):
        crop(path, slice(0, 33), slice(0, 9), "face_crop")


def test_a_flip_of_any_byte_is_told(path):
    portrait = Portrait(noise(4, 3, 3), noise(3, 4, 3, seed=1), (1, 2, 3, 4), np.ones(5, np.float32))
    write_entry(path, portrait, "a.png")
    content = path.read_bytes()
    for position in range(len(content)):
        for bits in (0x01, 0xFF):
            path.write_bytes(content[:position] + bytes([content[position] ^ bits]) + content[position + 1 :])
            with pytest.raises(EntryDamagedError):
                read(path)
                pytest.fail(f"byte {position} was flipped unnoticed")


def test_a_file_cut_anywhere_is_told(path):
    write_entry(path, a_portrait(4, 3), "a.png")
    content = path.read_bytes()
    for size in range(0, len(content), 29):
        path.write_bytes(content[:size])
        with pytest.raises(EntryDamagedError):
            read(path)


@pytest.mark.parametrize("content", [b"", b"not an entry" * 50, b"\xff" * 4096])
def test_any_other_file_is_damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(EntryDamagedError):
        read(path)


def test_no_file_is_absent(path):
    with pytest.raises(EntryNotFoundError):
        read(path)


def test_an_entry_that_may_not_be_read_is_named(path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")  # root may read everything

    monkeypatch.setattr("piqa.preparation.store_entry.safe_open", refuse)
    with pytest.raises(InputError, match="Permission denied; check its owner"):
        read(path)


def test_crops_reach_the_network_without_being_transposed(path):
    write_entry(path, a_portrait(), "a.png")
    found = crop(path, slice(2, 40), slice(0, 40))
    assert found.transpose(2, 0, 1).strides[-1] == 1
