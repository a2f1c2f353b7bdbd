"""Verbs about training: demo, models, train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.common import (
    EXAMPLES,
    Config,
    DryRun,
    Json,
    Key,
    LargestGap,
    Level,
    Modality,
    Stride,
    Time,
    Tracking,
    Window,
    example,
    need,
    registry,
    show,
    table,
)
from pipelines.cli.common import settings as configured
from pipelines.cli.describing import Drop, Ids, SchemaFile, bare, columns_table, schema_options
from pipelines.errors import UsageError
from serving.options import DataDay
from serving.wording import counted, say

if TYPE_CHECKING:
    from pipelines.results import Preview, Trained
    from pipelines.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command(epilog=example("ganlib demo --data my.csv --label fault"))(demo)
    app.command(epilog=example("ganlib models --task detector"))(models)
    app.command(epilog=example("ganlib train --data sensors.csv --name pump --label fault"))(train)


def demo(
    data: Annotated[
        str | None, typer.Option(help="Your own table, as `train` reads it; default: breast cancer.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of --data that marks known anomalies.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for all files of the demo.")] = Path("runs"),
) -> None:
    """Run the whole product once, in one folder.

    It trains detectors, promotes the better one, scores a batch and a stream, and augments a scarce table.
    """
    need("torch", "pipelines")
    need("mlflow.tracking", "pipelines")
    need("prefect", "pipelines")
    from pipelines.demo import run_demo

    run_demo(output, data, label)


def models(
    task: Annotated[
        str | None,
        typer.Option(help="detector, augmenter, classifier, segmenter, translator, sequence, density, behaviour."),
    ] = None,
    modality: Annotated[str | None, typer.Option(help="table, image, series, tokens, points, trajectory.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/models.md.")] = False,
    pages: Annotated[
        Path | None, typer.Option(metavar="DOCS", help="Write models.md and the page of every model into this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models: task, data, what can be exported, paper."""
    need("torch", "train")
    from ganlib.registry import entries

    found = entries(task, modality)
    if markdown:
        from pipelines.pages import index_page

        print(index_page(found), end="")
        return
    if pages:
        from pipelines.pages import write_pages

        print(f"{counted(write_pages(found, pages), 'page')} changed in {pages}")
        return
    if as_json:
        fields = ("name", "tasks", "modalities", "exports", "paper", "known_gaps")
        show([{f: getattr(e, f) for f in fields} for e in found])
        return
    rows = [
        [e.name, ", ".join(e.tasks), ", ".join(e.modalities), ", ".join(e.exports) or "-", _short(e.paper)]
        for e in sorted(found, key=lambda e: e.name)
    ]
    table(
        f"{counted(len(rows), 'model')} (details: docs/models.md)", ["name", "task", "data", "exports", "paper"], rows
    )


def _short(paper: str) -> str:
    """A paper's arXiv number, else where and when it appeared."""
    parts = paper.split(", ")
    return next((part for part in parts if part.startswith("arXiv")), parts[-1])


