"""What a client gets instead of an answer."""

from __future__ import annotations

from typing import Any

from serving.errors import DataError, ServingError, TemporaryError, UsageError, ValueRefused
from serving.wording import shown


class Rejected(Exception):
    """A request that gets an error: a status code, a message, further JSON entries and headers."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.headers, self.more = status, message, headers or {}, more

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        return {"error": shown(self.message), **self.more}


def bad(message: str, **more: Any) -> Rejected:
    """An invalid request: status 400."""
    return Rejected(400, message, **more)


def busy(message: str, seconds: int) -> Rejected:
    """A request that may succeed in ``seconds``: status 503."""
    return Rejected(503, message, {"Retry-After": str(seconds)})


def rejection(error: ServingError) -> Rejected:
    """The answer for an error of scoring."""
    if isinstance(error, ValueRefused):
        return bad(str(error), column=error.column, row=error.row, reason=shown(error.why))
    if isinstance(error, DataError | UsageError):
        return bad(str(error))
    if isinstance(error, TemporaryError):
        return busy(str(error), 1)
    return Rejected(500, str(error))
