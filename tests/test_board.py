"""The board: evaluations and leaderboards in the server's folder."""

import json

import pytest
from judging import quiet_server
from leaderboards import leaderboard

from piqa.evaluation.output.page import write_page
from piqa.evaluation.output.tables import write_tables


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def client(data):
    with quiet_server(data) as client:
        yield client


def write(folder, srocc=0.5, **facts):
    folder.mkdir(parents=True)
    official = {"srocc": srocc, "krocc": 0.4, "plcc": 0.6, "mae": None}
    content = {"images": 40, "scenes": 4, "official": official, "pair_accuracy": 0.7, "facts": facts}
    (folder / "metrics.json").write_text(json.dumps(content))


def test_without_evaluations_there_is_a_word_on_how_to_make_them(client):
    assert "piqa evaluate" in client.get("/board").text


def test_evaluations_of_one_table_stand_together_the_best_first(client, data):
    write(data / "runs" / "weak", 0.5, table="demo.csv", split="test", selected_on="val")
    write(data / "runs" / "strong", 0.9, table="demo.csv", split="test")
    write(data / "other", None, table="<b>PIQ23", split="test")
    page = client.get("/board").text
    assert page.count("<h2>") == 2 and "&lt;b&gt;PIQ23" in page and "<b>PIQ23" not in page
    assert page.index("runs/strong") < page.index("runs/weak") and ">0.900<" in page
    assert str(data) not in page


BROKEN = [
    "",
    "[]",
    "\0",
    '{"official": 1}',
    '{"images": "x", "scenes": 1, "official": {}}',
    '{"images": Infinity, "scenes": 1, "official": {}}',
    '{"images": 1, "scenes": 1, "official": {}, "facts": [1]}',
    pytest.param("[" * 100_000, id="deep"),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_file_that_is_no_evaluation_is_left_out(client, data, content):
    (data / "run").mkdir()
    (data / "run" / "metrics.json").write_text(content)
    assert "piqa evaluate" in client.get("/board").text


def test_photos_are_not_searched(client, data):
    write(data / "photos" / "a", table="t")
    assert "piqa evaluate" in client.get("/board").text


def test_a_leaderboards_own_page_is_shown_and_no_other_file(client, data):
    board, folder = leaderboard(), data / "boards" / "june"
    folder.mkdir(parents=True)
    write_page(board, folder / "leaderboard.html")
    write_tables(board, folder)
    (data / "boards" / "leaderboard.html").write_text("<script>alert(1)</script>")  # alone: it may be anybody's
    page = client.get("/board").text
    assert page.count("/board/pages/") == 1 and "boards/june" in page
    address = page.split('href="/board/pages/')[1].split('"')[0]
    shown = client.get(f"/board/pages/{address}")
    assert shown.status_code == 200 and "script-src 'sha256-" in shown.headers["content-security-policy"]
    assert client.get("/board/pages/unknown").status_code == 404
