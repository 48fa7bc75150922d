"""The one pool of worker processes: results in order, any number of jobs in constant memory, dead workers named.

`torch.utils.data.DataLoader` does not serve here: when a worker dies, its SIGCHLD handler raises an error wherever the
main process is, and outside the main thread it waits for ever for a worker that was killed while it sent a result.
`concurrent.futures.ProcessPoolExecutor` may wait for ever when a worker is killed while others are being started.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar, cast

from piqa.errors import InputError
from piqa.system.memory import KEPT_BY_WORKER, keep_freed_memory
from piqa.system.threads import use_threads

AHEAD = 2  # jobs for each worker that are read before the first of their results is taken
PATIENCE = 5  # seconds that a worker may take to finish its job when the pool is closed
DYING = 60  # seconds that a process whose pipe is closed may take to end
NO_GUARD = 86  # exit status of a worker that found itself starting workers while it imported the program
Job = TypeVar("Job")
Result = TypeVar("Result")
MakeWork = Callable[[], Callable[[Job], Result]]


def map_in_workers(make_work: MakeWork[Job, Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Do jobs in worker processes; yield their results in the order of the jobs.

    Closing the generator ends the workers when each has finished its job, but kills those that take longer than some
    seconds; Ctrl-C meanwhile kills all of them at once.

    Args:
        make_work: Return the function that does a job. It is called once in each process, before its first job, and
            must be picklable, as jobs and results must.
        jobs: Read at most two a worker ahead, so that there may be any number of them.
        workers: Number of processes; 0 does the jobs in this process.

    Raises:
        InputError: If a worker process ends, for example killed for want of memory, or none can be started from here.
        Exception: Whatever a job raises, as soon as it is known.
    """
    if not workers:
        work = cache(make_work)
        yield from (work()(job) for job in jobs)
        return
    numbered = enumerate(jobs)
    results: dict[int, Result] = {}  # those whose turn has not come
    doing: dict[Connection, int] = {}  # the number of the job that a worker is at
    with _processes(make_work, workers) as processes:
        for turn in count():
            while True:
                idle = [pipe for pipe in processes if pipe not in doing]
                room = AHEAD * workers - len(results) - len(doing)
                for pipe, (number, job) in zip(idle[:room], numbered, strict=False):
                    with _named_when_dead(processes[pipe], workers):
                        pipe.send(job)
                    doing[pipe] = number
                if not doing and turn not in results:
                    return
                ready = wait(doing, 0 if turn in results else None)
                for pipe in [pipe for pipe in doing if pipe in ready]:
                    with _named_when_dead(processes[pipe], workers):
                        results[doing.pop(pipe)], error = pipe.recv()
                    if error is not None:
                        raise error
                if turn in results and not ready:
                    break
            yield results.pop(turn)


@contextmanager
def worker(make_work: MakeWork[Job, Result]) -> Iterator[Callable[[Job], Result]]:
    """Start a worker process; yield a function that does a job in it, and raises what `map_in_workers` does.

    For threads that each wait for a process of their own, and do not know their jobs beforehand.
    """
    with _processes(make_work, 1) as processes:
        ((pipe, process),) = processes.items()

        def do(job: Job) -> Result:
            with _named_when_dead(process, 1):
                pipe.send(job)
                result, error = pipe.recv()
            if error is not None:
                raise error
            return cast(Result, result)

        yield do


@contextmanager
def _processes(make_work: MakeWork[Job, Result], workers: int) -> Iterator[dict[Connection, SpawnProcess]]:
    """Start worker processes, known by their pipes; end them when the block ends, each after the job that it is at.

    Workers share nothing: the end of one, or of this process, at whatever moment closes the pipe and is seen at once.
    """
    _check_startable()
    context = multiprocessing.get_context("spawn")  # a forked child may not use torch's threads or CUDA
    processes: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(workers):
            pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make_work), daemon=True)
            with _without_ctrl_c():
                process.start()
            theirs.close()
            processes[pipe] = process
        yield processes
    finally:
        _end(processes)


def _end(processes: dict[Connection, SpawnProcess]) -> None:
    """End workers after their jobs; kill those that take longer, and all of them at the next Ctrl-C."""
    for pipe in processes:
        pipe.close()
    late = time.monotonic() + PATIENCE
    try:
        for process in processes.values():
            process.join(max(0, late - time.monotonic()))
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.join(PATIENCE)  # one that waits for a disk that is gone cannot be killed


def _check_startable() -> None:
    """Check that this process can start workers.

    Raises:
        InputError: If not.
        SystemExit: If this is a worker that is about to import the program, which lacks a guard.
    """
    own = multiprocessing.current_process()
    if getattr(own, "_inheriting", False):  # as multiprocessing itself tells it, by a traceback of 20 lines
        raise SystemExit(NO_GUARD)
    if own.daemon:
        raise InputError("a worker process cannot start workers of its own; use 0 `workers` in it")
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is None and file is not None and not Path(file).exists():
        raise InputError(f"workers import the program that starts them, and {file} is no file; use 0 `workers`")


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Let a process that is started here never see Ctrl-C, which reaches every process: the main one ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _named_when_dead(process: SpawnProcess, workers: int) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        code = _exit_status(process)
        if code == NO_GUARD:
            raise InputError(
                "workers import the program, which then starts workers itself: put its own work under `if __name__ == "
                '"__main__":`, or use 0 `workers`'
            ) from error
        killed = f"was killed by signal {-code}, probably for want of memory; use fewer `workers` than {workers}"
        ended = f"ended with exit status {code}; its own error stands above, or try 0 `workers`"
        raise InputError(f"worker process {process.pid} {killed if code < 0 else ended}") from error


def _exit_status(process: SpawnProcess) -> int:
    """Return the exit status of a process that is about to end, or has ended; 0 if it does not end.

    Another thread may have learnt that it has ended, and not yet written down how: one that starts a process, or asks
    which ones there are. It does so in a moment.
    """
    late = time.monotonic() + DYING
    process.join(DYING)
    while process.exitcode is None and time.monotonic() < late:
        time.sleep(0.01)
    return process.exitcode or 0


def _serve(pipe: Connection, make_work: MakeWork[Job, Result]) -> None:
    """Do jobs in a worker process until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_threads(1)  # the processes share the cores among them
    keep_freed_memory(KEPT_BY_WORKER)
    work = cache(make_work)
    with suppress(EOFError, OSError):
        while True:
            job = pipe.recv()
            answer: tuple[Result | None, Exception | None]
            try:
                answer = work()(job), None
            except Exception as error:
                if not isinstance(error, InputError):
                    traceback.print_exc()  # which does not pass through the pipe
                answer = None, error
            pipe.send(answer)
