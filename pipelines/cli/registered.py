"""Verbs that show what is registered, and the one that adds a file: list, show, register."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.common import Config, DryRun, Json, Tracking, example, registry, show, table
from pipelines.cli.common import settings as configured
from serving.wording import say


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command("list", epilog=example("ganlib list"))(list_models)
    app.command("show", epilog=example("ganlib show pump@champion"))(show_version)
    app.command(epilog=example("ganlib register pump.onnx --name pump"))(register)


def list_models(config: Config = None, tracking: Tracking = None, as_json: Json = False) -> None:
    """List the registered models.

    Aliases, versions, age of the champion, and when one last scored.
    """
    where = registry(configured(config, registry__tracking_uri=tracking))
    from pipelines.overview import overview

    rows = overview(where)
    for row in rows:
        if row["doubt"]:
            say(f"warning: {row['doubt']}")
    if as_json:
        show(rows)
        return
    fields = ["name", "task", "champion", "age", "challenger", "versions", "last scored"]
    table("registered models", fields, [_cells(row) for row in rows])


def _cells(row: dict) -> list[str]:  # type: ignore[type-arg]
    aliases, age = row["aliases"], row["age_days"]
    scored = (row["last_scored"] or "-").replace("+00:00", " UTC").replace("T", " ")
    spent = "-" if age is None else f"{age:.0f} days" if age >= 2 else f"{24 * age:.1f} h"
    return [row["name"], row["task"] or "-", aliases.get("champion", "-"), spent, aliases.get("challenger", "-"),
            str(len(row["versions"])), scored]  # fmt: skip


def show_version(
    what: Annotated[str, typer.Argument(metavar="NAME[@ALIAS]", help="NAME, NAME@ALIAS or NAME/VERSION.")],
    config: Config = None,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Show the card of a version.

    The card shows quality, gates, training data, and how to call the model. NAME alone is its champion, else its
    challenger, else its newest version.
    """
    where = registry(configured(config, registry__tracking_uri=tracking))
    from pipelines.overview import described

    found = described(where, what)
    if found["doubt"]:
        say(f"warning: {found['doubt']}")
    if as_json:
        show(found)
        return
    named = f" ({', '.join(found['aliases'])})" if found["aliases"] else ""
    print(f"{found['name']} version {found['version']}{named}, made {found['made']}")
    print(f"last scored: {found['last_scored'] or 'never'}\n\n{found['card']}", end="")


def register(
    file: Annotated[Path, typer.Argument(help="Sealed artifact, FILE.onnx.")],
    name: Annotated[str, typer.Option(help="Name in the registry.")],
    config: Config = None,
    dry_run: DryRun = False,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Register a sealed file as challenger.

    It must be intact (sha-256 beside it, golden rows) and as close to torch as the parity gate demands. A file holds
    no results that need the training data: the gates on privacy and quality reject it, unless `promote --gates`
    leaves them out.
    """
    where = registry(configured(config, registry__tracking_uri=tracking))
    from pipelines.copying import checked, register_file
    from pipelines.registry import check_name

    check_name(name)
    artifact = checked(file)
    version = None if dry_run else register_file(where, file, name).version
    if as_json:
        show({"name": name, "version": version, "sha256": artifact.sha256, "dry_run": dry_run})
        return
    done = f"registered {name} version {version} as challenger" if version else f"{name} would be registered"
    print(f"{done}: {file}, sha-256 {artifact.sha256[:12]}")
