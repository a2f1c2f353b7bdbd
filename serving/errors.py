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


class ValueRefused(DataError):
    """A value does not fit its column. ``row`` counts from the first row of what was checked."""

    def __init__(self, column: str, row: int, why: str) -> None:
        # These arguments as they are: an exception that crosses processes is made again from its args.
        super().__init__(column, row, why)
        self.column, self.row, self.why = column, row, why

    def __str__(self) -> str:
        return self.said(0)

    def said(self, start: int | None) -> str:
        """The message, its row counted from ``start``; None leaves the row out."""
        row = "" if start is None else f", row {start + self.row}"
        return f"column {self.column!r}{row}: {self.why}"


class DependencyError(ServingError):
    """A registry, broker or other service did not answer after retries."""

    exit_code = 5


class IntegrityError(ServingError):
    """Hash mismatch, unsafe graph, golden rows that disagree, output that does not recount."""

    exit_code = 6


class TemporaryError(ServingError):
    """Lease held by another worker, disk full: the same call may succeed later."""

    exit_code = 75
