"""Whether an error says that the disk is full."""

from __future__ import annotations

import errno

from piqa.errors import InputError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: BaseException | None) -> bool:
    """Whether an error of the machine, or the one line that it was told in, says that the disk is full."""
    if isinstance(error, InputError):
        return error.__cause__ is not error and is_full(error.__cause__)
    return isinstance(error, OSError) and error.errno in NO_ROOM
