"""The widgets and the leaderboard in Chromium: looks at every size and scheme, and every control by keyboard."""

import pytest
from browser import SCREENS, faults, needs_browser, tab_to
from gallery import gallery
from leaderboards import leaderboard
from portraits import HOPPER_FACE

from piqa.evaluation.output.page import render

pytestmark = needs_browser


def shown(page):
    """The names in the rows that are shown, in their order."""
    return page.eval_on_selector_all("tbody tr:not([hidden]) th", "cells => cells.map(cell => cell.textContent)")


def column(page, place):
    """The values of a column in the rows that are shown; None where there is none."""
    rows = f"tbody tr:not([hidden]) > :nth-child({place})"
    values = page.eval_on_selector_all(rows, "cells => cells.map(cell => cell.dataset.value)")
    return [None if value == "" else float(value) for value in values]


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_widgets_have_no_faults(opened, width, scheme):
    with opened(gallery(), width, scheme) as page:
        page.click(".show-filters")
        page.check("input[type=radio][value=exposure]")
        page.focus(".hint")
        assert page.is_visible("#tip")
        assert faults(page) == []


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_the_leaderboard_has_no_faults(opened, width, scheme):
    with opened(render(leaderboard()), width, scheme) as page:
        assert page.locator("svg[role=img]").count() > 5
        assert faults(page) == []


def test_dark_pages_are_dark_and_print_is_light(opened):
    paper = "getComputedStyle(document.body).backgroundColor"
    with opened(gallery(), scheme="dark") as page:
        assert page.evaluate(paper) == "rgb(20, 23, 27)"
        page.emulate_media(media="print")
        assert page.evaluate(paper) == "rgb(255, 255, 255)"


# Tables


def test_a_table_is_sorted_by_keyboard_with_unknown_values_last(opened):
    with opened(gallery()) as page:
        tab_to(page, "th:nth-child(3) button")
        for key, order in (("Enter", "descending"), ("Space", "ascending")):
            page.keyboard.press(key)
            assert page.get_attribute("th:nth-child(3)", "aria-sort") == order
            values = column(page, 3)
            known = [value for value in values if value is not None]
            assert known == sorted(known, reverse=order == "descending")
            assert values[len(known) :] == [None] * 3


def test_names_are_sorted_as_people_count(opened):
    with opened(gallery()) as page:
        page.click("th:nth-child(1) button")
        assert [int(name.partition("_")[0]) for name in shown(page)] == [*range(30)]


def test_a_thousand_rows_are_searched_and_counted(opened):
    with opened(gallery(count=1000)) as page:
        assert page.inner_text(".count") == "1000 rows"
        page.fill(".search", "scene_2  97_")
        assert shown(page) == [f"{i}_Indoor_Scene_2.jpg" for i in range(1000) if i % 100 == 97 and i % 3 == 2]
        assert page.inner_text(".count") == f"{len(shown(page))} of 1000 rows"
        page.click(".reset")
        assert page.inner_text(".count") == "1000 rows"
        assert page.evaluate("document.activeElement.className") == "search"


def test_columns_are_filtered_by_range_and_by_text_together(opened):
    with opened(gallery()) as page:
        tab_to(page, ".show-filters")
        page.keyboard.press("Enter")
        assert page.get_attribute(".show-filters", "aria-expanded") == "true"
        everything = column(page, 3)
        tab_to(page, "[aria-label='Scene contains']")
        page.keyboard.type("scene 1")
        tab_to(page, "[aria-label='Face, stops from']")
        page.keyboard.type("-0.5")
        page.keyboard.press("Tab")
        page.keyboard.type("1")
        expected = [
            value for i, value in enumerate(everything) if i % 3 == 1 and value is not None and -0.5 <= value <= 1
        ]
        assert column(page, 3) == expected
        assert 0 < len(expected) < 10


def test_a_group_of_columns_can_be_hidden(opened):
    with opened(gallery()) as page:
        page.uncheck(".groups input[value=exposure]")
        assert not page.is_visible("th:nth-child(3)")
        assert not page.is_visible("tbody tr:first-child td:nth-child(3)")
        assert page.is_visible("th:nth-child(4)")


# Photos


@pytest.mark.parametrize("width", [400, 1280])
def test_a_map_lies_exactly_over_the_greyed_photo_with_its_legend(opened, width):
    with opened(gallery(), width) as page:
        tab_to(page, "input[type=radio]")
        page.keyboard.press("ArrowRight")
        layer = page.locator(".layer.shown")
        assert layer.get_attribute("data-map") == "exposure"
        assert layer.locator(".map").bounding_box() == page.locator(".photo").bounding_box()
        assert page.evaluate("getComputedStyle(document.querySelector('.photo')).filter") == "grayscale(1)"
        assert [words.strip() for words in layer.locator("li").all_inner_texts()] == [
            "too dark",
            "as the target",
            "too bright",
        ]
        page.keyboard.press("ArrowRight")
        assert layer.get_attribute("data-map") == "sharpness"  # whose legend is long
        assert layer.locator(".map").bounding_box() == page.locator(".photo").bounding_box()
        page.check("input[type=radio][value='']")
        assert page.evaluate("getComputedStyle(document.querySelector('.photo')).filter") == "none"
        assert page.locator(".layer.shown").count() == 0


