"""What a server is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.scoring.options import Precision
from piqa.weights.trust import Trust

Keep = Literal["all", "none"]
SHORTEST_TOKEN = 16  # characters
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a client may ask for at once.

    Attributes:
        image_bytes: Size of one uploaded image.
        request_bytes: Size of one request, all its files together.
        request_files: Images in one request.
        waiting_images: Images of requests that wait for their scores, a model; a full queue answers 503.
        request_seconds: How long a client may take to send a request, or to wait for its answer.
        projects: Projects at once.
        project_photos: Photos of one project.
        free_bytes: Room on the disk below which no image is taken any more.
    """

    image_bytes: int = 100 * MIB
    request_bytes: int = 1024 * MIB
    request_files: int = 500
    waiting_images: int = 256
    request_seconds: float = 300.0
    projects: int = 10_000
    project_photos: int = 50_000
    free_bytes: int = 100 * MIB

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0 and name != "free_bytes":
                raise InputError(f"`--limits.{name}` {value}: more than 0 is needed")


@dataclass(frozen=True)
class ModelSettings:
    """How the models of a server score, as of `piqa predict`."""

    device: str = "auto"
    precision: Precision = "32"
    test_crops: Crops = "five"
    batch_size: int | None = None
    workers: int | None = None
    liqe: str | None = None
    trust: Trust = None


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
        data: Folder of all that the server keeps.
        database: Address of the database, as of SQLAlchemy; None for SQLite in `data`.
        root: Folder whose images may be named instead of being uploaded; None for none.
        token: What every client must know; None where only this machine can ask.
        host: The address that is listened to.
        port: Its port; 0 for any free one.
        keep: Whether uploaded images are kept (`all`) or forgotten once they are scored (`none`).
        models: Paths or names of models, by the name that clients see.
        scoring: How they score.
        limits: What a client may ask for at once.

    Raises:
        InputError: If another machine could ask without a token, or the token is too short.
    """

    data: Path
    database: str | None = None
    root: Path | None = None
    token: str | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    port: int = 8000
    keep: Keep = "all"
    models: Mapping[str, str] = field(default_factory=dict)
    scoring: ModelSettings = ModelSettings()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise InputError(f"`--token` has {len(self.token)} characters; take at least {SHORTEST_TOKEN} random ones")
        if self.token is None and not self.local:
            raise InputError(f"`--host {self.host}` can be reached by other machines; give a `--token` that they need")
        if not 0 <= self.port < 65536:
            raise InputError(f"`--port` {self.port}: a number from 0 to 65535 is needed")
        if self.root is not None and not self.root.is_dir():
            raise InputError(f"`--root` {self.root} is no folder")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def database_url(self) -> str:
        """The address of the database."""
        return self.database or f"sqlite:///{self.data / 'piqa.sqlite'}"
