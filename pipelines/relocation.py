"""A project that was moved or copied: a SQLite registry names artifacts by absolute paths that no longer hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.errors import TryAgain, UsageError

# Where MLflow's tables name a place.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Moved:
    """Artifacts that the database names in the folder ``before`` and that lie in ``after``."""

    before: Path
    after: Path

    def __str__(self) -> str:
        return (
            f"the project was moved or copied: its database names artifacts in {self.before}, and they lie in "
            f"{self.after}"
        )


def moved(database: Path, store: Path) -> Moved | None:
    """Whether artifacts that lie in ``store`` are named elsewhere, in a folder of the same name."""
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        for *_, value in _values(connection):
            if (found := _elsewhere(value, store)) is not None:
                return Moved(found[0], store)
    return None


def relocate(database: Path, store: Path) -> int:
    """Name every artifact that lies in ``store`` there; all or nothing. Returns how many places were corrected.

    Raises UsageError on a file that is no database or cannot be written, TryAgain where somebody else writes to it.
    """
    done = 0
    try:
        with closing(sqlite3.connect(database)) as connection, connection:
            for table, column, value in list(_values(connection)):
                if (found := _elsewhere(value, store)) is None:
                    continue
                new = found[1].as_uri() if value.startswith("file:") else str(found[1])
                update = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
                done += connection.execute(update, (new, value)).rowcount
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise TryAgain(f"{database} is in use; stop what writes to it and run the same command again") from error
        raise UsageError(f"{database} cannot be corrected ({error}); check the file and its permissions") from error
    return done


def _values(connection: Any) -> Iterator[tuple[str, str, str]]:
    """(table, column, value) of each place that is named."""
    for table, column in _PLACES:
        try:
            rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
        except sqlite3.OperationalError as error:
            if "no such" not in str(error):
                raise
            continue  # another release's tables
        yield from ((table, column, value) for (value,) in rows)


def _elsewhere(value: str, store: Path) -> tuple[Path, Path] | None:
    """(the folder that a place names, where the thing lies), where the two differ."""
    if not value.startswith(("file:", "/")):
        return None
    path = Path(unquote(urlsplit(value).path) if value.startswith("file:") else value)
    for parent in path.parents:
        if parent.name == store.name:
            place = store / path.relative_to(parent)
            return (parent, place) if parent != store and place.exists() else None
    return None
