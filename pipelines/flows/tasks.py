"""What all flows share: steps as tasks, what may be retried, and how a flow tells what it does."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from pipelines.settings import Settings

HOUR = 3600.0


class OneLine(logging.Filter):
    """Our own errors say what is wrong and how to mend it: they need no traceback in the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; take the traceback off those about errors that know their exit code."""
        if record.exc_info and hasattr(record.exc_info[1], "exit_code"):
            record.exc_info = record.exc_text = None
        return True


for _logger in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_logger).addFilter(OneLine())
_TRANSIENT = (5, 75)  # a registry or broker that is down, a lease that is held, a full disk


def is_transient(_: Any, __: Any, state: Any) -> bool:
    """Whether doing it again may help: bad data, a refused gate or a wrong option stay what they are."""
    error = state.result(raise_on_failure=False)
    code = getattr(error, "exit_code", None)
    return code in _TRANSIENT if isinstance(code, int) else isinstance(error, OSError)


def as_task(step: Callable[..., Any], *, idempotent: bool, timeout: float = HOUR) -> Any:
    """A step as a task: JSON in and out, never cached, limited in time, retried only where that is harmless."""
    retries: dict[str, Any] = {}
    if idempotent:
        retries = {"retries": 2, "retry_delay_seconds": exponential_backoff(2), "retry_jitter_factor": 0.5}
        retries["retry_condition_fn"] = is_transient
    name = step.__name__.replace("_", " ")
    manner = task(
        name=name, cache_policy=NO_CACHE, timeout_seconds=timeout, result_serializer="json", persist_result=False,
        **retries,
    )  # fmt: skip
    return manner(step)


def with_day(settings: Settings, section: str) -> Settings:
    """The settings with the day of the flow's scheduled start (UTC) as the section's date, where none is given.

    A repeated or backfilled run so keeps its day.
    """
    chosen = getattr(settings, section)
    started = (flow_run.scheduled_start_time or datetime.now(UTC)).astimezone(UTC).date().isoformat()
    return settings.model_copy(update={section: chosen.model_copy(update={"date": chosen.date or started})})


def runner(tasks: Mapping[Any, Any]) -> Callable[..., Any]:
    """A ``run`` for the steps' order that calls each step's task."""
    return lambda step, *args: tasks[step](*args)


def tell(text: str) -> None:
    """Say it on stderr and in the run's log."""
    print(text, file=sys.stderr, flush=True)
    get_run_logger().info(text)


def key(*parts: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def leave_table(name: str, rows: list[dict[str, Any]], description: str) -> None:
    """A table beside the flow run."""
    create_table_artifact(rows, key=key(name), description=description)


def leave_link(name: str, link: str, text: str) -> None:
    """A link beside the flow run."""
    create_link_artifact(link, text, key=key(name), description=text)
