"""What both commands share."""

import os
import subprocess
import sys
import time
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


@pytest.mark.parametrize("delay", [0.0, 0.2])
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_that_a_destructor_swallows_still_ends_the_command(number, code, delay):
    """Python prints exceptions in destructors and drops them; the garbage collector runs those at any time.

    On a busy machine the thread that repeats the signal may run long before the one that started it goes on.
    """
    script = f"""
import os, signal, sys, threading, time
start = threading.Thread.start
threading.Thread.start = lambda self: (start(self), time.sleep({delay}))
signal.signal(signal.SIGINT, signal.default_int_handler)
from serving.cli_support import run_cli

class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})
        time.sleep(0.1)

def body():
    held = Held()
    del held
    print("ran on", flush=True)
    time.sleep(20)
    return 0

sys.exit(run_cli(body))
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    assert "continues where it can" in done.stderr and "Traceback" not in done.stderr
    assert time.monotonic() - start < 15  # a blocking call is interrupted, not waited for
