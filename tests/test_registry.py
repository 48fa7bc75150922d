"""The registry of published weights: complete, consistent, and quick to say which name was meant."""

import re
from pathlib import Path

import pytest
from refusals import refusal

from piqa.errors import InputError
from piqa.preparation.portrait import Preparation
from piqa.preparation.yunet import YUNET_SHA256
from piqa.weights import model_file, published, registry, state_dicts
from piqa.weights.model_card import VIEWS
from piqa.weights.trust import check_arguments, find_class

ENTRIES = registry.entries()
KEYWORDS = {"openai", "imagenet", "scratch", "last"}  # what settings that take a name take besides


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_an_entry_is_complete_and_says_nothing_impossible(entry):
    assert entry.what and entry.citation and entry.licence.code and entry.licence.weights and entry.licence.data
    assert entry.layout in {*state_dicts.LAYOUTS, *published.OTHER_LAYOUTS}
    assert entry.view in VIEWS
    assert entry.layout in published.FILLERS or entry.use != "model"
    assert set(entry.needs.values()) <= set(ENTRIES)
    check_arguments(Preparation, dict(entry.preparation), entry.name)
    if entry.use == "model":
        kind = find_class(entry.network["class_path"], object, entry.name)
        check_arguments(kind, dict(entry.network.get("init_args", {})), entry.name)
    for figure in entry.published:
        assert figure.on and figure.source and (figure.srocc or figure.plcc)


def test_names_are_single_words_that_mean_nothing_else():
    assert len(ENTRIES) > 20
    for name in ENTRIES:
        assert re.fullmatch(r"[a-z0-9][a-z0-9+-]*", name)
        assert name not in KEYWORDS and registry.may_be_name(name)


def test_a_name_that_stands_twice_is_no_file_of_names(tmp_path, monkeypatch):
    twice = tmp_path / "registry.toml"
    twice.write_text('["a"]\nwhat = "x"\n["a"]\nwhat = "y"\n')
    monkeypatch.setattr(registry, "FILE", twice)
    with pytest.raises(registry.tomllib.TOMLDecodeError):
        registry.entries.__wrapped__()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use": "toy"}, "`use` is 'toy'"),
        ({"network": {"class_path": "piqa.models.LIQE"}}, "a `network` if its use is `model`"),
        ({"why_not": "no"}, "says `why_not` if its use is `none`"),
        ({"citation": ""}, "lacks `citation`"),
        ({"source": {"host": "gdrive", "file": "a.pth"}}, "needs `id`"),
        ({"source": {"host": "ftp", "file": "a.pth"}}, "`host` is 'ftp'"),
        ({"source": {"host": "hf", "repo": "a/b", "file": "c", "revision": "main"}}, "40 hexadecimal digits"),
        ({"source": {"host": "hf", "repo": "a/b", "file": "c", "sha256": "12"}}, "64 hexadecimal digits"),
        ({"licence": {"code": "MIT"}}, "missing"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_entry_that_says_too_little_or_too_much_is_refused_by_its_name(change, message):
    good = {"what": "a", "use": "start", "layout": "lsvq", "citation": "b"}
    good |= {"source": {"host": "gdrive", "id": "1", "file": "a.pth"}}
    good |= {"licence": {"code": "MIT", "weights": "MIT", "data": "own", "commercial": "yes"}}
    assert registry.Entry.from_dict("mine", good).commercial == "yes"
    with pytest.raises(InputError, match=r"the entry mine of .*" + re.escape(message)):
        registry.Entry.from_dict("mine", good | change)


def test_an_unknown_name_is_answered_with_the_nearest():
    assert "did you mean dn-piqa" in refusal(registry.get_entry, "dn-pika")
    message = refusal(model_file.find_model, "clipiqa+")
    assert "no model at clipiqa+" in message and "a name that `piqa models` lists, of which clip-iqa" in message


def test_nothing_is_near_to_a_path():
    message = refusal(model_file.find_model, "runs/dn-piqa-2")
    assert message.endswith("or a name that `piqa models` lists")


def test_a_file_or_a_folder_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert registry.is_name("dn-piqa") and registry.is_name("hf:owner/name")
    Path("dn-piqa").mkdir()
    assert not registry.is_name("dn-piqa") and registry.entry_named("dn-piqa") is None
    assert "no model at dn-piqa" in refusal(model_file.find_model, "dn-piqa")


def test_what_can_be_neither_a_path_nor_a_name_is_refused_as_before():
    for given in ("x" * 300, "hf:" + "x" * 300, ""):
        assert not registry.entry_named(given)
        assert refusal(model_file.find_model, given)


def test_the_least_of_all_licences_counts():
    assert ENTRIES["clip-iqa"].commercial == "yes"
    assert ENTRIES["clip-rn50"].commercial == "yes" and ENTRIES["clip-iqa+"].commercial == "no"
    assert ENTRIES["dn-piqa"].commercial == "unknown"
    assert "dn-piqa-liqe" in ENTRIES["dn-piqa"].licence_line


def test_hashes_stand_only_where_a_public_text_states_them():
    stated = {name: entry.source.sha256 for name, entry in ENTRIES.items() if entry.source.sha256}
    assert stated == {"yunet": YUNET_SHA256}


def test_the_files_that_training_looks_for_have_names():
    assert set(state_dicts.BY_NAME.values()) <= set(ENTRIES)
    assert set(state_dicts.BY_NAME) == set(state_dicts.WHAT_IT_IS)
