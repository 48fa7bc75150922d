"""Jobs are done in worker processes, in order and in constant memory; that workers die is told."""

import itertools
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from stores import within

from piqa.errors import InputError
from piqa.system.worker_pool import AHEAD, map_in_workers


class Work:
    """What each process makes once: a job is a number of seconds to sleep, or something to do."""

    def __init__(self):
        self.jobs = 0

    def __call__(self, job):
        self.jobs += 1
        if isinstance(job, Exception):
            raise job
        if job == "state":
            return os.getpid(), self.jobs, torch.get_num_threads(), signal.getsignal(signal.SIGINT)
        if job == "large":
            return np.ones(50_000_000, np.uint8)
        time.sleep(job)
        return job


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    jobs = [0.3, 0.0, 0.1, 0.0, 0.2, 0.0]
    assert list(map_in_workers(Work, jobs, workers)) == jobs
    assert multiprocessing.active_children() == []


def test_each_worker_makes_its_work_once_and_leaves_ctrl_c_and_the_cores_to_others():
    states = list(map_in_workers(Work, ["state"] * 40, 2))
    processes = {process for process, *_ in states}
    assert 1 <= len(processes) <= 2 and os.getpid() not in processes
    for process in processes:
        assert sorted(jobs for own, jobs, *_ in states if own == process) == list(
            range(1, 1 + sum(own == process for own, *_ in states))
        )
    assert {state[2:] for state in states} == {(1, signal.SIG_IGN)}


def test_endless_jobs_are_read_only_a_little_ahead_and_closing_ends_the_workers():
    read = []

    def endless():
        for _ in itertools.count():
            read.append(None)
            yield 0.0

    results = map_in_workers(Work, endless(), 1)
    with within(60):
        assert list(itertools.islice(results, 10)) == [0.0] * 10
        assert len(read) <= 10 + AHEAD
        results.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_job_raises_is_raised(workers):
    with pytest.raises(InputError, match="a bad job"):
        list(map_in_workers(Work, [0.0, InputError("a bad job"), 0.0], workers))
    assert multiprocessing.active_children() == []


def kill_again_and_again(done):
    """Kills each worker that there is, again and again until told that it is enough."""
    while not done.wait(0.05):
        for child in multiprocessing.active_children():
            child.kill()


@pytest.mark.slow
def test_a_worker_killed_while_it_sends_is_told_outside_the_main_thread_too():
    told = []

    def consume():
        try:
            for number, _ in enumerate(map_in_workers(Work, itertools.repeat("large"), 2)):
                if number == 3:
                    started.set()
        except InputError as error:
            told.append(str(error))

    started, done = threading.Event(), threading.Event()
    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    assert started.wait(120)
    killer = threading.Thread(target=kill_again_and_again, args=(done,), daemon=True)
    killer.start()
    consumer.join(60)
    done.set()
    killer.join()
    (message,) = told
    assert "was killed by signal 9, probably for want of memory; use fewer `workers` than 2" in message
