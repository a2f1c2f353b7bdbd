"""One raw column of a table: its kind, its role, and what may be stored about its values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ganlib.errors import ConfigError
from serving.table.layouts import number_layout
from serving.table.zones import zone

KINDS = ("number", "integer", "boolean", "category", "date", "text")
ROLES = ("feature", "label", "group", "id", "dropped")
CLOCKS = ("recurring", "absolute")
CYCLES = ("day", "week", "year")
LEVELS = ("text", "number", "boolean", "date")
# Input and output names of sealed graphs, for detectors and for augmenters.
RESERVED = (
    "alpha", "explain", "anomaly_score", "p_value", "is_anomaly", "contributions", "z", "condition",
)  # fmt: skip
_BUCKETS = 32


def known_zone(name: str) -> str:
    """Return the name of a known time zone; raises ConfigError for other names."""
    try:
        zone(name)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"there is no time zone {name!r}; write one such as UTC, Europe/Berlin or +05:30") from error
    return name


@dataclass(frozen=True)
class Column:
    """One raw column.

    - ``dtype``: pandas' name of its type in training.
    - ``missing``: whether training rows had missing values.
    - ``quantiles``: the 0/5/50/95/100 % points, rounded to 3 significant digits.
    - ``categories``: the values seen at least five times; ``rare``: whether there were others.
    - ``clock``, ``cycles``: how a detector reads a date (``None``: position, time of day and week, as in old files).
    - ``gap_from``: another date; a detector also uses the time since then.

    docs/artifact.md describes the format. Raises ConfigError for an unknown kind, role, clock, cycle or time zone, and
    for bounds in the wrong order.
    """

    name: str
    kind: str
    role: str = "feature"
    dtype: str = "float64"
    missing: bool = False
    minimum: float | None = None
    maximum: float | None = None
    quantiles: tuple[float, ...] = ()
    categories: tuple[str, ...] | None = None
    rare: bool = False
    buckets: int | None = None
    timezone: str | None = None
    clock: str | None = None
    cycles: tuple[str, ...] = ()
    gap_from: str | None = None
    note: str = ""
    input: str = ""
    levels: str | None = None
    not_missing: tuple[str, ...] = ()
    public: bool = False
    layout: str | None = None
    step: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"column {self.name!r}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if self.role not in ROLES:
            raise ConfigError(f"column {self.name!r}: role {self.role!r} is none of {', '.join(ROLES)}")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ConfigError(f"column {self.name!r}: minimum {self.minimum} lies above maximum {self.maximum}")
        if self.timezone is not None:
            known_zone(self.timezone)
        object.__setattr__(self, "cycles", tuple(self.cycles or ()))
        _check_clock(self)
        if self.kind == "text" and self.buckets is None:
            object.__setattr__(self, "buckets", _BUCKETS)
        if not self.input:
            object.__setattr__(self, "input", f"column:{self.name}" if self.name in RESERVED else self.name)
        if self.levels is not None and self.levels not in LEVELS:
            raise ConfigError(f"column {self.name!r}: levels {self.levels!r} is none of {', '.join(LEVELS)}")
        if self.step is not None and not self.step > 0:
            raise ConfigError(f"column {self.name!r}: step must be above 0, not {self.step}")
        _check_layout(self)
        object.__setattr__(self, "not_missing", tuple(self.not_missing or ()))
        object.__setattr__(self, "quantiles", tuple(self.quantiles or ()))
        if self.categories is not None:
            object.__setattr__(self, "categories", tuple(str(c) for c in self.categories))

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest generated value; infinite if the schema sets none."""
        low, high = self.minimum, self.maximum
        return -math.inf if low is None else float(low), math.inf if high is None else float(high)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; omits unset keys of clocks and gaps, as in files of earlier releases."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        silent = {"clock", "cycles"} if self.clock is None else set()
        silent |= {"gap_from"} if self.gap_from is None else set()
        return {k: v for k, v in values.items() if k not in silent}


def _check_layout(column: Column) -> None:
    if column.kind not in ("number", "integer"):
        return
    try:
        number_layout(column.layout)
    except ValueError as error:
        raise ConfigError(f"column {column.name!r}: {error}") from error


