"""Table schemas: descriptions of the raw columns, stored in a versioned YAML file for review and editing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

from ganlib.data.constraints import GUIDE, UNUSED, Constraint, check_constraints, read_constraints
from ganlib.data.gaps import check_gaps, without_gaps
from ganlib.errors import ConfigError
from ganlib.files import write_whole
from serving.table.layouts import number_layout
from serving.table.words import Missing, missing_words
from serving.table.zones import zone

VERSION = 2
KINDS = ("number", "integer", "boolean", "category", "date", "text")
ROLES = ("feature", "label", "group", "id", "dropped")
CLOCKS = ("recurring", "absolute")
CYCLES = ("day", "week", "year")
# Input and output names of sealed graphs, for detectors and for augmenters.
RESERVED = (
    "alpha", "explain", "anomaly_score", "p_value", "is_anomaly", "contributions", "z", "condition",
)  # fmt: skip
_BUCKETS = 32
_HEADING = f"""\
# Table schema, written by ganlib and meant to be reviewed: what stands here overrides what is seen in the data.
#   kind        {", ".join(KINDS)}
#   role        {", ".join(ROLES)} (id and dropped columns are not used; note says why)
#   dtype       pandas' type in training; generated columns come back in it
#   missing     whether training rows lacked the value
#   minimum, maximum   bounds of generated values (dates: microseconds since 1970 UTC)
#   quantiles   0/5/50/95/100 % points, rounded; only for made-up test rows
#   categories  quoted strings; other values are read as rare or unseen
#   levels      categories only: what their strings are: text, number, boolean or date (1, 1.0 and 01 are one number)
#   not_missing words of the list missing_words that are values in this column
#   public      categories only: true lets the artifact list every value, however rare
#   layout      how text writes numbers (${{:,.2f}}; 1.234,50 is {{:.,2f}}), durations (%d days %H:%M:%S, ISO), dates
#               (%d.%m.%Y; several separated by |), times of day (%H:%M) or booleans (TRUE|FALSE)
#   step        numbers: the grid that generated values lie on (dates: microseconds)
#   buckets     text only: number of hashed 3-gram features
#   timezone    dates only: how naive times are read (null: the schema's, above the columns)
#   clock       dates only: what a detector reads of it. recurring: the cycles alone, so that later rows are not
#               anomalous for being later; absolute: the position in time, and the cycles. Generators read all of it
#   cycles      with clock: any of {", ".join(CYCLES)}; a new schema lists those that training rows cover twice.
#               A clock that covers none is dropped. Whole days over two years or more that do not follow the order
#               of the rows, such as birth dates, are absolute
#   gap_from    dates only: another date of the row; a detector also reads the time from that one to this one
# missing_words, compared in lower case, are read as missing, in files as in frames; null: as in format version 1
# constraints, below the columns, are relations that generated rows keep; take out those that hold by accident
{GUIDE}"""
LEVELS = ("text", "number", "boolean", "date")


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


def _check_layout(column: Column) -> None:
    if column.kind not in ("number", "integer"):
        return
    try:
        number_layout(column.layout)
    except ValueError as error:
        raise ConfigError(f"column {column.name!r}: {error}") from error


@dataclass(frozen=True)
class Schema:
    """The columns of a table in order, the time zone of naive times, and the words that are read as missing.

    ``missing_words=None`` means format version 1: ``nan, null, na, none`` in numbers, dates and booleans, and only the
    empty string in categories and texts. ``constraints`` are relations that generated rows satisfy
    (``ganlib.data.constraints``).

    Raises ConfigError for repeated names, more than one label or group, an unknown time zone, and constraints on
    missing, unused or unsuitable columns or with the same target.
    """

    columns: tuple[Column, ...]
    timezone: str = "UTC"
    version: int = field(default=VERSION)
    missing_words: tuple[str, ...] | None = None
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        known_zone(self.timezone)
        if twice := _repeated(c.name for c in self.columns):
            raise ConfigError(f"the schema names columns twice: {', '.join(twice)}; keep one entry of each")
        if twice := _repeated(c.input for c in self.columns):
            raise ConfigError(f"the schema feeds inputs twice: {', '.join(twice)}; rename the columns")
        for role in ("label", "group"):
            if len(several := [c.name for c in self.columns if c.role == role]) > 1:
                raise ConfigError(f"{len(several)} columns have the role {role}: {', '.join(several)}; keep one")
        check_gaps(self.columns)
        object.__setattr__(self, "constraints", tuple(self.constraints))
        check_constraints(self.constraints, self.columns, self.timezone)

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that are inputs of a model."""
        return tuple(c for c in self.columns if c.role == "feature")

    @property
    def label(self) -> str | None:
        """Name of the label column, if any."""
        return next((c.name for c in self.columns if c.role == "label"), None)

    @property
    def group(self) -> str | None:
        """Name of the calibration group column, if any."""
        return next((c.name for c in self.columns if c.role == "group"), None)

    def column(self, name: str) -> Column:
        """The column of this name; raises ConfigError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise ConfigError(f"the schema has no column {name!r}; columns: {', '.join(c.name for c in self.columns)}")

    def missing(self, name: str) -> Missing:
        """The missing words of a column."""
        column = self.column(name)
        return missing_words({"kind": column.kind, "not_missing": column.not_missing}, self.missing_words)

    def only(self, columns: Iterable[Column]) -> Schema:
        """A copy with only these columns, and the constraints and gaps among them."""
        kept = without_gaps(columns)
        names = {c.name for c in kept}
        return replace(self, columns=kept, constraints=tuple(c for c in self.constraints if names >= set(c.columns)))

    def with_column(self, name: str, **changes: Any) -> Schema:
        """A copy with one column changed; drops the constraints on it if it becomes unused."""
        changed = replace(self.column(name), **changes)
        left = [c for c in self.constraints if name not in c.columns or changed.role not in UNUSED]
        columns = tuple(changed if c.name == name else c for c in self.columns)
        return replace(self, columns=columns, constraints=tuple(left))

    def to_dict(self) -> dict[str, Any]:
        """JSON values as described in docs/artifact.md; omits the key ``constraints`` if there are none."""
        columns = [_written(c) for c in self.columns]
        constraints = {"constraints": [c.to_dict() for c in self.constraints]} if self.constraints else {}
        return {
            "version": self.version,
            "timezone": self.timezone,
            "missing_words": None if self.missing_words is None else list(self.missing_words),
            "label": self.label,
            "group": self.group,
            "columns": columns,
            **constraints,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Schema:
        """The strict inverse of ``to_dict``.

        Raises ConfigError, naming column and key, for a newer version, unknown keys, values of the wrong type, or a
        label or group that contradicts the columns' roles.
        """
        _check_version(values.get("version"))
        known = {"version", "timezone", "missing_words", "label", "group", "columns", "constraints"}
        if unknown := set(values) - known:
            raise ConfigError(f"the schema has unknown keys: {', '.join(sorted(map(str, unknown)))}; remove them")
        entries = values.get("columns")
        if not isinstance(entries, list | tuple) or not entries:
            raise ConfigError("the schema lists no columns; write `columns:` with one entry for each")
        schema = cls(
            tuple(_read_column(e, i) for i, e in enumerate(entries)),
            values.get("timezone") or "UTC",
            missing_words=_read_words(values.get("missing_words")),
            constraints=read_constraints(values.get("constraints")),
        )
        for role, found in (("label", schema.label), ("group", schema.group)):
            if values.get(role) not in (None, found):
                raise ConfigError(
                    f"the schema says {role}: {values[role]!r}, but the column with that role is {found!r}; "
                    f"set `role: {role}` in the column's entry"
                )
        return schema

    def save(self, path: str | Path, comments: Mapping[str, Iterable[str]] | None = None) -> None:
        """Write commented YAML atomically; raises ConfigError if the file cannot be written.

        ``comments`` maps column names to comment lines, written above their entries.
        """
        import yaml

        values = self.to_dict()
        del values["label"], values["group"]
        text = yaml.dump(values, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=120)
        text = _HEADING + _commented(text, [tuple((comments or {}).get(c.name, ())) for c in self.columns])
        try:
            write_whole(Path(path), text.encode())
        except OSError as error:
            raise ConfigError(f"schema file {path} cannot be written: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Read a file written by ``save``; raises ConfigError, naming the file, if it is missing or invalid."""
        from serving.table.documents import read_yaml

        try:
            values = read_yaml(path)
        except OSError as error:
            raise ConfigError(f"schema file {path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise ConfigError(f"schema file {path} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"schema file {path} holds no mapping; write one with `ganlib train`")
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"schema file {path}: {error}") from error


