"""A request as columns and options, whatever its format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from serving.service.rejected import Rejected, bad


@dataclass(frozen=True)
class Query:
    """Rows to score: each column is a list of JSON values, an Arrow array, or a NumPy array of examples.

    ``alpha`` is the alarm budget (None: that of the service), ``explain`` adds contributions and reasons.
    """

    columns: Mapping[str, Any]
    rows: int
    alpha: float | None = None
    explain: bool = False

    @property
    def key(self) -> tuple[float | None, bool]:
        """Requests with equal keys can share a call of the session."""
        return self.alpha, self.explain


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object; raises Rejected with what is wrong."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise bad(f"the body is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise bad("the JSON is nested too deeply") from error
    except ValueError as error:
        raise bad(f"the body is not JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise bad(f"the body must be a JSON object, not {kind(value)}")
    return value


def _constant(text: str) -> NoReturn:
    raise bad(f"the body holds {text}, which is not JSON; use null for a missing value")


def options(given: Any) -> tuple[float | None, bool]:
    """``alpha`` and ``explain`` of a request; raises Rejected if they have the wrong type."""
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise bad(f"the parameters must be a JSON object, not {kind(given)}")
    alpha, explain = given.get("alpha"), given.get("explain", False)
    if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, int | float)):
        raise bad(f"alpha must be a number, not {kind(alpha)}")
    if not isinstance(explain, bool):
        raise bad(f"explain must be true or false, not {kind(explain)}")
    return _number(alpha), explain


def _number(alpha: float | None) -> float | None:
    try:
        return None if alpha is None else float(alpha)
    except OverflowError as error:
        raise bad("alpha is too large for a number; give a value between 0 and 1") from error


def limited(rows: int, most: int) -> None:
    """Raise Rejected (413) for a request of too many rows."""
    if rows > most:
        raise Rejected(413, f"the request has {rows:,} rows; the limit is {most:,}: send several requests")


def kind(value: Any) -> str:
    """The JSON type of a value, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
