import time
from io import StringIO

import pytest
from rich.console import Console

from piqa.system import progress as progress_module
from piqa.system.progress import progress, told_if_slow


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def test_where_there_is_no_terminal_a_line_comes_soon_and_then_now_and_then(clock):
    out = StringIO()
    with progress(1000, 100, Console(file=out), every=30) as advance:
        for seconds in range(1, 67):
            clock[0] = seconds
            advance(5 if seconds <= 36 else 10)
    assert out.getvalue().splitlines() == [
        "scoring: 130 of 1000, 5.00 images/s, 0:02:54 left",
        "scoring: 280 of 1000, 5.00 images/s, 0:02:24 left",
        "scoring: 580 of 1000, 10 images/s, 0:00:42 left",
    ]


def test_a_slow_start_says_what_it_waits_for(capsys):
    told, late = "", time.monotonic() + 120
    with told_if_slow("loading the model", after=0.02):
        while not told and time.monotonic() < late:
            time.sleep(0.01)
            told += capsys.readouterr().err
    with told_if_slow("listing the images", after=60):
        pass
    assert told + capsys.readouterr().err == "loading the model ...\n"


def test_a_terminal_shows_a_bar_with_rate_and_time_left():
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with progress(1000, 250, console) as advance:
        for _ in range(50):
            advance(10)
    assert "750/1000" in out.getvalue() and "images/s" in out.getvalue()


def test_the_second_of_several_processes_shows_nothing(capsys, clock):
    with progress(10, quiet=True) as advance:
        clock[0] = 100
        advance(5)
    assert capsys.readouterr() == ("", "")


def test_lines_name_the_task_the_unit_and_what_else_there_is_to_tell(clock):
    out = StringIO()
    with progress(40, console=Console(file=out), every=30, task="personalising", unit="users") as advance:
        clock[0] = 31
        advance(31, "2 failed")
    assert out.getvalue() == "personalising: 31 of 40, 1.00 users/s, 0:00:09 left; 2 failed\n"


def test_a_bar_shows_the_note_too():
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with progress(10, console=console, task="preparing") as advance:
        advance(10, "9 prepared, 1 failed")
    assert "preparing" in out.getvalue() and "9 prepared, 1 failed" in out.getvalue()
