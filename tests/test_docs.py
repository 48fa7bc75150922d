"""The documentation, word for word: its commands parse and run, its examples run, what it names exists."""

import importlib
import inspect
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from documentation import (
    COMMANDS,
    PAGES,
    ROOT,
    blocks,
    commands,
    parsed,
    prose,
    python_blocks,
    runs_on_the_demo,
    spans,
    text_of,
)
from tiny_models import write_images
from videos import numbered_frames, write_video

from piqa.__main__ import module_of

EVERY = [command for page in PAGES for command in commands(page)]
OURS = [command for command in EVERY if command.name is not None]
LANGUAGES = {"bash", "python", "yaml", "csv", "text"}
OTHER = {"[", "source", "pip", "git", "curl"}  # programs of others
OF_A_RUN = {"config.yaml"}  # written by piqa, not part of it


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """A folder with the modules that docs/extend.md writes, where Python finds them."""
    for text in python_blocks(ROOT / "docs/extend.md"):
        if name := re.match(r"# (my_\w+\.py)\n", text):
            (tmp_path / name[1]).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def slug(heading):
    """A heading's anchor, as GitHub and Python-Markdown make it."""
    words = re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()).strip()
    return re.sub(r"\s+", "-", words)


# Commands


def test_every_command_of_piqa_is_documented():
    assert {command.name for command in OURS} >= set(COMMANDS)


def test_a_page_with_a_wrong_flag_would_fail(monkeypatch):
    for name, arguments in (
        ("fit", ["--config", "piqa.yaml", "--data.no_such_field", "1"]),
        ("pretrain", ["--config", "lsvq.yaml", "--no_such_flag", "1"]),
        ("prepare", ["--config", "no_such_config.yaml"]),
        ("evaluate", ["--ckpt_path", "runs/piqa", "--no_such_flag", "1"]),
        ("predict", ["photos", "--ckpt_path", "runs/piqa", "--no_such_flag", "1"]),
    ):
        with pytest.raises(SystemExit) as stop:
            parsed(name, arguments, monkeypatch)
        assert stop.value.code == 2


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_documented_command_is_understood(command, own_modules, monkeypatch):
    if command.name == "data.demo" or not command.arguments:
        importlib.import_module(module_of(command.name))
        return
    assert accepts(command.name, command.arguments, monkeypatch)


@pytest.mark.parametrize("command", [c for c in OURS if {"--data.table", "--model.network"} & set(c.words)], ids=str)
def test_no_setting_of_a_replaced_class_lives_on(command, own_modules, monkeypatch):
    config = parsed(command.name, command.arguments, monkeypatch)
    for flag in {"--data.table", "--model.network"} & set(command.words):
        chosen = config
        for name in flag.removeprefix("--").split("."):
            chosen = chosen[name]
        module, _, name = chosen.class_path.rpartition(".")
        defaults = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        given = {word.removeprefix(f"{flag}.") for word in command.words if word.startswith(f"{flag}.")}
        for setting, value in chosen.init_args.items():
            if setting not in given:
                default = defaults[setting].default
                assert plain(value) == plain(default), f"{setting} is the replaced class's {value}, not {default}"


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_the_command_for_own_images_reads_their_folder_and_no_other(tmp_path, monkeypatch):
    command = next(c for c in OURS if c.page == "README.md" and "mine/scores.csv" in c.words)
    for root in ("mine", "data/piq23"):  # images of the same names where the config's own table has its root
        labels = ["image,score,scene"]
        for scene in ("garden", "hall", "lake"):
            for file in write_images(tmp_path / root / scene, 2):
                labels.append(f"{scene}/{Path(file).name},{len(labels)},{scene}")
    (tmp_path / "mine/scores.csv").write_text("\n".join(labels) + "\n")
    monkeypatch.chdir(tmp_path)
    table = parsed(command.name, command.arguments, monkeypatch).data.table
    module, _, name = table.class_path.rpartition(".")
    frame = getattr(importlib.import_module(module), name)(**table.init_args).load()
    assert len(frame) == 6
    assert all(path.startswith("mine/") for path in frame["path"])


@pytest.mark.parametrize("command", [c for c in EVERY if c.name is None], ids=str)
def test_any_other_command_names_what_exists(command):
    first, *rest = command.words
    if first == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets)
    elif first == "python":
        script = (ROOT / rest[0]).read_text()
        assert all(f'"{word}"' in script for word in rest[1:] if word.startswith("--"))
    elif first == "bash":
        assert (ROOT / rest[0]).is_file()
    elif first == ".venv/bin/python":
        assert all((ROOT / word).is_file() for word in rest if word.startswith("tests/"))
    else:
        assert first in OTHER or command.words == ("piqa", "--help")


