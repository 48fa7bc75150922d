"""Pages in the system's Chromium, driven by Playwright: what a person sees, and what axe-core finds.

The fixtures `chromium` and `opened` are known to every test file. Playwright's own browsers are not needed, so nothing
is downloaded.
"""

import os
import time
from contextlib import contextmanager

import pytest

from piqa.web.pdf import find_browser

PATIENCE = 120  # seconds; a machine under load is slow
SCREENS = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]
# WCAG 2.2 AA, and axe-core's own advice.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
needs_browser = pytest.mark.skipif(find_browser() is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def chromium():
    """A running Chromium; ended after the file's tests, as its event loop would disturb those of other files."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=[*sandbox, "--disable-gpu"], timeout=1000 * PATIENCE
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens HTML text: `with opened(html, width, scheme) as page`; fails on any error in the console or any request."""

    @contextmanager
    def show(html, width=1280, scheme="light"):
        file = tmp_path / "page.html"
        file.write_text(html, encoding="utf-8")
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(1000 * PATIENCE)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        try:
            yield page
            assert said == []
            assert [url for url in asked if not url.startswith(("data:", file.as_uri()))] == []
        finally:
            context.close()

    return show


def wait_for_page(page, selector, **how):
    """Wait for an element of a page that is on its way, until all of that page is there and its scripts have run."""
    page.wait_for_selector(selector, **how)
    page.wait_for_load_state()


def wait_until(page, condition):
    """Wait for something that comes from a page while this waits; fail if it does not come."""
    late = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < late
        page.wait_for_timeout(20)


def faults(page):
    """What is wrong with a page as it is now, in words; [] if nothing is."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=RULES | {"resultTypes": ["violations"]}).response["violations"]
    wrong = [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in found for node in one["nodes"]]
    if (wide := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
        wrong.append(f"the body is {wide} px wider than the window")
    return wrong


def tab_to(page, selector, most=80):
    """Press Tab until an element has the focus; fail if it never has."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"Tab never reaches {selector}")
