"""A clip shows the frames that the published rule takes, upright and in true colours, or an error names the file."""

import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image
from refusals import refusal
from videos import (
    cut,
    numbered_frames,
    packets_of,
    portrait_frames,
    read_number,
    turn,
    write_sound,
    write_video,
)

from piqa.errors import InputError
from piqa.preparation import video
from piqa.preparation.video import ClipPreparation, decode_clip

AS_STORED = ClipPreparation(short_side=32)  # numbered frames keep their size
MODES = {  # codec and pixel format of real files; each decodes to 8-bit RGB
    "h264": ("libx264", "yuv420p"),
    "h264 4:4:4": ("libx264", "yuv444p"),
    "h264 10-bit 4:2:2": ("libx264", "yuv422p10le"),
    "mpeg4": ("mpeg4", "yuv420p"),
    "hevc 10-bit": ("libx265", "yuv420p10le"),
    "vp9": ("libvpx-vp9", "yuv420p"),
    "av1": ("libsvtav1", "yuv420p"),
}


def numbers(path, settings=AS_STORED, **arguments):
    """The numbers that a clip's frames show."""
    return [read_number(frame) for frame in decode_clip(path, settings, **arguments).frames]


def refused(path, settings=AS_STORED):
    message = refusal(decode_clip, path, settings)
    assert str(path) in message
    return message


