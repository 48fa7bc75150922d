"""Files at a plain address, such as a release on GitHub: fetched with resume, over any number of connections."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from piqa.weights.hosts.refusal import READ_SECONDS, HostRefusal, Progress, refusal_of, web_page

TRIES = 4  # in a row that bring nothing
PAUSE = 1.0  # seconds between them
CHUNK = 1 << 18  # bytes


def download(url: str, target: Path, report: Progress) -> None:
    """Fetch a file; what an earlier try has brought is kept in `<target>.part`, and the rest is asked for.

    Args:
        url: Its address; proxies are taken from the environment.
        target: Where it is moved when it is complete.
        report: Is told how far it is.

    Raises:
        HostRefusal: If it is not to be had, or not in full.
        OSError: If it cannot be written.
    """
    import requests

    host, part = str(urlsplit(url).hostname), Part(target)
    tries_left, brought = TRIES, -1
    with requests.Session() as session:
        while tries_left:
            try:
                if _fetch(session, url, part, report):
                    part.path.replace(target)
                    part.forget()
                    return
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                pass  # cut off, or silent
            except (requests.RequestException, ValueError) as error:  # redirects without end or to no address, say
                reason = " ".join(str(error).split()).rstrip(".")
                raise HostRefusal(f"the answer of {host} cannot be followed ({reason})") from error
            tries_left = TRIES if part.size > brought else tries_left - 1
            brought = max(brought, part.size)
            time.sleep(PAUSE)
    kept = f"; the {part.size / 1e6:.3g} MB that came are kept, and the same command goes on with them"
    raise HostRefusal(f"{host} cuts the connection off{kept if part.tag else ''}", passing=True)


class Part:
    """What has come of a file, and the tag by which the host tells whether its file is still the same."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._tag = target.with_name(f"{target.name}.part.tag")

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def tag(self) -> str:
        """The host's tag of the file; empty where there is none, and nothing can be resumed."""
        with suppress(OSError):
            return self._tag.read_text(encoding="utf-8")
        return ""

    def begin(self, tag: str) -> None:
        """Begin anew, with this tag of the host's file."""
        self.path.write_bytes(b"")
        self._tag.write_text(tag, encoding="utf-8")

    def forget(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)


def _fetch(session: object, url: str, part: Part, report: Progress) -> bool:
    """Ask for what is missing of a file, and write it; return whether all is there."""
    import requests

    assert isinstance(session, requests.Session)
    host, offset = str(urlsplit(url).hostname), part.size if part.tag else 0
    headers = {"Accept-Encoding": "identity"}  # sizes are those of the file
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": part.tag}
    with session.get(url, headers=headers, stream=True, timeout=(READ_SECONDS, READ_SECONDS)) as answer:
        if answer.status_code == 416:  # there is nothing behind the last byte: all had come, or it is another file
            part.forget()
            return False
        if answer.status_code not in (200, 206):
            raise refusal_of(answer.status_code, host, answer.headers.get("Retry-After"))
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise web_page(host)
        if not offset or not _continues(answer.headers.get("Content-Range", ""), answer.status_code, offset):
            tag = answer.headers.get("ETag", "")
            part.begin(answer.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag)
            if answer.status_code == 206:
                return False  # of the whole file
            offset = 0
        length = answer.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdigit() else None
        with part.path.open("ab") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                offset += len(chunk)
                report(offset, total)
    if total is not None and offset > total:
        part.forget()
    return total is None or offset == total


def _continues(content_range: str, status: int, offset: int) -> bool:
    found = re.match(r"bytes (\d+)-", content_range)
    return status == 206 and found is not None and int(found[1]) == offset
