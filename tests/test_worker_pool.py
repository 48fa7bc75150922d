"""Jobs are done in worker processes, in order and in constant memory; that workers die is told."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
import torch
from pool_work import Work
from processes import environment
from refusals import refusal
from stores import within
from torch_work import State

from piqa.errors import InputError
from piqa.system.forks import check_process, forks
from piqa.system.worker_pool import AHEAD, PATIENCE, _named_when_dead, map_in_workers


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    jobs = [0.3, 0.0, 0.1, 0.0, 0.2, 0.0]
    assert list(map_in_workers(Work, jobs, workers)) == jobs
    assert multiprocessing.active_children() == []


def test_each_worker_makes_its_work_once_and_leaves_ctrl_c_and_the_cores_to_others():
    states = list(map_in_workers(State, [0.0] * 40, 2))
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
    consumer.join(120)
    done.set()
    killer.join()
    (message,) = told
    assert "was killed by signal 9, probably for want of memory; use fewer `workers` than 2" in message


def test_a_dead_worker_whose_status_another_thread_has_taken_is_told_as_any():
    """`multiprocessing` keeps a status in two steps: the system gives it once, and only then is it written down."""
    looks = iter([None, None, -9, -9, -9])

    class Taken:
        pid = 7
        exitcode = property(lambda self: next(looks))

        def join(self, seconds):
            """Return at once, as there is nothing to wait for."""

    with pytest.raises(InputError, match="worker process 7 was killed by signal 9"), _named_when_dead(Taken(), 2):
        raise EOFError


# What is told


def of_a_script(tmp_path, text, how="script"):
    """The end of a program that is no module: exit status and what it wrote to stderr."""
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, "-" if how == "stdin" else str(tmp_path / "script.py")]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, env=environment())
    return done.returncode, done.stderr


WITHOUT_GUARD = """
from piqa.errors import one_line_errors
from piqa.system.worker_pool import map_in_workers
with one_line_errors():
    print(list(map_in_workers(int, ["1", "2"], 2)))
"""


def test_a_program_without_a_main_guard_is_told_in_one_line(tmp_path):
    status, told = of_a_script(tmp_path, WITHOUT_GUARD)
    assert status == 2
    assert told == (
        "piqa: error: workers import the program, which then starts workers itself: put its own work under "
        '`if __name__ == "__main__":`, or use 0 `workers`\n'
    )


def test_a_program_that_is_no_file_is_told_in_one_line(tmp_path):
    status, told = of_a_script(tmp_path, WITHOUT_GUARD, "stdin")
    assert status == 2 and told.startswith("piqa: error: workers import the program that starts them, and <stdin> is")
    assert told.count("\n") == 1


def test_a_worker_that_ends_itself_is_told():
    message = refusal(list, map_in_workers(Work, ["exit"], 1))
    assert "ended with exit status 7; its own error stands above, or try 0 `workers`" in message


def test_a_worker_cannot_start_workers_of_its_own():
    assert "use 0 `workers` in it" in refusal(list, map_in_workers(Work, ["nested"], 1))


HANGS = """
import sys, time
from piqa.errors import one_line_errors
from piqa.system import worker_pool

def hang(job):
    print("at work", flush=True)
    time.sleep(1000)

def make():
    return hang

def end(processes, own=worker_pool._end):
    print("ending", flush=True)
    own(processes)

if __name__ == "__main__":
    worker_pool.PATIENCE, worker_pool._end = float(sys.argv[1]), end
    with one_line_errors():
        list(worker_pool.map_in_workers(make, range(10), 1))
"""


@pytest.mark.parametrize(("times", "patience"), [(1, PATIENCE), (2, 1000)])
def test_ctrl_c_ends_workers_that_hang(tmp_path, times, patience):
    """Once, when the pool's patience is over, twice at once."""
    (tmp_path / "script.py").write_text(HANGS)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(patience)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "at work\n"
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline() == "ending\n"
    if times == 2:
        time.sleep(0.5)  # it waits for the worker by now; if not, it is interrupted on its way there
        os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=120)[1]  # which also waits for whoever else could still write there: the worker
    assert (process.returncode, told) == (130, "piqa: stopped by Ctrl-C\n")
    assert times == 2 or time.monotonic() - start >= patience


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_process_is_told_that_torch_does_not_compute_in_it(monkeypatch):
    loaded = forks()
    check_process(loaded, "cpu")
    monkeypatch.setattr("piqa.system.forks._forks", loaded + 1)  # as in a child
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert "this process was forked" in refusal(check_process, loaded, "cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    check_process(loaded, "cpu")
    assert "start it by multiprocessing.get_context('spawn')" in refusal(check_process, loaded, "cuda")


def test_a_fork_is_counted():
    read, write = os.pipe()
    if not (child := os.fork()):
        os.write(write, str(forks()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 10)) == forks() + 1
