"""The pages of studies in Chromium: a study is made, judged by keyboard, taken back, exported; and how pages look."""

import io
import time
from contextlib import contextmanager

import pandas as pd
import pytest
from browser import SCREENS, faults, needs_browser, tab_to, wait_until
from judging import answer_all, new_project, new_rater, new_study
from served import PATIENCE, served

from piqa.data import CSVTable
from piqa.data.demo import Scene
from piqa.judgement.answers import read_answers
from piqa.judgement.scaling import scale_pairs

pytestmark = [needs_browser, pytest.mark.slow]
LOCALES = {"light": "en", "dark": "zh-CN"}  # so that both languages are seen in both widths
SEEN = "#viewer[data-question] figure:not(.loading)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("judge") / "data") as client:
        client.follow_redirects = True
        yield client


@pytest.fixture(scope="module")
def project(server):
    files = {}
    for scene in range(2):
        for view in range(4):
            image, file = Scene.number(scene).view(view).resize((160, 200)), io.BytesIO()
            image.save(file, "JPEG")
            files[f"scene {scene}/{view}.jpg"] = file.getvalue()
    return new_project(server, files)


@pytest.fixture
def browse(chromium, server):
    """Opens pages of the server; fails on errors in the console, other than of `expected`, and on other addresses."""
    contexts = []

    @contextmanager
    def show(width=1280, scheme="light", locale="en", expected="nothing"):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale, reduced_motion="reduce"
        )
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.address = str(server.base_url).rstrip("/")
        yield page
        assert [line for line in said if expected not in line] == []
        assert [url for url in asked if not url.startswith((page.address, "data:"))] == []

    yield show
    for context in contexts:
        context.close()


def question(page):
    """The question that is shown, once its images are seen."""
    page.wait_for_selector(SEEN)
    return page.get_attribute("#viewer", "data-question")


def next_question(page, before):
    page.wait_for_function("before => document.querySelector('#viewer').dataset.question !== before", arg=before)
    return question(page)


def sources(page):
    return page.eval_on_selector_all("#viewer img", "images => images.map(image => image.src)")


def start(page, rater):
    page.goto(page.address + rater)
    page.check("input[value=dim]")
    page.keyboard.press("Enter")
    return question(page)


def test_a_study_is_made_judged_by_keyboard_taken_back_and_exported(server, project, browse, tmp_path):
    with browse() as page:
        page.goto(page.address + "/judge")
        page.get_by_label("Name of the study").fill("Ten pairs")
        page.get_by_label("Answers of each rater").fill("10")
        page.get_by_label("Training examples").fill("1")
        page.get_by_label("Answers between breaks").fill("6")
        page.get_by_label("the same").check()
        page.get_by_role("button", name="Create the study").click()
        page.get_by_label("Name of a new rater").fill("Ann")
        page.keyboard.press("Enter")
        link = page.get_by_label("Link of Ann").input_value()
        study = page.url
        start(page, link.removeprefix(page.address))
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("#feedback:not([hidden])")
        assert "on purpose" in page.inner_text("#feedback")
        page.keyboard.press("Enter")
        shown = question(page)
        for number, key in enumerate(["ArrowLeft", "ArrowRight", "s", " ", "ArrowLeft", "ArrowRight"]):
            before, seen = shown, sources(page)
            page.keyboard.press(key)
            if number == 5:
                page.wait_for_selector("#break:not([hidden])")
                page.keyboard.press("Enter")
            shown = next_question(page, before)
        page.keyboard.press("u")
        shown = next_question(page, shown)
        assert sources(page) == seen and "taken back" in page.inner_text("#status")
        for _ in range(4):
            page.keyboard.press("ArrowRight")
            shown = next_question(page, shown)
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#done:not([hidden])")
        page.goto(study)
        for name, label in (("answers", "Answers as CSV"), ("scores", "Scores as CSV")):
            with page.expect_download() as download:
                page.get_by_role("link", name=label).click()
            download.value.save_as(tmp_path / f"{name}.csv")
    answers = read_answers(tmp_path / "answers.csv")
    assert answers["kind"].value_counts().to_dict() == {"new": 10, "training": 1}
    assert answers["winner"].tolist()[3:5] == ["same", "same"] and (answers["seconds"] > 0).all()
    scores = pd.read_csv(tmp_path / "scores.csv")
    expected = scale_pairs(answers).scores if len(scores) else None
    assert scores["score"].tolist() == pytest.approx(expected["score"].tolist())
    table = CSVTable(tmp_path / "scores.csv", check_files=False, test_fraction=1).load()
    assert len(table) == 8 and table["scene"].nunique() == 2


