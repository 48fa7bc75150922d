"""The contact sheet in Chromium: keys, zoom of both sides, choices that are exported, widths, light and dark."""

from contextlib import contextmanager

import pytest
from browser import PATIENCE, faults, needs_browser, tab_to
from contact_sheets import moment

from piqa.moments.sheet import write_sheet
from piqa.system.csv_text import read_csv

pytestmark = needs_browser
TWO = ["day 1/a.jpg", "day 1/b.jpg", "day 1/c.jpg"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheet")
    photos = folder / "photos"
    moments = [
        moment(photos, "first", TWO),
        moment(photos, "close <i>", ["day 2/d.jpg", "day 2/e 😀.jpg"], probability=0.54, close=True),
        moment(photos, "=ladder", ["day 2/f, \"g'.jpg", "day 2/h.jpg", "day 2/i.jpg"], kind="bracket", picks=(0, 1, 2)),
        moment(photos, "alone", ["=z.jpg"], kind="single", picks=()),
    ]
    write_sheet(moments, folder / "out", title="Trip", path_of=photos.joinpath, quiet=True)
    (folder / "out").rename(folder / "moved")  # the page goes on working
    return folder / "moved" / "sheet.html"


@pytest.fixture
def opened_sheet(chromium, written):
    """Opens the sheet from its file; fails on any error in the console, and on any request outside its folder."""

    @contextmanager
    def show(width=1280, scheme="light"):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(1000 * PATIENCE)
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        home = written.parent.as_uri()
        page.on("request", lambda request: request.url.startswith((home, "data:", "blob:")) or said.append(request.url))
        page.goto(written.as_uri())
        try:
            yield page
            assert said == []
        finally:
            context.close()

    return show


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label')")


def views(page):
    """The place of the middle of each side in its image, in fractions, and its zoom against the whole image."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".side .pane")].map((pane) => {
          const frame = pane.getBoundingClientRect(), image = pane.querySelector("img").getBoundingClientRect();
          const [x, y] = [frame.left + frame.width / 2 - image.left, frame.top + frame.height / 2 - image.top];
          return [x / image.width, y / image.height, image.height / frame.height];
        })"""
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_and_its_dialogs_have_no_fault(opened_sheet, width, scheme):
    with opened_sheet(width, scheme) as page:
        assert faults(page) == []
        page.wait_for_function("document.querySelector('.shot img').naturalWidth === 256")
        page.keyboard.press("Space")
        assert faults(page) == []
        page.keyboard.press("?")
        assert faults(page) == []
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        assert page.locator("dialog:visible").count() == 0


def test_keys_lead_through_shots_and_moments_and_pick(opened_sheet):
    with opened_sheet() as page:
        tab_to(page, ".open")
        assert focused(page) == "a.jpg, 1 of 3, picked"
        page.keyboard.press("ArrowRight")
        assert focused(page) == "b.jpg, 2 of 3"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px"
        page.keyboard.press("p")
        assert focused(page) == "b.jpg, 2 of 3, picked"
        assert page.locator(".moment").first.locator(".mark:visible").count() == 2
        page.keyboard.press("o")
        assert page.locator(".moment").first.locator(".mark:visible").count() == 1
        page.keyboard.press("ArrowDown")
        assert focused(page) == "d.jpg, 1 of 2, picked"
        page.keyboard.press("End")
        assert focused(page) == "=z.jpg"
        page.keyboard.press("Home")
        page.keyboard.press("ArrowLeft")
        assert focused(page) == "a.jpg, 1 of 3"
        page.keyboard.press("/")
        page.keyboard.type("pz")
        assert page.locator("#search").input_value() == "pz"  # what is typed is text


def test_both_sides_zoom_and_move_together(opened_sheet):
    with opened_sheet() as page:
        page.keyboard.press("Space")
        assert page.locator("#compare .name").all_inner_texts() == ["a.jpg", "b.jpg"]
        page.wait_for_function("[...document.querySelectorAll('.side img')].every((image) => image.naturalWidth > 400)")
        page.keyboard.press("z")
        assert page.locator(".percent").first.inner_text() == "100 %"
        for _ in range(4):
            page.keyboard.press("+")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
        (x, y, size), other = views(page)
        assert other == pytest.approx([x, y, size], abs=2e-3) and x > 0.52 and y > 0.52 and size > 1
        pane = page.locator(".side .pane").nth(1).bounding_box()
        page.mouse.move(pane["x"] + 200, pane["y"] + 200)
        page.mouse.wheel(0, -300)
        page.mouse.down()
        page.mouse.move(pane["x"] + 240, pane["y"] + 260)
        page.mouse.up()
        moved, other = views(page)
        assert other == pytest.approx(moved, abs=2e-3) and moved[2] > size and moved[0] != x
        page.keyboard.press("ArrowRight")  # another shot on the chosen side, at the same place
        assert page.locator("#compare .name").all_inner_texts() == ["a.jpg", "c.jpg"]
        assert views(page)[1] == pytest.approx(moved, abs=2e-3)
        page.get_by_label("move both").uncheck()
        page.locator(".side .pane").first.focus()
        page.keyboard.press("0")
        one, two = views(page)
        assert one[2] <= 1 and two == pytest.approx(moved, abs=2e-3)


def test_shots_are_picked_side_by_side_and_moments_stepped_through(opened_sheet):
    with opened_sheet() as page:
        page.locator(".open").first.click()
        page.locator(".side .pane").nth(1).focus()
        page.keyboard.press("p")
        assert page.locator(".side .pick").nth(1).is_checked()
        page.keyboard.press("ArrowDown")
        assert page.inner_text("#compared") == "close <i>"
        page.keyboard.press("End")
        assert page.inner_text("#compared") == "alone" and page.locator(".side:visible").count() == 1
        page.keyboard.press("Space")
        page.wait_for_function("document.activeElement.getAttribute('aria-label') === '=z.jpg'")
        assert page.locator("dialog:visible").count() == 0
        assert page.locator(".moment").first.locator(".mark:visible").count() == 2


def test_choices_last_and_are_exported_and_read_back(opened_sheet, tmp_path):
    with opened_sheet() as page:
        page.keyboard.press("ArrowRight")
        page.keyboard.press("o")
        page.locator(".moment").last.get_by_label("pick").check()
        assert "2 changed" not in page.inner_text("#count") and "3 changed by you" in page.inner_text("#count")
        page.reload()
        assert "3 changed by you" in page.inner_text("#count")
        with page.expect_download() as download:
            page.get_by_role("button", name="Export choices").click()
        assert download.value.suggested_filename == "choices.csv"
        download.value.save_as(tmp_path / "choices.csv")
        assert "\n'=z.jpg,alone,1\n" in (tmp_path / "choices.csv").read_text()  # no formula for a spreadsheet
        table = read_csv(tmp_path / "choices.csv")
        assert [*table.columns] == ["file", "moment", "pick"]
        assert table.pick.tolist() == ["0", "1", "0", "1", "0", "1", "1", "1", "1"]
        assert table.file.tolist() == [
            *TWO, "day 2/d.jpg", "day 2/e 😀.jpg", "day 2/f, \"g'.jpg", "day 2/h.jpg", "day 2/i.jpg", "=z.jpg"
        ]  # fmt: skip
        assert set(table.moment) == {"first", "close <i>", "=ladder", "alone"}
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Undo my changes").click()
        assert "changed" not in page.inner_text("#count")


def test_moments_are_filtered_by_words_folder_and_what_is_undecided(opened_sheet):
    with opened_sheet() as page:
        shown = page.locator(".moment:visible h2")
        page.get_by_label("undecided only").check()
        assert shown.all_inner_texts() == ["close <i>"]
        page.keyboard.press("p")  # on the box it is no key of a shot
        assert page.locator(".changed").count() == 0
        tab_to(page, ".open")  # the first shot that is shown
        page.keyboard.press("p")
        assert page.locator(".changed .file").all_inner_texts()[0].startswith("d.jpg")
        page.get_by_label("undecided only").uncheck()
        page.get_by_label("Folder").select_option(label="day 2")
        assert shown.all_inner_texts() == ["close <i>", "=ladder"]
        page.get_by_label("Search").fill("H.JPG")
        assert shown.all_inner_texts() == ["=ladder"]
        page.get_by_label("Search").fill("nowhere")
        assert page.get_by_text("No moment fits the filters").is_visible()
