"""A job of tests/test_worker_pool.py that tells of its process, which imports torch with this before it begins."""

import os
import signal

import torch
from pool_work import Work


class State(Work):
    """Tells by whom the job is done, how many it has done, with how many threads, and what Ctrl-C does to it."""

    def __call__(self, job):
        self.jobs += 1
        return os.getpid(), self.jobs, torch.get_num_threads(), signal.getsignal(signal.SIGINT)