def test_ratings_are_given_by_keyboard(server, project, browse):
    study = new_study(server, project, mode="ratings", name="Ratings")
    rater = new_rater(server, study)
    with browse() as page:
        shown = start(page, rater)
        for key in "153":
            page.keyboard.press(key)
            shown = next_question(page, shown)
    answers = pd.read_csv(io.StringIO(server.get(f"{study}/answers.csv").text))
    assert answers["rating"].tolist() == [1, 5, 3]


def test_both_images_have_one_zoom_which_stays_for_the_next_pair(server, project, browse):
    while any(job["state"] in ("waiting", "running") for job in server.get(f"/api/projects/{project}/jobs").json()):
        time.sleep(0.1)  # with the faces known of all photos or of none, every pair is zoomed in the same unit
    rater = new_rater(server, new_study(server, project, name="Zoom"))
    with browse() as page:
        shown = start(page, rater)
        shares = "[...document.querySelectorAll('.pane img')].map(i => i.getBoundingClientRect().height)"
        # One zoom shows faces, where both are known, in one size.
        faces = """[...document.querySelectorAll('.pane')].map(pane => {
            const [, top, , bottom] = (pane.dataset.box ?? "0 0 160 200").split(" ").map(Number);
            return pane.querySelector("img").getBoundingClientRect().height * (bottom - top) / 200; })"""
        before, unzoomed = page.evaluate(shares), page.evaluate(faces)
        page.keyboard.press("+")
        page.keyboard.press("+")
        after = page.evaluate(faces)
        assert after[0] == pytest.approx(after[1]) and after[0] == pytest.approx(unzoomed[0] * 1.25**2)
        left = "document.querySelector('.pane img').getBoundingClientRect().left"
        place = page.evaluate(left)
        page.keyboard.press("Shift+ArrowRight")
        assert page.evaluate(left) == pytest.approx(place - 40)
        page.keyboard.press("ArrowLeft")
        next_question(page, shown)
        assert page.evaluate(faces) == pytest.approx(after)
        page.keyboard.press("z")
        assert page.inner_text("figure .percent") == "100 %"
        page.keyboard.press("0")
        assert page.evaluate(shares) == pytest.approx(before)
        # Panes that change without the window: what was whole stays so, also where the width is what limits it.
        page.evaluate("document.querySelectorAll('.pane').forEach(pane => (pane.style.height = '2000px'))")
        page.wait_for_function(f"before => {shares}[0] !== before", arg=before[0])
        wide = page.evaluate("[...document.querySelectorAll('.pane')].map(pane => pane.clientWidth)")
        assert page.evaluate(shares) == pytest.approx([width * 200 / 160 for width in wide])


def test_a_browser_that_closes_and_a_second_window_lose_and_repeat_nothing(server, project, browse):
    study = new_study(server, project, name="Windows")
    rater = new_rater(server, study)
    with browse() as page:
        shown = start(page, rater)
        page.keyboard.press("ArrowLeft")
        shown = next_question(page, shown)
        page.close()  # before an answer
    with browse() as page, browse(expected="409") as other:
        for one in (page, other):
            one.goto(one.address + rater)
            assert question(one) == shown
        page.keyboard.press("ArrowLeft")
        later = next_question(page, shown)
        with other.expect_response("**/answers") as reply:
            other.keyboard.press("ArrowRight")
        assert reply.value.status == 409
        assert next_question(other, shown) == later
        assert "answered already" in other.inner_text("#status")
    assert len(pd.read_csv(io.StringIO(server.get(f"{study}/answers.csv").text))) == 2


