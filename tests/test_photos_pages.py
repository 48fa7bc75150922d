"""The pages of photos in Chromium: photos are uploaded, sorted, looked at, compared and exported."""

import csv
import io
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from browser import SCREENS, faults, needs_browser, tab_to, wait_for_page, wait_until
from PIL import Image, ImageFilter
from portraits import collins, hopper
from served import PATIENCE, add, finished, new_project, served
from tiny_models import write_tiny_model

from piqa import Scorer
from piqa.factors.families import FACTORS
from piqa.server import pages
from piqa.server.photo_table import place_words
from piqa.server.picks import Place

pytestmark = [needs_browser, pytest.mark.slow]
DROP_A_FOLDER = """() => {
  const type = "image/jpeg";
  const made = (name) => new File(["x"], name, { type });
  const file = (name) => ({ isFile: true, fullPath: `/trip/${name}`, file: (got) => got(made(name)) });
  const parts = [[file("a.jpg"), file("b.jpg")], [file("c.jpg")], []];  // a folder is read part by part
  const folder = { isFile: false, createReader: () => ({ readEntries: (got) => got(parts.shift()) }) };
  const event = new Event("drop", { bubbles: true, cancelable: true });
  event.dataTransfer = { types: ["Files"], files: [{ name: "trip" }], items: [{ webkitGetAsEntry: () => folder }] };
  document.querySelector(".drop").dispatchEvent(event);
}"""
LOCALES = {"light": "en", "dark": "zh-CN"}  # so that both languages are seen in both widths


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    with served(tmp_path_factory.mktemp("photos") / "data", models={"tiny": str(model)}) as client:
        client.follow_redirects = True
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two people, each at one moment by two devices, of which one blurs; and a file that is no image."""
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for second, device in enumerate(("sharp", "soft")):
        for hour, (name, image) in enumerate((("hopper", hopper()), ("collins", collins()))):
            exif = Image.Exif()
            exif.get_ifd(0x8769)[36867] = f"2024:05:01 1{hour}:00:0{second}"
            image = image.resize((256, 256 * image.height // image.width))
            path = folder / device / f"{name}.jpg"
            path.parent.mkdir(exist_ok=True)
            (image if device == "sharp" else image.filter(ImageFilter.GaussianBlur(2))).save(
                path, quality=90, exif=exif
            )
            found[f"{device}/{name}.jpg"] = path
    found["notes.jpg"] = folder / "notes.jpg"
    found["notes.jpg"].write_text("no image")
    return found


@pytest.fixture(scope="module")
def project(server, files):
    """A project with all of them, measured and scored; its photos by name."""
    made = new_project(server, "Two people")
    added = add(server, made, files.values(), list(files))
    assert finished(server, added["job"])["state"] == "done"
    return made, {photo["name"]: photo["id"] for photo in added["photos"]}


@pytest.fixture
def browse(chromium, server):
    """Opens a page of the server; fails on errors in the console, other than of `expected`, and on other addresses."""
    contexts = []

    def show(width=1280, scheme="light", locale="en", expected="nothing"):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale, reduced_motion="reduce"
        )
        context.set_default_timeout(1000 * PATIENCE)
        page, said, asked = context.new_page(), [], []
        contexts.append((context, said, asked, expected))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.address = str(server.base_url).rstrip("/")
        return page

    yield show
    for context, said, asked, expected in contexts:
        context.close()
        assert [line for line in said if expected not in line] == []
        own = (str(server.base_url).rstrip("/"), "data:", "blob:")
        assert [url for url in asked if not url.startswith(own)] == []


def names(page):
    """The photos of the table in their order."""
    return page.eval_on_selector_all("tbody tr:not([hidden]) th", "heads => heads.map(head => head.dataset.value)")


def test_photos_are_uploaded_measured_and_shown_and_a_bad_file_costs_itself(server, files, browse):
    page = browse(expected="400")
    page.goto(page.address)
    page.get_by_label("Name of the project").fill("Portraits")
    page.keyboard.press("Enter")
    wait_for_page(page, ".empty")
    chosen = [files["sharp/hopper.jpg"], files["soft/collins.jpg"], files["notes.jpg"]]
    page.set_input_files("#files", chosen)
    wait_for_page(page, "table.portraits")  # the page is loaded anew when the job has ended
    assert sorted(names(page)) == ["collins.jpg", "hopper.jpg"]
    assert "notes.jpg is not an image" in page.inner_text("aside.warnings")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert {row["file"] for row in rows} == {file.name for file in chosen}
    scored = next(row for row in rows if row["file"] == "hopper.jpg")
    assert float(scored["score"]) and float(scored["face_stops"])
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete all that could not be measured").click()
    page.wait_for_selector("aside.warnings", state="detached")
    assert len(server.get(f"/api/projects/{page.url.rpartition('/')[2]}/photos").json()) == 2
    page.get_by_text("Delete the project").first.click()
    page.locator("[name=confirm]").fill("Portrait")
    page.keyboard.press("Enter")
    wait_for_page(page, "[role=alert]")
    assert "nothing was deleted" in page.inner_text("[role=alert]")
    page.get_by_text("Delete the project").first.click()
    page.locator("[name=confirm]").fill("Portraits")
    page.keyboard.press("Enter")
    page.wait_for_url("**/photos")
    assert "Portraits" not in [one["name"] for one in server.get("/api/projects").json()]


def test_a_folder_keeps_its_names_and_what_is_no_photo_is_left_out(server, files, browse, tmp_path):
    folder = tmp_path / "day 1"
    (folder / "inside").mkdir(parents=True)
    (folder / "inside" / "a.jpg").write_bytes(files["sharp/hopper.jpg"].read_bytes())
    (folder / "list.txt").write_text("a.jpg")
    (folder / ".hidden.jpg").write_text("of a file manager")
    project = new_project(server, "Folder")
    page = browse()
    page.goto(f"{page.address}/photos/{project}")
    held = []
    page.route("**/photos", lambda route: held.append(route))  # when the job has ended, the page is loaded anew
    page.set_input_files("#folder", folder)
    page.wait_for_selector("#refused li")
    assert page.inner_text("#refused li") == "2 files that are no images were left out."
    wait_until(page, lambda: held)
    held[0].continue_()
    page.wait_for_selector("table.portraits, #show:not([hidden])")
    assert [photo["name"] for photo in server.get(f"/api/projects/{project}/photos").json()] == ["day 1/inside/a.jpg"]


def test_folders_are_dropped(server, browse):
    project = new_project(server, "Dropped")
    page = browse()
    page.goto(f"{page.address}/photos/{project}")
    page.route("**/photos", lambda route: route.fulfill(status=202, json={"photos": [], "refused": [], "job": None}))
    with page.expect_request("**/photos") as request:
        page.evaluate(DROP_A_FOLDER)
    sent = request.value.post_data_buffer.decode("latin-1")
    assert [f'filename="trip/{name}.jpg"' in sent for name in "abc"] == [True] * 3
    page.wait_for_function("document.querySelector('#told').textContent === 'All 3 photos are sent.'")


def test_a_busy_server_is_asked_again_and_refused_photos_are_named(server, files, browse):
    project = new_project(server, "Busy")
    page = browse(expected="503")
    page.goto(f"{page.address}/photos/{project}")
    tries = []

    def answer(route):
        tries.append(time.monotonic())
        if len(tries) == 1:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": "256 images wait already"})
        else:
            refused = [{"name": "hopper.jpg", "error": "hopper.jpg is larger than 100 MiB"}]
            route.fulfill(status=202, json={"photos": [], "refused": refused, "job": None})

    page.route("**/photos", answer)
    page.set_input_files("#files", [files["sharp/hopper.jpg"], files["sharp/collins.jpg"]])
    page.wait_for_selector("#refused li")
    assert page.inner_text("#refused li") == "hopper.jpg is larger than 100 MiB"
    assert tries[1] - tries[0] >= 1
    page.wait_for_selector("#show:not([hidden])")
    assert page.inner_text("#told") == "1 of 2 photos are sent; the others were not taken."


def test_a_server_that_cannot_take_photos_says_why_and_can_be_asked_again(server, files, browse):
    project = new_project(server, "Full")
    page = browse(expected="507")
    page.goto(f"{page.address}/photos/{project}")
    page.route("**/photos", lambda route: route.fulfill(status=507, json={"error": "the server's disk is full"}))
    page.set_input_files("#files", files["sharp/hopper.jpg"])
    page.wait_for_selector("#again:not([hidden])")
    assert page.inner_text("#told") == "the server's disk is full 1 photos were not sent."
    page.unroute("**/photos")
    page.click("#again")
    page.wait_for_selector("table.portraits")


def test_a_browser_that_is_closed_while_it_uploads_leaves_the_server_as_it_is(server, files, browse):
    project = new_project(server, "Closed")
    page = browse()
    page.goto(f"{page.address}/photos/{project}")
    held = []
    page.route("**/photos", lambda route: held.append(route))
    page.set_input_files("#files", [files["sharp/hopper.jpg"]])
    page.wait_for_function("document.querySelector('#sending').hidden === false")
    wait_until(page, lambda: held)
    page.context.close()
    assert server.get(f"/api/projects/{project}/photos").json() == []
    assert server.get(f"/photos/{project}").status_code == 200


def test_the_table_is_sorted_filtered_and_shown_as_a_grid(server, project, model, files, browse):
    page = browse()
    page.goto(f"{page.address}/photos/{project[0]}")
    values = {photo["name"]: photo for photo in server.get(f"/api/projects/{project[0]}/photos").json()}
    scores = {name: one["scores"]["tiny"]["score"] for name, one in values.items() if one["scores"]["tiny"]["score"]}
    wanted = Scorer.load(model, device="cpu").score([str(files[name]) for name in scores])["score"]
    assert [*scores.values()] == pytest.approx(wanted.tolist(), abs=1e-5)
    page.locator("thead").get_by_role("button", name="tiny").click()
    shown = page.eval_on_selector_all("tbody .choose", "boxes => boxes.map(box => box.value)")
    assert shown == [project[1][name] for name in sorted(scores, key=scores.get, reverse=True)]
    page.get_by_label("Grid").check()
    title = FACTORS["mean_chroma"].title  # its column is closed until it is sorted by
    page.select_option("#sort", label=title[:1].upper() + title[1:])
    known = {name: one["factors"]["mean_chroma"] for name, one in values.items() if one["factors"]}
    shown = page.eval_on_selector_all("tbody .choose", "boxes => boxes.map(box => box.value)")
    assert shown == [project[1][name] for name in sorted(known, key=known.get, reverse=True)]
    card = page.locator("tbody tr").first
    assert card.locator("td.on-card:visible").count() == 2  # the score, and what is sorted by
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("tiny from").fill(str(sorted(scores.values())[2] - 1e-9))
    assert page.inner_text(".count") == "2 of 4 rows"
    page.reload()
    assert page.get_by_label("Grid").is_checked()


def test_moments_have_keepers_and_a_pdf_is_made(server, project, browse):
    page = browse()
    page.goto(f"{page.address}/photos/{project[0]}")
    page.select_option("[name=model]", label="factors alone")
    page.get_by_role("button", name="Find moments and keepers").click()
    wait_for_page(page, "td.place-words")
    kept = page.eval_on_selector_all("tr.keeper .choose", "boxes => boxes.map(box => box.value)")
    assert {*kept} == {project[1]["sharp/hopper.jpg"], project[1]["sharp/collins.jpg"]}
    words = page.locator("td.place-words").all_inner_texts()
    assert sum(one.startswith("keep this one") for one in words) == 2 and words.count("2 of 2") == 2
    page.get_by_role("button", name="Make a PDF").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the PDF").click()
    assert download.value.path().read_bytes().startswith(b"%PDF")


def test_a_photo_is_shown_with_maps_scores_and_its_neighbours(server, project, browse):
    page = browse()
    page.goto(f"{page.address}/photos/{project[0]}/{project[1]['sharp/hopper.jpg']}")
    assert page.inner_text("h1") == "hopper.jpg" and "sharp" in page.inner_text(".kicker")
    assert page.locator(".factor").count() == len(FACTORS)
    page.get_by_label("exposure:").check()
    layer = page.locator(".layer.shown .map")
    assert layer.evaluate("async (image) => (await image.decode(), image.naturalWidth)") > 0
    slider = page.get_by_label("Opacity of the map")
    slider.focus()
    page.keyboard.press("End")
    assert layer.evaluate("image => getComputedStyle(image).opacity") == "1"
    score = server.get(f"/api/photos/{project[1]['sharp/hopper.jpg']}").json()["scores"]["tiny"]["score"]
    assert f"{abs(score):.3f}" in page.inner_text("#score")
    page.locator("h1").click()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/{project[1]['sharp/collins.jpg']}")
    assert server.get(f"/photos/{project[0]}/{project[1]['notes.jpg']}").text.count("is not an image") == 1


def test_two_photos_have_one_zoom_a_slider_and_their_differences(server, project, browse):
    page = browse()
    page.goto(f"{page.address}/photos/{project[0]}")
    for name in ("sharp/hopper.jpg", "soft/hopper.jpg"):
        page.check(f"input[value='{project[1][name]}']")
    page.get_by_role("button", name="Compare the two chosen").click()
    page.wait_for_url("**/two?*")
    assert project[1]["sharp/hopper.jpg"] in page.url
    sizes = "[...document.querySelectorAll('.pane img')].map(image => image.naturalWidth)"
    page.wait_for_function(f"{sizes}.every(width => width === 256)")  # all pixels
    page.locator(".pane").first.focus()
    page.keyboard.press("1")
    assert page.locator(".percent").all_inner_texts() == ["100 %", "100 %"]
    page.keyboard.press("ArrowLeft")
    assert page.locator(".percent").all_inner_texts() == ["100 %", "100 %"]
    clip = "getComputedStyle(document.querySelectorAll('.stack img')[1]).clipPath"
    tab_to(page, "#edge")
    page.keyboard.press("End")
    assert page.evaluate(clip) == "inset(0px 0px 0px 100%)"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(clip) == "inset(0px 0px 0px 99%)"
    told = page.inner_text("#told")
    first = page.url.partition("a=")[2].startswith(project[1]["sharp/hopper.jpg"])
    assert f"{'A' if first else 'B'} is better by" in told and "no preference" in page.inner_text("#score")
    assert page.locator("#maps img[alt]:not([alt=''])").count() == 8
    second = page.url.partition("b=")[2]
    page.get_by_role("link", name="Swap A and B").click()
    page.wait_for_url(f"**/two?a={second}&*")
    assert f"{'B' if first else 'A'} is better by" in page.inner_text("#told")


def test_devices_are_compared_and_too_few_scenes_are_said(server, project, browse):
    page = browse()
    page.goto(f"{page.address}/devices")
    page.select_option("[name=project]", value=project[0])
    page.select_option("[name=judge]", value="factor:blur_face")
    page.get_by_role("button", name="Compare the devices").click()
    wait_for_page(page, ".verdicts")
    assert "2 shared scenes, and at least 6 are needed" in page.inner_text(".verdicts")
    page.get_by_role("link", name="Open the page").click()
    page.wait_for_url("**/page")
    assert "sharp" in page.inner_text("main")
    page.goto(f"{page.address}/devices?project={project[0]}")
    page.check("[value=csv]")
    rows = ["file,device,scene", *(f"{name},{name.split('/')[0]},{number}" for number, name in enumerate(project[1]))]
    page.set_input_files("[name=csv]", {"name": "d.csv", "mimeType": "text/csv", "buffer": "\n".join(rows).encode()})
    page.get_by_role("button", name="Compare the devices").click()
    wait_for_page(page, "[role=alert]")  # each photo is a scene of its own
    assert "scene" in page.inner_text("[role=alert]")


def test_what_is_too_close_to_call_is_said():
    place = Place(moment=1, shots=3, rank=1, keeper=True, close=True, probability=None, reason="")
    assert place_words(place, pages.translator("en"))["words"] == "keep this one; too close to call"
    assert place_words(replace(place, close=False), pages.translator("en"))["words"] == "keep this one"


def test_where_originals_are_forgotten_previews_are_shown_and_moments_refused(tmp_path, files):
    with served(tmp_path / "data", keep="none") as client:
        made = new_project(client)
        chosen = ["sharp/hopper.jpg", "soft/hopper.jpg"]
        added = add(client, made, [files[name] for name in chosen], chosen)
        assert finished(client, added["job"])["state"] == "done"
        first, second = [photo["id"] for photo in added["photos"]]
        html = client.get(f"/two?a={first}&b={second}").text
        assert "The original is not kept" in html and f"/api/photos/{first}/preview" in html and "/full" not in html
        client.post(f"/photos/{made}/moments")
        jobs = client.get(f"/api/projects/{made}/jobs").json()
        assert finished(client, jobs[0]["id"])["state"] == "failed"
        assert "this project keeps none of them" in client.get(f"/photos/{made}").text


def test_what_is_not_there_is_said(server, project):
    html = {"accept": "text/html"}
    for address in ("/photos/none", f"/photos/{project[0]}/none", "/two?a=none&b=none", "/devices/none"):
        answer = server.get(address, headers=html)
        assert answer.status_code == 404 and "There is no such" in answer.text, address
    waits = server.get(f"/two?a={project[1]['notes.jpg']}&b={project[1]['sharp/hopper.jpg']}", headers=html)
    assert waits.status_code == 409
    assert server.post("/photos", data={"name": " "}).status_code == 400
    refused = server.post("/devices", data={"project": project[0], "judge": "factor:face_stops"})
    assert refused.status_code == 400 and "Neither more nor less" in refused.text


class Seen(HTMLParser):
    """What a reader sees, hears or is shown on demand of a page, but for what is marked as English."""

    def __init__(self, html):
        super().__init__()
        self.texts, self._silent, self._open = [], 0, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        silent = tag in ("script", "style") or own.get("lang") == "en"
        self.texts += [text for name, text in own.items() if name in SHOWN and text and not silent and not self._silent]
        if tag not in VOID:
            self._open.append(silent)
            self._silent += silent

    def handle_endtag(self, tag):
        if tag not in VOID:
            self._silent -= self._open.pop()

    def handle_data(self, data):
        if not self._silent:
            self.texts.append(data)


SHOWN = {"aria-label", "alt", "title", "aria-roledescription", "data-tip"}
DEVICES = ("sharp", "soft")
VOID = {"meta", "link", "img", "input", "br", "wbr", "line", "rect", "path", "polyline", "polygon"}
COLUMNS = {"file", "device", "scene"}  # of a CSV
NAMES = COLUMNS | set("sharp soft hopper collins notes jpg people Two tiny JPEG CSV PDF ISO OFIQ log English".split())


def test_chinese_pages_have_no_english_but_names(server, project):
    """Sentences, places, advice, moments, verdicts and refusals; in English they are what they were."""
    made, photos = project
    hopper_page, two = f"/photos/{made}/{photos['sharp/hopper.jpg']}", [photos[f"{one}/hopper.jpg"] for one in DEVICES]
    server.post(f"/photos/{made}/moments")
    compared = server.post("/devices", data={"project": made, "judge": "factor:noise"}).url.path
    for job in server.get(f"/api/projects/{made}/jobs").json():
        finished(server, job["id"])
    chinese = {"accept-language": "zh-CN", "accept": "text/html"}
    projects = {word for one in server.get("/api/projects").json() for word in one["name"].split()}
    addresses = [hopper_page, f"/photos/{made}", f"/two?a={two[0]}&b={two[1]}", "/devices", compared, "/devices/none"]
    for address in addresses:
        html = server.get(address, headers=chinese).text
        words = {word for text in Seen(html).texts for word in re.findall(r"[A-Za-z]{3,}", text)}
        assert words - NAMES - projects == set(), address
        assert '<html lang="zh">' in html
    assert "共同场景只有 2 个" in server.get(compared, headers=chinese).text
    assert "瞬间 " in server.get(hopper_page, headers=chinese).text
    assert "2 shared scenes, and at least 6 are needed" in server.get(compared).text
    said = server.get(f"/api/jobs/{compared.rpartition('/')[2]}").json()["result"]["verdicts"]
    assert said == ["No verdict on sharp and soft: 2 shared scenes, and at least 6 are needed"]
    refused = server.post("/api/projects", json={"name": " "}, headers={"accept-language": "zh"})
    assert refused.json() == {"error": "项目需要名称"}


def test_titles_of_factors_are_those_of_the_measures():
    known = pages.strings("en")
    assert {name: known[f"factor.{name}"] for name in FACTORS} == {name: one.title for name, one in FACTORS.items()}


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_pages_have_no_fault_at_any_width_in_any_language(server, project, browse, width, scheme):
    page = browse(width, scheme, LOCALES[scheme])
    photo, other = project[1]["sharp/hopper.jpg"], project[1]["soft/hopper.jpg"]
    addresses = [f"/photos/{project[0]}", f"/photos/{project[0]}/{photo}", f"/two?a={photo}&b={other}"]
    for address in ["/photos", "/two", "/devices", *addresses]:
        page.goto(page.address + address)
        assert faults(page) == [], address
        assert page.evaluate("document.documentElement.lang") == LOCALES[scheme][:2]
    page.goto(page.address + addresses[0])
    page.locator("[name=view][value=grid]").check()
    assert faults(page) == []
