"""Stream scoring: poll, validate, score a micro-batch, commit scores and cursor together (docs/delivery.md)."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.alarms import Delivery, hook_of
from serving.crash import crash_point
from serving.discovery import Lond, check_calibration, check_rate
from serving.errors import UsageError
from serving.events import Events
from serving.freshness import Freshness
from serving.lease import Lease
from serving.memory import Memory
from serving.model_source import FileSource, ModelSource, PointerSource
from serving.records import Scoring, score_records
from serving.redis import is_redis, leaf
from serving.running import CurrentModel, Totals, micro_batch, report, signals
from serving.sinks import REPLAY, Commit, DeadLetter, Sink, lease_of, open_sink, sink_of
from serving.sources import Cursor, Gap, Record, Source, find_source

GAP_EXIT = 4


@dataclass
class _Run:
    """The state of a running stream."""

    model: CurrentModel
    sink: Sink
    lease: Lease
    events: Events
    scoring: Scoring
    max_rows: int
    deadline: float
    stop: dict[str, int]
    alarms: Delivery
    totals: Totals = field(default_factory=Totals)

    def commit(self, commit: Commit) -> None:
        """Commit after checking that this run is still the only writer of the output."""
        self.lease.check()
        self.sink.commit(commit)
        self.totals.add(commit)


def run_stream(
    model: ModelSource | str | Path,
    input: str,
    output: str | Path,
    *,
    alpha: float | None = None,
    max_rows: int = 512,
    deadline: float = 0.2,
    explain: bool = False,
    fdr: float | None = None,
    follow: bool = False,
    replay: bool = False,
    keep_record: bool = True,
    as_json: bool = False,
    wait: float = 0.0,
    log_format: str = "text",
    on_alarm: str | None = None,
    sharing: Mapping[str, Any] | None = None,
) -> int:
    """Score a stream of JSON lines; returns the exit code.

    The code is 0 on success and after SIGTERM, which finishes the micro-batch first. It is 130 after an interrupt and
    4 if records may be lost (gaps).

    - ``input``: ``-``, a file, ``sqlite:PATH`` or ``redis://HOST:PORT/DB/KEY``; ``output``: FILE.db, FILE.jsonl or,
      for a Redis stream, a key of the same server.
    - ``max_rows`` and ``deadline`` (seconds) bound a micro-batch.
    - ``follow`` waits for more records at the end; ``replay`` scores the dead letters again.
    - ``fdr`` adds ``fdr_selected`` by the online rule of ``serving.discovery``, with its state in the cursor.
    - ``wait``: seconds to wait for another stream that writes this output.
    - ``sharing``: how workers of a Redis stream share it (``serving.redis.group.Sharing``).
    - ``on_alarm``: a program or URL that receives each anomaly (``serving.alarms``).

    Raises UsageError, DataError, IntegrityError, TemporaryError.
    """
    if max_rows < 1 or deadline <= 0:
        raise UsageError(f"max_rows must be at least 1 and deadline positive; got {max_rows} and {deadline}")
    if isinstance(model, str | Path):
        model = PointerSource(model) if str(model).endswith(".json") else FileSource(model)
    check_rate(fdr)
    events = Events(log_format)
    hook = None if on_alarm is None else hook_of(on_alarm)
    current = CurrentModel(model, alpha, explain, events)
    if _is_shared(output, sharing or {}):
        loop = leaf("loop")
        given = {"--fdr": fdr is not None, "--replay": replay, "--on-alarm": hook is not None, "--wait": wait > 0}
        loop.check_options(current, given.items())
        code: int = loop.run_group(
            current, input, str(output), loop.Sharing(**(sharing or {})), events, max_rows=max_rows, deadline=deadline,
            explain=explain, follow=follow, keep_record=keep_record, as_json=as_json,
        )  # fmt: skip
        return code
    output = Path(output)
    if fdr is not None:
        check_calibration(fdr, current.scorer.least_p_value)
    sink_of(output)
    source = None if replay else find_source(input, follow)
    try:
        with (
            signals() as stop, Lease(lease_of(output), wait, what=str(output)) as lease, _opened(output) as sink,
            Delivery(hook, events) as alarms,
        ):  # fmt: skip
            run = _Run(
                current, sink, lease, events,
                Scoring(lambda: current.scorer, lambda: (current.name, current.version), explain, keep_record, None),
                max_rows, deadline, stop, alarms,
            )  # fmt: skip
            _replay(run, fdr) if source is None else _follow(run, source, input, fdr)
            alarms.finish()
    finally:
        if source is not None:
            source.close()
    _say_end(run, source, output, as_json)
    return _code(run)


def _is_shared(output: str | Path, sharing: Mapping[str, Any]) -> bool:
    """Whether workers share the stream; raises UsageError for options of sharing with another output."""
    if is_redis(output):
        return True
    if sharing:
        raise UsageError(f"--{min(sharing).replace('_', '-')} is for a redis:// output, which many workers can share")
    return False


@contextmanager
def _opened(output: Path) -> Iterator[Sink]:
    """The sink, closed when the block ends."""
    sink = open_sink(output)
    try:
        yield sink
    finally:
        sink.close()


def _code(run: _Run) -> int:
    if run.stop.get("signal") == signal.SIGINT:
        return 128 + signal.SIGINT
    return GAP_EXIT if run.totals.gaps else 0


def _say_end(run: _Run, source: Source | None, output: Path, as_json: bool) -> None:
    """Print the summary to stdout and doubts to stderr."""
    doubts = [run.totals.unseen.text(), source.left() if source else ""]
    report(
        run.totals, run.scoring, run.events, str(output), as_json, stopped=bool(run.stop), doubts=doubts,
        more=run.alarms.line(), figures={"alarms": run.alarms.counts},
    )  # fmt: skip


def _follow(run: _Run, source: Source, input: str, fdr: float | None) -> None:
    """Score a source, starting at its committed cursor."""
    known = run.sink.cursors()
    try:
        source.resume(known, run.sink.state)
    except BaseException:
        run.sink.abandon()  # nothing was read, so remove the files that this start created
        raise
    source.label = run.sink.name(source.id, source.label)
    before = known.get(source.id, {})
    run.scoring.rule, run.scoring.fresh = _rule(fdr, before), Freshness(before.get("fit"))
    run.scoring.memory = Memory(run.sink.tails(source.id), before.get("windows"))
    run.events.say(
        "start", f"{input} to {run.sink.state}, with {run.model.said()}", input=input, output=str(run.sink.state),
        source=source.id, cursor=before, model=run.model.name, version=run.model.version,
    )  # fmt: skip
    run.alarms.start(run.sink.state)
    while not run.stop:
        records = micro_batch(source, run.max_rows, run.deadline, run.stop)
        gaps = source.gaps()
        for gap in gaps:
            run.events.say("warning", f"records may be lost: {gap.reason}", source=gap.source, position=gap.position)
        if records or gaps:
            before = _step(run, source, records, gaps, before)
        elif source.finished():
            return
        else:
            source.wait()
        if run.events.due():
            run.events.say("alive", run.totals.line(), **asdict(run.totals), cursor=before)


def _step(run: _Run, source: Source, records: list[Record], gaps: list[Gap], before: Cursor) -> Cursor:
    """Score and commit a micro-batch; returns the cursor after it."""
    crash_point("batch_polled")
    run.model.refresh()
    done = score_records(records, run.scoring)
    crash_point("batch_scored")
    if run.scoring.fresh is not None and (news := run.scoring.fresh.news()):
        run.events.say("warning", news)
    if news := run.scoring.memory.news():
        run.events.say("warning", news)
    if done.unseen.rows and not run.totals.unseen.rows:
        run.events.say("warning", f"from here on: {done.unseen.text()}")
    after = json.loads(json.dumps(run.scoring.cursor(source.cursor())))
    commit = Commit(
        source.id, before, after, done.rows, done.dead, _stamp(run), gaps, alarms=run.alarms.of(done.rows),
        waiting=done.waiting, unseen=done.unseen, tails=run.scoring.memory.changes(),
    )  # fmt: skip
    run.commit(commit)
    source.committed()
    return after


def _replay(run: _Run, fdr: float | None) -> None:
    """Score the dead letters again; those that succeed leave the table in the same transaction."""
    if run.model.scorer.artifact.windows is not None:
        raise UsageError(
            "--replay scores single records, and this model scores windows: a dead letter's window is past. Send the "
            "rows of its key again, in order, to a new --output"
        )
    run.alarms.start(run.sink.state)
    before = run.sink.cursors().get(REPLAY, {})
    run.scoring.rule = _rule(fdr, before)
    records = [Record(s, p, b) for s, p, b in run.sink.dead_letters()]
    for start in range(0, len(records), run.max_rows):
        if run.stop:
            return
        done = score_records(records[start : start + run.max_rows], run.scoring)
        replayed = [(score["source"], score["position"]) for score in done.rows]
        after = json.loads(json.dumps(run.scoring.cursor({})))
        alarms = run.alarms.of(done.rows)
        run.commit(Commit(REPLAY, before, after, done.rows, done.dead, _stamp(run), (), replayed, alarms=alarms))
        before = after


def _rule(rate: float | None, cursor: Cursor) -> Lond | None:
    return None if rate is None else Lond(rate, cursor.get("fdr"))


def _stamp(run: _Run) -> tuple[str, str]:
    return run.model.version, datetime.now(UTC).isoformat()


__all__ = ["DeadLetter", "Totals", "lease_of", "run_stream"]