def test_an_answer_is_sent_again_when_the_connection_was_lost(server, project, browse):
    study = new_study(server, project, name="Connection")
    rater = new_rater(server, study)
    with browse(expected="503") as page:
        shown = start(page, rater)
        lost, told = [], []

        def lose(route):
            if len(lost) < 2:  # the first request never arrives; of the second, the reply is lost
                lost.append(server.post(f"{rater}/answers", json=route.request.post_data_json) if lost else None)
            if told and len(lost) == 2:
                route.continue_()
            else:
                route.fulfill(status=503, body="")

        page.route("**/answers", lose)
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("#status.alert")
        told.append(True)
        next_question(page, shown)
    assert len(lost) == 2 and len(pd.read_csv(io.StringIO(server.get(f"{study}/answers.csv").text))) == 1


def test_answers_are_given_by_tab_and_enter_too(server, project, browse):
    study = new_study(server, project, name="Tab")
    rater = new_rater(server, study)
    with browse() as page:
        shown = start(page, rater)
        tab_to(page, "[data-answer=right]")
        page.keyboard.press("Enter")
        next_question(page, shown)
    answer = pd.read_csv(io.StringIO(server.get(f"{study}/answers.csv").text)).iloc[0]
    assert answer["winner"] != answer["left"]  # the right one


def test_time_runs_while_the_images_are_seen_and_whole_images_stay_whole(server, project, browse):
    study = new_study(server, project, name="Time")
    rater = new_rater(server, study)
    with browse() as page:
        page.add_init_script("""
            let away = false, seen = null;
            const decode = HTMLImageElement.prototype.decode;
            Object.defineProperty(document, "hidden", { get: () => away });
            HTMLImageElement.prototype.decode = async function () { await seen; return decode.call(this); };
            window.hold = () => new Promise((held) => (seen = new Promise((see) => { window.see = see; held(); })));
            window.hide = (value) => { away = value; document.dispatchEvent(new Event("visibilitychange")); };
        """)
        shown, wide = start(page, rater), page.inner_text(".percent")
        page.set_viewport_size({"width": 400, "height": 700})
        page.wait_for_function("wide => document.querySelector('.percent').innerText !== wide", arg=wide)
        narrow = page.inner_text(".percent")
        page.click("[data-zoom=whole]")
        assert page.inner_text(".percent") == narrow
        page.evaluate("hold()")
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("figure.loading")
        page.evaluate("hide(true)")
        page.wait_for_timeout(100)  # the images of the second question come now, and are seen later
        page.evaluate("see()")
        shown = next_question(page, shown)
        page.evaluate("hide(false)")
        page.keyboard.press("ArrowLeft")
        next_question(page, shown)
        assert page.inner_text("#status") == ""
    assert len(pd.read_csv(io.StringIO(server.get(f"{study}/answers.csv").text))) == 2  # no negative time was refused


def test_a_late_word_of_the_state_does_not_bring_an_answered_question_back(server, project, browse):
    study = new_study(server, project, name="Late")
    rater = new_rater(server, study)
    with browse() as page:
        shown, held = start(page, rater), []
        page.route("**/state", lambda route: held.append((route, route.fetch())))
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # the page is seen again
        wait_until(page, lambda: held)
        page.keyboard.press("ArrowLeft")
        later = next_question(page, shown)
        page.evaluate("""() => {
            const json = Response.prototype.json;
            window.heard = new Promise((heard) => {
              Response.prototype.json = async function () {
                const content = await json.call(this);
                setTimeout(heard); // when the page has done with it
                return content;
              };
            });
        }""")
        ((route, reply),) = held
        assert reply.json()["state"]["question"]["id"] == shown
        route.fulfill(response=reply)
        page.evaluate("heard")
        assert question(page) == later


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_pages_have_no_fault_at_any_width_in_any_language(server, project, browse, width, scheme):
    study = new_study(server, project, name=f"Looks {width} {scheme}", same="yes", training=1)
    answer_all(server, new_rater(server, study), lambda _: "left", most=6)
    fresh = new_rater(server, study, "Bob")
    with browse(width, scheme, LOCALES[scheme]) as page:
        for address in ("/judge", study, "/board"):
            page.goto(page.address + address)
            assert faults(page) == [], address
            assert page.evaluate("document.documentElement.lang") == LOCALES[scheme][:2]
        page.goto(page.address + fresh)
        assert faults(page) == []
        start(page, fresh)
        assert faults(page) == []
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#feedback:not([hidden])")
        assert faults(page) == []
