"""What both commands share: exit codes, one-line errors, signals, logs on stderr."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from types import FrameType
from typing import Any, NoReturn

from typer.core import TyperGroup

from serving.errors import UsageError
from serving.files import FULL, is_utf8
from serving.secrets import without_secrets
from serving.wording import say, shown


class Terminated(BaseException):
    """SIGTERM arrived; unwinds to the command, which exits 143."""


class Options(TyperGroup):
    """The verbs of a command. An empty option or argument is often a variable of a script that is not set."""

    # Nothing is what these may be set to.
    MAY_BE_EMPTY = ("--keep",)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reject what is empty: a path would become the folder that one is in, another value the default."""
        for name in _empty(args):
            if name not in self.MAY_BE_EMPTY:
                what = name if name.startswith("-") else "an argument"
                raise UsageError(f"{what} is empty; give a value, or leave it out")
        return super().parse_args(ctx, args)


def _empty(args: list[str]) -> Iterator[str]:
    """The option, or what else stands before it, of each empty value."""
    for before, given in pairwise(["", *args]):
        if given == "":
            yield before
        elif given.startswith("--") and given.endswith("="):
            yield given.removesuffix("=")


def _terminate(_: int, __: FrameType | None) -> None:
    raise Terminated


def run_cli(run: Callable[[], Any], debug: bool = False) -> int:
    """Run a command's body and turn whatever happens into an exit code and at most one line on stderr.

    Errors that know their ``exit_code`` (ours) are printed as they are; an unexpected one names itself and how to see
    its traceback (GANLIB_DEBUG=1).
    """
    debug = debug or os.environ.get("GANLIB_DEBUG", "") not in ("", "0")
    previous = signal.signal(signal.SIGTERM, _terminate)
    before, interrupted = signal.getsignal(signal.SIGINT), _noted_interrupts()
    try:
        result = run()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return _say("interrupted; the same command continues where it can", 130)
    except Terminated:
        return _say("terminated; the same command continues where it can", 143)
    except SystemExit as error:
        if error.code == 130:  # typer ends so on Ctrl-C, without a word
            return _say("interrupted; the same command continues where it can", 130)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        # An interrupt while a library is imported may come as an error of its own.
        if interrupted and not hasattr(error, "exit_code"):
            return _say("interrupted; the same command continues where it can", 130)
        if debug:
            print(without_secrets(traceback.format_exc()), file=sys.stderr, end="")
        return _say(*_refusal(error))
    finally:
        signal.signal(signal.SIGTERM, previous)
        signal.signal(signal.SIGINT, before)


def _noted_interrupts() -> list[int]:
    """A list that an interrupt will be added to, before it is raised as ever; ignored ones stay ignored."""
    noted: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    return noted


def _refusal(error: Exception) -> tuple[str, int]:
    """What to say of an error, and its exit code."""
    code = getattr(error, "exit_code", None)
    ours = type(error).__module__.partition(".")[0] in ("serving", "ganlib", "pipelines")
    if ours and isinstance(code, int) and code != 0:
        return str(error), code
    if isinstance(error, OSError) and error.errno in FULL:
        return f"no space left on the disk ({error.filename or 'output'}); free some and run again", 75
    if isinstance(error, MemoryError):
        return f"this machine has too little memory ({error}); free some, or ask for less at a time", 75
    if isinstance(error, UnicodeEncodeError) and not is_utf8(error.object):
        return f"{error.object[:200]!r} is not UTF-8; rename the file or folder, or correct the option", 2
    words = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {words} (GANLIB_DEBUG=1 shows the traceback)", 1


def leave(code: int) -> NoReturn:
    """End this process as Python would, but without the destructors of native libraries.

    A thread of Arrow may still be starting when a command ends early, and its destructor then aborts the process: exit
    134 where another code was due.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _say(message: str, code: int) -> int:
    say(f"error: {message}")
    return code


def _warner() -> Callable[..., None]:
    """Prints each warning once, however many models of one command have the same one."""
    told = set()

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in told:
            told.add(text)
            say(f"warning: {text}")

    return warn


class _OneLine(logging.Formatter):
    """A record is one line without secrets; only a traceback below it has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return without_secrets(super().formatException(ei))


def setup_logging(verbose: bool = False) -> None:
    """Log to stderr: warnings, or everything of ours. What libraries warn of takes one line, without their source."""
    warnings.showwarning = _warner()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("serving").setLevel(logging.INFO if verbose else logging.WARNING)
