"""PDF of pages: by Chromium or WeasyPrint, whole or not at all, and nothing is left running."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from browser import needs_browser
from running import ends

from piqa.errors import InputError
from piqa.web import pdf
from piqa.web.pdf import write_pdf

PAGE = "<!DOCTYPE html><title>{0}</title><p>{0}</p><p style='break-before: page'>{0} again</p>"


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Where temporary folders are made; empty again after every test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [*folder.iterdir()] == []


def pages(file):
    """The text of each page."""
    from pypdf import PdfReader

    return [page.extract_text().strip() for page in PdfReader(file).pages]


def browser_that(does, folder, monkeypatch):
    """Put a shell script in the place of Chromium."""
    script = folder / "browser"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setattr(pdf, "BROWSERS", (str(script),))


def without_browser(monkeypatch):
    monkeypatch.setattr(pdf, "BROWSERS", ())
    return pytest.importorskip("weasyprint")


@needs_browser
def test_documents_are_printed_in_order_into_one_file(tmp_path):
    file = write_pdf((PAGE.format(name) for name in ("one", "two")), tmp_path / "a.pdf")
    assert pages(file) == ["one", "one again", "two", "two again"]
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["a.pdf"]


def test_a_document_is_asked_for_when_the_one_before_it_is_printed(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(pdf, "_printer", lambda: lambda html, path: (events.append(f"print {html}"), path.touch()))
    monkeypatch.setattr(pdf, "_join", lambda parts, path: path.write_bytes(b"joined"))

    def documents():
        for name in "ab":
            events.append(f"make {name}")
            yield name

    write_pdf(documents(), tmp_path / "a.pdf")
    assert events == ["make a", "print a", "make b", "print b"]


def test_without_a_browser_weasyprint_prints(tmp_path, monkeypatch):
    without_browser(monkeypatch)
    assert pages(write_pdf(PAGE.format("one"), tmp_path / "a.pdf")) == ["one", "one again"]


def test_weasyprint_prints_every_widget(tmp_path, monkeypatch):
    from gallery import gallery

    without_browser(monkeypatch)
    text = " ".join(pages(write_pdf(gallery(), tmp_path / "a.pdf")))
    for said in ("too dark", "higher than 23 % of 120 images", "+0.42", "Two images"):
        assert said in text


def test_weasyprint_reads_no_other_file(tmp_path, monkeypatch):
    without_browser(monkeypatch)
    (tmp_path / "secret.css").write_text("p::after { content: 'secret' }")
    link = f'<link rel="stylesheet" href="{(tmp_path / "secret.css").as_uri()}">'
    assert pages(write_pdf(link + PAGE.format("a"), tmp_path / "a.pdf")) == ["a", "a again"]


def test_where_nothing_can_print_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "BROWSERS", ())
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(InputError, match=r'install Chromium or Google Chrome, or `pip install "dn-piqa\[pdf\]"`'):
        write_pdf("<p>", tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


def test_documents_that_cannot_be_joined_are_refused_with_what_to_install(tmp_path, monkeypatch):
    browser_that(
        'for one in "$@"; do case $one in --print-to-pdf=*) : > "${one#*=}";; esac; done', tmp_path, monkeypatch
    )
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(InputError, match=r"needs pypdf; `pip install"):
        write_pdf(["a", "b"], tmp_path / "a.pdf")


def test_weasyprint_takes_the_place_of_a_browser_that_prints_nothing(tmp_path, monkeypatch):
    pytest.importorskip("weasyprint")
    browser_that("exit 1", tmp_path, monkeypatch)
    assert pages(write_pdf(PAGE.format("one"), tmp_path / "a.pdf")) == ["one", "one again"]


def test_a_browser_that_prints_nothing_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a.pdf").write_text("old")
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    browser_that("echo 'no usable sandbox' >&2; exit 1", tmp_path, monkeypatch)
    with pytest.raises(InputError, match="made no PDF; it said: no usable sandbox"):
        write_pdf("<p>", tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_text() == "old"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_browser_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    tells = f"echo $! > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/child"
    browser_that(f"sleep 600 & {tells}; wait", tmp_path, monkeypatch)
    start = subprocess.Popen

    def started(*arguments, **settings):
        process, late = start(*arguments, **settings), time.monotonic() + 120
        while not (tmp_path / "child").exists() and time.monotonic() < late:
            time.sleep(0.01)
        return process

    monkeypatch.setattr(pdf.subprocess, "Popen", started)
    monkeypatch.setattr(pdf, "TIMEOUT", 1)
    with pytest.raises(InputError, match="took more than 1 s"):
        write_pdf("<p>", tmp_path / "a.pdf")
    assert ends((tmp_path / "child").read_text().strip())


def test_no_documents_are_no_pdf(tmp_path):
    with pytest.raises(InputError, match="there are no pages"):
        write_pdf([], tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


def test_only_root_gives_up_the_sandbox(tmp_path, monkeypatch):
    browser_that(f'echo "$@" > {tmp_path}/options', tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    for user, given in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(InputError, match="made no PDF; it said: nothing"):
            write_pdf("<p>", tmp_path / "a.pdf")
        assert ("--no-sandbox" in (tmp_path / "options").read_text()) == given
