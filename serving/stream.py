"""Stream scoring: poll, validate, score a micro-batch, commit scores and cursor together (docs/delivery.md)."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from serving import watch
from serving.artifact import load_artifact
from serving.crash import crash_point
from serving.discovery import Lond, check_rate
from serving.errors import DataError, UsageError
from serving.frame import missing
from serving.model_source import FileSource, ModelSource, PointerSource
from serving.scorer import Scorer
from serving.sinks.state import DeadLetter, State
from serving.sources import Record, Source
from serving.sources.check import check_input
from serving.sources.growing_file import GrowingFile
from serving.sources.sqlite_queue import SqliteQueue
from serving.sources.stdin import StdinQueue
from serving.wording import counted

log = logging.getLogger("serving")
LARGEST = 1 << 20
CHECK_MODEL_EVERY = 5.0
PAUSE = 0.05


@dataclass
class Totals:
    """What a run did."""

    scored: int = 0
    anomalies: int = 0
    dead: int = 0
    reason: str = ""

    def line(self) -> str:
        """The counts for people."""
        odd, dead = counted(self.anomalies, "anomaly", "anomalies"), counted(self.dead, "dead letter")
        return f"{self.scored:,} scored, {odd}, {dead}"


class _Model:
    """The current scorer; swapped between micro-batches when its source names another model."""

    def __init__(self, source: ModelSource, alpha: float | None) -> None:
        self.source, self.alpha = source, alpha
        self._load(source.current())

    def _load(self, current: tuple[Path, str | None, str, str]) -> None:
        path, sha256, name, version = current
        self.scorer = Scorer(load_artifact(path, sha256), self.alpha)
        self.identity, self.name, self.version = (str(path), sha256, name, version), name, version
        self.checked = time.monotonic()

    def refresh(self) -> None:
        """Swap where the source changed; keep the old model where the new one cannot be had."""
        if time.monotonic() - self.checked < CHECK_MODEL_EVERY:
            return
        self.checked = time.monotonic()
        try:
            current = self.source.current()
            if (str(current[0]), *current[1:]) != self.identity:
                self._load(current)
                log.info("now scoring with %s version %s", self.name, self.version)
        except Exception as error:  # a stream outlives a registry that is down
            log.warning("the model was not swapped, %s goes on: %s", self.name, error)


@dataclass
class _Scoring:
    """How records are scored: with what, and what is kept of each."""

    model: _Model
    explain: bool
    keep_record: bool
    rule: Lond | None
    counts: watch.Counts = field(default_factory=watch.no_counts)

    def cursor(self, position: dict[str, Any]) -> dict[str, Any]:
        """A source's position with the state of the online rule."""
        return position if self.rule is None else position | {"fdr": self.rule.state}


def _rule(rate: float | None, state: State, consumer: str) -> Lond | None:
    return None if rate is None else Lond(rate, state.cursor(consumer).get("fdr"))


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
) -> int:
    """Score a stream of JSON lines; returns the exit code (0, or 130/143 after a signal, drained).

    ``input``: ``-``, a file, or ``sqlite:PATH``; ``output``: FILE.db or FILE.jsonl. ``max_rows`` and ``deadline``
    (seconds) bound a micro-batch. ``follow`` waits for more at the end; ``replay`` scores the dead letters again.
    ``fdr`` adds ``fdr_selected`` by the online rule of ``serving.discovery``, whose state lies in the cursor.
    Raises UsageError, DataError, IntegrityError, TemporaryError.
    """
    if max_rows < 1 or deadline <= 0:
        raise UsageError(f"max_rows must be at least 1 and deadline positive; got {max_rows} and {deadline}")
    if isinstance(model, str | Path):
        model = PointerSource(model) if str(model).endswith(".json") else FileSource(model)
    check_rate(fdr)
    current = _Model(model, alpha)
    if not replay:
        check_input(input, follow)
    state, totals = State(Path(output)), Totals()
    with _signals() as stop:
        if replay:
            scoring = _Scoring(current, explain, keep_record, _rule(fdr, state, "replay"))
            _replay(scoring, state, totals)
        else:
            source, consumer = _open_source(input, state, follow)
            scoring = _Scoring(current, explain, keep_record, _rule(fdr, state, consumer))
            try:
                _loop(source, consumer, scoring, state, (max_rows, deadline), totals, stop)
            finally:
                source.close()
    state.close()
    _say_end(totals, scoring, output, as_json, "code" in stop)
    return stop.get("code", 0)


