"""Moments with picks on small drawn images, for the tests of the contact sheet and of marks."""

import io

from PIL import Image, ImageDraw

from piqa.moments.moment import Moment, Shot
from piqa.moments.pick import PickedMoment, RankedShot


def drawn(text, size=(640, 480)):
    """An image with a grid and a text, so that its zoom and place can be seen."""
    image = Image.new("RGB", size, "#35506b")
    draw = ImageDraw.Draw(image)
    for at in range(0, max(size), 40):
        draw.line([(at, 0), (at, size[1])], fill="#7d95ac")
        draw.line([(0, at), (size[0], at)], fill="#7d95ac")
    draw.text((size[0] // 2, size[1] // 2), text, fill="white", font_size=60, anchor="mm")
    return image


def thumbnail(image):
    small = image.copy()
    small.thumbnail((256, 256))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG")
    return buffer.getvalue()


def moment(folder, name, files, *, kind="burst", picks=(0,), probability=0.78, close=False, **more):
    """A moment of files in order of rank, which are drawn into the folder; `more`: fields of each RankedShot."""
    shots, ranked = [], []
    for place, file in enumerate(files):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        image = drawn(str(place + 1), (640, 480) if place != 1 else (480, 640))
        image.save(path, "JPEG")
        shots.append(Shot(file))
        several = len(files) > 1 and kind != "bracket"
        fields = {
            "rank": place + 1 if several else None,
            "pick": place in picks,
            "score": 1.0 - 0.25 * place,
            "probability": probability if several and place + 1 < len(files) else None,
            "percentile": 100.0 - 100 * place / max(len(files) - 1, 1) if several else None,
            "reason": "sharper at the eyes" if place == 0 else "",
            "thumbnail": thumbnail(image),
        }
        ranked.append(RankedShot(shots[-1], **(fields | more)))
    likely = probability if len(files) > 1 and kind != "bracket" else None
    mean = 1.0 if len(files) > 1 else None
    return PickedMoment(Moment(name, tuple(shots), kind, "taken within 2 s"), tuple(ranked), likely, close, mean, 0.2)
