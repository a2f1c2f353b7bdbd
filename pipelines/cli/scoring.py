"""Verbs that score: score, explain, verify, stream. The base install is enough, unless the model is in a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.common import Config, Json, ModelUri, Tracking, example, model_source, registry_for, required, show
from pipelines.cli.common import settings as configured
from pipelines.errors import UsageError
from serving import options


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    night = "ganlib score --model models:/pump@champion --input new.parquet --output scores"
    app.command(epilog=example(night))(score)
    why = "ganlib explain --model models:/pump@champion --input new.parquet --row 17"
    app.command(epilog=example(why))(explain)
    app.command(epilog=example("ganlib verify scores"))(verify)
    second = "ganlib stream --model models:/pump@champion --input sensors.jsonl --output scores.db --follow"
    app.command(epilog=example(second))(stream)


def score(
    model: ModelUri = None,
    input: Annotated[str | None, typer.Option(help=options.LOCATION)] = None,
    output: Annotated[Path | None, typer.Option(help=options.OUTPUT)] = None,
    alpha: options.Alpha = None,
    fdr: options.Fdr = None,
    explain: options.Explain = None,
    keep: options.Keep = None,
    bad_rows: options.BadRows = None,
    max_bad_share: options.MaxBadShare = None,
    require_rows: options.RequireRows = None,
    max_alarm_share: options.MaxAlarmShare = None,
    max_missing_share: options.MaxMissingShare = None,
    max_drift: options.MaxDrift = None,
    date: options.Day = None,
    workers: options.Workers = None,
    executor: options.Executor = None,
    require_gpu: options.RequireGpu = None,
    new_run: options.NewRun = False,
    wait: options.Wait = None,
    config: Config = None,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Score a table into a folder.

    Run the same command again to continue after a crash: each row is scored exactly once.
    """
    from pipelines.steps import score as run
    from serving.keep import split_names

    settings = configured(
        config, score__model=model, score__input=input, score__output=_text(output), score__alpha=alpha,
        score__fdr=fdr, score__explain=explain, score__wait=wait, score__workers=workers,
        score__keep=split_names(keep), score__bad_rows=bad_rows, score__max_bad_share=max_bad_share,
        score__require_rows=require_rows, score__max_alarm_share=max_alarm_share,
        score__max_missing_share=max_missing_share, score__max_drift=max_drift, score__date=date,
        score__executor=executor, score__require_gpu=require_gpu, registry__tracking_uri=tracking,
    )  # fmt: skip
    summary = run(registry_for(str(settings.score.model), settings), settings, new_run)
    show(summary.to_dict()) if as_json else print(summary.report())
    summary.check()


def explain(
    model: ModelUri = None,
    input: Annotated[str | None, typer.Option(help=options.LOCATION)] = None,
    row: options.Row = None,
    worst: options.Worst = None,
    record: options.Record = None,
    alpha: options.Alpha = None,
    date: options.DataDay = None,
    config: Config = None,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Explain why rows of a table have their scores.

    Prints where a score lies among normal rows, and how much of it each column has: by how much the score drops if the
    column takes a usual value. Model, input, alpha and date default to those of `score` in the configuration.
    """
    from pipelines.steps import explain as run
    from serving.explained import report

    settings = configured(
        config, score__model=model, score__input=input, score__alpha=alpha, score__date=date,
        registry__tracking_uri=tracking,
    )  # fmt: skip
    if record is not None and input is not None:
        raise UsageError("give --input with the table that holds the rows, or --record with one record, not both")
    found = run(registry_for(str(settings.score.model), settings), settings, row or (), worst, record)
    show([e.to_dict() for e in found]) if as_json else report(found)


def verify(folder: Annotated[str, typer.Argument(help=options.VERIFIED)], as_json: Json = False) -> None:
    """Recount a folder of scores or a stream's output.

    Each row or record must be there once. Parts of a folder must be as they were committed, and of a stream's queue
    that still exists, each row that was read must be in the output.
    """
    from serving.reporting import verify as recount

    counts, line = recount(folder)
    if as_json:
        show(counts)
        return
    print(line)


def stream(
    model: ModelUri = None,
    input: Annotated[str | None, typer.Option(help=options.STREAM)] = None,
    output: Annotated[str | None, typer.Option(help=options.STREAM_OUTPUT)] = None,
    alpha: options.Alpha = None,
    fdr: options.Fdr = None,
    explain: options.Explain = None,
    max_rows: options.MaxRows = None,
    deadline: options.Deadline = None,
    follow: options.Follow = False,
    replay: options.Replay = False,
    wait: options.StreamWait = 0.0,
    log_format: options.LogFormat = "text",
    on_alarm: options.OnAlarm = None,
    group: options.Group = None,
    consumer: options.Consumer = None,
    min_idle: options.MinIdle = None,
    max_deliveries: options.MaxDeliveries = None,
    config: Config = None,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Score a stream of records.

    A restart goes on after the last committed record; one that cannot be scored is kept with its reason.
    A model named by its alias is followed: once another version is champion, the stream goes on with that one.
    """
    from serving.stream import run_stream

    if on_alarm == "":
        raise UsageError("--on-alarm is empty; give a program or a URL, or leave it out")
    settings = configured(
        config, stream__model=model, stream__input=input, stream__output=output, stream__alpha=alpha,
        stream__explain=explain, stream__fdr=fdr, stream__max_rows=max_rows, stream__deadline=deadline,
        stream__on_alarm=on_alarm,
        registry__tracking_uri=tracking,
    )  # fmt: skip
    chosen = settings.stream
    for key in ("model", "output") if replay else ("model", "input", "output"):
        required(getattr(chosen, key), f"--{key}", f"stream.{key}")
    code = run_stream(
        model_source(str(chosen.model), settings), chosen.source(), chosen.target(), alpha=chosen.alpha,
        max_rows=chosen.max_rows, deadline=chosen.deadline, explain=chosen.explain, fdr=chosen.fdr, follow=follow,
        replay=replay, as_json=as_json, wait=wait, log_format=log_format,
        on_alarm=chosen.alarm_hook(),
        sharing=options.given(group=group, consumer=consumer, min_idle=min_idle, max_deliveries=max_deliveries),
    )  # fmt: skip
    raise typer.Exit(code)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