def _check_clock(column: Column) -> None:
    """Raise ConfigError for an invalid clock or invalid cycles."""
    name, wrong = column.name, [c for c in column.cycles if c not in CYCLES]
    if column.clock is not None and column.clock not in CLOCKS:
        raise ConfigError(f"column {name!r}: clock {column.clock!r} is none of {', '.join(CLOCKS)}")
    if wrong:
        raise ConfigError(f"column {name!r}: cycle {wrong[0]!r} is none of {', '.join(CYCLES)}")
    if twice := _repeated(column.cycles):
        raise ConfigError(f"column {name!r}: cycles come twice: {', '.join(twice)}")
    if column.kind != "date" and (column.clock or column.cycles):
        raise ConfigError(f"column {name!r}: clock and cycles are for dates, not for kind {column.kind}; take them out")
    if column.cycles and column.clock is None:
        raise ConfigError(f"column {name!r}: cycles need a clock; write clock: recurring, or clock: absolute")
    if column.clock == "recurring" and not column.cycles and column.role == "feature":
        raise ConfigError(
            f"column {name!r}: clock: recurring needs cycles, such as [day, week]; write them, or role: dropped"
        )


def _written(column: Column) -> dict[str, Any]:
    """JSON values of one column; omits unset keys of clocks and gaps, as in files of earlier releases."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(column).items()}
    silent = {"clock", "cycles"} if column.clock is None else set()
    silent |= {"gap_from"} if column.gap_from is None else set()
    return {k: v for k, v in values.items() if k not in silent}


def _commented(text: str, comments: list[tuple[str, ...]]) -> str:
    """Put each column's comments above its entry; entries are in the order of ``comments``."""
    lines, entries = [], iter(comments)
    for line in text.splitlines():
        if line.startswith("- name:"):
            for comment in next(entries):
                lines += wrap(comment, 120, initial_indent="# ", subsequent_indent="#   ")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({n for n in names if n in seen or seen.add(n)})  # type: ignore[func-returns-value]