def _check_clock(column: Column) -> None:
    """Raise ConfigError for an invalid clock or invalid cycles."""
    name, wrong = column.name, [c for c in column.cycles if c not in CYCLES]
    if column.clock is not None and column.clock not in CLOCKS:
        raise ConfigError(f"column {name!r}: clock {column.clock!r} is none of {', '.join(CLOCKS)}")
    if wrong:
        raise ConfigError(f"column {name!r}: cycle {wrong[0]!r} is none of {', '.join(CYCLES)}")
    if twice := repeated(column.cycles):
        raise ConfigError(f"column {name!r}: cycles come twice: {', '.join(twice)}")
    if column.kind != "date" and (column.clock or column.cycles):
        raise ConfigError(f"column {name!r}: clock and cycles are for dates, not for kind {column.kind}; take them out")
    if column.cycles and column.clock is None:
        raise ConfigError(f"column {name!r}: cycles need a clock; write clock: recurring, or clock: absolute")
    if column.clock == "recurring" and not column.cycles and column.role == "feature":
        raise ConfigError(
            f"column {name!r}: clock: recurring needs cycles, such as [day, week]; write them, or role: dropped"
        )


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, sorted."""
    seen: set[str] = set()
    return sorted({n for n in names if n in seen or seen.add(n)})  # type: ignore[func-returns-value]


# -------------------------------------------------------------------- from a file
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a string"),
    "kind": ((str,), "a string"),
    "role": ((str,), "a string"),
    "dtype": ((str,), "a string"),
    "missing": ((bool,), "true or false"),
    "minimum": ((int, float, type(None)), "a number or null"),
    "maximum": ((int, float, type(None)), "a number or null"),
    "quantiles": ((list, tuple, type(None)), "a list of numbers"),
    "categories": ((list, tuple, type(None)), "a list of strings or null"),
    "rare": ((bool,), "true or false"),
    "buckets": ((int, type(None)), "a whole number or null"),
    "timezone": ((str, type(None)), "a string or null"),
    "clock": ((str, type(None)), "recurring, absolute or null"),
    "cycles": ((list, tuple, type(None)), "a list of day, week and year"),
    "gap_from": ((str, type(None)), "the name of a date column, or null"),
    "note": ((str,), "a string"),
    "input": ((str,), "a string"),
    "levels": ((str, type(None)), "a string or null"),
    "not_missing": ((list, tuple, type(None)), "a list of strings"),
    "public": ((bool,), "true or false"),
    "layout": ((str, type(None)), "a string or null"),
    "step": ((int, float, type(None)), "a number or null"),
}


def read_column(entry: Any, position: int) -> Column:
    """Parse one column from YAML or JSON values; raises ConfigError naming column and key."""
    if not isinstance(entry, Mapping):
        raise ConfigError(f"column {position} of the schema is {entry!r}, not a mapping with name and kind")
    name = entry.get("name", position)
    known = [f.name for f in fields(Column)]
    if unknown := set(entry) - set(known):
        raise ConfigError(
            f"column {name!r}: unknown keys {', '.join(sorted(map(str, unknown)))}; choose of {', '.join(known)}"
        )
    if lacking := sorted({"name", "kind"} - set(entry)):
        raise ConfigError(f"column {name!r} lacks {' and '.join(lacking)}")
    for key, value in entry.items():
        allowed, words = _TYPES[key]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ConfigError(f"column {name!r}: {key} must be {words}, not {value!r}")
    column = Column(**{**entry, "categories": _read_categories(name, entry.get("categories"))})
    return _checked(column)


def _read_categories(name: Any, values: Any) -> tuple[str, ...] | None:
    if values is None:
        return None
    if wrong := [v for v in values if isinstance(v, bool | list | dict | float | type(None))]:
        raise ConfigError(f"column {name!r}: categories must be strings, not {wrong[0]!r}; put quotes around them")
    return tuple(str(v) for v in values)


def _checked(column: Column) -> Column:
    """Check that the keys of one column, which may have been edited, are consistent."""
    if wrong := [q for q in column.quantiles if isinstance(q, bool) or not isinstance(q, int | float)]:
        raise ConfigError(f"column {column.name!r}: quantiles must be numbers, not {wrong[0]!r}")
    if column.kind == "category" and column.role in ("feature", "group") and column.categories is None:
        raise ConfigError(f"column {column.name!r}: a category needs `categories`, the list of its common values")
    if column.categories is not None:
        if twice := repeated(column.categories):
            raise ConfigError(f"column {column.name!r}: categories come twice: {', '.join(twice)}")
        if "" in column.categories:
            raise ConfigError(f"column {column.name!r}: an empty string is a missing value, not a category")
    if column.kind == "text" and (column.buckets or 0) < 1:
        raise ConfigError(f"column {column.name!r}: buckets must be 1 or more, not {column.buckets}")
    return column
