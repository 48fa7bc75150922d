"""The contact sheet as a file: what it says, what it is made of, and what it never replaces."""

import json
import re
from html.parser import HTMLParser

import pytest
from contact_sheets import drawn, moment
from PIL import Image

from piqa.errors import InputError
from piqa.moments.sheet import write_sheet
from piqa.moments.sheet_words import percent

HOSTILE = ["<script>alert(1)</script>.jpg", "a\"b'&amp;.jpg", "zwei\nzeilen.jpg", "😀 {{ x }}.jpg", "=1+1.jpg"]


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its text, and the data of its script."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.data = [], [], ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in = "data" if dict(attributes).get("id") == "data" else tag

    def handle_data(self, data):
        if self._in == "data":
            self.data += data
        elif self._in not in ("script", "style"):
            self.text.append(data)

    def handle_endtag(self, tag):
        self._in = ""


def sheet(tmp_path, moments, **options):
    photos = tmp_path / "photos"
    page = write_sheet(moments, tmp_path / "out", title="Trip", path_of=photos.joinpath, quiet=True, **options)
    return page, Page(page.read_text(encoding="utf-8"))


def images(tmp_path):
    return sorted(path.name for path in (tmp_path / "out" / "sheet").glob("*.jpg"))


def test_a_moment_says_in_words_what_was_found(tmp_path):
    photos = tmp_path / "photos"
    moments = [
        moment(photos, "first", ["a.jpg", "b.jpg", "c.jpg"]),
        moment(photos, "second", ["d.jpg", "e.jpg"], probability=0.54, close=True),
        moment(photos, "third", ["f.jpg", "g.jpg"], probability=None),
        moment(photos, "ladder", ["h.jpg", "i.jpg", "j.jpg"], kind="bracket", picks=(0, 1, 2)),
        moment(photos, "alone", ["k.jpg"], kind="single", picks=()),
    ]
    _, page = sheet(tmp_path, iter(moments), notes=["by the model demo"])
    text = " ".join(page.text)
    for said in (
        "By the model demo.",
        "The first is better than the second with 78 %",
        "Too close to call: the first is better than the second with 54 %",
        "Exposure bracket of 3 shots, kept whole",
        "Single shot",
        "1 of 3, better than the next with 78 %, percentile 100",
        "sharper at the eyes",
        "scores 1.00 ± 0.20",
    ):
        assert said in text
    picked = [
        dict(attributes) for tag, attributes in page.tags if tag == "li" and "picked" in attributes.get("class", "")
    ]
    assert len(picked) == 6
    assert json.loads(page.data)["moments"][1]["close"] is True


def test_the_page_holds_nothing_from_the_network_and_no_path_of_the_machine(tmp_path):
    page, read = sheet(tmp_path, [moment(tmp_path / "photos", "m", ["a.jpg", "b.jpg"])])
    html = page.read_text()
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z]", re.sub(r"// .*", "", html))
    assert str(tmp_path) not in html
    sources = [attributes["src"] for tag, attributes in read.tags if tag == "img"]
    assert all(source.startswith(("sheet/", "data:")) for source in sources)
    assert all((page.parent / source).is_file() for source in sources if source.startswith("sheet/"))


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    moments = [moment(tmp_path / "photos", "<b>\n'\"", [f"day <1>/{name}".replace("</", "<") for name in HOSTILE])]
    page, read = sheet(tmp_path, moments)
    assert [tag for tag, _ in read.tags].count("script") == 2  # the data and the page's own
    assert "b" not in [tag for tag, attributes in read.tags if tag == "b" and not attributes.get("class")][1:]
    data = json.loads(read.data)["moments"][0]
    assert [shot[0].rpartition("/")[2] for shot in data["shots"]] == [name.replace("</", "<") for name in HOSTILE]
    assert data["name"] == "<b>\n'\""
    assert "alert(1)" not in re.sub(r"<script type=.*", "", page.read_text().split("<main>")[0])


def test_previews_are_made_of_moments_of_several_and_once(tmp_path):
    photos = tmp_path / "photos"
    moments = [moment(photos, "m", ["a.jpg", "b.jpg"]), moment(photos, "s", ["c.jpg"], kind="single")]
    page, read = sheet(tmp_path, moments, preview_size=320)
    shots = [shot for one in json.loads(read.data)["moments"] for shot in one["shots"]]
    assert [shot[2][1:] for shot in shots] == [[320, 240], [240, 320], [256, 192]]  # of the single one the thumbnail
    for _, _, (source, width, height) in shots:
        with Image.open(page.parent / source) as image:
            assert image.size == (width, height) and not image.getexif()
    stamps = {name: (tmp_path / "out" / "sheet" / name).stat().st_mtime_ns for name in images(tmp_path)}
    sheet(tmp_path, moments, preview_size=320)
    assert {name: (tmp_path / "out" / "sheet" / name).stat().st_mtime_ns for name in images(tmp_path)} == stamps


def test_images_of_an_earlier_page_go_and_files_of_others_stay(tmp_path):
    photos = tmp_path / "photos"
    sheet(tmp_path, [moment(photos, "m", ["a.jpg", "b.jpg"])])
    (tmp_path / "out" / "sheet" / "mine.jpg").write_bytes(b"x")
    before = images(tmp_path)
    drawn("another").save(photos / "a.jpg", "JPEG")
    sheet(tmp_path, [moment(photos, "n", ["c.jpg"], kind="single")], preview_size=0)
    assert len(before) == 5 and len(images(tmp_path)) == 2 and "mine.jpg" in images(tmp_path)


def test_files_that_cannot_be_read_are_shown_without_an_image(tmp_path):
    photos = tmp_path / "photos"
    one = moment(photos, "m", ["a.jpg", "b.jpg"], thumbnail=b"", reason="it is empty")
    (photos / "a.jpg").write_bytes(b"")
    (photos / "b.jpg").unlink()
    _, page = sheet(tmp_path, [one])
    assert " ".join(page.text).count("no image") == 2 and "it is empty" in " ".join(page.text)
    assert [shot[2] for shot in json.loads(page.data)["moments"][0]["shots"]] == [None, None]


def test_a_page_that_piqa_did_not_write_is_not_replaced(tmp_path):
    moments = [moment(tmp_path / "photos", "m", ["a.jpg"], kind="single")]
    page, _ = sheet(tmp_path, moments)
    sheet(tmp_path, moments)
    page.write_text("mine")
    with pytest.raises(InputError, match=r"sheet\.html was not written by piqa"):
        sheet(tmp_path, moments)
    assert page.read_text() == "mine"
    with pytest.raises(InputError, match="no moment"):
        write_sheet([], tmp_path / "empty", title="x")
    with pytest.raises(InputError, match="preview of 10 pixels"):
        write_sheet(moments, tmp_path / "small", title="x", preview_size=10)


def test_a_page_whose_run_was_killed_is_replaced_by_the_next(tmp_path, monkeypatch):
    moments = [moment(tmp_path / "photos", "m", ["a.jpg"], kind="single")]
    sheet(tmp_path, moments)
    with monkeypatch.context() as patch:
        patch.setattr("piqa.moments.sheet.render_page", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sheet(tmp_path, moments, notes=["new"])
    page, _ = sheet(tmp_path, moments, notes=["new"])
    assert "New." in page.read_text()


@pytest.mark.parametrize(("value", "words"), [(0.5, "50 %"), (1.0, "over 99 %"), (0.0, "below 1 %"), (0.99, "99 %")])
def test_no_probability_is_shown_as_certain(value, words):
    assert percent(value) == words
