"""Verbs of the registry: promote, rollback, history, export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.common import (
    Config,
    DryRun,
    Json,
    ModelUri,
    Tracking,
    example,
    registry,
    registry_for,
    required,
    show,
    table,
)
from pipelines.cli.common import settings as configured
from pipelines.errors import GateRefused, UsageError
from pipelines.files import check_output
from serving.wording import say

if TYPE_CHECKING:
    from pipelines.gates import Verdict


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog=example("ganlib promote pump"))(promote)
    app.command(epilog=example("ganlib rollback pump"))(rollback)
    app.command(epilog=example("ganlib history pump"))(history)
    app.command(epilog=example("ganlib export --model models:/pump@champion --output pump.onnx"))(export)


def promote(
    name: str,
    version: Annotated[str | None, typer.Option(help="Version to promote; default: the challenger.")] = None,
    gates: Annotated[Path | None, typer.Option(help="Gates file; default: the policy that comes with ganlib.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Another registry (MLflow URI): copy its champion, or --version, here first."),
    ] = None,
    config: Config = None,
    dry_run: DryRun = False,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Judge the challenger by the gates and make it champion."""
    chosen = configured(config, registry__tracking_uri=tracking)
    where = registry(chosen)
    other = None if source is None else registry(configured(config, registry__tracking_uri=source))
    from pipelines.promotion import promote as move

    try:
        verdict = move(where, name, version, gates or chosen.registry.gates, dry_run, other)
    except GateRefused as error:
        if error.verdict is not None:
            _show_verdict(error.verdict, as_json)
        raise
    if verdict.already and not as_json:
        print(f"{name} version {verdict.version} is champion already; nothing to promote")
        return
    _show_verdict(verdict, as_json)
    if not as_json:
        done = "would be champion (dry run: nothing was moved)" if dry_run else "is champion"
        print(f"{name} version {verdict.version} {done}")


def _show_verdict(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        shown = {"name": verdict.name, "version": verdict.version, "passed": verdict.passed, "gates": verdict.rows()}
        show(shown | {"already_champion": verdict.already})
        return
    rows = [[g.name, "passed" if g.passed else "refused", g.found, g.needed] for g in verdict.gates]
    table(f"{verdict.name} version {verdict.version}", ["gate", "verdict", "found", "needed"], rows)


def rollback(
    name: str, config: Config = None, dry_run: DryRun = False, tracking: Tracking = None, as_json: Json = False
) -> None:
    """Make the previous champion champion again."""
    where = registry(configured(config, registry__tracking_uri=tracking))
    from pipelines.promotion import rollback as back

    before, after = back(where, name, dry_run)
    if as_json:
        show({"name": name, "from": before, "to": after, "dry_run": dry_run})
        return
    print(f"{name}: version {before} {'would give' if dry_run else 'gave'} way to version {after}")


def history(name: str, config: Config = None, tracking: Tracking = None, as_json: Json = False) -> None:
    """Show who moved the champion, when, from where to where."""
    where = registry(configured(config, registry__tracking_uri=tracking))
    from pipelines.ledger import Ledger
    from pipelines.promotion import history as ledger

    rows = ledger(where, name)
    if doubt := Ledger(where, name).doubt():
        say(f"warning: {doubt}")
    if as_json:
        show(rows)
        return
    fields = ["when", "action", "from", "to", "who", "state"]
    table(f"ledger of {name} (times in UTC)", fields, [[str(row[f] or "-") for f in fields] for row in rows])


def export(
    model: ModelUri = None,
    output: Annotated[Path, typer.Option(help="File to write, FILE.onnx; FILE.onnx.sha256 comes beside it.")] = ...,  # type: ignore[assignment]
    to: Annotated[
        str | None, typer.Option(metavar="a|b", help="Of a translator: the domain that the file leads to; default b.")
    ] = None,
    config: Config = None,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Copy a registered artifact to a file, verified."""
    from pipelines.copying import export as copy

    check_output(output, (".onnx",))
    chosen = configured(config, score__model=model, registry__tracking_uri=tracking)
    uri = required(chosen.score.model, "--model", "score.model")
    if to not in (None, "a", "b"):
        raise UsageError(f"--to is a or b, the domain of a translator, not {to!r}")
    done = copy(registry_for(uri, chosen), chosen.registry, uri, output, to)
    if as_json:
        show(asdict(done))
        return
    which = f"version {done.version}" if done.version else "(file)"
    print(f"{done.output}: {done.name} {which}, sha-256 {done.sha256}")
