"""Errors that a person can cause or mend; each knows its exit code (docs/architecture.md, "Exit codes")."""


class ServingError(Exception):
    """Base of all refusals; the message names the thing and the mend."""

    exit_code = 1


class UsageError(ServingError):
    """Wrong option, configuration, model name, alpha, or a missing extra."""

    exit_code = 2


class DataError(ServingError):
    """The input data is broken, empty or against the schema."""

    exit_code = 4


class DependencyError(ServingError):
    """A registry, broker or other service did not answer after retries."""

    exit_code = 5


class IntegrityError(ServingError):
    """Hash mismatch, unsafe graph, golden rows that disagree, output that does not recount."""

    exit_code = 6


class TemporaryError(ServingError):
    """Lease held by another worker, disk full: the same call may succeed later."""

    exit_code = 75
