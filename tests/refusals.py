"""Bad input is refused in one line: by an InputError in Python, by exit status 2 from a command."""

import pytest

from piqa.errors import InputError


def refusal(call, *arguments, **settings) -> str:
    """Call with bad input; return the message of the InputError, which must be one line."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def one_line(capsys, call) -> str:
    """Call a command with bad input; return its one line on stderr."""
    with pytest.raises(SystemExit) as stop:
        call()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("piqa: error:")]
    assert stop.value.code == 2
    assert len(lines) == 1
    return lines[0]
