"""Table schemas: what each raw column is, written to a versioned YAML file that a person can read and edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ganlib.errors import ConfigError

VERSION = 1
KINDS = ("number", "integer", "boolean", "category", "date", "text")
ROLES = ("feature", "label", "group", "id", "dropped")
RESERVED = ("alpha", "explain")


@dataclass(frozen=True)
class Column:
    """One raw column.

    ``dtype`` is pandas' name of its type in training; ``missing`` tells whether training rows lacked it;
    ``quantiles`` are the 0/5/50/95/100 % points rounded to 3 significant digits; ``categories`` hold the values seen
    at least five times; ``rare`` tells that there were others. docs/artifact.md has the whole format.
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
    note: str = ""
    input: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"column {self.name!r}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if self.role not in ROLES:
            raise ConfigError(f"column {self.name!r}: role {self.role!r} is none of {', '.join(ROLES)}")
        if not self.input:
            object.__setattr__(self, "input", f"column:{self.name}" if self.name in RESERVED else self.name)
        object.__setattr__(self, "quantiles", tuple(self.quantiles or ()))
        if self.categories is not None:
            object.__setattr__(self, "categories", tuple(str(c) for c in self.categories))


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order, and the time zone in which naive times are read."""

    columns: tuple[Column, ...]
    timezone: str = "UTC"
    version: int = field(default=VERSION)

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ConfigError(f"the schema names columns twice: {', '.join(twice)}")

    @property
    def features(self) -> tuple[Column, ...]:
        """Columns that a model sees."""
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

    def with_column(self, name: str, **changes: Any) -> Schema:
        """A copy with one column changed."""
        changed = replace(self.column(name), **changes)
        return replace(self, columns=tuple(changed if c.name == name else c for c in self.columns))

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as docs/artifact.md lays them out."""
        columns = [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(c).items()} for c in self.columns]
        return {
            "version": self.version,
            "timezone": self.timezone,
            "label": self.label,
            "group": self.group,
            "columns": columns,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Schema:
        """Strict inverse of ``to_dict``; raises ConfigError on unknown keys or a newer version."""
        if (version := values.get("version")) != VERSION:
            raise ConfigError(f"the schema has version {version!r}; this release reads version {VERSION}")
        known = {f.name for f in fields(Column)}
        columns = []
        for entry in values.get("columns") or []:
            if unknown := set(entry) - known:
                raise ConfigError(
                    f"column {entry.get('name')!r}: unknown keys {sorted(unknown)}; choose of {sorted(known)}"
                )
            if missing := {"name", "kind"} - set(entry):
                raise ConfigError(f"column {entry.get('name')!r} lacks {sorted(missing)}")
            columns.append(Column(**entry))
        if unknown := set(values) - {"version", "timezone", "label", "group", "columns"}:
            raise ConfigError(f"the schema has unknown keys: {sorted(unknown)}")
        return cls(tuple(columns), values.get("timezone", "UTC"))

    def save(self, path: str | Path) -> None:
        """Write YAML with a heading that says what may be edited."""
        import yaml

        heading = (
            "# Table schema. You may edit kind, role, categories, minimum, maximum, timezone and note.\n"
            f"# kind: {', '.join(KINDS)}\n# role: {', '.join(ROLES)}\n"
        )
        values = self.to_dict()
        del values["label"], values["group"]
        Path(path).write_text(heading + yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Read what ``save`` wrote; raises ConfigError on a missing or broken file."""
        import yaml

        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"schema file {path} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"schema file {path} holds no mapping; write one with `ganlib train`")
        return cls.from_dict(values)
