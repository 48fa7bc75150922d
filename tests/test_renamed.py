"""A setting under its former name is answered with today's name, in one line, and nothing runs."""

import pytest
import yaml
from refusals import one_line

from piqa import fit, prepare
from piqa.system.command_line import Parser
from piqa.system.renamed import SETTINGS, new_names

FLAGS = {
    "--data.groups=8": "`--data.groups` is now called `--data.sampling.groups_per_step`",
    "--data.crops=one": "`--data.crops` is now called `--data.inputs.test_crops`",
    "--data.store=data/elsewhere": "`data.store` is now called `data.store.folder`",
    "--data.table.val_share=0.1": "`val_share` is now called `val_fraction`",
    "--model.speed.compile=true": "`--model.speed` is now called `--model.compute`",
    "--model.schedule=piqa.tasks.scoring.published_schedule": "is now called `piqa.tasks.published_schedule`",
}
KEYS = {
    "data.groups": (8, "data.sampling.groups_per_step"),
    "data.images": ({"LIVE": 4}, "data.sampling.images_per_database"),
    "data.store": ("data/elsewhere", "data.store.folder"),
    "data.select_on": ("test", "data.checkpoint_selection_split"),
    "model.speed": ({"compile": True}, "model.compute"),
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_former_flag_of_training_is_answered(tiny_config, tmp_path, capsys, flag):
    arguments = ["--config", str(tiny_config), "--out", str(tmp_path / "run"), flag]
    message = one_line(capsys, lambda: fit.main(arguments))
    assert FLAGS[flag] in message and "see --help" not in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", KEYS)
def test_a_former_key_of_a_config_is_answered(tiny_config, tmp_path, capsys, key):
    value, today = KEYS[key]
    config = yaml.safe_load(tiny_config.read_text())
    group, name = key.split(".")
    config[group][name] = value
    (tmp_path / "former.yaml").write_text(yaml.safe_dump(config))
    message = one_line(capsys, lambda: prepare.main(["--config", str(tmp_path / "former.yaml")]))
    assert message == f"piqa: error: `{key}` is now called `{today}`"


def test_two_former_flags_are_answered_together(capsys):
    parser = Parser(prog="piqa predict")
    message = one_line(capsys, lambda: parser.parse_args(["--names", "a.txt", "--crops=one"]))
    assert "`--names` is now called `--list`; `--crops` is now called `--test_crops`" in message


@pytest.mark.parametrize(
    ("message", "program"),
    [
        ("unrecognized arguments: --names a.txt", "piqa evaluate"),  # never a flag of this command
        ("unrecognized arguments: --data.store.foldr x", "piqa fit"),  # a slip in a name of today
        ("Option 'crop' is not accepted", "piqa fit"),  # an argument of a network
        ("unrecognized arguments: --names a.txt", "another program"),
    ],
)
def test_other_mistakes_are_told_as_they_are(message, program):
    assert new_names(message, program) is None


def test_no_name_of_today_is_a_former_one():
    for table in SETTINGS.values():
        for former, today in table.items():
            assert today not in table or today == former
