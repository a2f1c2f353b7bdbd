"""Errors that a user can cause or fix, each with its exit code (docs/architecture.md, "Exit codes")."""


class ServingError(Exception):
    """Base of all errors here; the message names what is wrong and how to fix it."""

    exit_code = 1


class UsageError(ServingError):
    """Wrong option, configuration, model name, alpha, or a missing extra."""

    exit_code = 2


class DataError(ServingError):
    """The input data is corrupt, empty or does not fit the schema."""

    exit_code = 4


class ValueRefused(DataError):
    """A value does not fit its column. ``row`` counts from the first row of the table that was checked."""

    def __init__(self, column: str, row: int, why: str) -> None:
        # Pass the arguments unchanged: unpickling rebuilds an exception from its args.
        super().__init__(column, row, why)
        self.column, self.row, self.why = column, row, why

    def __str__(self) -> str:
        return self.said(0)

    def said(self, start: int | None) -> str:
        """The message with the row counted from ``start``; None omits the row."""
        row = "" if start is None else f", row {start + self.row}"
        return f"column {self.column!r}{row}: {self.why}"


class DependencyError(ServingError):
    """A registry, broker or other service did not answer after retries."""

    exit_code = 5


class IntegrityError(ServingError):
    """Hash mismatch, unsafe graph, golden rows that disagree, or an output folder that fails verification."""

    exit_code = 6


class TemporaryError(ServingError):
    """Lease held by another worker, or disk full; the same call may succeed later."""

    exit_code = 75
