"""What every loop of a stream shares: the current model, counts, micro-batches, signals and the summary."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from serving import watch
from serving.artifact import load_artifact
from serving.events import Events
from serving.model_source import ModelSource
from serving.records import Scoring
from serving.scorer import Scorer
from serving.sinks import Commit
from serving.sources import PAUSE, Record
from serving.unseen import NONE, Unseen
from serving.wording import counted

CHECK_MODEL_EVERY = 5.0


class Polled(Protocol):
    """What micro-batches are polled from."""

    def poll(self, limit: int) -> list[Record]:
        """As ``Source.poll``."""

    def finished(self) -> bool:
        """As ``Source.finished``."""


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


class CurrentModel:
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


@contextmanager
def signals() -> Iterator[dict[str, int]]:
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


def micro_batch(source: Polled, max_rows: int, deadline: float, stop: Mapping[str, int]) -> list[Record]:
    """Poll until the batch is full or its first record has waited for the deadline."""
    records = source.poll(max_rows)
    until = time.monotonic() + deadline
    while records and len(records) < max_rows and time.monotonic() < until and not stop:
        more = source.poll(max_rows - len(records))
        if not more:
            if source.finished():
                break
            time.sleep(min(PAUSE / 5, deadline))
        records += more
    return records


def report(
    totals: Totals,
    scoring: Scoring,
    events: Events,
    output: str,
    as_json: bool,
    *,
    stopped: bool,
    doubts: Sequence[str] = (),
    more: str = "",
    figures: dict[str, Any] | None = None,
) -> None:
    """Print the summary of a run to stdout, and doubts to stderr; ``more`` follows the counts in the line."""
    scorer, shares = scoring.scorer(), watch.shares(scoring.counts)
    found = watch.doubts(scorer.artifact.metadata, scoring.counts, scorer.alpha)
    if totals.dead and not totals.scored and not stopped:
        events.say("warning", f"every record was rejected; first reason: {totals.reason}")
    for doubt in [*found, *filter(None, doubts)]:
        events.say("warning", doubt)
    line = f"{totals.line()}{more}: {output}"
    events.say("end", line, **asdict(totals), **(figures or {}), stopped=stopped)
    summary = {
        "scored": totals.scored, "anomalies": totals.anomalies, "dead_letters": totals.dead, "gaps": totals.gaps,
        "waiting": totals.waiting, **totals.unseen.noted(), "output": output,
        "alarm_share": watch.alarm_share(scoring.counts), "shares": shares,
        "drift": watch.drift(scorer.artifact.metadata.get("profile"), scoring.counts["bins"]),
        "doubts": found + list(filter(None, [totals.unseen.text()])), **(figures or {}),
    }  # fmt: skip
    text = "\n".join([line, *watch.report(shares)])
    print(json.dumps(summary) if as_json else text, flush=True)
