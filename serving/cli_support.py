"""Shared by both commands: exit codes, one-line errors, signals and logging to stderr."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
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
    """The verbs of a command. Rejects empty values, which often come from an unset variable in a script."""

    # Options for which an empty value is meaningful.
    MAY_BE_EMPTY = ("--keep",)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raise UsageError for empty values: an empty path would mean the current folder."""
        for name in _empty(args):
            if name not in self.MAY_BE_EMPTY:
                what = name if name.startswith("-") else "an argument"
                raise UsageError(f"{what} is empty; give a value, or leave it out")
        return super().parse_args(ctx, args)


def _empty(args: list[str]) -> Iterator[str]:
    """For each empty value, the option or argument before it."""
    for before, given in pairwise(["", *args]):
        if given == "":
            yield before
        elif given.startswith("--") and given.endswith("="):
            yield given.removesuffix("=")


def _terminate(_: int, __: FrameType | None) -> None:
    raise Terminated


def run_cli(run: Callable[[], Any], debug: bool = False) -> int:
    """Run a command's body; turns every outcome into an exit code and at most one line on stderr.

    The project's errors carry an ``exit_code``, and their message is printed unchanged. The line for an unexpected
    error names its type and how to see the traceback (GANLIB_DEBUG=1).
    """
    debug = debug or os.environ.get("GANLIB_DEBUG", "") not in ("", "0")
    previous = signal.signal(signal.SIGTERM, _terminate)
    before = signal.getsignal(signal.SIGINT)
    _note_interrupts()
    hook, sys.unraisablehook = sys.unraisablehook, _raise_again
    try:
        result = run()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return _say("interrupted; the same command continues where it can", 130)
    except Terminated:
        return _say("terminated; the same command continues where it can", 143)
    except SystemExit as error:
        if error.code == 130:  # typer exits silently on Ctrl-C
            return _say("interrupted; the same command continues where it can", 130)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        if was_interrupted(error):
            return _say("interrupted; the same command continues where it can", 130)
        if debug:
            print(without_secrets(traceback.format_exc()), file=sys.stderr, end="")
        return _say(*_described(error))
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, previous)
        signal.signal(signal.SIGINT, before)


def _raise_again(lost: Any) -> None:
    """Repeat an interrupt that Python dropped.

    An interrupt that arrives in a destructor or a callback of the garbage collector is printed and forgotten; the
    command would run on.
    """
    number = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}.get(lost.exc_type)
    if number is None:
        sys.__unraisablehook__(lost)
    else:
        threading.Thread(target=_repeat, args=(number,), daemon=True).start()


def _repeat(number: int) -> None:
    """Send the main thread a signal once it has left ``_raise_again``, where it would be lost again."""
    main = threading.main_thread().ident
    assert main is not None
    while _within(sys._current_frames().get(main), _raise_again):
        time.sleep(0.01)
    signal.pthread_kill(main, number)


def _within(frame: FrameType | None, function: Callable[..., Any]) -> bool:
    """Whether a frame, or one of its callers, runs the function."""
    while frame is not None:
        if frame.f_code is function.__code__:
            return True
        frame = frame.f_back
    return False


_noted: list[int] = []


def _note_interrupts() -> None:
    """Record interrupts before they are raised as usual; ignored interrupts stay ignored."""

    def interrupt(number: int, _: FrameType | None) -> None:
        _noted.append(number)
        raise KeyboardInterrupt

    _noted.clear()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def was_interrupted(error: Exception) -> bool:
    """Whether an unrelated error comes from an interrupt, as one that arrives during an import may."""
    return bool(_noted) and not hasattr(error, "exit_code")


def _described(error: Exception) -> tuple[str, int]:
    """The message for an error, and its exit code."""
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
    """End this process like Python does, but skip the destructors of native libraries.

    When a command ends early, an Arrow thread may still be starting. Its destructor then aborts the process with exit
    code 134 instead of ours.
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
    """A warning handler that prints each distinct warning once per command."""
    printed = set()

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in printed:
            printed.add(text)
            say(f"warning: {text}")

    return warn


class _OneLine(logging.Formatter):
    """Formats a record as one line without secrets; only a traceback adds lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return without_secrets(super().formatException(ei))


def setup_logging(verbose: bool = False) -> None:
    """Log to stderr: warnings, or with ``verbose`` all messages of ``serving``. Library warnings take one line."""
    warnings.showwarning = _warner()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("serving").setLevel(logging.INFO if verbose else logging.WARNING)
