"""Options that `ganlib` and `python -m serving` share; None means "not given"."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

LOCATION = (
    "CSV, TSV, JSON lines, Parquet, NumPy files or images: a file, folder, glob or URL (s3://, gs://); {date} stands "
    "for --date."
)
STREAM = (
    "JSON lines: - (stdin), a file that grows, a FIFO, sqlite:PATH (a queue), or redis://HOST:PORT/DB/KEY (a stream)."
)
OUTPUT = "Folder for the score parts and _manifest.json; {date} stands for --date."
STREAM_OUTPUT = (
    "FILE.db (SQLite), FILE.jsonl (JSON lines) or, for a Redis stream, redis://HOST:PORT/DB/KEY of the same server."
)

Alpha = Annotated[float | None, typer.Option(help="Alarm budget; default: the model's own.")]
Fdr = Annotated[float | None, typer.Option(help="Also mark rows by this false discovery rate: column fdr_selected.")]
Explain = Annotated[
    bool | None,
    typer.Option(
        "--explain",
        help="Say why: a contribution per feature; for images and series, which places are anomalous, and a page of "
        "the worst images.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that share the units of the input; default 1, with --executor ray one for each CPU."),
]
Executor = Annotated[
    str | None,
    typer.Option(
        metavar="local|ray",
        help="Where units are scored: on this machine (default), or by actors of the Ray cluster at RAY_ADDRESS.",
    ),
]
RequireGpu = Annotated[bool | None, typer.Option("--require-gpu", help="Exit 2 if a process that scores has no GPU.")]
NewRun = Annotated[bool, typer.Option("--new-run", help="Replace a folder made for something else.")]
Wait = Annotated[float | None, typer.Option(help="Seconds to wait for another worker.")]
MaxRows = Annotated[int | None, typer.Option(help="Largest micro-batch; default 512.")]
Deadline = Annotated[float | None, typer.Option(help="Seconds that a record may wait for others; default 0.2.")]
Follow = Annotated[bool, typer.Option("--follow", help="Wait for more at the end, until SIGTERM.")]
Replay = Annotated[bool, typer.Option("--replay", help="Score the dead letters of --output again.")]
StreamWait = Annotated[float, typer.Option("--wait", help="Seconds to wait for another stream of this output.")]

Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="COL,…",
        help="Columns of the input that each score row carries; '' for none. Default: the identifiers of the schema; "
        "beside images and series, all columns; for windows, key and time.",
    ),
]
BadRows = Annotated[
    str | None,
    typer.Option(metavar="keep|stop", help="Rows that cannot be scored: keep them as dead letters (default), or stop."),
]
MaxBadShare = Annotated[
    float | None, typer.Option(help="Exit 4 if more than this share of the rows cannot be scored; default 0.1.")
]
RequireRows = Annotated[
    bool | None, typer.Option("--require-rows", help="Exit 4 if the input, or a file of it, has no rows.")
]
MaxAlarmShare = Annotated[
    float | None, typer.Option(help="Exit 4, after writing everything, if more than this share of the rows alarms.")
]
MaxMissingShare = Annotated[
    float | None,
    typer.Option(help="The same if more than this share of a column's values is missing or non-finite."),
]
MaxDrift = Annotated[
    float | None,
    typer.Option(
        help="The same if a column's stability index against training exceeds this and chance; 0.25 is a lot."
    ),
]
Row = Annotated[
    list[str] | None,
    typer.Option(
        "--row", metavar="N|FILE:N", help="Row to explain, from 0, as source_row of scores; may be given several times."
    ),
]
Worst = Annotated[int | None, typer.Option(help="Explain this many of the most anomalous rows; 5 if no row is given.")]
Record = Annotated[
    str | None, typer.Option(metavar="JSON", help="One record instead of --input: an object with the model's columns.")
]
DataDay = Annotated[
    str | None, typer.Option("--date", help="YYYY-MM-DD for {date} in the data's location; default: today, UTC.")
]
Day = Annotated[
    str | None, typer.Option("--date", help="YYYY-MM-DD for {date} in input and output; default: today, UTC.")
]
OnAlarm = Annotated[
    str | None,
    typer.Option(metavar="CMD|URL", help="Give each anomaly to a program (JSON lines on stdin) or a URL (POST)."),
]
OlderThan = Annotated[str, typer.Option(metavar="30d|12h|90m", help="Remove what is older than this.")]
ScoredBy = Annotated[
    list[Path] | None,
    typer.Option(help="For a queue: the output of a stream that reads it; repeat it for each. Unread rows stay."),
]
LettersToo = Annotated[
    bool, typer.Option("--dead-letters", help="Also remove dead letters and gaps, and finished runs that hold any.")
]
PruneWait = Annotated[float, typer.Option("--wait", help="Seconds to wait for a process that writes the output.")]
PRUNED = "FILE.db or FILE.jsonl of a stream, the folder of a run or of many, or sqlite:PATH (a queue)."
Group = Annotated[str | None, typer.Option(help="redis:// output: consumer group; default ganlib-KEY.")]
Consumer = Annotated[str | None, typer.Option(help="redis:// output: name of this worker; default host and process.")]
MinIdle = Annotated[
    float | None,
    typer.Option(help="redis:// output: seconds after which entries of a silent worker are taken over; default 60."),
]
MaxDeliveries = Annotated[
    int | None,
    typer.Option(help="redis:// output: deliveries without a result before an entry is a dead letter; default 3."),
]
REPORTED = "FILE.db, FILE.jsonl or redis://HOST:PORT/DB/KEY of a stream, or the folder of a run."
VERIFIED = "Folder of a run, or FILE.db, FILE.jsonl or redis://HOST:PORT/DB/KEY of a stream."
LogFormat = Annotated[str, typer.Option(metavar="text|json", help="How events are written to stderr.")]

# Options of `serve`.
ServedModels = Annotated[
    list[str] | None,
    typer.Option("--model", help="models:/NAME@ALIAS, FILE.onnx or a pointer file, FILE.json; repeat it for several."),
]
ServedFiles = Annotated[
    list[str], typer.Option("--model", help="FILE.onnx or a pointer file, FILE.json; repeat it for several.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1. Any other needs a token.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; default 8080, 0 for any free one.")]
MostRows = Annotated[
    int | None, typer.Option("--max-rows-per-request", help="Largest number of rows of a request; default 10,000.")
]
MostBytes = Annotated[int | None, typer.Option("--max-body", help="Largest body in bytes; default 16,777,216.")]
MostWait = Annotated[
    float | None,
    typer.Option(
        "--max-wait-ms", help="Milliseconds that waiting requests wait for more, to share a batch; default 2."
    ),
]
MostQueue = Annotated[
    int | None, typer.Option("--max-queue", help="Requests of one model that may wait; default 256. More get 503.")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the token that requests must carry. Default: GANLIB_TOKEN.")
]


def service_limits(max_wait_ms: float | None, **options: Any) -> dict[str, Any]:
    """The limits of a service that were given, in its units."""
    return given(max_wait=None if max_wait_ms is None else max_wait_ms / 1000, **options)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given; the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}
