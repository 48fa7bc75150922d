import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from leaderboards import labels, leaderboard, noisy
from PIL import Image
from portraits import collins

from piqa.errors import InputError
from piqa.evaluation.output import thumbnails
from piqa.evaluation.output.page import render, write_page
from piqa.evaluation.output.thumbnails import THUMBNAIL_SIDE, thumbnail

EVIL = "</script><script>console.error('owned')</script><img src=x onerror=alert(1)>"
VOID = {"meta", "link", "img", "input", "br", "wbr", "line", "rect"}


class Reader(HTMLParser):
    """The page's elements, its text, and whether all elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.S)[1])


def with_images(folder, **options):
    """A board whose images all lie on disk as one of four files."""
    files = [folder / f"{i}.jpg" for i in range(4)]
    for i, file in enumerate(files):
        collins().rotate(i).resize((800, 1000)).save(file)
    paths = {name: str(files[i % 4]) for i, name in enumerate(labels()["image"])}
    return leaderboard(paths=paths, **options)


def test_the_page_is_well_formed_and_names_all_lines_and_scenes(tmp_path):
    board = leaderboard()
    reader = Reader(write_page(board, tmp_path / "board.html").read_text(encoding="utf-8"))
    assert reader.open == []
    text = " ".join(reader.text)
    for name in [*board.entries["model"], *board.scenes["scene"].unique()]:
        assert name in text
    assert text.count("PIQ23 overall, scene split · 24 test images · 3 test scenes") > 5


def test_the_page_fetches_nothing(tmp_path):
    text = render(with_images(tmp_path))
    for _, attributes in Reader(text).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)  # the name of SVG's elements is no address
    assert "url(" not in text and "@import" not in text


def test_only_the_pages_own_script_may_run():
    text = render(leaderboard())
    policy = next(
        meta["content"] for meta in Reader(text).all("meta") if "content" in meta and "src" in meta["content"]
    )
    script = re.search(r"<script>(.*)</script>", text, flags=re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_names_cannot_bring_markup_in():
    table = labels()
    table["scene"] = table["scene"] + EVIL
    table["image"] = table["image"] + EVIL
    board = leaderboard(table, {EVIL: noisy(table, 0.5, 1)}, table=EVIL, command=EVIL, missing={EVIL: [EVIL]})
    reader = Reader(render(board))
    assert reader.open == []
    assert len(reader.all("script")) == 2
    assert reader.all("img") == []
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert EVIL in " ".join(reader.text)


def test_every_board_cell_holds_its_number():
    board = leaderboard()
    text = render(board)
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', text, flags=re.S)
    measured = [float(value) for _, row in rows for value in re.findall(r'<td data-value="([^"]+)"', row)]
    assert measured == [value for value in _in_page_order(board) if value == value]
    assert "nan" not in text.split('<script type="application/json"')[0]


def _in_page_order(board):
    for protocol in ("official", "authors", "calibrated"):
        own = board.measures[board.measures["protocol"] == protocol].set_index(["model", "measure"])["value"]
        for model in board.entries["model"]:
            for measure in ("srocc", "plcc", "krocc", "mae", "rmse", "pair_accuracy"):
                yield own.get((model, measure), float("nan"))


def test_the_plots_hold_every_prediction_under_its_scene():
    board = leaderboard()
    data = data_of(render(board))
    assert [model["name"] for model in data["models"]] == ["ours", "peer"]  # a constant ranks nothing
    peer = board.predictions.query("model == 'peer'").set_index("image")["prediction"]
    for scene in data["scenes"]:
        assert scene["predictions"][1] == [pytest.approx(peer[image], abs=1e-4) for image in scene["images"]]
    assert sum(len(scene["images"]) for scene in data["scenes"]) == 24
    assert [bin["pairs"] for bin in data["reliability"][0]] == list(board.reliability.query("model == 'ours'")["pairs"])


def test_an_image_that_one_model_does_not_predict_is_null_there_and_kept_for_the_other():
    board = leaderboard()
    absent = (board.predictions["model"] == "ours") & (board.predictions["image"] == "0_Scene_1.jpg")
    data = data_of(render(replace(board, predictions=board.predictions[~absent])))
    scene = next(scene for scene in data["scenes"] if scene["name"] == "Scene_1")
    place = scene["images"].index("0_Scene_1.jpg")
    assert scene["predictions"][0][place] is None
    assert scene["predictions"][1][place] is not None


def test_scenes_are_sorted_as_people_count():
    data = data_of(render(leaderboard(labels(scenes=11))))
    assert [scene["name"] for scene in data["scenes"]] == [f"Scene_{i}" for i in range(11)]


def test_a_board_without_models_can_be_shown():
    board = leaderboard()
    naive = board.entries[board.entries["kind"] == "naive"]
    frames = {
        name: frame[frame["model"].isin(naive["model"])]
        for name, frame in vars(board).items()
        if isinstance(frame, pd.DataFrame) and "model" in frame and name != "entries"
    }
    empty = {name: pd.DataFrame({"model": []}) for name in ("reliability", "failures")}
    text = render(replace(board, **frames | empty, entries=naive, comparisons=board.comparisons[:0]))
    assert Reader(text).open == []
    assert "constant" in text


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e5])
def test_predictions_of_any_scale_keep_their_order_in_the_plots(spread):
    table = labels()
    predictions = noisy(table, 0.5, 1) * spread + 55
    scenes = data_of(render(leaderboard(table, {"ours": predictions})))["scenes"]
    shown = pd.Series([value for scene in scenes for value in scene["predictions"][0]])
    assert shown.rank().to_list() == predictions.round(12).rank().to_list()


def test_a_command_that_is_no_text_is_shown_with_a_question_mark(tmp_path):
    assert "caf?" in write_page(leaderboard(command="caf\udce9"), tmp_path / "board.html").read_text(encoding="utf-8")


# Images


def test_an_image_is_small_and_carries_no_metadata(tmp_path):
    image = collins().resize((2000, 1500))
    exif = Image.Exif()
    exif[0x010F] = "A secret camera"
    image.save(tmp_path / "a.jpg", exif=exif)
    content = base64.b64decode(thumbnail(tmp_path / "a.jpg").split(",")[1])
    with Image.open(io.BytesIO(content)) as small:
        assert small.size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE * 3 // 4)
        assert not small.getexif()
    assert b"secret" not in content and len(content) < 60_000


def test_every_failure_shows_both_images_with_a_text_and_each_file_is_embedded_once(tmp_path):
    board = with_images(tmp_path)
    text = render(board)
    images = Reader(text).all("img")
    assert len(images) == 2 * len(board.failures)
    assert all(image["alt"] for image in images)
    encoded = data_of(text)["thumbnails"]
    assert len(encoded) == len(set(encoded)) == len({*board.failures["path_a"], *board.failures["path_b"]})
    assert str(tmp_path) not in text


def test_an_image_that_cannot_be_read_leaves_its_name(tmp_path):
    board = with_images(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"no image")
    reader = Reader(render(board))
    assert reader.all("img") == []
    assert "".join(reader.text).count(board.failures["image_a"].iloc[0]) >= 1


def test_images_beyond_the_room_for_them_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "THUMBNAIL_BYTES", 1)
    text = render(with_images(tmp_path))
    assert len(data_of(text)["thumbnails"]) == 1
    assert re.search(r"[123] images are left out", text)


def test_a_page_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(InputError, match="folder"):
        write_page(leaderboard(), tmp_path / "folder" / "board.html")


# In a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """
const probed = document.querySelector("table.board");
const names = () => [...probed.tBodies[0].rows].map((row) => row.cells[0].dataset.value);
const found = { before: names(), panels: document.querySelectorAll("#scatter svg").length };
const head = probed.tHead.rows[0].cells[1];
head.querySelector("button").click();
found.descending = [head.getAttribute("aria-sort"), names()];
head.querySelector("button").click();
found.ascending = [head.getAttribute("aria-sort"), names()];
const choice = document.querySelector(".scatter-choice");
choice.value = "peer";
choice.dispatchEvent(new Event("change"));
found.galleries = [...document.querySelectorAll(".gallery:not([hidden])")].map((one) => one.dataset.model);
document.querySelector("input[value=ranks]").click();
document.querySelector("#scatter svg").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
found.tip = document.getElementById("tip").textContent;
found.thumbnails = [...document.images].filter((image) => image.src.startsWith("data:")).length;
found.plots = ["forest", "reliability", "scene-ranks"].map((id) => document.querySelector(`#${id} svg`) !== null);
found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.title = "probe " + JSON.stringify(found);
"""


def in_browser(file, folder):
    """The page's elements after its script has run, and what it wrote to the console."""
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    options += "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom --window-size=1280,2000"
    command = [CHROMIUM, *options.split(), f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_in_a_browser_tables_sort_plots_are_drawn_and_nothing_is_complained_of(tmp_path):
    board = with_images(tmp_path)
    file = write_page(board, tmp_path / "board.html")
    dom, console = in_browser(file, tmp_path)
    assert console == []
    assert "<svg" in dom.split('id="forest"')[1]
    text = file.read_text(encoding="utf-8")
    policy = re.search(r'<meta http-equiv="Content-Security-Policy".*?>', text)[0]  # it would not let a probe run
    file.write_text(text.replace(policy, "").replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    dom, console = in_browser(file, tmp_path)
    assert console == []
    found = json.loads(
        Reader(dom).text[next(i for i, t in enumerate(Reader(dom).text) if "probe {" in t)].split("probe ")[1]
    )
    official = board.measures.query("protocol == 'official' and measure == 'srocc'").set_index("model")["value"]
    assert found["before"] == list(board.entries["model"])
    for direction in ("ascending", "descending"):
        expected = official.sort_values(ascending=direction == "ascending", kind="stable", na_position="last").index
        assert found[direction] == [direction, list(expected)]
    assert found["panels"] == 3
    assert found["galleries"] == ["peer"]
    assert re.fullmatch(r"\d_Scene_0.jpg\nscore .*, predicted .*", found["tip"])
    assert found["thumbnails"] == 2 * len(board.failures)
    assert found["plots"] == [True, True, True]
    assert found["wide"] <= 0


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("prediction", ["perfect", "constant"])
def test_in_a_browser_figures_without_any_spread_can_be_drawn(tmp_path, prediction):
    table = labels(scenes=1)
    board = leaderboard(table, {"ours": table["score"] * (prediction == "perfect")}, ceiling=table["score"])
    board.measures.loc[board.measures["measure"] == "srocc", "high"] = 1 + 1e-16
    dom, console = in_browser(write_page(board, tmp_path / "board.html"), tmp_path)
    assert console == []
    assert "<h4>Scene_0<span>" in dom.split('id="scatter"')[1]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_in_a_browser_names_that_look_like_scripts_stay_text(tmp_path):
    table = labels()
    table["scene"] = table["scene"] + EVIL
    board = leaderboard(table, {EVIL: noisy(table, 0.5, 1), "peer": noisy(table, 1, 2)}, table=EVIL)
    dom, console = in_browser(write_page(board, tmp_path / "board.html"), tmp_path)
    assert console == []
    assert len(Reader(dom).all("script")) == 2
