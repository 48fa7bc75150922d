"""Which device `auto` is, and how many cores a process may use."""

import os

import pytest
import torch

from piqa.system import device


def accelerator(monkeypatch, kind):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None if kind is None else torch.device(kind))


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_auto_is_the_accelerator_where_there_is_one(monkeypatch, kind):
    accelerator(monkeypatch, kind)
    assert device.pick_device("auto") == torch.device(kind)


def test_auto_is_the_cpu_where_there_is_no_accelerator(monkeypatch):
    accelerator(monkeypatch, None)
    assert device.pick_device("auto") == torch.device("cpu")


def test_an_accelerator_that_torch_is_built_for_but_the_machine_lacks_is_not_taken(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert device.pick_device("auto") == torch.device("cpu")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 16 cores; gives a function that writes the files of its control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(device, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(device, "OWN_CGROUPS", tmp_path / "own")

    def write(own, files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


QUOTAS = {
    "version 2, its own": ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
    "version 2, below half a core": ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
    "version 2, none": ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
    "version 2, more than there are": ("0::/\n", {"cpu.max": "6400000 100000\n"}, 16),
    "version 2, of a group above": ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "max 100000\n"}, 4),
    "version 2, the least of all": ("0::/a\n", {"cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
    "version 2, of another group": ("0::/a\n", {"b/cpu.max": "100000 100000\n"}, 16),
    "version 2, under the host's name": ("0::/host/name\n", {"cpu.max": "200000 100000\n"}, 2),
    "version 1": (
        "5:memory:/\n4:cpu,cpuacct:/a\n",
        {"cpu/a/cpu.cfs_quota_us": "150000\n", "cpu/a/cpu.cfs_period_us": "50000\n"},
        3,
    ),
    "version 1, none": ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
    "files that say something else": ("0::/\n", {"cpu.max": "?\n"}, 16),
}


@pytest.mark.parametrize(("own", "files", "cores"), QUOTAS.values(), ids=QUOTAS)
def test_the_quota_of_a_control_group_counts(machine, own, files, cores):
    machine(own, files)
    assert device.core_count() == cores


def test_affinity_counts(machine, monkeypatch):
    machine("0::/\n", {"cpu.max": "800000 100000\n"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    assert device.core_count() == 2


def test_without_control_groups_and_affinity_all_cores_count(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert device.core_count() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert device.core_count() == 1
