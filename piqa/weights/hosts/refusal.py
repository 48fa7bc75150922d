"""Why a host gives no file, in words that a message to the user can hold; and whether it can be reached at all."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

CONNECT_SECONDS = 1.2  # for the name and the connection together; a slower network sets `PIQA_CONNECT_TIMEOUT`
LONGEST_SECONDS = 3600.0  # that `PIQA_CONNECT_TIMEOUT` can name: neither a socket nor a thread takes an infinite time
READ_SECONDS = 30.0  # that a host may be silent
Progress = Callable[[int, int | None], None]  # is told how many bytes are there, and of how many


class HostRefusal(Exception):
    """A host gave no file.

    Args:
        reason: What it did, a sentence whose subject is the host, or the file.
        passing: Whether another try may succeed.
    """

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.passing = reason, passing


def refusal_of(status: int, host: str, retry_after: str | None = None) -> HostRefusal:
    """Return what an HTTP status means."""
    if status in (401, 403):
        return HostRefusal(f"{host} wants a login, or permission, for it (HTTP {status})")
    if status in (404, 410):
        return HostRefusal(f"{host} does not have it, or not any more (HTTP {status})")
    if status == 429:
        pause = f"in {retry_after} seconds" if (retry_after or "").isdigit() else "later"
        return HostRefusal(f"{host} was asked too often (HTTP 429); try again {pause}", passing=True)
    if status >= 500:
        return HostRefusal(f"{host} has a fault of its own (HTTP {status}); try again later", passing=True)
    return HostRefusal(f"{host} answers with HTTP {status}")


def web_page(host: str) -> HostRefusal:
    """Return the refusal of a host, or of a gate before it, that sends a page for people instead of the file."""
    return HostRefusal(f"{host} answers with a web page instead of the file; is there a login page before the network?")


def is_offline() -> bool:
    """Whether the environment forbids connections, as `HF_HUB_OFFLINE=1` does."""
    words = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(word.upper() in ("1", "ON", "YES", "TRUE") for word in words)


def check_reachable(url: str) -> None:
    """Check within seconds that the host of an address, or the proxy before it, takes connections.

    The libraries would try for a minute.

    Raises:
        HostRefusal: If it does not, or connections are forbidden.
    """
    from requests.utils import get_environ_proxies, select_proxy

    host = str(urlsplit(url).hostname)
    if is_offline():
        raise HostRefusal(f"the environment forbids connections (HF_HUB_OFFLINE), so that {host} was not asked")
    proxy = select_proxy(url, get_environ_proxies(url))
    try:
        target = urlsplit(url if proxy is None else proxy if "://" in proxy else f"http://{proxy}")
        port = target.port or (443 if target.scheme == "https" else 80)
    except ValueError as error:  # the address itself is not shown, as it may hold a password
        whose = "it is asked at" if proxy is None else "the environment names as its proxy (HTTPS_PROXY)"
        raise HostRefusal(f"{host} cannot be asked: what {whose} is no address ({error})") from error
    if not _connects(str(target.hostname), port):
        through = "" if proxy is None else f" through the proxy {target.hostname}"
        raise HostRefusal(f"there is no connection to {host}{through}", passing=True)


def _connects(host: str, port: int) -> bool:
    seconds, done = _connect_seconds(), threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), seconds).close()
            done.set()
        except OSError:
            pass

    # In a thread, as looking up a name has no limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return done.is_set()


def _connect_seconds() -> float:
    try:
        seconds = float(os.environ.get("PIQA_CONNECT_TIMEOUT", CONNECT_SECONDS))
    except ValueError:
        return CONNECT_SECONDS
    return min(seconds, LONGEST_SECONDS) if seconds > 0 else CONNECT_SECONDS  # what is not a number is not above 0
