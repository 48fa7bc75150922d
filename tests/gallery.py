"""A page with every widget, of made-up values and the two portraits."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from portraits import COLLINS_FACE, HOPPER_FACE, collins, hopper

from piqa.web.page import render_page

TEMPLATE = Path(__file__).parent / "pages" / "gallery.html"
COLUMNS = [
    {"title": "Image", "kind": "text"},
    {"title": "Scene", "kind": "text"},
    {"title": "Face, stops", "hint": "stops from the target", "group": "exposure"},
    {"title": "Sharpness", "group": "sharpness"},
]
BLUES = [("too dark", "#0072b2"), ("as the target", "#ffffff"), ("too bright", "#d55e00")]
LONG = [*BLUES, ("words that take more room than the photo has " * 3, "#000000")]


def data_uri(image, kind="JPEG"):
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(file.getvalue()).decode()


def map_over(size):
    """A map from blue to orange, transparent in its middle."""
    x, y = np.meshgrid(np.linspace(-1, 1, size[0] // 8), np.linspace(-1, 1, size[1] // 8))
    colours = np.where((x > 0)[..., None], [213, 94, 0], [0, 114, 178])
    alpha = (255 * np.clip(np.hypot(x, y), 0, 1))[..., None]
    return Image.fromarray(np.concatenate([colours, alpha], axis=2).astype(np.uint8), "RGBA")


def rows(count):
    rng = np.random.default_rng(0)
    return [
        {
            "name": f"{i}_Indoor_Scene_{i % 3}.jpg",
            "scene": f"Scene {i % 3}",
            "stops": None if i % 10 == 9 else float(rng.normal()),
            "sharpness": float(rng.uniform(0, 100)),
        }
        for i in range(count)
    ]


def gallery(name="Portraits", count=30, **values):
    """The page as HTML text."""
    one, other = hopper(), collins()
    over = data_uri(map_over(one.size), "PNG")
    own = {
        "name": name,
        "columns": COLUMNS,
        "rows": rows(count),
        "photo": data_uri(one),
        "width": one.width,
        "height": one.height,
        "box": HOPPER_FACE,
        "maps": [
            {"name": "exposure", "title": "exposure", "src": over, "legend": BLUES},
            {"name": "sharpness", "title": "local sharpness", "src": over, "legend": LONG, "note": "at 60 px"},
        ],
        "hues": [0.3, 0.24, 0.2, 0.02, 0, 0, 0, 0.02, 0.12, 0.1, 0, 0],
        "counts": {
            channel: np.histogram(np.asarray(one)[..., i], 64, (0, 256))[0].tolist()
            for i, channel in enumerate(("red", "green", "blue"))
        }
        | {"luminance": np.histogram(np.asarray(one.convert("L")), 64, (0, 256))[0].tolist()},
        "shares": {"whole": 0.42, "face": -0.2, "LIQE": 0.09},
        "pair": [
            {"src": data_uri(one), "alt": "Hopper", "width": one.width, "height": one.height, "box": HOPPER_FACE},
            {"src": data_uri(other), "alt": "Collins", "width": 512, "height": 512, "box": COLLINS_FACE},
        ],
    }
    return render_page(TEMPLATE, **own | values)
