"""The loop of a worker that shares a Redis stream with others (docs/delivery.md, "Shared streams").

It has no position: the server records which entries are pending for which worker. So what needs an order or a state,
such as windows and online rules, is rejected.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from serving.crash import crash_point
from serving.errors import UsageError
from serving.events import Events
from serving.freshness import Freshness
from serving.records import Outcome, Scoring, score_records
from serving.redis.group import Group, Pending, Sharing, addresses
from serving.running import CurrentModel, Totals, micro_batch, report, signals
from serving.sinks import DeadLetter
from serving.wording import counted

GAP_EXIT = 4


@dataclass
class _Worker:
    """The state of a running worker."""

    model: CurrentModel
    group: Group
    events: Events
    scoring: Scoring
    stop: dict[str, int]
    totals: Totals = field(default_factory=Totals)
    skipped: int = 0


def check_options(model: CurrentModel, unsupported: Iterable[tuple[str, bool]]) -> None:
    """Raise UsageError for options, and for models, that need an order or a state beside the scores."""
    given = [name for name, value in unsupported if value]
    if model.scorer.artifact.windows is not None:
        given.append("a model of windows")
    if given:
        raise UsageError(f"{given[0]} needs one reader with a state, which a redis:// output has not; write FILE.db")


def run_group(
    model: CurrentModel,
    input: str,
    output: str,
    sharing: Sharing,
    events: Events,
    *,
    max_rows: int,
    deadline: float,
    explain: bool,
    follow: bool,
    keep_record: bool,
    as_json: bool,
) -> int:
    """Score entries of a Redis stream into another one, beside other workers; returns the exit code.

    Raises UsageError, DataError, DependencyError, TemporaryError.
    """
    source, target = addresses(input, output)
    lineage = (lambda: model.scorer, lambda: (model.name, model.version))
    scoring = Scoring(*lineage, explain, keep_record, None, Freshness())
    with signals() as stop:
        group = Group(source, target, sharing, follow)
        worker = _Worker(model, group, events, scoring, stop)
        try:
            for warning in group.warnings():
                events.say("warning", warning)
            events.say(
                "start", f"{source.name} to {target.name} as {group.consumer} of {group.name}, with {model.said()}",
                input=source.name, output=target.name, group=group.name, consumer=group.consumer, model=model.name,
                version=model.version,
            )  # fmt: skip
            _run(worker, max_rows, deadline)
        finally:
            group.close()
    figures = {"skipped": worker.skipped, "group": group.name, "consumer": group.consumer}
    more = f", {worker.skipped:,} settled by other workers" if worker.skipped else ""
    report(worker.totals, scoring, events, target.name, as_json, stopped=bool(stop), more=more, figures=figures)
    if stop.get("signal") == signal.SIGINT:
        return 128 + signal.SIGINT
    return GAP_EXIT if worker.totals.gaps else 0


def _run(worker: _Worker, max_rows: int, deadline: float) -> None:
    group, stop = worker.group, worker.stop
    while not stop:
        if (one := group.pending()) is not None:
            crash_point("entry_reclaimed")
            _settle(worker, _again(worker, one))
        elif records := micro_batch(group, max_rows, deadline, stop):
            crash_point("batch_polled")
            worker.model.refresh()
            _settle(worker, score_records(records, worker.scoring))
        elif group.finished():
            break
        else:
            group.wait()
        _say_news(worker)
    _say_news(worker)


def _again(worker: _Worker, one: Pending) -> Outcome:
    """Score an entry that was delivered before, unless that happened too often."""
    most = worker.group.sharing.max_deliveries
    if one.times < most:
        worker.model.refresh()
        return score_records([one.record], worker.scoring)
    record, times = one.record, counted(one.times, "time")
    reason = f"delivered {times} without a result: it may end the worker that scores it (--max-deliveries {most})"
    return Outcome([], [DeadLetter(record.source, record.position, record.body, reason)])


def _settle(worker: _Worker, done: Outcome) -> None:
    crash_point("batch_scored")
    stamp = worker.model.version, datetime.now(UTC).isoformat()
    found = worker.group.commit(done, stamp, worker.stop)
    crash_point("outcomes_committed")
    if found is None:
        return
    totals = worker.totals
    totals.scored += found.scored
    totals.anomalies += found.anomalies
    totals.dead += found.dead
    totals.reason = totals.reason or (done.dead[0].reason if done.dead else "")
    worker.skipped += found.skipped


def _say_news(worker: _Worker) -> None:
    if worker.scoring.fresh is not None and (news := worker.scoring.fresh.news()):
        worker.events.say("warning", news)
    if lost := worker.group.lost():
        worker.totals.gaps += 1
        said = f"{counted(lost, 'entry', 'entries')} of {worker.group.source.name} deleted or trimmed unread"
        worker.events.say("warning", f"records may be lost: {said}", entries=lost)
    if worker.events.due():
        worker.events.say("alive", worker.totals.line(), scored=worker.totals.scored, dead=worker.totals.dead)
