"""The layers that pyproject.toml states: the package keeps them, and an import that runs upward is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and of its contract."""
    shutil.copytree(PROJECT / "piqa", tmp_path / "piqa", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder):
    """Run `lint-imports` in a folder; return its exit status and what it printed, on one line."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_the_package_keeps_its_layers(copy):
    status, text = lint(copy)
    assert status == 0, text
    assert "1 kept, 0 broken" in text


@pytest.mark.parametrize(
    ("lower", "upper", "statement"),
    [
        ("piqa.models.nima", "piqa.data.loader", "import piqa.data.loader"),
        ("piqa.system.files", "piqa.weights.model_file", "def late():\n    from piqa.weights import model_file"),
        ("piqa.tasks.losses", "piqa.scoring.scorer", "import piqa.scoring.scorer"),  # neighbours, independent
    ],
)
def test_an_import_that_the_layers_forbid_is_named(copy, lower, upper, statement):
    module = copy.joinpath(*lower.split(".")).with_suffix(".py")
    module.write_text(module.read_text() + f"\n\n{statement}\n")
    status, text = lint(copy)
    assert status == 1
    assert f"{lower} -> {upper}" in text


def test_a_new_room_needs_a_layer(copy):
    (copy / "piqa" / "attic.py").write_text('"""A module that no layer names."""\n')
    status, text = lint(copy)
    assert status == 1
    assert "attic" in text
