"""What a client is told where a request cannot be answered: a status of HTTP, and one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from piqa.errors import InputError
from piqa.server.disk import is_full
from piqa.system.phrases import Phrase

FULL = Phrase("the server's disk is full; nothing of this request was kept")


class RequestError(InputError):
    """A request that cannot be answered.

    Args:
        status: Of HTTP.
        message: What is wrong, and how to mend it: a `Phrase`, so that pages can say it in the reader's language.
        retry_after: Seconds after which another try may succeed.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def not_found(what: str) -> RequestError:
    """Return the error of something that is not there, such as `project`."""
    return RequestError(404, Phrase("there is no such {what}", what=Phrase(what)))


def line_of(error: Exception) -> str:
    """Return the one line of an error, as the phrase that it was raised with where it is one."""
    line = error.args[0] if len(error.args) == 1 else None
    return line if isinstance(line, Phrase) else str(error)


def is_no_room(error: BaseException) -> bool:
    """Whether an error says that the disk is full."""
    if isinstance(error, OperationalError):
        return any(words in str(error.orig) for words in ("disk is full", "No space left", "disk I/O error"))
    return is_full(error)


@contextmanager
def told_when_full() -> Iterator[None]:
    """Answer 507 where a full disk ends a block."""
    try:
        yield
    except (OSError, OperationalError, InputError) as error:
        if is_no_room(error):
            raise RequestError(507, FULL) from error
        raise
