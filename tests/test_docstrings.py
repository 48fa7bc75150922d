"""The examples in docstrings are run. Those that read files find them in a folder that is made here."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
from tiny_models import write_images, write_tiny_model

import piqa

PACKAGE = Path(piqa.__file__).parent
EXTRAS = {"ray", "pyarrow"}  # libraries that need not be installed
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where examples run: a tiny model in `runs/demo`, and two images."""
    folder = tmp_path_factory.mktemp("examples")
    write_tiny_model(folder / "runs/demo")
    for file, name in zip(write_images(folder / "made", 2), ("a.jpg", "b.jpg"), strict=True):
        Path(file).rename(folder / name)
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_the_examples_of_a_module_are_right(file, folder, monkeypatch):
    name = ".".join(("piqa", *file.relative_to(PACKAGE).with_suffix("").parts))
    try:
        module = importlib.import_module(name.removesuffix(".__init__"))
    except ModuleNotFoundError as error:
        assert error.name in EXTRAS
        pytest.skip(f"{error.name} is not installed")
    monkeypatch.chdir(folder)
    failed, run = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert run > 0
    assert failed == 0  # doctest has printed what was expected and what came


def test_there_are_examples_in_many_docstrings():
    docstrings = re.findall(r'"""(?:(?!""").)*?>>> ', "".join(file.read_text() for file in FILES), re.DOTALL)
    assert len(docstrings) >= 12
