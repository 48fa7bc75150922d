"""The one exception that a user's mistake raises, and how entry points show it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input, told in one line: what is wrong, in which file or row, and how to mend it.

    Entry points print the message without a traceback and leave with exit status 2.
    """


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line on stderr, instead of a traceback, when the input is at fault."""
    try:
        yield
    except InputError as error:
        print(f"piqa: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error