def _check_version(version: Any) -> None:
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise ConfigError(f"the schema has version {version}, newer than version {VERSION} of this release; upgrade")
    if version not in range(1, VERSION + 1) or isinstance(version, bool):
        raise ConfigError(f"the schema has version {version!r}; this release reads versions 1 to {VERSION}")


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


def _read_column(entry: Any, position: int) -> Column:
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


def _read_words(values: Any) -> tuple[str, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise ConfigError(f"missing_words must be a list of strings, not {values!r}; put quotes around each")
    return tuple(values)


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
        if twice := _repeated(column.categories):
            raise ConfigError(f"column {column.name!r}: categories come twice: {', '.join(twice)}")
        if "" in column.categories:
            raise ConfigError(f"column {column.name!r}: an empty string is a missing value, not a category")
    if column.kind == "text" and (column.buckets or 0) < 1:
        raise ConfigError(f"column {column.name!r}: buckets must be 1 or more, not {column.buckets}")
    return column


def _dumper() -> Any:
    """A YAML dumper with lists of numbers on one line, one category per line, and unprintable characters escaped.

    PyYAML alone folds some line breaks inside quotes, so that a different text is read back.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def listed(dumper: Any, values: list[Any]) -> Any:
        flow = all(isinstance(v, int | float) for v in values)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')

    Dumper.add_representer(list, listed)
    Dumper.add_representer(str, text)
    return Dumper
