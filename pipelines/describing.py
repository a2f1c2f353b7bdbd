"""Describing a table as training would read it: its columns, their roles and findings about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.rows import read_labels
from pipelines.schemas import differences, schema_of, with_schema
from pipelines.settings import Settings, with_date

if TYPE_CHECKING:
    from ganlib.data.schema import Schema


@dataclass(frozen=True)
class Description:
    """A table's columns; ``columns`` hold example values, which are for a terminal only."""

    schema: Schema
    rule: str
    rows: int
    columns: list[dict[str, Any]]
    findings: list[dict[str, str]]
    differences: list[str]

    def save(self, path: Path) -> None:
        """Write the schema with the findings as comments, without example values."""
        from ganlib.data.describing import comments
        from ganlib.data.roles import Finding

        self.schema.save(path, comments([Finding(**values) for values in self.findings]))


def describe_windows(settings: Settings) -> dict[str, Any]:
    """The rule of the label, and the windows, keys and gaps of a table of readings, as values by name.

    Raises what ``read_data`` raises.
    """
    from pipelines.readers import read_data

    reader = read_data(with_date(settings).data)
    return {"rule": reader.labels().rule, **reader.facts()}


def describe_data(settings: Settings, task: str = "detector") -> Description:
    """Read a table and describe each column's kind and role in training.

    Known anomalies are left out, as in training; they only help to find columns that leak the label.
    Raises DataError (4) on data that cannot be used, ConfigError or UsageError (2) on an invalid schema file
    or conflicting roles.
    """
    from ganlib.data.describing import describe_columns
    from ganlib.data.inference import check_frame
    from ganlib.data.read import need_column, read_table
    from ganlib.data.roles import find_roles

    settings = with_schema(with_date(settings))
    data = settings.data
    frame = read_table(str(data.path))
    check_frame(frame)
    if task == "augmenter":
        if data.label:
            need_column(frame, data.label)
        schema = schema_of(data, frame, for_generation=True)
        columns = describe_columns(frame.drop(columns=[data.label] if data.label else []), schema)
        rule = f"classes of column {data.label}" if data.label else "no label"
        return Description(schema, rule, len(frame), columns, [], differences(schema, frame, data))
    labels = read_labels(frame, data.label, data.normal)
    schema = schema_of(data, frame, (~labels.anomalous).nonzero()[0].tolist())
    found = find_roles(frame, schema, labels.anomalous)
    return Description(
        schema, labels.rule, len(frame), describe_columns(frame, schema, found), [f.to_dict() for f in found],
        differences(schema, frame, data),
    )  # fmt: skip
