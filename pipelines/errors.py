"""Errors of the flows and the command; each knows its exit code (docs/architecture.md, "Exit codes")."""

import os
from pathlib import Path
from typing import Any

from serving.files import FULL


class PipelineError(Exception):
    """Base of all refusals; the message names the thing and the mend."""

    exit_code = 1


class UsageError(PipelineError):
    """Unknown model or alias, wrong option, missing extra, a place that cannot be written."""

    exit_code = 2


class GateRefused(PipelineError):
    """A promotion or an augmentation did not pass its gate; ``verdict`` holds the table of gates, if there is one."""

    exit_code = 3

    def __init__(self, message: str, verdict: Any = None) -> None:
        super().__init__(message)
        self.verdict = verdict


class RegistryDown(PipelineError):
    """The registry did not answer after retries."""

    exit_code = 5


class TryAgain(PipelineError):
    """Somebody else moved the alias meanwhile, or the disk is full."""

    exit_code = 75


class Interrupted(PipelineError):
    """Ctrl-C (130) or SIGTERM (143); the message says what the same command does next time."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def cannot_write(
    path: str | Path, error: OSError, mend: str = "choose another --output", what: str = "write"
) -> PipelineError:
    """What the file system refused, in one line: a full disk may have room later, anything else needs another place."""
    if error.errno in FULL:
        return TryAgain(f"no space left while writing {path}; free some and run the same command again")
    # Libraries put a story of their own into strerror.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UsageError(f"cannot {what} {path} ({reason}); {mend}")
