"""The verb that audits synthetic rows: audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.common import Config, Json, example, need, show, table
from pipelines.cli.common import settings as configured
from pipelines.cli.describing import Drop, Ids, SchemaFile, schema_options
from serving.options import DataDay
from serving.wording import say, shown

if TYPE_CHECKING:
    from ganlib.augment.audited import Audit

LISTED = 10


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    command = "ganlib audit --real train.csv --synthetic more.csv --holdout test.csv --label kind --report audit.html"
    app.command(epilog=example(command))(audit)


def audit(
    real: Annotated[str | None, typer.Option(help="Real rows that the generator learned from: a table.")] = None,
    synthetic: Annotated[
        str | None,
        typer.Option(
            help="Generated rows: a table; of one that `ganlib augment` wrote, only the synthetic rows count."
        ),
    ] = None,
    holdout: Annotated[
        str | None, typer.Option(help="Real rows that the generator did not learn from, as the reference: a table.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the classes: rows are compared within their classes.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Page to write, FILE.html.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of samples of large tables. Default: 0.")] = None,
    schema: SchemaFile = None,
    drop: Drop = None,
    ids: Ids = None,
    date: DataDay = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Measure privacy and fidelity of synthetic rows.

    Privacy: copies, distances to the closest training rows, and a membership attack. Fidelity: shapes of columns,
    relations of pairs, a classifier of real and synthetic rows, coverage, and broken constraints. Each figure stands
    beside that of real rows in the synthetic rows' place. The exit code is 0 whatever is found.
    """
    need("torch", "train")
    settings = configured(
        config, data__label=label, data__date=date, training__random_state=seed, **schema_options(schema, drop, ids)
    )
    from pipelines.auditing import audit_files

    found = audit_files(settings, {"real": real, "synthetic": synthetic, "holdout": holdout}, report)
    if as_json:
        show(found.to_dict() | ({"report": str(report)} if report else {}))
        return
    _print(found)
    if report:
        print(f"report: {report}")


def _print(found: Audit) -> None:
    for group, usual in (("privacy", "held-out rows"), ("fidelity", "real rows")):
        rows = [[f.title, f"{f.value:.3f}", f"{f.usual:.3f}"] for f in found.group(group)]
        table(group, ["", "synthetic", usual], rows)
    far = sorted((c for c in found.columns if c.shape is not None), key=lambda column: float(column.shape or 0))
    rows = [[c.name, f"{c.shape:.3f}", f"{float(c.usual_shape or 0):.3f}"] for c in far[:LISTED]]
    table("columns of the lowest similarity", ["column", "synthetic", "real rows"], rows)
    for note in found.notes:
        say(note)
    print(shown(found.verdict))
