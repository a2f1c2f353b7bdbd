"""The schema of a job: from a reviewed file or inferred, with the roles asked for, checked against the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.settings import DataSettings, Settings
from serving.wording import counted, listed

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.data.schema import Schema

MOST = 10  # findings printed one by one


def with_schema(settings: Settings) -> Settings:
    """The settings with the label and the group that their schema file names.

    Raises ConfigError where the file is no schema, UsageError where it contradicts the settings.
    """
    data = settings.data
    if data.schema_file is None:
        return settings
    from ganlib.data.schema import Schema

    schema, given = Schema.load(data.schema_file), {}
    for role in ("label", "group"):
        asked, named = getattr(data, role), getattr(schema, role)
        if asked is not None and named not in (None, asked):
            raise UsageError(
                f"the {role} is {asked!r} by --{role} or data.{role}, but {named!r} in schema file {data.schema_file}; "
                f"leave one out, or set `role: {role}` in the entry of {asked!r}"
            )
        given[role] = asked or named
    if data.timezone not in ("UTC", schema.timezone):
        raise UsageError(
            f"data.timezone is {data.timezone!r}, but schema file {data.schema_file} says {schema.timezone!r}; "
            "leave data.timezone out, or change the file"
        )
    return settings.model_copy(update={"data": data.model_copy(update=given)})


def schema_of(
    data: DataSettings, frame: pd.DataFrame, rows: Sequence[int] | None = None, for_generation: bool = False
) -> Schema:
    """The schema of a table, inferred from its training ``rows`` (all by default) unless a file is named.

    ``for_generation`` leaves the label out. Raises ConfigError on a broken file or roles that clash, DataError where
    the data lacks columns or no feature is left.
    """
    from ganlib.data.inference import infer_schema
    from ganlib.data.roles import with_requests

    if data.schema_file is None:
        fit = frame if rows is None else frame.iloc[list(rows)]
        if for_generation:
            fit = fit.drop(columns=[data.label] if data.label else [])
        label, group = (None, None) if for_generation else (data.label, data.group)
        return infer_schema(
            fit, label, group, data.timezone, for_generation=for_generation, drop=data.drop, ids=data.ids
        )
    schema = _labelled(_loaded(data), data, for_generation)
    schema = replace(schema, columns=tuple(with_requests(list(schema.columns), data.drop, data.ids)))
    _check_columns(schema, frame, str(data.schema_file))
    return schema


def unused_columns(data: DataSettings, frame: pd.DataFrame) -> list[str]:
    """Columns of a table that a person left out, by the settings or the schema file."""
    named = {*data.drop, *data.ids}
    if data.schema_file is not None:
        named |= {c.name for c in _loaded(data).columns if c.role in ("id", "dropped")}
    return [name for name in frame.columns if name in named]


def _loaded(data: DataSettings) -> Schema:
    from ganlib.data.schema import Schema

    return Schema.load(str(data.schema_file))


def _labelled(schema: Schema, data: DataSettings, for_generation: bool) -> Schema:
    """The schema with the label as label, whatever role its entry has; without it for generation."""
    if for_generation:
        columns = tuple(c for c in schema.columns if c.name != data.label and c.role != "label")
        return schema.only(columns)
    for role, name in (("label", data.label), ("group", data.group)):
        if name is not None and getattr(schema, role) is None and name in {c.name for c in schema.columns}:
            schema = schema.with_column(name, role=role)
    return schema


def _check_columns(schema: Schema, frame: pd.DataFrame, file: str) -> None:
    from ganlib.data.frames import close_names
    from ganlib.errors import DataError

    if not schema.features:
        raise DataError(f"schema file {file} leaves no column as a feature; set `role: feature` in one or more entries")
    known = {c.name for c in schema.columns}
    lacking = [c.name for c in schema.columns if c.role in ("feature", "group") and c.name not in frame.columns]
    if lacking:
        spare = [n for n in frame.columns if n not in known] or list(frame.columns)
        hints = "; ".join(f"{name!r}: {close_names(name, spare)}" for name in lacking[:5])
        raise DataError(
            f"schema file {file} names {counted(len(lacking), 'column')} that the data lacks: {hints}; "
            "rename them in the data, or set `role: dropped` in the file"
        )


def differences(schema: Schema, frame: pd.DataFrame, data: DataSettings) -> list[str]:
    """What schema and data do not share, in sentences; columns that are needed and absent are errors before."""
    known, label = {c.name for c in schema.columns}, data.label
    beyond = [str(n) for n in frame.columns if n not in known and n != label]
    absent = [c.name for c in schema.columns if c.role in ("label", "id", "dropped") and c.name not in frame.columns]
    said = []
    if beyond:
        many = counted(len(beyond), "column of the data is", "columns of the data are")
        said.append(f"{many} not in the schema and not used: {listed(beyond, MOST)}")
    if absent:
        many = counted(len(absent), "unused column of the schema is", "unused columns of the schema are")
        said.append(f"{many} not in the data: {listed(absent, MOST)}")
    return said


def print_findings(facts: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """One line a finding, the first ten of them, then how many there are beyond."""
    from ganlib.data.roles import Finding

    for text in facts["differences"]:
        say(f"warning: {text}")
    found = [Finding(**values) for values in facts["findings"]]
    for finding in found[:MOST]:
        say(finding.line())
    if len(found) > MOST:
        say(f"and {counted(len(found) - MOST, 'more finding')}: `ganlib data describe` lists all columns")
