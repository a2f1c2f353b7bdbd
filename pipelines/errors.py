"""Errors of the flows and the command; each knows its exit code (docs/architecture.md, "Exit codes")."""

from typing import Any


class PipelineError(Exception):
    """Base of all refusals; the message names the thing and the mend."""

    exit_code = 1


class UsageError(PipelineError):
    """Unknown model or alias, wrong option, missing extra."""

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
    """Somebody else moved the alias meanwhile."""

    exit_code = 75
