"""Verbs of who runs it: status and prune."""

from __future__ import annotations

from pathlib import Path

import typer

from pipelines.cli.common import Json, example, show


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog=example("ganlib status scores.db"))(status)


def status(path: Path, as_json: Json = False) -> None:
    """Show how far a stream's output or a folder of scores is.

    For a stream: position and lag of each source, rates, dead letters, gaps, alarms, and who writes it. Changes
    nothing, also while it is written.
    """
    from serving import status as reading

    found = reading.status(path)
    if as_json:
        show(found)
        return
    print(reading.text(found))