@pytest.mark.parametrize("command", [c for c in EVERY if "scripts/bench.py" in c.words], ids=str)
def test_the_benchmarks_that_are_named_exist(command, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    bench = importlib.import_module("bench")
    words = [word for word in command.words[2:] if word not in ("--pyiqa", "SITE")]
    assert set(bench.parse(words).rows) <= set(bench.ROWS)


BENCH_FLAGS = set(re.findall(r'"(--\w+)"', (ROOT / "scripts/bench.py").read_text()))
FLAGS = sorted(
    {
        (page.name, span)
        for page in PAGES
        for span in spans(page)
        if page.name != "CHANGELOG.md" and span.startswith("--") and span.split()[0] not in BENCH_FLAGS
    }
)
BASES = (  # those first whose parser is built soonest
    ("predict", ["photos", "--ckpt_path", "runs/piqa"]),
    ("explain", ["photos"]),
    ("pick", ["photos"]),
    ("scale", ["pairs.csv"]),
    ("compare", ["A=a", "B=b"]),
    ("models check", ["runs/piqa"]),
    ("models push", ["runs/piqa", "hf:somebody/portraits"]),
    ("serve", []),
    ("evaluate", ["--ckpt_path", "runs/piqa"]),
    ("fit", ["--config", "piqa.yaml"]),
    ("fit", ["--config", "demo.yaml"]),
    ("prepare", ["--config", "piqa.yaml"]),
    ("pretrain", ["--config", "lsvq.yaml"]),
    ("export", ["--ckpt_path", "runs/piqa"]),
    ("data.noise_pairs", []),
    ("distil", ["--config", "light.yaml", "--teacher", "runs/piqa", "--pictures", "photos"]),
)


@pytest.mark.parametrize(("page", "flags"), FLAGS, ids=lambda value: value)
def test_a_flag_in_the_prose_is_a_flag_of_some_command(page, flags, monkeypatch):
    assert any(accepts(name, [*base, *words], monkeypatch) for name, base in BASES for words in with_value(flags))


CONFIGS = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "pretrain").glob("*.yaml")])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_flags_in_the_remarks_of_a_config_go_with_it(config, monkeypatch):
    remarks = " ".join(re.findall(r"^# ?(.*)$", config.read_text(encoding="utf-8"), re.MULTILINE))
    own = ("pretrain" if config.parent.name == "pretrain" else "fit", ["--config", config.name])
    for flags in re.findall(r"`(--[^`]+)`", remarks):
        if "..." not in flags:
            assert any(
                accepts(name, [*base, *words], monkeypatch)
                for name, base in (own, *BASES)
                for words in with_value(flags)
            ), flags


def with_value(flags):
    """A flag as it stands; one that stands alone also with a value of each kind."""
    words = shlex.split(flags)
    return [words] if len(words) > 1 else [words, [*words, "true"], [*words, "1"], [*words, "x"]]


def accepts(name, arguments, monkeypatch):
    try:
        return parsed(name, arguments, monkeypatch) is not None
    except SystemExit as stop:
        return stop.code == 0  # --print_config


# Files, links, names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page):
    words = {word.strip(",;") for span in spans(page) for word in span.split()}
    words |= {word for command in commands(page) for word in command.words}
    ours = [word for word in words if re.match(r"(piqa|configs|pretrain|tests|scripts|docs|\.ci)/[\w./*-]*$", word)]
    assert [word for word in ours if not any(ROOT.glob(word.rstrip("/")))] == []
    configs = [word for word in words if re.fullmatch(r"[\w-]+\.yaml", word) and word not in OF_A_RUN]
    folders = [ROOT, ROOT / "configs", ROOT / "pretrain"]
    assert [word for word in configs if not any((folder / word).is_file() for folder in folders)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_inside_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(file), re.MULTILINE)
            entries = re.findall(r"^::: (\S+)$", text_of(file), re.MULTILINE)  # of the reference
            assert anchor in {*map(slug, headings), *entries}, target


