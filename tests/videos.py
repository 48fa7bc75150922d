"""Writers of small real videos: portraits under a moving camera, and frames that show their number."""

import struct
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import pandas as pd
from PIL import Image, ImageFilter
from portraits import collins, hopper

BITS = 10  # of the number that a numbered frame shows
BAR = 16  # px, so that no codec blurs one bar into the next
ENCODING = {"libx265": {"x265-params": "log-level=none"}, "mpeg4": {"b": "2M"}}  # quiet, and good enough to compare

# Codec, pixel format, width, height, frames a second, frames: what phones, web sites and editors write.
KINDS = (
    ("libx264", "yuv420p", 160, 120, 25, 50),
    ("mpeg4", "yuv420p", 128, 176, 15, 20),
    ("libx265", "yuv420p10le", 176, 96, Fraction(30000, 1001), 30),
    ("libvpx-vp9", "yuv420p", 144, 96, 24, 36),
    ("libx264", "yuv444p", 161, 91, 10, 95),
    ("libx264", "yuv420p", 96, 160, 30, 9),
)


def write_video(path, frames, rate=25, codec="libx264", pixels="yuv420p", times=None, options=None, metadata=None):
    """Write RGB arrays (height, width, 3) as a video; the container is the suffix's. Returns the path.

    `times` are the frames' moments of presentation in units of 1 / rate, for a variable frame rate.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the index stands before the images, so that a file that is cut short can still be opened
    muxing = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=muxing) as container:
        container.metadata.update(metadata or {})
        stream = None
        for number, array in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=ENCODING.get(codec, {}) | (options or {}))
                stream.height, stream.width = array.shape[:2]
                stream.pix_fmt = pixels
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered_frames(count):
    """Frames of 160 x 32 px that show their number, from 0, as ten dark and bright bars."""
    for number in range(count):
        bits = [number >> bit & 1 for bit in range(BITS)]
        row = np.repeat(np.array(bits, np.uint8) * 200 + 20, BAR)
        yield np.broadcast_to(row[None, :, None], (32, row.size, 3)).copy()


def read_number(frame):
    """The number that a decoded numbered frame shows."""
    middles = frame.mean(axis=(0, 2)).reshape(BITS, BAR)[:, BAR // 4 : -BAR // 4].mean(axis=1)
    return sum(1 << bit for bit, brightness in enumerate(middles) if brightness > 120)


def portrait_frames(count, width, height, person=hopper, blur=0.0):
    """A portrait under a camera that moves slowly to the right; `blur` in pixels makes it worse."""
    view = person().filter(ImageFilter.GaussianBlur(blur))
    scale = 1.2 * max(width / view.width, height / view.height)
    view = view.resize((round(view.width * scale), round(view.height * scale)), Image.Resampling.LANCZOS)
    for number in range(count):
        left = round((view.width - width) * number / max(count - 1, 1))
        yield np.asarray(view.crop((left, 0, left + width, height)))


def write_lsvq(root, videos=10, kinds=KINDS):
    """Write an LSVQ of portraits in all KINDS, with the authors' columns; the less blur, the higher the MOS.

    Every fifth video is for the test. Returns the root.
    """
    root = Path(root)
    rows = []
    blurs = (np.random.default_rng(0).permutation(videos) * (6 / videos)).tolist()
    for number, (codec, pixels, width, height, rate, count) in enumerate(islice(cycle(kinds), videos)):
        name = f"{'ia' if number % 2 else 'yfcc'}-batch{number % 3}/{number}"
        frames = portrait_frames(count, width, height, collins if number % 2 else hopper, blurs[number])
        write_video(root / f"{name}.mp4", frames, rate, codec, pixels)
        rows.append(
            {
                "name": name,
                "p1": "[15, 527, 421, 709, 0, 200]",
                "height": height,
                "width": width,
                "mos": 85 - 10 * blurs[number],
                "frame_number": count,
                "is_test": number % 5 == 4,
                "is_valid": True,
            }
        )
    pd.DataFrame(rows).to_csv(root / "labels_train_test.csv", index=False)
    return root


def write_sound(path):
    """Half a second of silence without an image."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets_of(path):
    """Position and size in bytes of every packet of the video, in the order of the file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def cut(path, size):
    """Cut a file down to `size` bytes, as a download that broke off leaves it."""
    path.write_bytes(path.read_bytes()[:size])
    return path


def turn(path, degrees):
    """Have players turn an MP4 counterclockwise by 90, 180 or 270 degrees, as a phone notes how it was held."""
    (a, b), (c, d) = {90: ((0, -1), (1, 0)), 180: ((-1, 0), (0, -1)), 270: ((0, 1), (-1, 0))}[degrees]
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # the matrix in the header of the track, after 40 bytes of other fields
    content[start : start + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
