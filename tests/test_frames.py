"""Frames of films: which are taken, that they are streamed, and what is written."""

import numpy as np
import pytest
from PIL import Image
from portraits import collins, hopper
from videos import cut, numbered_frames, portrait_frames, read_number, turn, write_sound, write_video

from piqa.errors import InputError
from piqa.moments.frames import is_film, read_frames, write_frames
from piqa.moments.grouping import group
from piqa.moments.looks import Looks


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Twelve seconds at 25 frames a second that show their numbers; with frames that refer to later ones."""
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", numbered_frames(300), options={"bf": "3", "g": "50"})


def taken(film, every, **more):
    return [(round(frame.seconds, 3), read_number(frame.pixels)) for frame in read_frames(str(film), every, **more)]


def test_frames_are_those_at_each_step_of_time(film):
    assert taken(film, 0.2) == [(round(0.2 * step, 3), 5 * step) for step in range(60)]
    assert taken(film, 0.25)[:4] == [(0.0, 0), (0.28, 7), (0.52, 13), (0.76, 19)]  # the first shown at or after each


def test_a_film_with_fewer_frames_than_steps_gives_each_once(film):
    assert [number for _, number in taken(film, 0.01)] == list(range(300))


def test_times_that_vary_are_followed(tmp_path):
    times = [0, 1, 2, 20, 21, 40, 41, 42, 60]  # in 1/25 s
    film = write_video(tmp_path / "a.mkv", numbered_frames(9), times=times)
    assert [number for _, number in taken(film, 0.4)] == [0, 3, 5, 8]


def test_frames_come_one_after_the_other(film, monkeypatch):
    made = []
    import piqa.moments.frames as module

    convert = module.resized_pixels
    monkeypatch.setattr(module, "resized_pixels", lambda frame: made.append(1) or convert(frame))
    frames = read_frames(str(film), 0.2)
    for count in range(1, 5):
        next(frames)
        assert len(made) == count  # what is not asked for is not made
    frames.close()


def test_kept_frames_are_written_as_they_were_seen(film, tmp_path):
    seen = list(read_frames(str(film), 0.2))
    kept = [seen[at] for at in (57, 0, 3, 31)]
    paths = write_frames(str(film), [frame.seconds for frame in kept], tmp_path)
    assert [path.name for path in paths] == sorted(frame.name for frame in kept)
    for frame in kept:
        assert np.array_equal(np.asarray(Image.open(tmp_path / frame.name)), frame.pixels)
    assert sorted(tmp_path.iterdir()) == paths


def test_a_frame_that_is_not_there_any_more_is_told(film, tmp_path):
    with pytest.raises(InputError, match=r"a\.mp4 has no frame at 400\.000 s any more"):
        write_frames(str(film), [0.0, 400.0], tmp_path)


def test_frames_are_upright(tmp_path):
    film = write_video(tmp_path / "a.mp4", portrait_frames(5, 160, 120))
    (upright,) = read_frames(str(film), 1)
    (turned,) = read_frames(str(turn(film, 90)), 1)
    assert turned.pixels.shape == (160, 120, 3)
    assert np.array_equal(turned.pixels, np.rot90(upright.pixels))


def test_cuts_part_the_frames_of_a_film_into_moments(tmp_path):
    views = [*portrait_frames(50, 160, 120, collins), *portrait_frames(50, 160, 120, hopper)]
    film = write_video(tmp_path / "a.mp4", views)
    looks, shots = Looks(), []
    for frame in read_frames(str(film), 0.2):
        looks.add(frame.name, Image.fromarray(frame.pixels))
        shots.append(frame.shot)
    found = group(shots, looks=looks)
    assert max(shot.seconds for shot in found[0].shots) < 2 <= min(shot.seconds for shot in found[-1].shots)
    assert len(found) <= 4


def test_a_film_that_breaks_off_gives_what_comes_before(film, tmp_path):
    broken = tmp_path / "b.mp4"
    broken.write_bytes(film.read_bytes())
    cut(broken, broken.stat().st_size // 2)
    told = []
    numbers = [number for _, number in taken(broken, 0.2, tell=told.append)]
    assert numbers == [5 * step for step in range(len(numbers))]
    assert 5 < len(numbers) < 60
    assert len(told) == 1
    assert "b.mp4 " in told[0]
    assert told[0].endswith("; what comes before that is used")
    with pytest.raises(InputError, match=r"b\.mp4"):
        taken(broken, 0.2)


@pytest.mark.parametrize("every", [0, -1, float("nan"), float("inf")])
def test_a_step_that_makes_no_sense_is_refused(film, every):
    with pytest.raises(InputError, match="give the seconds between two frames"):
        next(read_frames(str(film), every))


def test_what_is_no_film_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("#EXTM3U\nhttp://localhost/x.mp4\n")
    write_sound(tmp_path / "sound.mp4")
    for name, words in (
        ("gone.mp4", "cannot read .*gone.mp4"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "is not an MP4, MOV, Matroska or WebM video"),
        ("sound.mp4", "has no video stream"),
    ):
        with pytest.raises(InputError, match=words):
            next(read_frames(str(tmp_path / name)))
    assert is_film("A.MP4")
    assert not is_film("a.jpg")