def test_the_opacity_of_a_map_is_set_by_keyboard_and_told(opened):
    with opened(gallery()) as page:
        page.check("input[type=radio][value=exposure]")
        tab_to(page, "input[type=range]")
        page.keyboard.press("End")
        assert page.evaluate("getComputedStyle(document.querySelector('.layer.shown .map')).opacity") == "1"
        assert page.inner_text(".opacity output") == "100 %"


def test_the_outline_lies_around_the_face_and_can_be_hidden(opened):
    with opened(gallery(), 400) as page:
        photo, outline = page.locator(".photo").bounding_box(), page.locator(".face-box rect").last.bounding_box()
        scale = photo["width"] / 512
        assert outline["x"] - photo["x"] == pytest.approx(HOPPER_FACE[0] * scale, abs=1.5)
        assert outline["height"] == pytest.approx((HOPPER_FACE[3] - HOPPER_FACE[1]) * scale, abs=3)
        page.uncheck(".show-box")
        assert not page.is_visible(".face-box")


def test_every_map_is_printed_beside_the_photo(opened):
    with opened(gallery()) as page:
        page.emulate_media(media="print")
        assert page.locator(".layer .map:visible").count() == page.locator(".layer .under:visible").count() == 2
        assert page.locator(".controls:visible").count() == 0


# Tips


def test_a_tip_comes_with_the_focus_and_goes_with_escape(opened):
    with opened(gallery()) as page:
        tab_to(page, ".hint")
        assert page.inner_text("#tip") == "a dark backdrop does not move it"
        page.keyboard.press("Escape")
        assert not page.is_visible("#tip")


# Two images


def view(page, place):
    """Where a pane's centre lies in its face box, in fractions, and how high the face box is, in panes."""
    pane, image = page.locator(".pane").nth(place).bounding_box(), page.locator(".pane img").nth(place).bounding_box()
    box = [float(value) for value in page.locator(".pane").nth(place).get_attribute("data-box").split()]
    width = float(page.locator(".pane").nth(place).get_attribute("data-size").split()[0])
    scale = image["width"] / width
    x = (pane["x"] + pane["width"] / 2 - image["x"]) / scale
    y = (pane["y"] + pane["height"] / 2 - image["y"]) / scale
    fractions = (x - box[0]) / (box[2] - box[0]), (y - box[1]) / (box[3] - box[1])
    return *fractions, (box[3] - box[1]) * scale / pane["height"]


def test_two_images_show_the_same_part_of_the_face(opened):
    with opened(gallery()) as page:
        page.click("[data-zoom=face]")
        assert view(page, 0) == pytest.approx((0.5, 0.5, view(page, 0)[2]), abs=0.02)
        assert view(page, 1) == pytest.approx(view(page, 0), abs=0.02)
        tab_to(page, ".pane")
        for key in ("+", "+", "ArrowRight", "ArrowDown"):
            page.keyboard.press(key)
        assert view(page, 0)[2] > 1
        assert view(page, 0)[0] > 0.55
        assert view(page, 1) == pytest.approx(view(page, 0), abs=0.02)


def test_images_that_are_not_linked_move_alone(opened):
    with opened(gallery()) as page:
        page.click("[data-zoom=face]")
        page.uncheck(".linked")
        before = view(page, 1)
        page.locator(".pane").nth(0).focus()
        page.keyboard.press("-")
        assert view(page, 1) == pytest.approx(before, abs=0.001)
        assert view(page, 0)[2] < before[2]


def test_the_wheel_zooms_about_the_pointer_and_a_hundred_per_cent_is_one_pixel(opened):
    with opened(gallery()) as page:
        pane = page.locator(".pane").nth(1)
        pane.scroll_into_view_if_needed()
        box = pane.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        before = view(page, 1)
        page.mouse.wheel(0, -300)
        page.wait_for_function(
            "before => parseFloat(document.querySelectorAll('.percent')[1].textContent) > before", arg=150
        )
        assert view(page, 1)[:2] == pytest.approx(before[:2], abs=0.02)
        page.click("[data-zoom=pixels]")
        assert page.locator(".percent").nth(1).inner_text() == "100 %"
        assert page.locator(".pane img").nth(1).bounding_box()["width"] == pytest.approx(512, abs=0.5)