def _say_end(totals: Totals, scoring: _Scoring, output: str | Path, as_json: bool, stopped: bool) -> None:
    """The summary on stdout; doubts on stderr."""
    shares, scorer = watch.shares(scoring.counts), scoring.model.scorer
    doubts = watch.doubts(scorer.artifact.metadata, scoring.counts, scorer.alpha)
    if totals.dead and not totals.scored and not stopped:
        print(f"warning: every record was refused; first reason: {totals.reason}", file=sys.stderr, flush=True)
    for doubt in doubts:
        print(f"warning: {doubt}", file=sys.stderr, flush=True)
    summary = {
        "scored": totals.scored, "anomalies": totals.anomalies, "dead_letters": totals.dead, "output": str(output),
        "alarm_share": watch.alarm_share(scoring.counts), "shares": shares, "doubts": doubts,
    }  # fmt: skip
    text = "\n".join([f"{totals.line()}: {output}", *watch.report(shares)])
    print(json.dumps(summary) if as_json else text, flush=True)


def _open_source(input: str, state: State, follow: bool) -> tuple[Source, str]:
    try:
        return open_source(input, state, follow)
    except BaseException:
        state.abandon()
        raise


def open_source(input: str, state: State, follow: bool) -> tuple[Source, str]:
    """The source that an input names, at its committed cursor, and the cursor's name."""
    if input == "-":
        return StdinQueue(state.path, state.cursor("stdin"), follow), "stdin"
    if input.startswith("sqlite:"):
        path = Path(input.removeprefix("sqlite:"))
        consumer = f"queue:{path.resolve()}"
        return SqliteQueue(path, state.cursor(consumer), follow), consumer
    path = Path(input)
    consumer = f"file:{path.resolve()}"
    return GrowingFile(path, state.cursor(consumer), follow), consumer


@contextmanager
def _signals() -> Iterator[dict[str, int]]:
    """SIGTERM and SIGINT let the micro-batch finish, then end the loop."""
    stop: dict[str, int] = {}

    def note(number: int, _: FrameType | None) -> None:
        stop["code"] = 128 + number

    previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _loop(
    source: Source,
    consumer: str,
    scoring: _Scoring,
    state: State,
    bounds: tuple[int, float],
    totals: Totals,
    stop: dict[str, int],
) -> None:
    while "code" not in stop:
        records = _micro_batch(source, *bounds, stop)
        if not records:
            if source.finished():
                return
            time.sleep(PAUSE)
            continue
        crash_point("batch_polled")
        scoring.model.refresh()
        scores, dead = score_records(records, scoring)
        crash_point("batch_scored")
        state.commit(consumer, scoring.cursor(source.cursor()), scores, dead, _stamp(scoring.model))
        _count(totals, scores, dead)


def _micro_batch(source: Source, max_rows: int, deadline: float, stop: dict[str, int]) -> list[Record]:
    """Poll until the batch is full or the deadline has passed since its first record."""
    records = source.poll(max_rows)
    until = time.monotonic() + deadline
    while records and len(records) < max_rows and time.monotonic() < until and "code" not in stop:
        more = source.poll(max_rows - len(records))
        if not more:
            if source.finished():
                break
            time.sleep(min(PAUSE / 5, deadline))
        records += more
    return records


