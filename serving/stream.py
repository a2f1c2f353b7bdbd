"""Stream scoring: poll, validate, score a micro-batch, commit scores and cursor together (docs/delivery.md)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from serving import watch
from serving.alarms import Delivery, hook_of
from serving.artifact import load_artifact
from serving.crash import crash_point
from serving.discovery import Lond, check_calibration, check_rate
from serving.errors import UsageError
from serving.events import Events
from serving.freshness import Freshness
from serving.lease import Lease
from serving.memory import Memory
from serving.model_source import FileSource, ModelSource, PointerSource
from serving.records import Scoring, score_records
from serving.scorer import Scorer
from serving.sinks import REPLAY, Commit, DeadLetter, Sink, lease_of, open_sink, sink_of
from serving.sources import PAUSE, Cursor, Gap, Record, Source, find_source
from serving.unseen import NONE, Unseen
from serving.wording import counted

CHECK_MODEL_EVERY = 5.0
GAP_EXIT = 4


@dataclass
class Totals:
    """The counts of a run; ``reason`` is that of the first dead letter.

    ``waiting`` counts records that completed no window: the first of a key, or after a gap. ``unseen`` are scored ones
    whose key has no level.
    """

    scored: int = 0
    anomalies: int = 0
    dead: int = 0
    gaps: int = 0
    reason: str = ""
    waiting: int = 0
    unseen: Unseen = NONE

    def line(self) -> str:
        """The counts as text."""
        flagged, dead = counted(self.anomalies, "anomaly", "anomalies"), counted(self.dead, "dead letter")
        gaps = f", {counted(self.gaps, 'gap')}" if self.gaps else ""
        waiting = f", {self.waiting:,} before a whole window" if self.waiting else ""
        return f"{self.scored:,} scored, {flagged}, {dead}{gaps}{waiting}"

    def add(self, commit: Commit) -> None:
        """Count a micro-batch."""
        self.scored += len(commit.scores)
        self.anomalies += sum(s["is_anomaly"] for s in commit.scores)
        self.dead += len(commit.dead)
        self.gaps += len(commit.gaps)
        self.waiting += commit.waiting
        self.unseen += commit.unseen
        self.reason = self.reason or (commit.dead[0].reason if commit.dead else "")


class _Model:
    """The current scorer. It is replaced between micro-batches when the source names another model."""

    def __init__(self, source: ModelSource, alpha: float | None, explain: bool, events: Events) -> None:
        self.source, self.alpha, self.explain, self.events = source, alpha, explain, events
        self._load(source.current())

    def _load(self, current: tuple[Path, str | None, str, str]) -> None:
        path, sha256, name, version = current
        scorer = Scorer(load_artifact(path, sha256), self.alpha)
        scorer.check_explain(self.explain)
        self.scorer = scorer
        self.identity, self.name, self.version = (str(path), sha256, name, version), name, version
        self.checked = time.monotonic()

    def said(self) -> str:
        """Name and version as text."""
        return f"{self.name} version {self.version}" if self.version else self.name

    def refresh(self) -> None:
        """Load the new model if the source changed; keep the old one if that fails."""
        if time.monotonic() - self.checked < CHECK_MODEL_EVERY:
            return
        self.checked = time.monotonic()
        try:
            current = self.source.current()
            if (str(current[0]), *current[1:]) != self.identity:
                self._load(current)
                self.events.say("model", f"now scoring with {self.said()}", name=self.name, version=self.version)
        except Exception as error:  # keep scoring while the registry is down
            self.events.say("warning", f"the model was not swapped, still scoring with {self.said()}: {error}")


@dataclass
class _Run:
    """The state of a running stream."""

    model: _Model
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
) -> int:
    """Score a stream of JSON lines; returns the exit code.

    The code is 0 on success and after SIGTERM, which finishes the micro-batch first. It is 130 after an interrupt and
    4 if records may be lost (gaps).

    - ``input``: ``-``, a file, ``sqlite:PATH`` or ``redis://HOST:PORT/DB/KEY``; ``output``: FILE.db or FILE.jsonl.
    - ``max_rows`` and ``deadline`` (seconds) bound a micro-batch.
    - ``follow`` waits for more records at the end; ``replay`` scores the dead letters again.
    - ``fdr`` adds ``fdr_selected`` by the online rule of ``serving.discovery``, with its state in the cursor.
    - ``wait``: seconds to wait for another stream that writes this output.
    - ``on_alarm``: a program or URL that receives each anomaly (``serving.alarms``).

    Raises UsageError, DataError, IntegrityError, TemporaryError.
    """
    if max_rows < 1 or deadline <= 0:
        raise UsageError(f"max_rows must be at least 1 and deadline positive; got {max_rows} and {deadline}")
    if isinstance(model, str | Path):
        model = PointerSource(model) if str(model).endswith(".json") else FileSource(model)
    check_rate(fdr)
    events, output = Events(log_format), Path(output)
    hook = None if on_alarm is None else hook_of(on_alarm)
    current = _Model(model, alpha, explain, events)
    if fdr is not None:
        check_calibration(fdr, current.scorer.least_p_value)
    sink_of(output)
    source = None if replay else find_source(input, follow)
    try:
        with (
            _signals() as stop, Lease(lease_of(output), wait, what=str(output)) as lease, _opened(output) as sink,
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
    totals, shares, scorer = run.totals, watch.shares(run.scoring.counts), run.model.scorer
    doubts = watch.doubts(scorer.artifact.metadata, run.scoring.counts, scorer.alpha)
    if totals.dead and not totals.scored and not run.stop:
        run.events.say("warning", f"every record was rejected; first reason: {totals.reason}")
    doubts += filter(None, [totals.unseen.text()])
    for doubt in [*doubts, *filter(None, [source.left() if source else ""])]:
        run.events.say("warning", doubt)
    line = f"{totals.line()}{run.alarms.line()}: {output}"
    run.events.say("end", line, **asdict(totals), alarms=run.alarms.counts, stopped=bool(run.stop))
    summary = {
        "scored": totals.scored, "anomalies": totals.anomalies, "dead_letters": totals.dead, "gaps": totals.gaps,
        "waiting": totals.waiting, **totals.unseen.noted(), "output": str(output),
        "alarm_share": watch.alarm_share(run.scoring.counts),
        "shares": shares, "doubts": doubts, "alarms": run.alarms.counts,
    }  # fmt: skip
    text = "\n".join([line, *watch.report(shares)])
    print(json.dumps(summary) if as_json else text, flush=True)


@contextmanager
def _signals() -> Iterator[dict[str, int]]:
    """On SIGTERM and SIGINT, finish the micro-batch and then end the loop."""
    stop: dict[str, int] = {}

    def note(number: int, _: FrameType | None) -> None:
        stop["signal"] = number

    previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
        records = _micro_batch(run, source)
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


def _micro_batch(run: _Run, source: Source) -> list[Record]:
    """Poll until the batch is full or its first record has waited for the deadline."""
    records = source.poll(run.max_rows)
    until = time.monotonic() + run.deadline
    while records and len(records) < run.max_rows and time.monotonic() < until and not run.stop:
        more = source.poll(run.max_rows - len(records))
        if not more:
            if source.finished():
                break
            time.sleep(min(PAUSE / 5, run.deadline))
        records += more
    return records


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
