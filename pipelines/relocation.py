"""Correcting a SQLite registry that was moved or copied: it holds absolute paths of artifacts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.errors import TryAgain, UsageError

# Columns of MLflow's tables that hold a path.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Moved:
    """Artifacts that the database looks for in ``before``, but that are in ``after``."""

    before: Path
    after: Path

    def __str__(self) -> str:
        return (
            f"the project was moved or copied: its database names artifacts in {self.before}, and they lie in "
            f"{self.after}"
        )


def moved(database: Path, store: Path) -> Moved | None:
    """The folders before and after, if artifacts in ``store`` have paths in another folder of its name; else None."""
    if not database.is_file():
        return None
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        for *_, value in _values(connection):
            if (found := _elsewhere(value, store)) is not None:
                return Moved(found[0], store)
    return None


def relocate(database: Path, store: Path) -> int:
    """Correct the paths of all artifacts that are in ``store``, all or none; returns how many were corrected.

    Raises UsageError if the file is no database or cannot be written, TryAgain if another process writes to it.
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
    """(table, column, value) of each path in the database."""
    for table, column in _PLACES:
        try:
            rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
        except sqlite3.OperationalError as error:
            if "no such" not in str(error):
                raise
            continue  # another release's tables
        yield from ((table, column, value) for (value,) in rows)


def _elsewhere(value: str, store: Path) -> tuple[Path, Path] | None:
    """(folder in the database, actual path) of an artifact; None if its folder is ``store`` or it is not there."""
    if not value.startswith(("file:", "/")):
        return None
    path = Path(unquote(urlsplit(value).path) if value.startswith("file:") else value)
    for parent in path.parents:
        if parent.name == store.name:
            place = store / path.relative_to(parent)
            return (parent, place) if parent != store and place.exists() else None
    return None