def _replay(scoring: _Scoring, state: State, totals: Totals) -> None:
    """Dead letters again: those that score now leave the table in the same transaction."""
    records = [Record(s, p, b) for s, p, b in state.dead_letters()]
    for start in range(0, len(records), 512):
        scores, dead = score_records(records[start : start + 512], scoring)
        replayed = [(score["source"], score["position"]) for score in scores]
        state.commit("replay", scoring.cursor({}), scores, dead, _stamp(scoring.model), replayed)
        _count(totals, scores, dead)


def _count(totals: Totals, scores: list[dict[str, Any]], dead: list[DeadLetter]) -> None:
    totals.scored += len(scores)
    totals.anomalies += sum(s["is_anomaly"] for s in scores)
    totals.dead += len(dead)
    totals.reason = totals.reason or (dead[0].reason if dead else "")


def _stamp(model: _Model) -> tuple[str, str]:
    return model.version, datetime.now(UTC).isoformat()


def score_records(records: list[Record], scoring: _Scoring) -> tuple[list[dict[str, Any]], list[DeadLetter]]:
    """Scores of the good records and dead letters of the others."""
    good: list[tuple[Record, dict[str, Any]]] = []
    dead: list[DeadLetter] = []
    for record in records:
        value, reason = _parse(record, scoring.model)
        if value is None:
            dead.append(DeadLetter(record.source, record.position, record.body, reason))
        else:
            good.append((record, value))
    if good:
        try:
            return _score(good, scoring), dead
        except DataError:
            # One bad value spoils a column: judge the records one by one.
            good, bad = _sift(good, scoring.model)
            dead += bad
    return (_score(good, scoring) if good else []), dead


def _parse(record: Record, model: _Model) -> tuple[dict[str, Any] | None, str]:
    if len(record.body) > LARGEST:
        return None, f"larger than {LARGEST} bytes"
    try:
        value = json.loads(record.body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 (byte {error.start})"
    except (ValueError, RecursionError) as error:
        return None, f"not JSON: {str(error)[:200]}"
    if not isinstance(value, dict):
        return None, f"not an object but {type(value).__name__}"
    lacking = [n for n in model.scorer.adapter.names if n not in value]
    return (None, missing(lacking)) if lacking else (value, "")


def _sift(
    good: list[tuple[Record, dict[str, Any]]], model: _Model
) -> tuple[list[tuple[Record, dict[str, Any]]], list[DeadLetter]]:
    kept, dead = [], []
    for record, value in good:
        reason = model.scorer.adapter.check_row(value)
        if reason is None:
            kept.append((record, value))
        else:
            dead.append(DeadLetter(record.source, record.position, record.body, reason))
    return kept, dead


def _score(good: list[tuple[Record, dict[str, Any]]], scoring: _Scoring) -> list[dict[str, Any]]:
    model = scoring.model
    feeds = model.scorer.adapter.feeds([value for _, value in good])
    result = model.scorer.score(feeds, scoring.explain)
    counted_now = watch.count(model.scorer.adapter.columns, feeds, int(result.is_anomaly.sum()))
    scoring.counts = watch.add(scoring.counts, counted_now)
    now, features = datetime.now(UTC).isoformat(), model.scorer.artifact.features
    rows = []
    for index, (record, _) in enumerate(good):
        row: dict[str, Any] = {
            "source": record.source,
            "position": record.position,
            "anomaly_score": float(result.anomaly_score[index]),
            "p_value": float(result.p_value[index]),
            "is_anomaly": bool(result.is_anomaly[index]),
            "alpha": model.scorer.alpha,
            "model_name": model.name,
            "model_version": model.version,
            "artifact_sha256": model.scorer.artifact.sha256,
            "scored_at": now,
        }
        if scoring.rule is not None:
            row["fdr_selected"] = scoring.rule.decide(row["p_value"])
        if scoring.keep_record:
            row["record"] = record.body.decode("utf-8")
        if result.contributions is not None:
            parts = dict(zip(features, map(float, result.contributions[index]), strict=True))
            row["contributions"] = json.dumps(parts)
        if result.top_reasons is not None:
            row["top_reasons"] = result.top_reasons[index].as_py()
        rows.append(row)
    return rows
