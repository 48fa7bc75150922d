"""PDF of pages: printed by a Chromium that is installed, or else by WeasyPrint, an optional dependency.

Both read the same HTML and its style for print. Chromium runs the page's scripts and knows all fonts of the system.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from piqa.errors import InputError
from piqa.system.files import replacing

BROWSERS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome")
TIMEOUT = 300  # seconds for one document; a portrait takes about one
EXTRA = 'pip install "dn-piqa[pdf]"'
HOW_TO_GET_ONE = f"install Chromium or Google Chrome, or `{EXTRA}`; the pages can also be printed from any browser"
Printer = Callable[[str, Path], None]
OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--disable-breakpad",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing is fetched, whatever a page says
    "--no-pdf-header-footer",
)


def write_pdf(html: str | Iterable[str], path: str | Path) -> Path:
    """Write HTML documents as one PDF, whole or not at all.

    Args:
        html: A document, or several, which are asked for and printed one after the other, so that only one is in
            memory. Starting Chromium takes a second: put some tens of portraits into each document, not one.
        path: The PDF to write.

    Raises:
        InputError: If nothing on this machine can make a PDF, if it fails, or if the file cannot be written.
    """
    documents = [html] if isinstance(html, str) else html
    path, printer = Path(path), _printer()
    with replacing(path) as temporary, tempfile.TemporaryDirectory(prefix="piqa-pdf-") as name:
        parts: list[Path] = []
        for document in documents:
            parts.append(Path(name) / f"{len(parts)}.pdf")
            printer(document, parts[-1])
        if not parts:
            raise InputError(f"cannot write {path}: there are no pages")
        _join(parts, temporary)
    return path


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome; None if there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def _printer() -> Printer:
    """Return what prints one document: Chromium, or WeasyPrint."""
    if browser := find_browser():
        return lambda html, path: _print_with_chromium(browser, html, path)
    weasyprint = _weasyprint()
    if weasyprint is None:
        raise InputError(f"there is nothing here that can make a PDF; {HOW_TO_GET_ONE}")
    return lambda html, path: _print_with_weasyprint(weasyprint, html, path)


def _weasyprint() -> Any:
    """Return the module; None if it is not installed."""
    try:
        import weasyprint
    except ImportError:
        return None
    except OSError as error:  # a library of the system that it loads
        needed = "its system libraries (Debian: libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0)"
        raise InputError(f"WeasyPrint cannot start: {error}; install {needed}, or Chromium") from error
    return weasyprint


def _print_with_chromium(browser: str, html: str, path: Path) -> None:
    page, profile = path.with_suffix(".html"), path.with_suffix(".profile")
    page.write_text(html, encoding="utf-8", errors="replace")
    command = [browser, *OPTIONS, f"--user-data-dir={profile}", f"--print-to-pdf={path}", page.as_uri()]
    if os.name == "posix" and os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # Chromium's sandbox refuses root
    try:
        said = _run(command, path.with_suffix(".log"))
    finally:
        page.unlink()
        shutil.rmtree(profile, ignore_errors=True)
    if path.is_file():
        return
    # Some containers forbid its sandbox, and one from a snap does not see temporary folders.
    if weasyprint := _weasyprint():
        _print_with_weasyprint(weasyprint, html, path)
        return
    last = (said.strip().splitlines() or ["nothing"])[-1]
    raise InputError(f"{browser} made no PDF; it said: {last[:300]}; `{EXTRA}` brings another way")


def _run(command: list[str], log: Path) -> str:
    """Run Chromium; return what it wrote to stderr. No process of it outlives the call."""
    with log.open("w+", encoding="utf-8", errors="replace") as file:  # no pipe, which a process of it may keep open
        # A group of its own: what Chromium starts is ended with it, and Ctrl-C reaches this program first.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        )
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise InputError(f"{command[0]} took more than {TIMEOUT} s to print a page; is the machine busy?") from None
        finally:
            _end(process)
        file.seek(0)
        return file.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):  # it has ended, with all that it started
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def _print_with_weasyprint(weasyprint: Any, html: str, path: Path) -> None:
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"})  # nothing is fetched, whatever a page says
    weasyprint.HTML(string=html, url_fetcher=fetcher).write_pdf(path)


def _join(parts: list[Path], path: Path) -> None:
    if len(parts) == 1:
        shutil.copyfile(parts[0], path)
        return
    try:
        from pypdf import PdfWriter
    except ImportError:
        raise InputError(f"joining {len(parts)} documents into one PDF needs pypdf; `{EXTRA}`") from None
    with PdfWriter() as writer:
        for part in parts:
            writer.append(part)
        writer.write(path)
