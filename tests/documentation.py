"""The documentation as data: its fenced blocks, its commands, and what a command's own parser makes of them."""

from __future__ import annotations

import importlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from piqa.__main__ import ELSEWHERE, module_of
from piqa.system.command_line import Parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "BENCHMARKS.md", "CHANGELOG.md", "data/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
COMMANDS = (
    *("fit", "prepare", "pretrain", "evaluate", "predict", "predict_ray", "explain", "personalise", "models"),
    *("compare", "distil", "export", "pick", "scale", "serve"),
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Command:
    """One command of the documentation.

    Attributes:
        page: The page, from the root of the project.
        words: The command line, without a comment.
    """

    page: str
    words: tuple[str, ...]

    @property
    def name(self) -> str | None:
        """The piqa command that it gives, whoever starts it; None if it is none."""
        module = self.words[self.words.index("-m") + 1] if "-m" in self.words[:-1] else ""
        if module.startswith("piqa."):
            return module.removeprefix("piqa.")
        if self.words[0] != "piqa" or self.words[1] not in COMMANDS:
            return None
        return action if (action := " ".join(self.words[1:3])) in ELSEWHERE else self.words[1]

    @property
    def arguments(self) -> list[str]:
        """The arguments of the piqa command."""
        start = self.words.index("-m") + 2 if "-m" in self.words else 1 + len(str(self.name).split())
        return list(self.words[start:])

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


class Parsed(BaseException):
    """Ends a command once its arguments are parsed; no command catches it."""

    def __init__(self, config):
        self.config = config


def text_of(page: Path) -> str:
    """A page as the site shows it, with what it includes."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r'--8<-- "(.+)"', lambda found: (ROOT / found[1]).read_text(encoding="utf-8"), text)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and text."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """What a page's prose puts between backticks, line breaks taken for blanks."""
    return [" ".join(span.split()) for span in SPAN.findall(prose(page))]


def commands(page: Path) -> list[Command]:
    """The commands of a page, from its shell blocks and from its prose."""
    lines = [line for language, text in blocks(page) if language == "bash" for line in text.splitlines()]
    lines += [span for span in spans(page) if re.match(r"(python|piqa|make|bash|\.venv/bin/\S+) \S", span)]
    split = [tuple(shlex.split(line, comments=True)) for line in lines]
    return [Command(page.relative_to(ROOT).as_posix(), words) for words in split if words]


def python_blocks(page: Path) -> list[str]:
    """The Python examples of a page."""
    return [text for language, text in blocks(page) if language == "python"]


def runs_on_the_demo(command: Command) -> bool:
    """Whether a command needs no more than what `make demo` leaves; tests/test_docs.py runs it there."""
    words = set(command.words)
    if command.name == "predict":
        return "--devices" not in words and bool(words & {"runs/demo", "runs/piqa", "runs/small"})
    if command.name in ("explain", "export", "pick"):
        return "runs/demo" in words
    if command.name == "evaluate":
        return "submission" not in words
    return command.name == "fit" and bool(words & {"demo.yaml", "demo_attributes.yaml"})


def parsed(name: str, arguments: list[str], monkeypatch):
    """What the parser of a piqa command makes of arguments; SystemExit where it refuses them. Nothing is run.

    Without a config, `pretrain` gives its arguments to both stages.
    """
    if name == "pretrain" and not any(word in arguments for word in ("--config", "-c")):
        return [parsed(name, ["--config", stage, *arguments], monkeypatch) for stage in ("lsvq.yaml", "gfiqa.yaml")]
    original = Parser.parse_args

    def parse_args(self, *given, **settings):
        raise Parsed(original(self, *given, **settings))

    with monkeypatch.context() as patch:
        patch.setattr(Parser, "parse_args", parse_args)
        try:
            importlib.import_module(module_of(name)).main(list(arguments))
        except Parsed as end:
            return end.config
    raise AssertionError(f"piqa.{name} parsed nothing")
