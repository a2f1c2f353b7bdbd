"""Verbs about dead letters: ganlib dlq list, show, replay and drop."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import Config, Json, ModelUri, Tracking, example, show, table
from pipelines.errors import UsageError
from serving import options
from serving.wording import counted, printable, say

dlq_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="List, show, replay or drop the dead letters of a stream.",
)  # fmt: skip
Output = Annotated[str, typer.Argument(help="Output of `stream`: FILE.db, FILE.jsonl or redis://HOST:PORT/DB/KEY.")]
Mask = Annotated[
    list[str] | None,
    typer.Option(metavar="COL,…", help="Columns whose values are not printed; quote a name that holds a comma."),
]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason contains this text.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.add_typer(dlq_app, name="dlq")


def _masked(names: list[str] | None) -> tuple[str, ...]:
    from serving.keep import split_names

    return tuple(split_names(names) or ())


@dlq_app.command("list", epilog=example("ganlib dlq list scores.db --mask ssn"))
def list_letters(output: Output, mask: Mask = None, as_json: Json = False) -> None:
    """List dead letters by reason, with counts. Values in reasons are left out, so that like reasons are one line."""
    from serving.letters import groups, store_of

    found = groups(store_of(output), _masked(mask))
    if as_json:
        show(found)
        return
    if not found:
        print(f"{output}: no dead letters")
        return
    rows = [(f"{row['count']:,}", row["reason"], ", ".join(row["sources"]), row["last"][:19]) for row in found]
    table(counted(sum(row["count"] for row in found), "dead letter"), ("count", "reason", "source", "last"), rows)


@dlq_app.command("show", epilog=example("ganlib dlq show scores.db --reason 'not a number' --mask ssn,name"))
def show_letters(
    output: Output,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(help="How many of the newest.")] = 10,
    mask: Mask = None,
    as_json: Json = False,
) -> None:
    """Show dead letters with their records, newest last.

    With --mask, reasons hold no values, and a record that is no JSON object is masked as a whole.
    """
    from serving.letters import shown, store_of

    rows, unknown = shown(store_of(output), reason, limit, _masked(mask))
    if unknown:
        say(f"warning: no record that is shown has a column {unknown[0]!r}; check --mask")
    if as_json:
        show(rows)
        return
    for row in rows:
        print(printable(f"{row['source']} {row['position']}: {row['reason']}"))
        print(f"  {printable(row['record'])}")
    if not rows:
        print("no dead letters")


@dlq_app.command(epilog=example("ganlib dlq replay scores.db --model models:/pump@champion"))
def replay(
    output: Output,
    model: ModelUri = None,
    explain: options.Explain = None,
    config: Config = None,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Score dead letters again.

    The same as `stream --replay`: those that succeed become scores.
    """
    from pipelines.cli.scoring import stream

    stream(model=model, output=output, explain=explain, replay=True, config=config, tracking=tracking, as_json=as_json)


@dlq_app.command(epilog=example("ganlib dlq drop scores.db --reason 'not JSON' --yes"))
def drop(
    output: Output,
    reason: Reason = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm: dropped records are gone.")] = False,
    as_json: Json = False,
) -> None:
    """Delete dead letters. A stream that writes FILE.db or FILE.jsonl must be stopped first."""
    from serving.letters import chosen, store_of

    store = store_of(output)
    keys = [one.key for one in chosen(store, reason)]
    if keys and not yes:
        raise UsageError(f"this would delete {counted(len(keys), 'dead letter')} of {store.name}; confirm with --yes")
    count = store.drop(keys) if keys else 0
    show({"dropped": count}) if as_json else print(f"{counted(count, 'dead letter')} dropped: {store.name}")
