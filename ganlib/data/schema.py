"""Table schemas: descriptions of the raw columns, stored in a versioned YAML file for review and editing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ganlib.data.column import Column, known_zone, read_column, repeated
from ganlib.data.gaps import check_gaps, without_gaps
from ganlib.data.relations import UNUSED, Constraint, check_constraints, read_constraints
from ganlib.data.schema_file import read_schema, write_schema
from ganlib.errors import ConfigError
from serving.table.words import Missing, missing_words

VERSION = 2


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
        if twice := repeated(c.name for c in self.columns):
            raise ConfigError(f"the schema names columns twice: {', '.join(twice)}; keep one entry of each")
        if twice := repeated(c.input for c in self.columns):
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
        remaining = without_gaps(columns)
        names = {c.name for c in remaining}
        return replace(
            self, columns=remaining, constraints=tuple(c for c in self.constraints if names >= set(c.columns))
        )

    def with_column(self, name: str, **changes: Any) -> Schema:
        """A copy with one column changed; drops the constraints on it if it becomes unused."""
        changed = replace(self.column(name), **changes)
        left = [c for c in self.constraints if name not in c.columns or changed.role not in UNUSED]
        columns = tuple(changed if c.name == name else c for c in self.columns)
        return replace(self, columns=columns, constraints=tuple(left))

    def to_dict(self) -> dict[str, Any]:
        """JSON values as described in docs/artifact.md; omits the key ``constraints`` if there are none."""
        columns = [c.to_dict() for c in self.columns]
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
            tuple(read_column(e, i) for i, e in enumerate(entries)),
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
        write_schema(path, self.to_dict(), comments or {})

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Read a file written by ``save``; raises ConfigError, naming the file, if it is missing or invalid."""
        values = read_schema(path)
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"schema file {path}: {error}") from error


def _check_version(version: Any) -> None:
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise ConfigError(f"the schema has version {version}, newer than version {VERSION} of this release; upgrade")
    if version not in range(1, VERSION + 1) or isinstance(version, bool):
        raise ConfigError(f"the schema has version {version!r}; this release reads versions 1 to {VERSION}")


def _read_words(values: Any) -> tuple[str, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise ConfigError(f"missing_words must be a list of strings, not {values!r}; put quotes around each")
    return tuple(values)
