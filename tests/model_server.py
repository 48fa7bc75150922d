"""A server in this process that plays the hosts of weights: plain files, the Hugging Face Hub, Google Drive's pages.

It listens on 127.0.0.1, and plays the Hub's second host, where large files lie, under the name of localhost.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOGIN_PAGE = b"<!DOCTYPE html><html><body>Please log in to this network.</body></html>"
QUOTA_PAGE = (
    b'<html><head><title>Google Drive - Quota exceeded</title></head><body><p class="uc-error-caption">Sorry</p>\n'
    b'<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please try accessing '
    b"the file again later. If the file you are trying to access is particularly large or is shared with many people, "
    b"it may take up to 24 hours to be able to view or download the file.</p>\n</body></html>"
)
SCAN_PAGE = (
    "<html><head><title>Google Drive - Virus scan warning</title></head><body><p>Google Drive can't scan this file for "
    'viruses.</p><form id="download-form" action="{address}/download" method="get">'
    '<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="{id}">'
    '<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="5-5"></form></body></html>'
)


@dataclass
class Served:
    """A file that is served, and what is wrong with it.

    Attributes:
        content: Its bytes.
        status: Answered in its place, if it is not 200.
        cuts: After how many bytes each of the next answers is cut off, the first one first.
        claims: The number of bytes that is claimed, if it is not the content's.
        page: A page for people that is answered in its place.
        tagged: Whether an ETag is given, without which nothing can be resumed.
        ranges: Whether a part can be asked for.
        moved: Where an answer leads instead, if anywhere.
    """

    content: bytes
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    claims: int | None = None
    page: bytes | None = None
    tagged: bool = True
    ranges: bool = True
    moved: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class ModelServer:
    """Serves `files` by their paths; `asked` lists what was asked for, as (method, path, range).

    Paths of the Hub are /<owner>/<name>/resolve/<file>, of whatever revision; of Drive /drive/<id>.

    What is published comes to lie among the files. `writers` names by token whose repositories it may write to, and
    `private` the repositories that were made so.
    """

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.writers: dict[str, str] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[str] = []
        self.uploaded: dict[str, bytes] = {}  # large files by their sha256, before they are part of a commit
        self.slow = threading.Event()  # while it is not set, no byte of a file is sent
        self.slow.set()
        handler = type("Handler", (_Handler,), {"played": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.slow.set()
        self._server.shutdown()
        self._server.server_close()

    def gets(self, path: str = "") -> int:
        """How often a file was asked for."""
        return sum(method == "GET" and asked.startswith(path) for method, asked, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    played: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.answer()

    def do_POST(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.answer_to_writer()

    def do_PUT(self) -> None:
        self.played.asked.append((self.command, self.path, None))
        self.played.uploaded[self.path.removeprefix("/lfs/")] = self.body()
        self.send_json(200, {})

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer_to_writer(self) -> None:
        """The Hub's steps of publishing: the repository, which files are large, where these go, the commit."""
        played, path, body = self.played, urlsplit(self.path).path, self.body()
        played.asked.append((self.command, path, None))
        owner = played.writers.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if owner is None:
            return self.send_json(401, {"error": "Invalid credentials"})
        if path == "/api/validate-yaml":
            return self.send_json(200, {"errors": [], "warnings": []})
        given = [json.loads(line) for line in body.splitlines()] if path.endswith("/commit/main") else json.loads(body)
        if path == "/api/repos/create":
            repo = f"{given.get('organization') or owner}/{given['name']}"
            if not repo.startswith(f"{owner}/"):
                return self.send_json(403, {"error": "Forbidden"})
            if repo in played.private:
                return self.send_json(409, {"error": "You already created this model repo", "url": f"/{repo}"})
            played.private[repo] = given.get("private") is True or given.get("visibility") == "private"
            return self.send_json(200, {"url": f"{played.url}/{repo}", "name": repo, "id": "1"})
        if path.endswith("/preupload/main"):
            kinds = {
                name: "lfs" if name.endswith(".safetensors") else "regular"
                for name in (one["path"] for one in given["files"])
            }
            files = [{"path": name, "uploadMode": kind, "shouldIgnore": False} for name, kind in kinds.items()]
            return self.send_json(200, {"files": files})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                one | {"actions": {"upload": {"href": f"{played.url}/lfs/{one['oid']}"}}} for one in given["objects"]
            ]
            return self.send_json(200, {"transfer": "basic", "objects": objects})
        repo = path.removeprefix("/api/models/").removesuffix("/commit/main")
        played.commits.append(given[0]["value"]["summary"])
        for line in given[1:]:
            value = line["value"]
            content = played.uploaded[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])
            played.files[f"/{repo}/resolve/{value['path']}"] = Served(content)
        self.send_json(200, {"commitUrl": f"{played.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

    def send_json(self, status: int, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self) -> None:
        address = urlsplit(self.path)
        self.played.asked.append((self.command, self.path, self.headers.get("Range")))
        if address.path in ("/uc", "/download"):
            self.answer_as_drive(address.path, parse_qs(address.query)["id"][0])
        elif "/resolve/" in address.path and not address.path.startswith("/cdn/"):
            self.answer_as_hub(address.path)
        else:
            self.send_file(self.played.files.get(address.path.removeprefix("/cdn")))

    def answer_as_drive(self, step: str, identifier: str) -> None:
        """The page that asks for confirmation comes first; the file, with its name, is what the page leads to."""
        served = self.played.files.get(f"/drive/{identifier}")
        if served is None or served.page is not None:
            self.send_page(200 if served else 404, served.page if served and served.page else b"<html>Not found</html>")
        elif step == "/uc":
            self.send_page(200, SCAN_PAGE.format(address=self.played.url, id=identifier).encode())
        else:
            self.send_file(served, {"Content-Disposition": 'attachment; filename="weights.pth"'})

    def answer_as_hub(self, path: str) -> None:
        """The Hub tells the commit, the hash and the size of a large file, and where it lies: on another host."""
        repo, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        served = self.played.files.get(key := f"{repo}/resolve/{file}")
        code = "RepoNotFound" if not any(one.startswith(f"{repo}/") for one in self.played.files) else "EntryNotFound"
        if revision not in ("main", COMMIT):
            self.send_page(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif served is None:
            self.send_page(401 if code == "RepoNotFound" else 404, b"", {"X-Error-Code": code})
        elif served.status != 200:
            self.send_page(served.status, b"")
        elif served.page is not None:
            self.send_page(200, served.page)
        else:
            facts = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{served.sha256}"'}
            facts |= {"X-Linked-Size": str(served.claims or len(served.content))}
            self.send_page(302, b"", facts | {"Location": f"http://localhost:{self.played.port}/cdn{key}"})

    def send_page(self, status: int, page: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(page))}.items():
            self.send_header(name, value)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)

    def send_file(self, served: Served | None, more: dict[str, str] | None = None) -> None:
        if served is not None and served.moved:
            self.send_page(302, b"", {"Location": served.moved})
            return
        if served is None or served.status != 200 or served.page is not None:
            page = served.page if served is not None and served.page is not None else b"<html>no file</html>"
            retry = {"Retry-After": "7"} if served is not None and served.status == 429 else {}
            self.send_page(404 if served is None else served.status, page, retry)
            return
        tag, content, start = f'"{served.sha256[:16]}"', served.content, 0
        asked = self.headers.get("Range")
        if asked and served.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content) and asked:
            self.send_page(416, b"")
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str((served.claims or len(content)) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in ({"ETag": tag} if served.tagged else {}).items():
            self.send_header(name, value)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.played.slow.wait(60)
            end = start + served.cuts.pop(0) if served.cuts else len(content)
            self.wfile.write(content[start:end])
            if end < len(content) or served.claims is not None:
                self.close_connection = True
