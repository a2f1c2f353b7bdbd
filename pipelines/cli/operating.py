"""Verbs of daily operation: status and prune."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from pipelines.cli.common import Config, DryRun, Json, Tracking, example, registry, show
from pipelines.cli.common import settings as configured
from pipelines.errors import UsageError
from serving import options


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog=example("ganlib status scores.db"))(status)
    app.command(epilog=example("ganlib prune scores.db --older-than 30d --dry-run"))(prune)


def status(path: Annotated[str, typer.Argument(help=options.REPORTED)], as_json: Json = False) -> None:
    """Show how far a stream's output or a folder of scores is.

    For a stream: position and lag of each source, rates, dead letters, gaps, alarms, and who writes it. Changes
    nothing, even while the output is being written.
    """
    from serving.reporting import status as read

    found, text = read(path)
    if as_json:
        show(found)
        return
    print(text())


def prune(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help=options.PRUNED)] = None,
    older_than: options.OlderThan = ...,  # type: ignore[assignment]
    scored_by: options.ScoredBy = None,
    dead_letters: options.LettersToo = False,
    in_registry: Annotated[
        bool, typer.Option("--registry", help="Also remove model versions that no alias and no rollback needs.")
    ] = False,
    wait: options.PruneWait = 0.0,
    config: Config = None,
    tracking: Tracking = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove old scores, read rows of queues, and model versions.

    Finished batch runs are removed whole. Data that a position, an alias or the ledger needs stays, and so do dead
    letters, gaps and unfinished runs.
    """
    from serving import pruning
    from serving.prune import prune as remove

    if not paths and not in_registry:
        raise UsageError("there is nothing to prune: name a PATH, or give --registry")
    chosen = pruning.pruning_of(older_than, scored_by, dead_letters, dry_run, wait)
    removed = remove(paths or [], chosen)
    if in_registry:
        where = registry(configured(config, registry__tracking_uri=tracking))
        from pipelines.pruning import prune_versions

        removed = chain(removed, prune_versions(where, chosen))
    pruning.report(removed, as_json)
