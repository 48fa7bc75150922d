"""What the worker processes of tests/test_worker_pool.py do, apart from it: each imports this, and torch takes long."""

import os
import time

from piqa.system.worker_pool import map_in_workers


class Work:
    """What each process makes once: a job is a number of seconds to sleep, or something to do."""

    def __init__(self):
        self.jobs = 0

    def __call__(self, job):
        self.jobs += 1
        if isinstance(job, Exception):
            raise job
        if job == "exit":
            os._exit(7)
        if job == "nested":
            return list(map_in_workers(Work, [0.0], 1))
        if job == "large":
            return bytes(50_000_000)
        time.sleep(job)
        return job
