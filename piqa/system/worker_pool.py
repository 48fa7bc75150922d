"""The one pool of worker processes: results in order, any number of jobs in constant memory, dead workers named.

`torch.utils.data.DataLoader` does not serve here. Its SIGCHLD handler raises a RuntimeError wherever the main process
is when a worker dies, such as in the middle of writing a row; outside the main thread it waits for ever for a worker
that was killed while it sent a result; and it notices the death of a worker that was still starting after 5 s.
`concurrent.futures.ProcessPoolExecutor` may wait for ever when a worker is killed while others are being started.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import compress, islice
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

import torch

from piqa.errors import InputError
from piqa.system.memory import KEPT_BY_WORKER, keep_freed_memory

AHEAD = 2  # jobs for each worker that are read before the first of their results is taken
PATIENCE = 60  # seconds that a worker may take to finish its job when the pool is closed

Job = TypeVar("Job")
Result = TypeVar("Result")


def map_in_workers(
    make_work: Callable[[], Callable[[Job], Result]], jobs: Iterable[Job], workers: int
) -> Iterator[Result]:
    """Do jobs in worker processes; yield their results in the order of the jobs.

    Closing the generator ends the workers as soon as each has finished its job.

    Args:
        make_work: Return the function that does a job. It is called once in each process, before its first job, and
            must be picklable, as jobs and results must.
        jobs: Read at most two a worker ahead, so that there may be any number of them.
        workers: Number of processes; 0 does the jobs in this process.

    Raises:
        InputError: If a worker process ends, for example killed for want of memory.
        Exception: Whatever a job raises.
    """
    if not workers:
        work = cache(make_work)
        for job in jobs:
            yield work()(job)
        return
    remaining, ahead = iter(jobs), deque[Future[Result]]()
    pool = _Pool(make_work, workers)
    try:
        ahead.extend(pool.submit(job) for job in islice(remaining, AHEAD * workers))
        while ahead:
            result = _first(ahead)
            ahead.extend(pool.submit(job) for job in islice(remaining, 1))
            yield result
    finally:
        pool.close(ahead)


def _first(ahead: deque[Future[Result]]) -> Result:
    """Wait for the first result and remove it; raise the first error of any job as soon as it is known."""
    while True:
        done = [future.done() for future in ahead]
        for future in compress(ahead, done):
            future.result()
        if done[0]:
            return ahead.popleft().result()
        wait([future for future, is_done in zip(ahead, done, strict=True) if not is_done], return_when=FIRST_COMPLETED)


class _Pool(Generic[Job, Result]):
    """Worker processes, and a thread for each job that is being done, which waits for its result.

    Every worker has a pipe of its own and shares nothing with the others, so that its end, at whatever moment, closes
    the pipe and is seen at once. When this process ends, all pipes are closed and the workers end by themselves.
    """

    def __init__(self, make_work: Callable[[], Callable[[Job], Result]], workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked child may not use torch's threads or CUDA
        self._workers: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._threads = ThreadPoolExecutor(workers)
        try:
            for _ in range(workers):
                self._workers.append(_Worker(context, make_work, workers))
                self._idle.put(self._workers[-1])
        except BaseException:
            self.close([])
            raise

    def submit(self, job: Job) -> Future[Result]:
        """Have a job done by the next idle worker."""
        return self._threads.submit(self._do, job)

    def _do(self, job: Job) -> Result:
        worker = self._idle.get()
        try:
            result, error = worker.do(job)
        finally:
            self._idle.put(worker)
        if error is not None:
            raise error
        return cast(Result, result)

    def close(self, futures: Iterable[Future[Result]]) -> None:
        """End the workers, each after the job that it is at."""
        late = wait([future for future in futures if not future.cancel()], PATIENCE).not_done
        for worker in self._workers:
            worker.end(kill=bool(late))
        self._threads.shutdown()


class _Worker:
    """A worker process, as the main process sees it."""

    def __init__(self, context: SpawnContext, make_work: Callable[[], Callable[[Job], Result]], workers: int) -> None:
        self._mend = f"use fewer `workers` than {workers}"
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make_work), daemon=True)
        self._process.start()
        theirs.close()

    def do(self, job: object) -> tuple[object, Exception | None]:
        """Have a job done; return its result, or the error that it raised.

        Raises:
            InputError: If the process has ended.
        """
        try:
            self._pipe.send(job)
            answer: tuple[object, Exception | None] = self._pipe.recv()
            return answer
        except (EOFError, OSError) as error:
            self._process.join(PATIENCE)
            code = self._process.exitcode or 0
            how = (
                f"was killed by signal {-code}, probably for want of memory"
                if code < 0
                else f"ended with exit status {code}"
            )
            raise InputError(f"worker process {self._process.pid} {how}; {self._mend}") from error

    def end(self, kill: bool) -> None:
        """End the process, if need be by force."""
        if kill:
            self._process.kill()
        self._pipe.close()
        self._process.join(PATIENCE)
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, make_work: Callable[[], Callable[[Job], Result]]) -> None:
    """Do jobs in a worker process until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the main one closes the pipes
    torch.set_num_threads(1)  # the processes share the cores among them
    keep_freed_memory(KEPT_BY_WORKER)
    work = cache(make_work)
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        answer: tuple[Result | None, Exception | None]
        try:
            answer = work()(job), None
        except Exception as error:
            if not isinstance(error, InputError):
                traceback.print_exc()  # which does not pass through the pipe
            answer = None, error
        try:
            pipe.send(answer)
        except OSError:  # the main process has ended
            return