@pytest.mark.parametrize("page", PAGES[:1] + sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_block_says_its_language(page):
    assert {language for language, _ in blocks(page)} <= LANGUAGES


def test_the_reference_lists_what_is_public_and_nothing_that_is_not_there():
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    for path in listed:
        module, _, name = path.rpartition(".")
        try:
            importlib.import_module(path)
        except ImportError:
            assert hasattr(importlib.import_module(module), name), path
    for package in ("piqa.models", "piqa.tasks", "piqa.data"):
        assert {f"{package}.{name}" for name in importlib.import_module(package).__all__} <= set(listed)


# Examples


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_examples_compile(page):
    for text in python_blocks(page):
        assert compile(text, str(page), "exec").co_names, f"an example in {page} does nothing"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder in which the documentation's commands can be given: `make demo` on less data and for one epoch."""
    from piqa import evaluate, fit
    from piqa.data import demo

    folder = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        demo.write_demo(Path("data/demo"), scenes=5, test_scenes=2)
        fit.main(["--config", "demo.yaml", "--overwrite", "true", *SHORT])
        evaluate.main(["--ckpt_path", "runs/demo"])
        shutil.copytree("runs/demo", "runs/piqa")
        for file in (*write_images(Path("holiday"), 2), *write_images(Path("photos"), 2)):
            shutil.copy(file, ".")
        Path("more").mkdir()
        shutil.copy("00000.jpg", "more/portrait.jpg")
        shutil.copy("00000.jpg", "a.jpg")
        shutil.copy("00001.jpg", "b.jpg")
        Path("list.txt").write_text("a.jpg\nb.jpg\n")
        write_video("film.mp4", numbered_frames(12))
        own_layout(Path("studio"))
        for text in python_blocks(ROOT / "docs/extend.md"):
            if name := re.match(r"# (my_\w+\.py)\n", text):
                Path(name[1]).write_text(text)
    return folder


SHORT = ["--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1", "--trainer.num_sanity_val_steps=0"]
SHORT += ["--trainer.enable_progress_bar=false"]
SHORT += ["--data.store.workers=0", "--data.loading.workers=0", "--data.preparation.face_rule=none"]
# One epoch teaches no ranks that int8 could keep; tests/test_export.py looks at these.
SHORTER = {"fit": SHORT, "export": ["--calibration_images=48", "--min_spearman=0"]}


def own_layout(root):
    """The layout that docs/extend.md makes up."""
    rows = []
    for scene in ("gala", "lunch", "walk"):
        files = write_images(root / scene, 4)
        rows += [{"scene": scene, "file": Path(file).name, "rating": rank} for rank, file in enumerate(files)]
    pd.DataFrame(rows).to_csv(root / "scores.csv", index=False)


def write_members():
    """Two runs beside the demo's, as if with other seeds, and the scale of all three in their cards."""
    from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
    from piqa.weights.model_file import load_model, save

    network, card = load_model("runs/demo")
    card = replace(card, uncertainty=ScoreUncertainty(1.0, 0.0, 1.0).to_dict())
    for name in ("demo", "second", "third"):
        Path("runs", name).mkdir(exist_ok=True)
        save(network, Path("runs", name, "model.safetensors"), card)
        with torch.no_grad():
            network.head[-1].bias += 0.1


def write_peer(words):
    """Someone's predictions for the table that a command judges them on."""
    from look_alike import write_piq23

    if "--table" in words:
        shutil.rmtree("data/piq23", ignore_errors=True)
        write_piq23(Path("data/piq23"), scenes=6, images_per_scene=6)
        images = pd.read_csv("data/piq23/Scores_Overall.csv")["IMAGE"]
    else:
        images = pd.read_csv("data/demo/demo.csv")["image"]
    noise = np.random.default_rng(0).normal(size=len(images))
    pd.DataFrame({"image": images, "prediction": noise}).to_csv("peer.csv", index=False)


@pytest.mark.slow
@pytest.mark.parametrize("command", {c.words: c for c in OURS if runs_on_the_demo(c)}.values(), ids=str)
def test_a_documented_command_runs(command, workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    monkeypatch.syspath_prepend(workshop)
    out = Path(command.words[command.words.index("--out") + 1] if "--out" in command.words else "scores.csv")
    if command.name == "evaluate":
        write_peer(command.words)
    if "runs/attributes" in command.words and not Path("runs/attributes").exists():
        importlib.import_module("piqa.fit").main(
            ["--config", "demo_attributes.yaml", "--out", "runs/attributes", *SHORT]
        )
    if "runs/small" in command.words and command.name == "predict" and not Path("runs/small").exists():
        (trained,) = {c.words: c for c in OURS if c.name == "fit" and "runs/small" in c.words}.values()
        importlib.import_module("piqa.fit").main([*trained.arguments, *SHORT])
    if "--ensemble" in command.words:
        write_members()
    importlib.import_module(f"piqa.{command.name}").main(command.arguments + SHORTER.get(command.name, []))
    if command.name == "predict":
        assert pd.read_csv(out)["score"].notna().all()


WITH_EXAMPLES = [page for page in PAGES if page not in (ROOT / "data/README.md", ROOT / "docs/serve.md")]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)  # of a server: tests/test_serve.py
def test_python_examples_run(page, workshop, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    namespace: dict[str, object] = {}
    for text in python_blocks(page):
        exec(compile(text, str(page), "exec"), namespace)
    if page.name == "README.md":
        assert "a.jpg" in capsys.readouterr().out


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_no_other_server(tmp_path):
    build = importlib.import_module("mkdocs.commands.build").build
    config = importlib.import_module("mkdocs.config").load_config(
        str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)
    )
    build(config)
    for file in [*tmp_path.glob("*.html"), *tmp_path.rglob("*.css")]:
        fetched = re.findall(r'(?:src=|<link[^>]* href=|url\()["\']?(https?://[^"\')\s]+)', file.read_text())
        assert fetched == [], file.name
