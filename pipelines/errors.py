"""Errors of the flows and the command, each with an exit code (docs/architecture.md, "Exit codes")."""

import os
from pathlib import Path
from typing import Any

from serving.files import FULL


class PipelineError(Exception):
    """Base of all errors here; the message names the fault and the fix."""

    exit_code = 1


class UsageError(PipelineError):
    """Unknown model or alias, wrong option, missing extra, or a path that cannot be written."""

    exit_code = 2


class GateRefused(PipelineError):
    """A promotion or an augmentation failed its gates; ``verdict`` holds what was found, if anything was."""

    exit_code = 3

    def __init__(self, message: str, verdict: Any = None) -> None:
        super().__init__(message)
        self.verdict = verdict


class RegistryDown(PipelineError):
    """The registry did not answer after retries."""

    exit_code = 5


class TryAgain(PipelineError):
    """Another process moved the alias, or the disk is full: the same call may succeed later."""

    exit_code = 75


class Interrupted(PipelineError):
    """Ctrl-C (130) or SIGTERM (143); the message says what running the same command again does."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def cannot_write(
    path: str | Path, error: OSError, fix: str = "choose another --output", what: str = "write"
) -> PipelineError:
    """An OSError as one line with a ``fix``: TryAgain if the disk is full, else UsageError."""
    if error.errno in FULL:
        return TryAgain(f"no space left while writing {path}; free some and run the same command again")
    # Libraries put longer texts into strerror.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UsageError(f"cannot {what} {path} ({reason}); {fix}")
