"""The verb that describes a table before training: data describe."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.common import (
    Config,
    Json,
    Key,
    LargestGap,
    Level,
    Stride,
    Time,
    Window,
    example,
    need,
    required,
    show,
)
from pipelines.cli.common import settings as configured
from pipelines.errors import UsageError
from pipelines.files import check_output, placing
from serving.options import LOCATION, DataDay
from serving.wording import say, shown

if TYPE_CHECKING:
    from pipelines.settings import Settings

SchemaFile = Annotated[
    Path | None, typer.Option("--schema", help="A reviewed schema file; `ganlib data describe --write` writes one.")
]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="Column to leave out; may be given several times.")]
Ids = Annotated[
    list[str] | None, typer.Option("--id", help="Column that identifies rows: not used; may be given several times.")
]
data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, epilog=example("ganlib data describe sensors.csv --label fault"),
    help="Describe a table before anything is trained.",
)  # fmt: skip
_OTHER = "name another file"


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.add_typer(data_app, name="data")


@data_app.callback()
def _group() -> None:
    """Keep ``describe`` a subcommand while it is the only one."""


@data_app.command(epilog=example("ganlib data describe sensors.csv --label fault --write schema.yaml"))
def describe(
    data: Annotated[str | None, typer.Argument(help=LOCATION)] = None,
    time: Time = None,
    key: Key = None,
    window: Window = None,
    stride: Stride = None,
    largest_gap: LargestGap = None,
    level: Level = None,
    label: Annotated[str | None, typer.Option(help="Column of known anomalies, or of the classes.")] = None,
    normal: Annotated[str | None, typer.Option(help="Label value that means normal.")] = None,
    schema: SchemaFile = None,
    drop: Drop = None,
    ids: Ids = None,
    task: Annotated[str, typer.Option(help="detector or augmenter: what the columns are for.")] = "detector",
    write: Annotated[Path | None, typer.Option(help="Schema file to write, for --schema of train and augment.")] = None,
    date: DataDay = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the schema file.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print each column's kind and role, and findings about it.

    Dropped columns are listed too. Examples of values are printed on the terminal only: neither --json nor the schema
    file holds them. With --time and --window: how many windows, keys and gaps the table holds.
    """
    need("pandas", "train")
    if task not in ("detector", "augmenter"):
        raise UsageError(f"--task is detector or augmenter, not {task!r}")
    chosen = configured(
        config, data__path=data, data__date=date, data__label=label, data__normal=normal, data__time=time,
        data__key=key, data__window=window, data__stride=stride, data__largest_gap=largest_gap,
        data__level=level,
        **schema_options(schema, drop, ids),
    )  # fmt: skip
    required(chosen.data.path, "FILE", "data.path")
    from pipelines.settings import with_date

    chosen = with_date(chosen)
    if chosen.data.time is not None:
        _describe_windows(chosen, task, write, as_json)
        return
    if write is not None:
        _check_write(write, force, str(chosen.data.path))
    from pipelines.describing import describe_data

    done = describe_data(chosen, task)
    if write is not None:
        with placing(write, _OTHER):
            done.save(write)
    if as_json:
        show({"rule": done.rule, "rows": done.rows, "columns": bare(done.columns), "findings": done.findings}
             | ({"schema": str(write)} if write else {}))  # fmt: skip
        return
    columns_table(done.columns)
    for text in done.differences:
        say(f"warning: {text}")
    print(_next(chosen, task, write))


def _describe_windows(chosen: Settings, task: str, write: Path | None, as_json: bool) -> None:
    from pipelines.describing import describe_windows

    if task != "detector" or write is not None:
        option = "--write" if write is not None else f"--task {task}"
        raise UsageError(f"{option} is for tables of rows, and --time makes windows for a detector; leave one out")
    facts = describe_windows(chosen)
    if as_json:
        show(facts)
        return
    for name, value in facts.items():
        print(f"{name}: {shown(str(value))}")


def _check_write(write: Path, force: bool, source: str) -> None:
    if write.exists() and not write.is_dir() and not force:
        raise UsageError(f"{write} exists already; {_OTHER}, or --force to overwrite it")
    check_output(write, (".yaml", ".yml"), source=source, fix=_OTHER)


def _next(chosen: Settings, task: str, write: Path | None) -> str:
    verb = "ganlib train" + (" --task augmenter" if task == "augmenter" else "")
    if write is None:
        return "next: --write schema.yaml writes this as a file to edit; --drop COL and --id COL change roles"
    return f"{write}: edit it, then {verb} --data {shlex.quote(str(chosen.data.path))} --schema {write} --name NAME"


def schema_options(schema: Path | None, drop: list[str] | None, ids: list[str] | None) -> dict[str, Any]:
    """The settings that --schema, --drop and --id stand for."""
    return {
        "data__schema_file": None if schema is None else str(schema), "data__drop": drop or None,
        "data__ids": ids or None,
    }  # fmt: skip


def bare(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries without example values, for output that may be stored."""
    return [{k: v for k, v in row.items() if k != "examples"} for row in columns]


def columns_table(columns: Sequence[Mapping[str, Any]]) -> None:
    """Print the columns as a table, then their notes, within the terminal's width."""
    from textwrap import wrap

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    drawn.add_column("column", overflow="fold", max_width=24, min_width=8)
    drawn.add_column("kind", no_wrap=True)
    drawn.add_column("role", no_wrap=True)
    drawn.add_column("missing", no_wrap=True, justify="right")
    drawn.add_column("distinct", no_wrap=True, justify="right")
    drawn.add_column("examples", overflow="fold", max_width=16, min_width=8)
    for row in columns:
        counts = [_share(row["missing"]), "-" if row["distinct"] is None else f"{row['distinct']:,}"]
        cells = [row["column"], row["kind"], row["role"], *counts, row["examples"]]
        # Text, since values and names may look like markup.
        drawn.add_row(*(Text(shown(cell)) for cell in cells))
    console = Console(soft_wrap=False, highlight=False)
    console.print(drawn)
    for row in columns:
        if row["note"]:
            print("\n".join(wrap(shown(f"{row['column']}: {row['note']}"), console.width, subsequent_indent="    ")))


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return "0" if share == 0 else "<0.1%" if share < 0.001 else f"{share:.1%}"
