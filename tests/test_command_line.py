"""How command lines and configs are read, and recorded so that a shell takes them again."""

import shlex
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import yaml

from piqa import prepare
from piqa.system.command_line import ConfigFile, Parser, command


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


def test_a_command_called_from_python_is_recorded_as_its_module(monkeypatch):
    started(monkeypatch, "pytest", "pytest", "-x")
    assert command("piqa.fit", ["--out", "my run"]) == "python -m piqa.fit --out 'my run'"
    started(monkeypatch, "/usr/bin/piqa", None, "fit", "--out", "my run")
    assert command("piqa.fit", ["--out", "my run"]) == "piqa fit --out 'my run'"


# A class that replaces another one


class Source:
    pass


class Folder(Source):
    def __init__(self, root: str = "here", depth: int = 1, inner: Source | None = None):
        pass


class Archive(Source):
    def __init__(self, file: str = "a.zip", root: str = "/", depth: int = 9, inner: Source | None = None):
        pass


def read_source(tmp_path, configs, *arguments):
    """The setting `source` of configs and a command line."""
    parser = Parser()
    parser.add_argument("--config", action=ConfigFile)
    parser.add_argument("--source", type=Source)
    given = []
    for number, config in enumerate(configs):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump({"source": config}))
        given += ["--config", str(tmp_path / f"{number}.yaml")]
    return parser.parse_args([*given, *arguments]).source.as_dict()


FOLDER = {"class_path": f"{__name__}.Folder", "init_args": {"root": "/theirs", "depth": 3}}
ARCHIVE = f"{__name__}.Archive"
FRESH = {"file": "a.zip", "root": "/", "depth": 9, "inner": None}


def test_settings_of_a_replaced_class_do_not_live_on(tmp_path):
    found = read_source(tmp_path, [FOLDER], "--source", ARCHIVE, "--source.depth", "5")
    assert found == {"class_path": ARCHIVE, "init_args": FRESH | {"depth": 5}}


def test_nor_do_they_from_one_config_to_the_next(tmp_path):
    found = read_source(tmp_path, [FOLDER, {"class_path": ARCHIVE, "init_args": {"file": "b.zip"}}])
    assert found == {"class_path": ARCHIVE, "init_args": FRESH | {"file": "b.zip"}}


def test_nor_do_they_within_the_settings_of_another_class(tmp_path):
    outer = {"class_path": FOLDER["class_path"], "init_args": {"root": "/outer", "inner": FOLDER}}
    found = read_source(tmp_path, [outer], "--source.inner", ARCHIVE)
    assert found["init_args"] == {"root": "/outer", "depth": 1, "inner": {"class_path": ARCHIVE, "init_args": FRESH}}


@pytest.mark.parametrize("again", [FOLDER["class_path"], "Folder"])
def test_settings_of_the_same_class_stay(tmp_path, again):
    found = read_source(tmp_path, [FOLDER], "--source", again, "--source.depth", "5")
    assert found["init_args"] == {"root": "/theirs", "depth": 5, "inner": None}


def printed_config(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        prepare.main([*arguments, "--print_config"])
    printed = capsys.readouterr()
    assert not ended.value.code, printed.err
    return yaml.safe_load(printed.out)


def test_the_folder_of_a_config_s_own_table_is_not_that_of_another_table(capsys):
    table = ["--data.table", "piqa.data.CSVTable", "--data.table.csv", "mine/scores.csv"]
    found = printed_config(capsys, "--config", "no_liqe.yaml", *table)["data"]["table"]
    assert found["class_path"] == "piqa.data.CSVTable" and found["init_args"]["root"] is None


def test_of_a_replaced_task_only_the_network_stays(capsys):
    found = printed_config(capsys, "--config", "nima.yaml", "--task", "piqa.tasks.RankingTask")
    assert found["task"] == "piqa.tasks.RankingTask"
    model = found["model"]
    assert model["network"]["class_path"] == "piqa.models.NIMA" and model["loss"] == "fidelity"
    assert (model["init"], model["optimizer"]) == (None, "piqa.tasks.published_adam")


def test_a_task_that_extends_the_config_s_own_keeps_its_settings(capsys, tmp_path, monkeypatch):
    # not `my_tasks`, as in docs/extend.md: the test of that page may have imported it in this process
    (tmp_path / "users_tasks.py").write_text("from piqa.tasks import RankingTask\n\n\nclass Mine(RankingTask): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = printed_config(capsys, "--config", "demo.yaml", "--task", "users_tasks.Mine")
    assert found["task"] == "users_tasks.Mine" and found["model"]["init"]["whole"] == "scratch"


def test_the_readme_s_command_prepares_the_images_beside_the_csv(tmp_path, monkeypatch, capsys):
    from PIL import Image

    for root, grey in (("mine", 200), ("data/piq23", 0)):
        for scene in "abc":
            (tmp_path / root / scene).mkdir(parents=True)
            for shot in range(2):
                Image.new("RGB", (40 + shot, 48), (grey, 10 * shot, ord(scene))).save(
                    tmp_path / root / scene / f"{shot}.png"
                )
    rows = [f"{scene}/{shot}.png,{shot},{scene}\n" for scene in "abc" for shot in range(2)]
    (tmp_path / "mine" / "scores.csv").write_text("image,score,scene\n" + "".join(rows))
    monkeypatch.chdir(tmp_path)
    table = ["--data.table", "piqa.data.CSVTable", "--data.table.csv", "mine/scores.csv"]
    quick = ["--data.preparation.face_rule", "none", "--data.store.workers", "0"]
    prepare.main(["--config", "no_liqe.yaml", *table, *quick])
    assert "6 prepared" in capsys.readouterr().out
    prepared = yaml.safe_load(Path("data/prepared/digests.json").read_text())
    assert {Path(path).relative_to(tmp_path).parts[0] for path in prepared} == {"mine"}
