"""Make docs/images/report.png: a page of the report on a scene of the demo, as Chromium shows it.

    python scripts/report_picture.py

It takes the images of `make demo`, or makes them, measures a scene without a model, and shows the page of one portrait.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from piqa import explain
from piqa.data.demo import write_demo
from piqa.web.pdf import find_browser

ROOT = Path(__file__).resolve().parents[1]
SCENE, PORTRAIT = "Shade_Hopper_21", "under-noise"
SIZE = {"width": 1120, "height": 860}
COLOURS = 128  # of the picture's palette, which makes it a third as large


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data/demo", help="images of the demo, made if absent")
    parser.add_argument("--scene", default=SCENE)
    parser.add_argument("--portrait", default=PORTRAIT, help="name of an image's page")
    parser.add_argument("--map", default="", help="a map over the photograph, such as `exposure`; none by default")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images/report.png")
    args = parser.parse_args()
    write_demo(args.data)
    with tempfile.TemporaryDirectory() as folder:
        explain.explain([str(args.data / "images" / args.scene)], out=folder)
        shot = Path(folder) / "shot.png"
        show(Path(folder) / "portraits" / f"{args.portrait}.html", args.map, shot)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(COLOURS).save(args.out, optimize=True)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


def show(page: Path, name: str, out: Path) -> None:
    """Write a picture of a page, with a map over the photograph if the page has it."""
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=[*sandbox, "--disable-gpu"])
        shown = browser.new_page(viewport=SIZE, color_scheme="light")
        shown.goto(page.as_uri())
        choice = shown.locator(f'input[type="radio"][value="{name}"]')
        if choice.count():
            choice.check()
        shown.evaluate("window.scrollTo(0, 0)")
        shown.screenshot(path=str(out))
        browser.close()


if __name__ == "__main__":
    main()
