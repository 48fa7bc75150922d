"""Files of plain addresses and of Google Drive, fetched from a server that plays them."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from model_server import LOGIN_PAGE, QUOTA_PAGE, Served
from named_models import backbone_bytes, saved_bytes
from refusals import refusal

from piqa.errors import FileAccessError
from piqa.weights import cache, download
from piqa.weights.hosts import refusal as refusals

GOOD = backbone_bytes()


@pytest.fixture
def lsvq(names):
    """A name at a plain address, and what the server has there."""
    served = names.server.files["/lsvq.pth"] = Served(GOOD)
    return names.plain("lsvq"), served


@pytest.fixture
def drive(names):
    """A name on Google Drive, and what the server has there."""
    served = names.server.files["/drive/1AbC"] = Served(GOOD)
    return names.add("driven", {"host": "gdrive", "id": "1AbC", "file": "weights.pth"}), served


BOTH = pytest.mark.parametrize("kind", ["lsvq", "drive"])


@BOTH
def test_a_file_is_fetched_once_and_kept_in_its_place(kind, request, server, capsys):
    entry, served = request.getfixturevalue(kind)
    path = download.fetch(entry)
    asked = len(server.asked)
    assert path == cache.place_of(entry) and path.read_bytes() == GOOD
    assert download.fetch(entry) == path and len(server.asked) == asked
    assert {one.name for one in path.parent.iterdir()} == {path.name, cache.RECORD}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "fetching" in lines[0] and "commercial use: unknown" in lines[0]
    assert served.sha256 in lines[1] and "recorded" in lines[1]


def test_a_hash_that_is_published_is_checked_and_not_told(names, capsys):
    served = names.server.files["/lsvq.pth"] = Served(GOOD)
    entry = names.plain("lsvq", sha256=served.sha256, bytes=len(GOOD))
    download.fetch(entry)
    assert "recorded" not in capsys.readouterr().err
    assert json.loads((cache.folder_of(entry) / cache.RECORD).read_text())["published"] is True


@pytest.mark.parametrize(
    ("known", "message"),
    [({"sha256": "0" * 64}, "published is 000"), ({"bytes": 12}, f"it has {len(GOOD)} bytes instead of 12")],
)
def test_another_file_than_the_published_one_is_refused_and_not_kept(names, known, message):
    names.server.files["/lsvq.pth"] = Served(GOOD)
    entry = names.plain("lsvq", **known)
    assert message in refusal(download.fetch, entry)
    assert cache.cached_file(entry) is None
    assert not list(cache.folder_of(entry).rglob("*.pth"))


def test_the_hash_of_the_first_use_is_checked_ever_after(lsvq):
    entry, served = lsvq
    path = download.fetch(entry)
    path.write_bytes(backbone_bytes(seed=1))
    message = refusal(download.fetch, entry)
    assert served.sha256 in message and "when it was first used" in message and cache.RECORD in message
    path.write_bytes(GOOD)
    assert download.fetch(entry) == path


def test_a_file_that_was_deleted_is_fetched_again_and_must_be_the_same(lsvq):
    entry, served = lsvq
    download.fetch(entry).unlink()
    served.content = backbone_bytes(seed=1)
    assert "when it was first used" in refusal(download.fetch, entry)
    served.content = GOOD
    assert download.fetch(entry).read_bytes() == GOOD


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved_bytes({"token_embedding.weight": torch.zeros(1)}), "has the layout 'liqe', not 'lsvq'"),
        (b"not a file of weights", "cannot be read as weights"),
        (LOGIN_PAGE, "cannot be read as weights"),
    ],
)
@BOTH
def test_what_holds_something_else_is_refused_and_not_kept(kind, request, content, message):
    entry, served = request.getfixturevalue(kind)
    served.content = content
    assert message in refusal(download.fetch, entry)
    assert cache.read_record(entry) is None and cache.cached_file(entry) is None
    served.content = GOOD
    assert download.fetch(entry).read_bytes() == GOOD


def test_a_login_page_in_place_of_the_file_is_told(lsvq):
    entry, served = lsvq
    served.page = LOGIN_PAGE
    assert "web page instead of the file" in refusal(download.fetch, entry)


@pytest.mark.parametrize(
    ("status", "message", "passing"),
    [
        (401, "wants a login, or permission", False),
        (403, "wants a login, or permission", False),
        (404, "does not have it, or not any more", False),
        (429, "asked too often (HTTP 429); try again in 7 seconds", True),
        (503, "has a fault of its own (HTTP 503)", True),
    ],
)
def test_a_refusal_is_one_line_that_says_how_the_file_is_had(lsvq, status, message, passing):
    entry, served = lsvq
    served.status = status
    told = refusal(download.fetch, entry)
    assert message in told and entry.source.page in told and str(cache.place_of(entry)) in told
    if passing:
        with pytest.raises(FileAccessError):
            download.fetch(entry)


@BOTH
def test_a_connection_that_is_cut_is_gone_on_with(kind, request, server):
    entry, served = request.getfixturevalue(kind)
    served.cuts = [700_000, 600_000]  # of which whole pieces are kept
    assert download.fetch(entry).read_bytes() == GOOD
    assert [asked for _, _, asked in server.asked if asked] == ["bytes=524288-", "bytes=1048576-"]


def test_a_connection_that_brings_nothing_is_given_up_and_the_next_command_goes_on(lsvq, server):
    entry, served = lsvq
    served.cuts = [700_000, *[0] * 20]
    assert "cuts the connection off; the 0.524 MB that came are kept" in refusal(download.fetch, entry)
    assert server.gets() < 10
    served.cuts = []
    assert download.fetch(entry).read_bytes() == GOOD
    assert server.asked[-1][2] == "bytes=524288-"


def test_what_came_of_a_file_that_has_changed_since_is_dropped(lsvq):
    entry, served = lsvq
    served.cuts = [700_000, *[0] * 20]
    refusal(download.fetch, entry)
    served.cuts, served.content = [], backbone_bytes(seed=1)
    assert download.fetch(entry).read_bytes() == served.content


@pytest.mark.parametrize("fault", ["tagged", "ranges"])
def test_a_host_that_cannot_go_on_is_asked_from_the_start(lsvq, fault):
    entry, served = lsvq
    served.cuts = [700_000]
    setattr(served, fault, False)
    assert download.fetch(entry).read_bytes() == GOOD


def test_fewer_bytes_than_the_host_claims_are_not_taken_for_the_file(lsvq):
    entry, served = lsvq
    served.claims = len(GOOD) + 1000
    assert "cuts the connection off" in refusal(download.fetch, entry)
    assert cache.cached_file(entry) is None


def test_drives_page_before_a_large_file_is_confirmed(drive, server):
    entry, _ = drive
    download.fetch(entry)
    assert [path.partition("?")[0] for _, path, _ in server.asked] == ["/uc", "/download"]
    assert "confirm=t" in server.asked[1][1]


def test_drives_quota_is_told_with_what_to_do_by_hand(drive):
    entry, served = drive
    served.page = QUOTA_PAGE
    told = refusal(download.fetch, entry)
    assert "up to 24 hours" in told and "its quota" in told and "a copy in one's own Drive" in told
    assert "https://drive.google.com/file/d/1AbC/view" in told and str(cache.place_of(entry)) in told
    with pytest.raises(FileAccessError):
        download.fetch(entry)


def test_a_file_that_is_no_longer_shared_on_drive_is_told(drive, server):
    entry, _ = drive
    server.files.clear()
    assert "Google Drive does not hand it out" in refusal(download.fetch, entry)


def test_without_a_connection_one_line_tells_what_is_missing_and_where_it_belongs(names, monkeypatch, capsys):
    entry = names.plain("lsvq", megabytes=350)
    names.server.stop()
    tries = []
    monkeypatch.setattr(refusals.socket, "create_connection", lambda at, limit: tries.append(limit) or _refused())
    told = refusal(download.fetch, entry)
    assert "there is no connection to 127.0.0.1" in told and "lsvq.pth (about 350 MB)" in told
    assert entry.source.page in told and str(cache.place_of(entry)) in told
    assert len(tries) == 1 and tries[0] < 2
    assert capsys.readouterr().err == ""
    with pytest.raises(FileAccessError):
        download.fetch(entry)


def _refused():
    raise ConnectionRefusedError(111, "Connection refused")


def test_a_name_that_nobody_answers_for_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(refusals, "CONNECT_SECONDS", 0.05)
    stopped = threading.Event()
    monkeypatch.setattr(refusals.socket, "create_connection", lambda at, limit: stopped.wait(30) and _refused())
    with pytest.raises(refusals.HostRefusal, match=r"no connection to piqa\.invalid"):
        refusals.check_reachable("https://piqa.invalid/a.pth")
    stopped.set()


def test_a_proxy_is_what_must_be_reachable(monkeypatch):
    asked = []
    monkeypatch.setattr(refusals.socket, "create_connection", lambda at, limit: asked.append(at) or _refused())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.local:3128")
    with pytest.raises(refusals.HostRefusal, match=r"huggingface\.co through the proxy proxy\.local"):
        refusals.check_reachable("https://huggingface.co")
    assert asked == [("proxy.local", 3128)]


@pytest.mark.parametrize("proxy", ["http://user:secret@[proxy", "localhost:port", "http://proxy.local:99999"])
def test_a_proxy_that_is_no_address_is_told_without_its_password(monkeypatch, proxy):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(refusals.HostRefusal, match="HTTPS_PROXY") as told:
        refusals.check_reachable("https://huggingface.co")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "soon"])
def test_a_limit_that_no_socket_takes_is_none(server, monkeypatch, seconds):
    monkeypatch.setenv("PIQA_CONNECT_TIMEOUT", seconds)
    refusals.check_reachable(server.url)


@pytest.mark.parametrize("target", ["/lsvq.pth", "ftp://piqa.invalid/lsvq.pth", "http://[piqa/lsvq.pth"])
def test_a_redirect_that_leads_nowhere_is_no_fault_of_the_disk(lsvq, target):
    entry, served = lsvq
    served.moved = target
    told = refusal(download.fetch, entry)
    assert "the answer of 127.0.0.1 cannot be followed" in told and str(cache.place_of(entry)) in told
    assert "make room" not in told


def test_where_connections_are_forbidden_nothing_is_asked(lsvq, server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "forbids connections" in refusal(download.fetch, lsvq[0])
    assert server.asked == []


def test_a_file_that_is_put_there_by_hand_is_checked_and_recorded(lsvq, server, capsys):
    entry, served = lsvq
    place = cache.place_of(entry)
    place.parent.mkdir(parents=True)
    place.write_bytes(GOOD)
    assert download.fetch(entry) == place and server.asked == []
    assert served.sha256 in capsys.readouterr().err


def test_a_wrong_file_that_is_put_there_by_hand_is_refused_and_left(lsvq):
    entry, _ = lsvq
    place = cache.place_of(entry)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"my notes")
    assert "cannot be read as weights" in refusal(download.fetch, entry)
    assert place.read_bytes() == b"my notes"


def test_a_folder_that_may_not_be_written_gives_what_it_holds(lsvq, monkeypatch):
    entry, _ = lsvq
    place = cache.place_of(entry)
    place.parent.mkdir(parents=True)
    place.write_bytes(GOOD)
    monkeypatch.setattr(cache.SoftFileLock, "acquire", lambda *_, **__: _not_permitted())
    assert download.fetch(entry) == place and cache.read_record(entry) is None
    place.unlink()
    assert "name another folder by PIQA_HOME" in refusal(download.fetch, entry)


def _not_permitted():
    raise PermissionError(13, "Permission denied")


def test_a_full_disk_is_told_in_one_line(lsvq, monkeypatch):
    entry, _ = lsvq

    def full(*_):
        raise OSError(28, "No space left on device", "weights.pth.part")

    monkeypatch.setattr("piqa.weights.hosts.plain_http._fetch", full)
    assert "cannot write weights.pth.part: No space left on device; make room" in refusal(download.fetch, entry)


def test_a_damaged_record_counts_as_none(lsvq):
    entry, _ = lsvq
    path = download.fetch(entry)
    for text in ("", "[]", '{"path": 5}', "{"):
        (path.parent / cache.RECORD).write_text(text)
        assert download.fetch(entry) == path and cache.read_record(entry) is not None


FETCH = """
import sys
from pathlib import Path
from piqa.weights import registry
registry.FILE = Path(sys.argv[1])
from piqa.weights.download import fetch
print(fetch(registry.get_entry("lsvq")))
"""


def test_two_processes_at_once_fetch_a_file_once(lsvq, server, tmp_path):
    server.slow.clear()
    here = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", FETCH, str(tmp_path / "registry.toml")]
    both = [subprocess.Popen(command, env=os.environ | {"PYTHONPATH": here}, stdout=subprocess.PIPE) for _ in range(2)]
    deadline = time.monotonic() + 120
    while not server.gets() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # the other process has come to wait for the first, or comes later and finds the file
    server.slow.set()
    paths = {process.communicate(timeout=120)[0].decode().strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert paths == {str(cache.place_of(lsvq[0]))}
    assert server.gets() == 1
