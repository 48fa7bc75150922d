"""Run the application until it is stopped: an address that is free, one line that names it, slow clients cut off."""

from __future__ import annotations

import socket
from asyncio import TimerHandle, Transport
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from piqa.errors import InputError, stopped_with
from piqa.server.app import create_app
from piqa.server.settings import ServerSettings
from piqa.system.progress import told_if_slow
from piqa.system.sigterm import sigterm_stops

HEADER_SECONDS = 20.0  # that a client may take to say what it wants
CONNECTIONS = 1000
ENDING_SECONDS = 5


class Protocol(H11Protocol):
    """HTTP that closes a connection whose client does not say within some seconds what it wants."""

    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait; called by asyncio."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more; called by asyncio."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Wait on where what came is not yet a whole request line with headers; called by asyncio."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._disarm()
        elif self._timer is None:
            self._arm()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._close)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, line: str) -> None:
        super().__init__(config)
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so; called by uvicorn."""
        await super().startup(sockets)
        print(self._line, flush=True)


def run(settings: ServerSettings) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        InputError: If the port is taken, or as of `create_app`.
        Stopped: When it is stopped.
    """
    bound = _bound(settings.host, settings.port)
    with bound, stopped_with("all that was answered is kept: give the command again to go on"), sigterm_stops():
        with told_if_slow("loading the models"):
            app = create_app(settings)
        host, port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        line = f"http://{shown}:{port}/ (stop with Ctrl-C)"
        _Server(_config(app), line).run(sockets=[bound])


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=ENDING_SECONDS,
    )


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"`--host {host}` is no address of this machine: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror}; name another `--port`, or 0 for any that is free"
        ) from error
    return bound