def published(rate, count, frames=8):
    """Frames by the published rule: counted, mid-second, the last repeated."""
    fps = round(rate)
    kept = [number for number in range(count) if number % fps == fps // 2][:frames]
    return kept + kept[-1:] * (frames - len(kept))


@pytest.mark.parametrize(
    "rate", [1, 10, Fraction(25, 2), Fraction(119, 8), Fraction(24000, 1001), 25, Fraction(30000, 1001), 60], ids=str
)
def test_at_a_constant_rate_the_frames_are_the_published_ones(tmp_path, rate):
    count = int(rate * Fraction(19, 2)) + 1
    path = write_video(tmp_path / "a.mp4", numbered_frames(count), rate, "mpeg4")
    assert numbers(path) == published(rate, count)


@pytest.mark.parametrize("count", [36, 100])  # 36 frames end just where the next one would be taken
@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx-vp9")])
def test_containers_and_reordered_frames_make_no_difference(tmp_path, suffix, codec, count):
    rate = Fraction(24000, 1001)
    path = write_video(tmp_path / f"a.{suffix}", numbered_frames(count), rate, codec)
    assert numbers(path) == published(rate, count)


def test_a_short_video_repeats_its_last_second(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(50), 25)
    assert numbers(path) == [12, 37, 37, 37, 37, 37, 37, 37]


@pytest.mark.parametrize("count", [1, 9])
def test_a_video_of_less_than_half_a_second_repeats_its_last_frame(tmp_path, count):
    assert numbers(write_video(tmp_path / "a.mp4", numbered_frames(count), 25)) == [count - 1] * 8


def test_below_one_frame_a_second_every_frame_is_taken(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(5), Fraction(1, 4), "mpeg4")
    assert numbers(path) == [0, 1, 2, 3, 4, 4, 4, 4]


def test_the_number_of_frames_can_be_chosen(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(75), 25)
    assert numbers(path, ClipPreparation(frames=2, short_side=32)) == [12, 37]


def test_at_a_variable_rate_the_frame_on_display_in_mid_second_is_taken(tmp_path):
    times = [0, 5, 14, 20, 46, 80, 85, 105]  # in 1/30 s; the middles of the seconds are 15, 45, 75, 105
    path = write_video(tmp_path / "a.mp4", numbered_frames(8), 30, times=times)
    assert numbers(path) == [2, 3, 4, 7, 7, 7, 7, 7]


def test_a_frozen_image_stands_for_the_seconds_that_it_lasts(tmp_path):
    times = [0, 10, 20, 260]
    assert numbers(write_video(tmp_path / "a.mp4", numbered_frames(4), 30, times=times)) == [1, 2, 2, 2, 2, 2, 2, 2]


def test_the_last_frame_stands_for_the_seconds_that_it_lasts(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(4), 30, "mpeg4", times=[0, 1, 2, 40])
    content = bytearray(path.read_bytes())
    table = content.index(b"stts")  # name, flags, number of entries, and each entry's number of frames and duration
    entries = struct.unpack_from(">I", content, table + 8)[0]
    struct.pack_into(">I", content, table + 8 + 8 * entries, 40 * 15360 // 30)
    path.write_bytes(content)
    assert numbers(path) == [2, 3, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_need_not_start_at_time_zero(tmp_path, suffix):
    times = list(range(40, 140))
    path = write_video(tmp_path / f"a.{suffix}", numbered_frames(100), 25, times=times)
    assert numbers(path) == published(25, 100)
    position, _ = packets_of(path)[60]
    assert "is truncated: it ends before the frame at 2.5 s" in refused(cut(path, position))


def test_an_unstated_rate_is_taken_from_the_timestamps(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(60), 25)
    content = path.read_bytes()
    duration = content.index(b"\x23\xe3\x83")  # Matroska's DefaultDuration: identifier, size, four bytes
    path.write_bytes(content[:duration] + b"\xec\x86" + bytes(6) + content[duration + 8 :])  # becomes a void
    assert numbers(path)[:3] == [12, 37, 37]


def test_without_any_rate_timestamps_tell_the_middle_of_the_second(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered_frames(60), 24)
    rate = video._rate
    monkeypatch.setattr(
        video,
        "_rate",
        lambda stream: rate(SimpleNamespace(guessed_rate=None, time_base=stream.time_base)),
    )
    assert numbers(path)[:3] == [12, 36, 36]


@pytest.mark.parametrize("mode", MODES)
def test_every_codec_gives_the_pixels_that_were_filmed(tmp_path, mode):
    codec, pixels = MODES[mode]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg cannot write {codec}")
    filmed = list(portrait_frames(20, 176, 144))
    path = write_video(tmp_path / "a.mp4", filmed, 25, codec, pixels)
    clip = decode_clip(path, ClipPreparation(short_side=144))
    assert (clip.frames.shape, clip.frames.dtype) == ((8, 144, 176, 3), np.uint8)
    assert np.abs(clip.frames[0].astype(int) - filmed[12]).mean() < 6
    assert np.abs(clip.frames[0].astype(int) - filmed[0]).mean() > 12  # another frame is not mistaken for it


@pytest.mark.parametrize("matrix", ["ITU709", "ITU601"])
def test_the_stated_colour_matrix_is_respected(tmp_path, matrix):
    colour = np.broadcast_to(np.array([200, 30, 30], np.uint8), (64, 96, 3)).copy()
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.colorspace = {"ITU709": 1, "ITU601": 5}[matrix]
        frame = av.VideoFrame.from_ndarray(colour).reformat(format="yuv420p", dst_colorspace=matrix)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clip = decode_clip(tmp_path / "a.mp4", ClipPreparation(short_side=64))
    assert np.abs(clip.frames[0].astype(int) - colour).max() <= 4


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_is_shown_upright(tmp_path, degrees):
    settings = ClipPreparation(short_side=64)
    path = write_video(tmp_path / "a.mp4", portrait_frames(15, 96, 64), 25)
    lying = decode_clip(path, settings).frames
    upright = decode_clip(turn(path, degrees), settings).frames
    np.testing.assert_array_equal(upright, np.rot90(lying, degrees // 90, axes=(1, 2)))


@pytest.mark.parametrize("size", [(161, 91), (91, 161)])
def test_odd_sizes_are_resized_like_portraits(tmp_path, size):
    path = write_video(tmp_path / "a.mp4", portrait_frames(15, *size), 25, pixels="yuv444p")
    whole = decode_clip(path, ClipPreparation(short_side=91)).frames[0]
    small = decode_clip(path, ClipPreparation(short_side=45)).frames[0]
    expected = (45, int(45 * 161 / 91)) if size[0] > size[1] else (int(45 * 161 / 91), 45)
    assert small.shape == (*expected, 3)
    resized = Image.fromarray(whole).resize(expected[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small, np.asarray(resized))


def test_threads_do_not_change_the_pixels(tmp_path):
    path = write_video(tmp_path / "a.mp4", portrait_frames(60, 160, 120), 25)
    one, three = (decode_clip(path, AS_STORED, threads=threads).frames for threads in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_metadata_in_another_encoding_is_no_obstacle(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(13), 25, metadata={"title": "Zurich"})
    path.write_bytes(path.read_bytes().replace(b"Zurich", b"Z\xfcrich"))
    assert numbers(path) == [12] * 8


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mp4", "mpeg4"), ("mkv", "libx264")])
def test_a_stream_that_breaks_off_too_early_is_truncated(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"a.{suffix}", portrait_frames(125, 160, 120), 25, codec)
    position, _ = packets_of(path)[80]
    assert "is truncated: it ends before the frame at " in refused(cut(path, position))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_frame_that_was_cut_through_is_not_made_up(tmp_path, codec):
    path = write_video(tmp_path / "a.mp4", portrait_frames(38, 160, 120), 25, codec, options={"bf": "0"})
    position, size = packets_of(path)[37]  # the middle of the second second
    assert "is truncated: it ends before the frame at 1.5 s" in refused(cut(path, position + size // 2))


def test_what_is_cut_off_after_the_frames_that_are_needed_does_no_harm(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(250), 25)
    position, _ = packets_of(path)[210]
    assert numbers(cut(path, position)) == published(25, 250)


def test_a_video_without_its_index_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mov", numbered_frames(50), 25)  # with its index at the end
    assert "damaged or truncated" in refused(cut(path, path.stat().st_size - 100))


def test_a_stream_without_frames_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(50), 25)
    assert "has no frame that can be decoded" in refused(cut(path, packets_of(path)[0][0]))


def test_packets_that_cannot_be_decoded_are_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", portrait_frames(50, 160, 120), 25)
    position, size = packets_of(path)[10]
    content = path.read_bytes()
    path.write_bytes(content[:position] + bytes(size) + content[position + size :])
    assert "is a damaged or truncated video" in refused(path)


def test_a_needed_frame_with_damaged_parts_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", portrait_frames(50, 160, 120), 25, "mpeg4", options={"bf": "0"})
    position, size = packets_of(path)[12]
    content = path.read_bytes()
    path.write_bytes(content[: position + size // 2] + b"\xff" * 40 + content[position + size // 2 + 40 :])
    assert "is damaged: a frame that is needed cannot be decoded whole" in refused(path)


def test_a_video_that_changes_its_size_is_refused(tmp_path):
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        other = av.CodecContext.create("libvpx-vp9", "w")
        other.width, other.height, other.pix_fmt, other.framerate = 120, 160, "yuv420p", Fraction(25)
        other.time_base = Fraction(1, 25)
        for encoder, start in ((stream, 0), (other, 25)):
            for number, array in enumerate(portrait_frames(25, encoder.width, encoder.height)):
                frame = av.VideoFrame.from_ndarray(array)
                frame.pts, frame.time_base = start + number, Fraction(1, 25)
                _mux(container, stream, encoder.encode(frame))
            _mux(container, stream, encoder.encode(None))
    assert "changes its frame size" in refused(path)


def _mux(container, stream, packets):
    for packet in packets:
        packet.stream = stream
        container.mux(packet)


def test_an_unknown_codec_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(5), 25)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert "is in a format that cannot be decoded" in refused(path)


def test_a_file_without_an_image_is_refused(tmp_path):
    assert "has no video stream" in refused(write_sound(tmp_path / "a.mp4"))


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    assert "is empty" in refused(path)


def test_an_absent_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "a.mp4")


def test_a_folder_is_refused(tmp_path):
    assert "Is a directory" in refused(tmp_path)


def test_other_files_under_a_video_name_are_refused(tmp_path):
    text, image = tmp_path / "text.mp4", tmp_path / "image.mp4"
    text.write_text("not a video " * 100)
    Image.new("RGB", (64, 64)).save(image, format="png")
    for path in (text, image):
        assert "is not an MP4, MOV, Matroska or WebM video" in refused(path)


def test_a_playlist_under_a_video_name_opens_no_other_file(tmp_path):
    write_video(tmp_path / "secret.mp4", numbered_frames(13), 25)
    path = tmp_path / "a.mp4"
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(path)) as container:  # FFmpeg by itself does
        assert container.streams.video
    assert "is not an MP4, MOV, Matroska or WebM video" in refused(path)


def test_frames_of_too_many_pixels_are_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered_frames(2), 25)
    monkeypatch.setattr(video, "MAX_PIXELS", 160 * 32 - 1)
    assert "claims frames of 160 x 32 pixels" in refused(path)


def test_a_strip_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.zeros((16, 1632, 3), np.uint8)], 25, "mpeg4")
    assert "claims frames of 1632 x 16 pixels" in refused(path)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted through /proc")
def test_no_file_stays_open(tmp_path):
    good = write_video(tmp_path / "good.mp4", numbered_frames(13), 25)
    broken = write_video(tmp_path / "broken.mp4", numbered_frames(50), 25)
    cut(broken, packets_of(broken)[0][0])
    before = open_files()
    for _ in range(100):
        numbers(good)
        refused(broken)
    assert open_files() == before


def with_motion(tmp_path, features):
    """A video and settings that ask for its motion features; `features` None leaves them out."""
    path = write_video(tmp_path / "videos" / "ia-batch1" / "a.mp4", numbered_frames(13), 25)
    folder = tmp_path / "motion" / "ia-batch1"
    folder.mkdir(parents=True)
    if features is not None:
        np.save(folder / "a.npy", features)
    return path, ClipPreparation(short_side=32, motion=str(tmp_path / "motion"))


def test_motion_features_come_with_the_clip(tmp_path):
    features = np.random.default_rng(0).normal(size=(8, 256)).astype(np.float32)
    np.testing.assert_array_equal(decode_clip(*with_motion(tmp_path, features)).motion, features)


def test_without_a_folder_there_are_no_motion_features(tmp_path):
    path, _ = with_motion(tmp_path, None)
    assert decode_clip(path, AS_STORED).motion is None


@pytest.mark.parametrize(
    ("features", "complaint"),
    [
        (None, "cannot read the motion features"),
        (np.zeros((7, 256), np.float32), r"of shape \(8, 256\), found float32 \(7, 256\)"),
        (np.zeros((8, 256)), r"of shape \(8, 256\), found float64 \(8, 256\)"),
        (np.full((8, 256), np.nan, np.float32), "not finite"),
        (np.array([{}]), "is not an array of motion features"),
    ],
    ids=["absent", "shape", "type", "nan", "objects"],
)
def test_unfit_motion_features_are_refused(tmp_path, features, complaint):
    path, settings = with_motion(tmp_path, features)
    with pytest.raises(InputError, match=complaint) as caught:
        decode_clip(path, settings)
    assert str(Path("ia-batch1", "a.npy")) in str(caught.value)


def test_the_fingerprint_names_what_the_frames_depend_on():
    default = ClipPreparation()
    assert default.fingerprint() == ClipPreparation(frames=8, short_side=384).fingerprint()
    assert default.fingerprint() != ClipPreparation(frames=4).fingerprint()
    assert default.fingerprint() != ClipPreparation(short_side=448).fingerprint()
    assert default.fingerprint() == ClipPreparation(motion="features").fingerprint()


@pytest.mark.parametrize("settings", [{"frames": 0}, {"short_side": 0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(InputError, match="a clip needs at least 1 frame of 1 px"):
        ClipPreparation(**settings)
