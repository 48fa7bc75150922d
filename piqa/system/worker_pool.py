"""The one pool of worker processes: results in order, any number of jobs in constant memory, dead workers named.

`torch.utils.data.DataLoader` does not serve here: when a worker dies, its SIGCHLD handler raises an error wherever the
main process is, and outside the main thread it waits for ever for a worker that was killed while it sent a result.
`concurrent.futures.ProcessPoolExecutor` may wait for ever when a worker is killed while others are being started.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

import torch

from piqa.errors import InputError
from piqa.system.memory import KEPT_BY_WORKER, keep_freed_memory

AHEAD = 2  # jobs for each worker that are read before the first of their results is taken
PATIENCE = 60  # seconds that a worker may take to finish its job when the pool is closed
Job = TypeVar("Job")
Result = TypeVar("Result")
MakeWork = Callable[[], Callable[[Job], Result]]


def map_in_workers(make_work: MakeWork[Job, Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Do jobs in worker processes; yield their results in the order of the jobs.

    Closing the generator ends the workers as soon as each has finished its job.

    Args:
        make_work: Return the function that does a job. It is called once in each process, before its first job, and
            must be picklable, as jobs and results must.
        jobs: Read at most two a worker ahead, so that there may be any number of them.
        workers: Number of processes; 0 does the jobs in this process.

    Raises:
        InputError: If a worker process ends, for example killed for want of memory.
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
def _processes(make_work: MakeWork[Job, Result], workers: int) -> Iterator[dict[Connection, SpawnProcess]]:
    """Start worker processes, known by their pipes; end them when the block ends, each after the job that it is at.

    Workers share nothing: the end of one, or of this process, at whatever moment closes the pipe and is seen at once.
    """
    context = multiprocessing.get_context("spawn")  # a forked child may not use torch's threads or CUDA
    processes: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(workers):
            pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make_work), daemon=True)
            process.start()
            theirs.close()
            processes[pipe] = process
        yield processes
    finally:
        for pipe in processes:
            pipe.close()
        late = time.monotonic() + PATIENCE
        for process in processes.values():
            process.join(max(0, late - time.monotonic()))
            process.kill()
            process.join()


@contextmanager
def _named_when_dead(process: SpawnProcess, workers: int) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        process.join(PATIENCE)
        code = process.exitcode or 0
        killed = f"was killed by signal {-code}, probably for want of memory"
        how = killed if code < 0 else f"ended with exit status {code}"
        raise InputError(f"worker process {process.pid} {how}; use fewer `workers` than {workers}") from error


def _serve(pipe: Connection, make_work: MakeWork[Job, Result]) -> None:
    """Do jobs in a worker process until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the main one closes the pipes
    torch.set_num_threads(1)  # the processes share the cores among them
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
