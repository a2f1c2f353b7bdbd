"""What both commands share."""

import os
import subprocess
import sys
import warnings

import pytest

from serving.cli_support import run_cli, setup_logging


def test_equal_warnings_of_one_command_are_said_once(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        setup_logging()
        for text in ("column 'id'", "column 'id'", "another"):
            warnings.warn(text, stacklevel=1)
    assert capsys.readouterr().err == "warning: column 'id'\nwarning: another\n"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError("7 TiB"), 75, "too little memory (7 TiB)"),
        (UnicodeEncodeError("utf-8", os.fsdecode(b"odd\xff"), 3, 4, "surrogates not allowed"), 2, "is not UTF-8"),
        (OSError(28, "No space left on device", "out"), 75, "no space left on the disk (out)"),
        (KeyError("a\nb"), 1, "unexpected KeyError"),
    ],
)
def test_what_nobody_expected_still_has_one_line_and_a_code(capsys, error, code, words):
    def fail():
        raise error

    assert run_cli(fail) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


def test_a_command_ends_as_python_does_but_for_native_destructors():
    code = (
        "import atexit, sys, threading, time\n"
        "from serving.cli_support import leave\n"
        "atexit.register(print, 'atexit')\n"
        "def work():\n"
        "    time.sleep(0.2)\n"
        "    print('thread')\n"
        "threading.Thread(target=work).start()\n"
        "sys.stdout.write('result\\n')\n"
        "leave(7)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 7 and done.stdout.split() == ["result", "thread", "atexit"], done.stderr
