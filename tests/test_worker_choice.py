"""How many processes prepare a server's images, where nobody says it: as its network costs against preparation."""

import pytest
from tiny_models import write_tiny_model

from piqa.server import models, worker_choice
from piqa.server.models import Models
from piqa.server.settings import ModelSettings, ServerSettings
from piqa.system.threads import thread_count, use_threads


@pytest.mark.parametrize(
    ("scoring", "cores", "workers"),
    [(0.02, 2, 2), (0.15, 2, 2), (0.6, 2, 0), (0.02, 4, 4), (0.15, 4, 2), (3.0, 4, 0), (0.15, 16, 8), (0.02, 64, 8)],
)
def test_the_network_gets_its_share_of_the_cores_and_the_processes_the_rest(scoring, cores, workers):
    assert worker_choice.workers_for(0.15, scoring, cores) == workers


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Loads a model on a machine with so many cores; returns the processes that would prepare images."""
    threads, path = thread_count(), str(write_tiny_model(tmp_path))

    def load(cores, count=1, **scoring):
        monkeypatch.setattr(models, "core_count", lambda: cores)
        given = {f"model_{number}": path for number in range(count)}
        loaded = Models(ServerSettings(tmp_path, models=given, scoring=ModelSettings(device="cpu", **scoring)))
        return [one.queue._workers for one in loaded]

    yield load
    use_threads(threads)


def test_a_small_network_gets_processes_where_there_are_cores_for_them(chosen):
    assert chosen(2) == [2]
    assert chosen(1) == [0]
    assert chosen(2, count=2) == [0, 0]  # a core each
    assert chosen(2, workers=1) == [1]


def test_a_large_network_keeps_the_cores(chosen, monkeypatch):
    monkeypatch.setattr(worker_choice, "_costs", lambda *_: (0.1, 1.0))
    assert chosen(2) == [0]
    monkeypatch.setattr(worker_choice, "LARGE", 10)  # it is not measured then
    monkeypatch.setattr(worker_choice, "_costs", lambda *_: (1.0, 0.1))
    assert chosen(2) == [0] and chosen(8) == [2]
