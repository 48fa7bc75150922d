"""The page of a comparison in Chromium: no faults, nothing fetched, images side by side that move together."""

from browser import faults, needs_browser
from comparisons import rows_of, run, write_rows
from portraits import collins, hopper

pytestmark = needs_browser


def test_the_page_of_a_comparison_works_and_has_no_faults(opened, tmp_path):
    rows = rows_of({"A <b>": 0.4, "B": 0.0, "C": -0.5}, scenes=10)
    for file, image in (("collins.png", collins()), ("hopper.png", hopper())):
        image.resize((160, 160)).save(tmp_path / file)
    worst = min(range(0, 30, 3), key=lambda at: rows[at][4] - rows[at + 1][4])
    rows[worst][0], rows[worst + 1][0] = "collins.png", "hopper.png"
    csv = write_rows(tmp_path / "p.csv", rows)
    gate = ["--fail_if", "A <b> worse than B", "--margin", "1", "--examples", "1"]
    assert run("--predictions", csv, *gate, out=tmp_path / "out") in (0, 1, 3)
    html = (tmp_path / "out" / "comparison.html").read_text()
    for width, scheme in ((1280, "light"), (400, "dark")):
        with opened(html, width, scheme) as page:
            assert page.locator("h1").inner_text() == "3 devices"
            assert page.locator("circle").count() == 30
            assert page.locator(".pane img").count() == 2
            value = page.locator("#about dd >> nth=0").bounding_box()
            assert value["width"] > width / 3, "values have room on a narrow screen, too"
            page.click("summary >> nth=0")
            assert faults(page) == []
