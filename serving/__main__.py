"""``python -m serving VERB``: the scoring commands, for machines that install only the base dependencies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from serving import options
from serving.cli_support import Options, leave, run_cli, setup_logging

app = typer.Typer(
    cls=Options, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Score data with a sealed artifact. Needs no torch, mlflow or prefect.",
)  # fmt: skip


@app.command()
def score(
    model: Annotated[str, typer.Option(help="Sealed artifact, FILE.onnx.")],
    input: Annotated[str, typer.Option(help=options.LOCATION)],
    output: Annotated[Path, typer.Option(help=options.OUTPUT)],
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score rows into a folder; after a crash, run the same command again to continue."""
    from serving.batch import score_batch
    from serving.keep import split_names

    summary = score_batch(
        model, input, str(output), new_run=new_run,
        **options.given(
            alpha=alpha, fdr=fdr, explain=explain, keep=split_names(keep), bad_rows=bad_rows,
            max_bad_share=max_bad_share, require_rows=require_rows, max_alarm_share=max_alarm_share,
            max_missing_share=max_missing_share, max_drift=max_drift, date=date, workers=workers, wait=wait,
            executor=executor, require_gpu=require_gpu,
        ),
    )  # fmt: skip
    print(json.dumps(summary.to_dict()) if as_json else summary.report())
    summary.check()


@app.command()
def explain(
    model: Annotated[str, typer.Option(help="Sealed artifact of a table, FILE.onnx.")],
    input: Annotated[str | None, typer.Option(help=options.LOCATION)] = None,
    row: options.Row = None,
    worst: options.Worst = None,
    record: options.Record = None,
    alpha: options.Alpha = None,
    date: options.DataDay = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the explanations as JSON.")] = False,
) -> None:
    """Explain rows: where the score lies among normal rows, and how much of it each column has."""
    from serving.explain import explain as run
    from serving.explained import report

    found = run(model, input, rows=row or (), worst=worst, record=record, alpha=alpha, date=date)
    print(json.dumps([e.to_dict() for e in found])) if as_json else report(found)


@app.command()
def verify(
    folder: Annotated[str, typer.Argument(help=options.VERIFIED)],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Verify a folder of scores or a stream's output: each row or record appears once, and none is missing."""
    from serving.reporting import verify as recount

    counts, line = recount(folder)
    print(json.dumps(counts) if as_json else line)


@app.command()
def stream(
    model: Annotated[str, typer.Option(help="Sealed artifact, FILE.onnx, or a pointer file, FILE.json.")],
    input: Annotated[str, typer.Option(help=options.STREAM)],
    output: Annotated[str, typer.Option(help=options.STREAM_OUTPUT)],
    alpha: options.Alpha = None,
    max_rows: options.MaxRows = None,
    deadline: options.Deadline = None,
    fdr: options.Fdr = None,
    explain: options.Explain = None,
    follow: options.Follow = False,
    replay: options.Replay = False,
    wait: options.StreamWait = 0.0,
    log_format: options.LogFormat = "text",
    on_alarm: options.OnAlarm = None,
    group: options.Group = None,
    consumer: options.Consumer = None,
    min_idle: options.MinIdle = None,
    max_deliveries: options.MaxDeliveries = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score a stream of records; a restart continues after the last committed record."""
    from serving.stream import run_stream

    code = run_stream(
        model, input, output, follow=follow, replay=replay, as_json=as_json, wait=wait, log_format=log_format,
        sharing=options.given(group=group, consumer=consumer, min_idle=min_idle, max_deliveries=max_deliveries),
        **options.given(alpha=alpha, fdr=fdr, explain=explain, max_rows=max_rows, deadline=deadline, on_alarm=on_alarm),
    )  # fmt: skip
    raise typer.Exit(code)


@app.command()
def serve(
    model: options.ServedFiles,
    host: options.Host = None,
    port: options.Port = None,
    alpha: options.Alpha = None,
    max_rows: options.MostRows = None,
    max_body: options.MostBytes = None,
    max_wait_ms: options.MostWait = None,
    max_queue: options.MostQueue = None,
    token_file: options.TokenFile = None,
    log_format: options.LogFormat = "text",
) -> None:
    """Score requests by HTTP, until SIGTERM; needs the extra `serve`."""
    from serving.service.command import run_service

    limits = options.service_limits(
        max_wait_ms, host=host, port=port, alpha=alpha, max_rows=max_rows, max_body=max_body, max_queue=max_queue
    )
    raise typer.Exit(run_service(model, token_file=token_file, log_format=log_format, **limits))


@app.command()
def status(
    path: Annotated[str, typer.Argument(help=options.REPORTED)],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show the progress of a stream's output or a folder of scores; changes nothing."""
    from serving.reporting import status as read

    found, text = read(path)
    print(json.dumps(found) if as_json else text())


@app.command()
def prune(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help=options.PRUNED)],
    older_than: options.OlderThan,
    scored_by: options.ScoredBy = None,
    dead_letters: options.LettersToo = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be removed; change nothing.")] = False,
    wait: options.PruneWait = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Remove old scores, consumed queue rows and finished runs; keeps everything that a stream position needs."""
    from serving import pruning
    from serving.prune import prune as remove

    chosen = pruning.pruning_of(older_than, scored_by, dead_letters, dry_run, wait)
    pruning.report(remove(paths, chosen), as_json)


def main() -> int:
    """Entry point; returns the exit code."""
    setup_logging()
    return run_cli(lambda: app(standalone_mode=True))


if __name__ == "__main__":
    leave(main())
