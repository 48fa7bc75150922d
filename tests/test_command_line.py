"""A run records the command that started it so that a shell takes it again."""

import shlex
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from piqa.system.command_line import command


def started(monkeypatch, program, module, *arguments):
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", module and ModuleSpec(module, None))


@pytest.mark.parametrize(
    ("program", "module", "start"),
    [
        ("/home/me/piqa/fit.py", "piqa.fit", "python -m piqa.fit"),
        ("/home/me/piqa/__main__.py", "piqa.__main__", "python -m piqa"),
        ("/usr/bin/piqa", None, "piqa"),
        ("train all.py", None, "python 'train all.py'"),
    ],
)
def test_the_program_is_named_as_it_was_started(monkeypatch, program, module, start):
    started(monkeypatch, program, module, "--seed", "1")
    assert command() == f"{start} --seed 1"


def test_arguments_are_quoted_for_a_shell(monkeypatch):
    arguments = ["--data.table={class_path: piqa.data.PIQ23}", "--out", "my runs/it's", "", "$HOME"]
    started(monkeypatch, "fit.py", "piqa.fit", *arguments)
    assert shlex.split(command()) == ["python", "-m", "piqa.fit", *arguments]


def test_a_module_that_runs_knows_its_name(tmp_path):
    (tmp_path / "show.py").write_text("from piqa.system.command_line import command; print(command())")
    run = [sys.executable, "-m", "show", "a b"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "python -m show 'a b'\n"
