"""What the disk or a loading process does to a training, said in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from piqa.errors import InputError


@contextmanager
def failed_in_one_line(kept: Callable[[], str], end_others: Callable[[], None]) -> Iterator[None]:
    """Run a training command; where a fault of data, disk or memory ends it, say in one line what is kept.

    Args:
        kept: Return what is kept and how to go on.
        end_others: Ends the other processes of the training, which would wait for this one forever.

    Raises:
        InputError: If the data are at fault, the disk is full, or a loading process dies.
    """
    try:
        yield
    except InputError:
        end_others()
        raise
    except (OSError, EOFError, RuntimeError) as error:
        if (death := death_of_loader(error)) is not None:
            end_others()
            raise InputError(
                f"a process that loads images has died, perhaps for lack of memory ({death}); {kept()}, with fewer of "
                "them (`--data.loading.workers`) if it happens again"
            ) from error
        if not isinstance(error, OSError) or error.errno is None:
            raise
        end_others()
        what = f"{error.filename}: " if error.filename else ""
        raise InputError(f"{what}{error.strerror}; check the disk and its room; {kept()}") from error


def death_of_loader(error: BaseException) -> BaseException | None:
    """Return what tells that a loading process has died; None if it is another error.

    PyTorch tells it, or the connection to it breaks before PyTorch sees it. PyTorch's error comes wherever the program
    is at that moment, as from a signal: what is interrupted, such as the writer of a checkpoint, may then raise an
    error of its own, which holds PyTorch's as its context.
    """
    if isinstance(error, (ConnectionError, EOFError)):
        return error
    one: BaseException | None = error
    while one is not None and not (isinstance(one, RuntimeError) and "DataLoader worker" in str(one)):
        one = one.__context__
    return one
