"""Auditing synthetic rows: of files, and those of the first split that the gate of augmenting judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.files import check_output
from pipelines.schemas import schema_of, with_schema
from pipelines.settings import Settings, with_date

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.augment.audited import Audit
    from ganlib.augment.lift import Lift
    from ganlib.data.schema import Schema

SAMPLED = 10
TABLES = ("real", "synthetic", "holdout")
_WHAT = {
    "real": "the real rows that the generator learned from", "synthetic": "the generated rows",
    "holdout": "real rows that the generator did not learn from",
}  # fmt: skip
_OTHER = "choose another --report"


def audit_files(settings: Settings, files: dict[str, str | None], report: Path | None = None) -> Audit:
    """Audit the tables ``real``, ``synthetic`` and ``holdout``, and write the page ``report`` if one is named.

    ``settings.data`` holds label, schema file, and columns to leave out. Raises UsageError (2) for a table that is not
    named and a page that cannot be written, and what reading and ``ganlib.audit`` raise: DataError (4).
    """
    from ganlib.augment.audit import audit
    from ganlib.data.read import need_column, read_table

    places = {name: _located(settings, name, files.get(name)) for name in TABLES}
    settings = with_schema(settings)
    data = settings.data
    for place in places.values():
        if report is not None:
            check_output(report, (".html",), source=place, fix=_OTHER)
    frames = {name: read_table(place) for name, place in places.items()}
    if data.label is not None:
        for frame in frames.values():
            need_column(frame, data.label)
    seed = settings.training.random_state
    found = audit(*frames.values(), label=data.label, schema=_schema(settings, frames["real"]), seed=seed)
    if report is not None:
        from pipelines.audit_page import audit_page

        audit_page(report, found, sample_of(frames["synthetic"], seed), list(places.items()), _OTHER)
    return found


def audit_of(lift: Lift, settings: Settings) -> Audit | str:
    """The audit of the rows of the first split, or why there is none, in words."""
    from ganlib.augment.audit import audit
    from ganlib.errors import DataError

    rows = lift.example
    if rows is None:
        return "rows of tables with classes are audited, not those with numeric targets"
    try:
        # Without a file, columns that are left out are not among these rows.
        schema = _schema(settings, rows.real) if settings.data.schema_file else None
        return audit(rows.real, rows.synthetic, rows.holdout, label=settings.data.label, schema=schema)
    except DataError as error:
        return str(error)


def sample_of(synthetic: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A few synthetic rows, chosen at random."""
    from ganlib.augment.sides import SYNTHETIC, rows_of

    rows = rows_of(SYNTHETIC, synthetic)
    return rows.sample(min(SAMPLED, len(rows)), random_state=seed)


def _located(settings: Settings, name: str, place: str | None) -> str:
    if not place:
        raise UsageError(f"--{name} is missing: give the file of {_WHAT[name]}")
    return str(with_date(_checked(settings, place)).data.path)


def _checked(settings: Settings, place: str) -> Settings:
    """The settings with another location, checked as one of a configuration."""
    from pipelines.settings import load_settings

    path = load_settings(None, {"data.path": place}).data.path
    return settings.model_copy(update={"data": settings.data.model_copy(update={"path": path})})


def _schema(settings: Settings, real: pd.DataFrame) -> Schema | None:
    """The schema that the settings name or change; None infers one of the training rows."""
    from ganlib.augment import MARK

    data: Any = settings.data
    if not (data.schema_file or data.drop or data.ids):
        return None
    return schema_of(data, real.drop(columns=[MARK], errors="ignore"), for_generation=True)
