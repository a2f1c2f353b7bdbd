"""Scores a micro-batch of records. Each record becomes exactly one score row or one dead letter."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from serving import watch
from serving.discovery import Lond
from serving.errors import DataError, IntegrityError, TemporaryError, UsageError
from serving.frame import missing
from serving.freshness import Freshness
from serving.memory import LateRow, Memory
from serving.readers.windows import Relative, WindowReader
from serving.scorer import Scorer
from serving.sinks import DeadLetter
from serving.sources import Record
from serving.unseen import NONE, Unseen

LARGEST = 1 << 20
Row = dict[str, Any]


@dataclass
class Scoring:
    """How records are scored: model, options, and counters."""

    scorer: Callable[[], Scorer]
    lineage: Callable[[], tuple[str, str]]  # the model's name and version
    explain: bool
    keep_record: bool
    rule: Lond | None
    fresh: Freshness | None = None
    memory: Memory = field(default_factory=Memory)
    counts: watch.Counts = field(default_factory=watch.no_counts)
    model: str = ""  # sha-256 of the model whose bins are counted

    def cursor(self, position: dict[str, Any]) -> dict[str, Any]:
        """A source's position, with the states of the online rule, the check of calibration and the windows."""
        rule = {} if self.rule is None else {"fdr": self.rule.state}
        return position | rule | ({} if self.fresh is None else {"fit": self.fresh.state}) | self.memory.state


@dataclass(frozen=True)
class Outcome:
    """Score rows and dead letters of a micro-batch; ``waiting`` counts the records that complete no window yet."""

    rows: list[Row]
    dead: list[DeadLetter]
    waiting: int = 0
    unseen: Unseen = NONE


def score_records(records: list[Record], scoring: Scoring) -> Outcome:
    """Score rows for the valid records and dead letters for all others; raises only if scoring itself fails."""
    reader = scoring.scorer().reader
    names = reader.names
    good: list[tuple[Record, Row]] = []
    dead: list[DeadLetter] = []
    for record in records:
        value, reason = _parse(record, names)
        if value is None:
            dead.append(_letter(record, reason))
        else:
            good.append((record, value))
    waiting = 0
    if isinstance(reader, WindowReader):
        read = len(good)
        good, unfit = _windows(good, reader, scoring.memory)
        waiting = read - len(good) - len(unfit)
        dead = sorted([*dead, *unfit], key=lambda letter: letter.position)
    try:
        return Outcome(_score(good, scoring), dead, waiting, _unseen(good))
    except (TemporaryError, IntegrityError, UsageError):
        raise
    except Exception:
        # One bad value fails the whole batch, so score the records one by one.
        rows: list[Row] = []
        for one in good:
            alone, reason = _alone(one, scoring)
            rows += alone
            dead += [_letter(one[0], reason)] if reason else []
        scored = {row["position"] for row in rows}
        unseen = _unseen([one for one in good if one[0].position in scored])
        return Outcome(rows, sorted(dead, key=lambda letter: letter.position), waiting, unseen)


def _unseen(good: list[tuple[Record, Row]]) -> Unseen:
    """The windows whose key training has not seen."""
    new = [value.new for _, value in good if isinstance(value, Relative) and value.new is not None]
    return Unseen(len(new), new[0]) if new else NONE


def _windows(
    good: list[tuple[Record, Row]], reader: WindowReader, memory: Memory
) -> tuple[list[tuple[Record, Row]], list[DeadLetter]]:
    """The records that complete a window, with it, and those that cannot be used; all others wait."""
    if not good:
        return [], []
    memory.follow(reader.windows)
    read = reader.read_records([value for _, value in good])
    dead = [_letter(good[row][0], f"column {name!r}: {why}" if name else why) for row, name, why in read.bad]
    complete: list[tuple[Record, Row]] = []
    for row, key, time, values in zip(read.rows, read.keys, read.times, read.values, strict=True):
        record = good[row][0]
        try:
            window = memory.add(reader.windows, str(key), float(time), values)
        except LateRow as error:
            dead.append(_letter(record, f"column {reader.windows.time!r}: {error}"))
            continue
        if window is not None:
            complete.append((record, reader.example(str(key), window)))
    return complete, dead


def _letter(record: Record, reason: str) -> DeadLetter:
    return DeadLetter(record.source, record.position, record.body, reason)


def _alone(one: tuple[Record, Row], scoring: Scoring) -> tuple[list[Row], str]:
    """The score of one record, or why there is none."""
    try:
        if reason := scoring.scorer().reader.check_row(one[1]):
            return [], reason
        return _score([one], scoring), ""
    except (TemporaryError, IntegrityError, UsageError):
        raise
    except Exception as error:
        return [], f"cannot be scored: {type(error).__name__}: {str(error)[:200]}"


def _parse(record: Record, names: list[str]) -> tuple[Row | None, str]:
    if record.size is not None or len(record.body) > LARGEST:
        kept = "" if record.size is None else f"; the first {len(record.body):,} of {record.size:,} are kept"
        return None, f"larger than {LARGEST} bytes{kept}"
    try:
        value = json.loads(record.body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 (byte {error.start})"
    except (ValueError, RecursionError) as error:
        return None, f"not JSON: {str(error)[:200]}"
    if not isinstance(value, dict):
        return None, f"not an object but {type(value).__name__}"
    lacking = [n for n in names if n not in value]
    return (None, missing(lacking)) if lacking else (value, "")


def _score(good: list[tuple[Record, Row]], scoring: Scoring) -> list[Row]:
    if not good:
        return []
    scorer = scoring.scorer()
    feeds = scorer.reader.feeds([value for _, value in good])
    result = scorer.score(feeds, scoring.explain)
    if not all(map(math.isfinite, result.anomaly_score.tolist())):
        raise DataError("the model gives no finite score for it")
    if scoring.model != scorer.artifact.sha256:
        # Another model has other bins.
        scoring.counts, scoring.model = scoring.counts | {"bins": {}}, scorer.artifact.sha256
    counts = watch.count(scorer.reader.monitored, scorer.profiles, feeds, int(result.is_anomaly.sum()), result.p_value)
    scoring.counts = watch.add(scoring.counts, counts)
    (name, version), now = scoring.lineage(), datetime.now(UTC).isoformat()
    rows = []
    for index, (record, _) in enumerate(good):
        row: Row = {
            "source": record.source,
            "position": record.position,
            "anomaly_score": float(result.anomaly_score[index]),
            "p_value": float(result.p_value[index]),
            "is_anomaly": bool(result.is_anomaly[index]),
            "alpha": scorer.alpha,
            "model_name": name,
            "model_version": version,
            "artifact_sha256": scorer.artifact.sha256,
            "scored_at": now,
        }
        if scoring.keep_record:
            row["record"] = record.body.decode("utf-8")
        if result.contributions is not None:
            parts = map(float, result.contributions[index])
            row["contributions"] = dict(zip(scorer.artifact.features, parts, strict=True))
        if result.top_reasons is not None:
            row["top_reasons"] = result.top_reasons[index].as_py()
        rows.append(row)
    # Decide last: this and a decision change what the cursor holds, so nothing may fail after them.
    if scoring.fresh is not None:
        deciles, reader = scorer.artifact.calibration.get("deciles"), scorer.reader
        overlap = reader.windows.length if isinstance(reader, WindowReader) else 1
        scoring.fresh.add(scorer.artifact.sha256, deciles, result.p_value, overlap)
    return rows if scoring.rule is None else [
        row | {"fdr_selected": scoring.rule.decide(max(row["p_value"], scorer.least_p_value))} for row in rows
    ]  # fmt: skip
