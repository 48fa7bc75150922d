"""The project's own files agree with each other."""

import re
from pathlib import Path

import pytest
import yaml

import piqa

ROOT = Path(__file__).parents[1]


def recipe(target):
    """The lines of a target of the Makefile, with the tools' folder filled in."""
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in lines[1].splitlines()]


def project() -> str:
    return (ROOT / "pyproject.toml").read_text()  # as text: Python 3.10 has no reader of TOML


def test_the_hooks_before_a_commit_run_what_lint_runs():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == recipe("lint")


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split()
    assert set(re.findall(r"^([\w-]+):.*## .+$", text, re.MULTILINE)) == set(phony)


def test_the_version_is_told_the_same_everywhere():
    version = re.search(r'^version = "(.+)"$', project(), re.MULTILINE)[1]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## Unreleased: {version.partition('.dev')[0]}" in (ROOT / "CHANGELOG.md").read_text()
    assert re.fullmatch(r"\d+\.\d+.*|0\+unknown", piqa.__version__)


def test_sources_without_an_installation_still_tell_a_version(monkeypatch):
    from importlib import metadata

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert piqa.__version__ == "0+unknown"


def test_type_checkers_are_told_of_the_annotations():
    assert (ROOT / "piqa/py.typed").is_file()
    assert re.search(r'^"piqa" = \["py.typed"\]', project(), re.MULTILINE)


@pytest.mark.parametrize("page", ["docs/images/rooms.svg", "docs/how_it_works.md", "CONTRIBUTING.md"])
def test_the_rooms_that_are_shown_are_those_that_there_are(page):
    text = (ROOT / page).read_text()
    rooms = {folder.parent.name for folder in (ROOT / "piqa").glob("*/__init__.py")}
    shown = re.findall(r'font-weight="bold"[^>]*>(\w+)<' if page.endswith(".svg") else r"`piqa/(\w+)/`", text)
    assert set(shown) - {"errors"} == rooms


def test_every_change_is_checked_with_the_documentation():
    assert "make docs" in (ROOT / ".ci/run").read_text().splitlines()


def test_the_changes_list_the_renamed_settings_as_the_commands_answer_them():
    from piqa.system.renamed import ARGUMENTS, SETTINGS

    rows = re.findall(r"^\| `([\w.-]+)`.*\| `([\w.-]+)` \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    listed = {(former.removeprefix("--"), today.removeprefix("--")) for former, today in rows}
    answered = {pair for settings in SETTINGS.values() for pair in settings.items()}
    answered |= {(f"data.table.{former}", f"data.table.{today}") for former, today in ARGUMENTS.items()}
    assert len(listed) > 30
    assert listed <= answered


def test_configs_are_found_inside_an_installed_package_and_beside_it_in_a_clone(tmp_path, monkeypatch):
    from piqa.system import config_files

    monkeypatch.chdir(tmp_path)
    assert Path(config_files.find_config("lsvq.yaml")) == ROOT / "pretrain/lsvq.yaml"
    package = tmp_path / "site-packages/piqa"
    (package / "configs/pretrain").mkdir(parents=True)
    for name in ("piqa.yaml", "pretrain/lsvq.yaml"):
        (package / "configs" / name).write_text("{}")
    monkeypatch.setattr(config_files, "PACKAGE", package)
    for name in ("piqa.yaml", "lsvq.yaml"):
        assert Path(config_files.find_config(name)).is_relative_to(package)


def test_every_kind_of_config_is_put_into_the_wheel():
    mapped = dict(re.findall(r'"(piqa\.[\w.]+)": "(\w+)"', (ROOT / "setup.py").read_text()))
    assert sorted(mapped.values()) == ["configs", "pretrain"]
    for package in mapped:
        assert f'"{package}" = ["*.yaml"]' in project()


def test_every_requirement_names_its_oldest_version(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from floors import floors

    found = floors(project())
    assert len(found) > 15 and found["torch"] == "2.6"
    with pytest.raises(ValueError, match="oldest version"):
        floors('dependencies = [\n    "torch",\n]\n')