def train(
    name: Annotated[str, typer.Option(help="Name in the registry.")],
    data: Annotated[str | None, typer.Option(help=EXAMPLES)] = None,
    data_b: Annotated[
        str | None, typer.Option(help="Second data set: a translator from --data to it is trained, and back.")
    ] = None,
    pairs: Annotated[
        bool | None,
        typer.Option("--pairs", help="For translators: the data sets belong together by file name, or row by row."),
    ] = None,
    time: Time = None,
    key: Key = None,
    window: Window = None,
    stride: Stride = None,
    largest_gap: LargestGap = None,
    level: Level = None,
    label: Annotated[
        str | None, typer.Option(help="Column of known anomalies; for an augmenter, of the classes.")
    ] = None,
    normal: Annotated[str | None, typer.Option(help="Label value that means normal.")] = None,
    modality: Modality = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="auto fuses several detectors; or a name from `ganlib models`; or your own, FILE.py:CLASS or "
            "module:CLASS, whose code is run. Default: auto; for translators pix2pix with --pairs, else cyclegan, for "
            "tables discogan."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="detector, augmenter or translator. Default: translator with --data-b, else detector, if the model "
            "can be one."
        ),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Alarm budget: share of normal rows that may alarm. Default: 0.01.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps; default: from the data's size.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="For auto: time for training, such as 30s or 10min. Default: no limit.")
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            help="For one detector: trials that search its options by known anomalies. The same command goes on from "
            "finished trials."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed. Default: 0.")] = None,
    schema: SchemaFile = None,
    schema_b: Annotated[Path | None, typer.Option(help="The same for --data-b.")] = None,
    drop: Drop = None,
    ids: Ids = None,
    date: DataDay = None,
    config: Config = None,
    dry_run: DryRun = False,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Train, seal and register a model as challenger.

    A detector: a fusion of several models, unless --model names one. With --task augmenter, or a model that is no
    detector: a generator.
    With --time and --window: a detector of windows, series of the last rows of a machine, which scores tables and
    streams of readings.
    With --data-b: a translator between two data sets, which `ganlib translate` applies.

    For detectors the label marks known normals: 0, false, normal, or the majority value unless --normal names it. Only
    normal and unlabelled rows train; known anomalies help to choose and to report. Without a label all rows train,
    assumed mostly normal.
    """
    need("torch", "train")
    from pipelines import steps as jobs

    domains = bool(data_b or configured(config).data.path_b)
    task = jobs.task_of(model, task, say, domains)
    if task != "translator" and (data_b or pairs):
        raise UsageError(f"--data-b and --pairs are for translators, but --task {task} is trained; leave them out")
    if task != "detector" and time:
        raise UsageError(f"--time is for detectors, but --task {task} is trained; leave it out")
    if task != "detector" and budget:
        raise UsageError(f"--budget is for detectors, but --task {task} is trained; limit --steps instead")
    if task != "detector" and tune is not None:
        raise UsageError(f"--tune is for detectors, but --task {task} is trained; leave it out")
    chosen = configured(
        config, data__path=data, data__path_b=data_b, data__pairs=pairs, data__date=date, data__label=label,
        data__time=time, data__key=key, data__window=window, data__stride=stride, data__largest_gap=largest_gap,
        data__level=level, data__normal=normal, data__modality=modality, calibration__alpha=alpha,
        training__steps=steps, model__budget=budget, model__tune=tune,
        training__random_state=seed, registry__tracking_uri=tracking,
        data__schema_file_b=None if schema_b is None else str(schema_b),
        **{"augment__model" if task == "augmenter" else "model__name": model}, **schema_options(schema, drop, ids),
    )  # fmt: skip
    where = registry(chosen)
    if dry_run:
        _show_plan(getattr(jobs, f"plan_{task}")(where, chosen, name), as_json)
        return
    trained = getattr(jobs, f"train_{task}")(where, chosen, name, jobs.Runner(say))
    show(trained.to_dict()) if as_json else _show_trained(trained, chosen)


def _show_trained(trained: Trained, chosen: Settings) -> None:
    from ganlib.augment.arms import NAMES
    from pipelines.gates import next_step

    chosen_by = trained.validation or {NAMES.get(k, k): v for k, v in trained.test.items()}
    rows = [
        [k, f"{v:.4f}", "trained" if trained.validation and k == trained.model else ""] for k, v in chosen_by.items()
    ]
    if rows:
        table(trained.measure, ["model", "figure", ""], rows)
    if cycle := getattr(trained.extra, "cycle", None):
        table("mean difference, held-out examples", ["", "figure"], [[k, f"{v:.4f}"] for k, v in cycle.items()])
    print(f"registered {trained.name} version {trained.version} as challenger ({trained.model})")
    print(f"artifact {trained.artifact}\n{next_step(trained, chosen)}")


def _show_plan(plan: Preview, as_json: bool) -> None:
    """Print what training would read: every fact, then the columns; example values on a terminal only."""
    if as_json:
        found = {} if plan.findings is None else {"findings": plan.findings}
        show({**plan.facts, **found, "columns": bare(plan.columns)})
        return
    for key, value in plan.facts.items():
        print(f"{key}: {value}")
    if plan.columns:
        columns_table(plan.columns)
    print("dry run: nothing was trained")
