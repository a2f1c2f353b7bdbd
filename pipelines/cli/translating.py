"""The verb that applies a translator: translate."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.common import EXAMPLES, Config, DryRun, Json, ModelUri, Tracking, example, need, registry_for, show
from pipelines.cli.common import settings as configured
from serving.options import Day
from serving.wording import counted, say


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(
        epilog=example("ganlib translate --model models:/facades@champion --data new/ --output photos")
    )(translate)  # fmt: skip


def translate(
    model: ModelUri = None,
    data: Annotated[str | None, typer.Option(help=EXAMPLES)] = None,
    output: Annotated[
        str | None, typer.Option(help="FILE.csv, .tsv or .parquet; .npz or a folder for images and series.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="a|b", help="Domain to translate to. Default: b, or the one that a file leads to."),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="Column of a table to keep beside its translation; may be given several times."),
    ] = None,
    spreadsheet_safe: Annotated[
        bool | None,
        typer.Option(
            "--spreadsheet-safe",
            help="CSV: put an apostrophe before generated text that a spreadsheet would run as a formula.",
        ),
    ] = None,
    date: Day = None,
    config: Config = None,
    dry_run: DryRun = False,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Write the counterpart of each row, image or series in the other domain.

    The rows keep their order. All of them are synthetic and marked so: by the column or array _synthetic, or by the
    names and the metadata of PNG files. `ganlib train --data A --data-b B` trains a translator.
    """
    need("pandas", "train")
    settings = configured(
        config, data__path=data, data__ids=ids or None, data__date=date, translate__model=model,
        translate__to=to, translate__output=output,
        translate__spreadsheet_safe=spreadsheet_safe, registry__tracking_uri=tracking,
    )  # fmt: skip
    from pipelines.steps import Runner, plan_translation
    from pipelines.steps import translate as run

    where = registry_for(settings.translate.model or "", settings)
    if dry_run:
        facts = plan_translation(where, settings).facts
        lines = "\n".join(f"{key}: {value}" for key, value in facts.items())
        show(facts) if as_json else print(f"{lines}\ndry run: nothing written")
        return
    done = run(where, settings, Runner(say))
    show(done.to_dict()) if as_json else print(f"{counted(done.rows, 'row')} in domain {done.to}: {done.output}")
