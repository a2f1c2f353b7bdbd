"""The verb that writes synthetic rows: augment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.common import EXAMPLES, Config, DryRun, Json, Modality, Tracking, example, need, show, table
from pipelines.cli.common import settings as configured
from pipelines.cli.describing import Drop, Ids, SchemaFile, schema_options
from serving.options import Day
from serving.wording import counted, say, shown

if TYPE_CHECKING:
    from pipelines.results import Augmented


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=example("ganlib augment --data rare.csv --label kind --output more.csv"))(augment)


def augment(
    data: Annotated[str | None, typer.Option(help=EXAMPLES)] = None,
    label: Annotated[str | None, typer.Option(help="Column of the classes, or of a numeric target.")] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="What --label holds: classes; numeric, of which rows of rare ranges are generated; or auto (default)."
        ),
    ] = None,
    modality: Modality = None,
    condition: Annotated[str | None, typer.Option("--class", help="Only rows of this class.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help='Only rows that satisfy a condition: "country = FR and age >= 60"; with = != < <= > >= or in (A, B). '
            "May be given several times."
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(help="Synthetic rows in all, at least 1; default: as many as balance the classes or ranges."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="auto (default) fuses several generators; a name from `ganlib models --task augmenter`; your own, "
            "FILE.py:CLASS or module:CLASS, whose code is run; or a sealed augmenter: models:/NAME@ALIAS, FILE.onnx."
        ),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(help="on: write only rows that are likely to help (default with --label); report: measure; off."),
    ] = None,
    only_synthetic: Annotated[
        bool | None, typer.Option("--only-synthetic", help="Leave the real rows out of the output.")
    ] = None,
    spreadsheet_safe: Annotated[
        bool | None,
        typer.Option(
            "--spreadsheet-safe",
            help="CSV: put an apostrophe before generated text that a spreadsheet would run as a formula.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="FILE.csv, .tsv or .parquet; .npz or a folder for images and series. A report is beside it."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps; default: from the data's size.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. Default: 0.")] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Column of groups, such as patients: rows of one are held out together, and it is not generated."
        ),
    ] = None,
    schema: SchemaFile = None,
    drop: Drop = None,
    ids: Ids = None,
    date: Day = None,
    config: Config = None,
    dry_run: DryRun = False,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Write real rows, then synthetic ones, and report what they add.

    The real rows stay unchanged; the boolean column _synthetic marks the synthetic ones. With --where every synthetic
    row satisfies the condition, and classes are counted among the real rows that do.

    What the synthetic rows add is measured on held-out real rows, over several splits, and compared with adding
    nothing, class weights, balanced bagging, copies and SMOTE. If they are not likely to help, no FILE is written, the
    report says why and what to do instead, and the exit code is 3.
    """  # fmt: skip
    need("torch", "train")
    settings = configured(
        config, data__path=data, data__date=date, data__label=label, data__modality=modality,
        augment__condition=condition,
        augment__where=where or None, augment__target=target,
        augment__rows=rows, augment__model=model, augment__gate=gate, augment__only_synthetic=only_synthetic,
        augment__spreadsheet_safe=spreadsheet_safe,
        augment__output=output, training__steps=steps, training__random_state=seed,
        data__split=None if group is None else "group", data__split_column=group,
        registry__tracking_uri=tracking, **schema_options(schema, drop, ids),
    )  # fmt: skip
    from pipelines.steps import Runner, plan_augmentation
    from pipelines.steps import augment as run

    if dry_run:
        facts = plan_augmentation(settings).facts
        lines = "\n".join(f"{key}: {value}" for key, value in facts.items())
        show(facts) if as_json else print(f"{lines}\ndry run: nothing written")
        return
    done = run(None, settings, Runner(say))
    show(done.to_dict()) if as_json else _print(done)


def _print(done: Augmented) -> None:
    if done.measure and done.lift:
        table(done.measure, ["trained on", "mean", "model above it by (95 % interval)"], done.lift)
    print(f"{done.verdict}\n{counted(done.real, 'real row')} and {done.synthetic:,} synthetic: {done.output}")
    for relation, counts in done.constraints.items():
        if counts["broken"]:
            fixed = f"{counts['redrawn']:,} sampled again, {counts['repaired']:,} repaired"
            print(f"constraint {relation}: {counted(counts['broken'], 'generated row')} broke it; {fixed}")
    if done.audit:
        print(f"rows of the first split, audited: {shown(done.audit)}")
    if done.report:
        print(f"report: {done.report}")
