"""A command ends with one line, whatever stops it, and a closed or full stdout loses nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

START = "from piqa.errors import *; from piqa.errors import one_line_errors, Stopped\nwith one_line_errors():\n    "


def run(body, stdout=subprocess.PIPE):
    done = subprocess.run([sys.executable, "-c", START + body], stdout=stdout, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("raise InputError('a.csv has\\nno rows')", 2, "piqa: error: a.csv has no rows\n"),
        ("raise FileAccessError('cannot read a.jpg')", 3, "piqa: error: cannot read a.jpg\n"),
        ("raise KeyboardInterrupt", 130, "piqa: stopped by Ctrl-C\n"),
        ("raise Stopped('rows are kept')", 130, "piqa: rows are kept\n"),
        ("open('/none/a', 'w')", 1, "piqa: error: /none/a: No such file or directory; check the disk, its room"),
    ],
)
def test_what_ends_a_command_is_told_in_one_line(body, status, line):
    found, told = run(body)
    assert found == status
    assert told.startswith(line) and told.count("\n") == 1


def test_a_fault_of_the_program_keeps_its_traceback():
    status, told = run("{}['absent']")
    assert status == 1 and "Traceback" in told


def test_a_command_begins_with_the_garbage_collector_on_and_its_imports_out_of_it():
    code = "import gc; from piqa import errors; errors.import_without_collecting(); assert not gc.isenabled()\n"
    code += "with errors.one_line_errors(): assert gc.isenabled() and gc.get_freeze_count() > 1000\n"
    code += "gc.unfreeze(); gc.disable()\n"
    code += (
        "with errors.one_line_errors(): assert not gc.isenabled() and not gc.get_freeze_count()  # as its user has it"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_after_a_full_stdout_the_command_goes_on(tmp_path):
    body = f"print('a' * 100_000, flush=True); print('b'); open('{tmp_path}/done', 'w').write('result')"
    with Path("/dev/full").open("w") as full:
        status, told = run(body, full)
    assert (tmp_path / "done").read_text() == "result"
    assert status == 1
    assert told == "piqa: error: cannot write to stdout: No space left on device; files were written as usual\n"


def test_after_a_closed_stdout_the_command_goes_on(tmp_path):
    body = f"print('a', flush=True); print('b' * 100_000); open('{tmp_path}/done', 'w').write('result')"
    command = [sys.executable, "-c", START + body]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        told = process.stderr.read()
    assert (tmp_path / "done").read_text() == "result"
    assert process.returncode == 0
    assert told == ""
