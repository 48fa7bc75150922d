"""The exceptions that a user's mistake or a fault of the machine raises, and how entry points show them."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, TextIO, cast

FAILED, BAD_INPUT, PASSING_FAULT, STOPPED = 1, 2, 3, 130  # exit statuses
_collects_later = False  # whether a command that is about to begin switches the garbage collector on again
_imported_apart = False  # whether a command runs, whose imports are left out of collections


class InputError(ValueError):
    """Bad input, told in one line: what is wrong, in which file or row, and how to mend it.

    Entry points print the message without a traceback and leave with `exit_status`.

    Examples:
        >>> raise InputError("scores.csv has no column `score` (found: mos); rename it")
        Traceback (most recent call last):
        piqa.errors.InputError: scores.csv has no column `score` (found: mos); rename it
    """

    exit_status: ClassVar[int] = BAD_INPUT


class FileAccessError(InputError):
    """A file could not be read because of the machine, not of its content: absent, no permission, a drive that is gone.

    Another try may succeed, so it must not be recorded as a property of the file.

    Examples:
        >>> FileAccessError("cannot read a.jpg: Input/output error").exit_status
        3
    """

    exit_status: ClassVar[int] = PASSING_FAULT


class NothingDoneError(InputError):
    """Every single item failed for a reason of its own, so that the command has no result."""

    exit_status: ClassVar[int] = FAILED


class Stopped(KeyboardInterrupt):
    """The user, or a signal, stopped the program; the message says what is kept and how to go on."""

    def __init__(self, message: str, exit_status: int = STOPPED) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@contextmanager
def stopped_with(words: str) -> Iterator[None]:
    """Add to what stops a block, Ctrl-C or SIGTERM, what becomes of its work.

    Raises:
        Stopped: In place of KeyboardInterrupt, with these words, and with the exit status that it had.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        status = error.exit_status if isinstance(error, Stopped) else STOPPED
        raise Stopped(f"{str(error) or 'stopped by Ctrl-C'}; {words}", status) from error


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Run a command: end the program with one line on stderr where the input, the machine or the user stops it.

    A stdout that is closed or full loses nothing: the command goes on without it. The exit status is then that of the
    command where a reader closed stdout (`| head`), and 1 where it could not be written.

    Raises:
        SystemExit: Instead of InputError, OSError and KeyboardInterrupt, or where stdout could not be written.
    """
    _collect_again()
    own, guard = sys.stdout, _GuardedOutput(sys.stdout)
    sys.stdout = cast(TextIO, guard)
    try:
        yield
        guard.flush()
    except InputError as error:
        _end(f"error: {error}", error.exit_status, error)
    except KeyboardInterrupt as error:
        atexit.register(_ignore_stops)
        told = _first_stop(error)
        _end(str(told) or "stopped by Ctrl-C", getattr(told, "exit_status", STOPPED), error)
    except OSError as error:  # a full disk, say, wherever no message of its own names it
        if error.errno is None:
            raise  # not of the operating system, but a library's error that inherits from OSError
        what = f"{error.filename}: " if error.filename else ""
        advice = "check the disk, its room and its permissions"
        _end(f"error: {what}{error.strerror}; {advice}", FAILED, error)
    finally:
        sys.stdout = own
    if guard.fault is not None and guard.fault.errno != errno.EPIPE:
        _end(f"error: cannot write to stdout: {guard.fault.strerror}; files were written as usual", FAILED, guard.fault)


def import_without_collecting() -> None:
    """Switch the garbage collector off until a command begins: it finds nothing in modules, and takes half a second.

    `one_line_errors` switches it on again, and leaves what was imported out of all later collections, that at the end
    of the program included.
    """
    global _collects_later
    if gc.isenabled():
        gc.disable()
        _collects_later = True


@contextmanager
def late_imports() -> Iterator[None]:
    """Import in a command that runs already, as before it: without the collector, and left out of its later work.

    In a program of the user's, whose collector is the user's own, nothing is done.
    """
    if not (_imported_apart and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _collect_again() -> None:
    global _collects_later, _imported_apart
    if _collects_later:
        gc.freeze()
        gc.enable()
        _collects_later, _imported_apart = False, True


def tell_ctrl_c() -> None:
    """Make this program end with one line where Ctrl-C stops it before it runs a command, as while it imports."""
    usual = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("piqa: stopped by Ctrl-C", file=sys.stderr)
        else:
            usual(kind, error, trace)

    sys.excepthook = tell


def _first_stop(error: BaseException) -> BaseException:
    """Return the first of several interruptions that says what is kept: the next came while that was on its way."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, Stopped) and str(one):
            return one
        one = one.__context__
    return error


def _ignore_stops() -> None:
    """Let the program end with the status that it has, whatever is sent to it again while Python shuts down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end(line: str, status: int, cause: BaseException) -> None:
    with suppress(OSError):
        print(f"piqa: {' '.join(line.split())}", file=sys.stderr)
    raise SystemExit(status) from cause


class _GuardedOutput:
    """A text stream that goes on silently after the first error of writing, which it keeps in `fault`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write the text, unless writing has failed before."""
        if self.fault is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._stop(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, unless writing has failed before."""
        if self.fault is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._stop(error)

    def _stop(self, error: OSError) -> None:
        self.fault = error
        with suppress(OSError, ValueError):  # what is still buffered must not fail once more when Python exits
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
