"""The pages of a report in Chromium: widths, light and dark, contrast, keyboard, sorting, maps; and the PDF."""

import re

import pytest
from browser import faults, needs_browser, tab_to
from PIL import ImageEnhance
from portraits import collins, hopper
from tiny_models import write_tiny_model

from piqa import explain

pytestmark = [needs_browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on two portraits and a wall, compared and explained by a model, with a PDF."""
    folder = tmp_path_factory.mktemp("pages")
    photos = folder / "photos"
    photos.mkdir()
    collins().save(photos / "collins <b>.jpg")
    ImageEnhance.Brightness(hopper().resize((256, 300))).enhance(0.5).save(photos / "hopper.jpg")
    write_tiny_model(folder / "model", branches=["whole", "face"], face_rule="largest", image_size=64)
    files = [str(file) for file in sorted(photos.iterdir())]
    model = ["--ckpt_path", str(folder / "model"), "--device", "cpu", "--workers", "0"]
    explain.main([*files, *model, "--compare", "true", "--pdf", "true", "--out", str(folder / "report")])
    return folder / "report"


def pages(report):
    return {"index": report / "index.html", "comparison": report / "comparison.html"} | {
        page.stem[:6]: page for page in (report / "portraits").iterdir()
    }


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
@pytest.mark.parametrize("name", ["index", "comparison", "hopper"])
def test_a_page_has_no_fault_at_any_width_light_or_dark(report, opened, name, width, scheme):
    with opened(pages(report)[name].read_text(), width, scheme) as page:
        assert faults(page) == []


def test_a_map_is_laid_over_the_photograph_by_keyboard(report, opened):
    with opened(pages(report)["hopper"].read_text()) as page:
        tab_to(page, 'input[type="radio"]')
        page.keyboard.press("ArrowRight")
        shown = page.locator(".layer.shown")
        assert shown.count() == 1 and shown.get_by_alt_text("Map").is_visible()
        assert "score: whole image" in page.inner_text("fieldset")


def test_the_index_is_sorted_and_searched_and_shows_more_columns_on_demand(report, opened):
    with opened(pages(report)["index"].read_text()) as page:
        rows = page.locator("tbody tr")
        page.get_by_role("button", name="Brightness of the face").click()
        first = rows.first.inner_text()
        page.get_by_role("button", name="Brightness of the face").click()
        assert rows.first.inner_text() != first
        before = page.locator("thead th:visible").count()
        page.get_by_label("more on exposure").check()
        assert page.locator("thead th:visible").count() > before
        page.get_by_label("Search").fill("hopper")
        assert page.locator("tbody tr:visible").count() == 1


def test_the_pdf_has_a_page_for_each_portrait(report):
    from pypdf import PdfReader

    texts = [page.extract_text() for page in PdfReader(report / "report.pdf").pages]
    assert len(texts) == 2
    assert "collins <b>.jpg" in texts[0] and "hopper.jpg" in texts[1]
    assert all(re.search(r"What stands out", text) for text in texts)
