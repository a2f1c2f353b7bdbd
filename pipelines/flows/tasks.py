"""What all flows share: steps as tasks, retries, how a flow fails, and how it reports progress."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run
from prefect.states import Failed
from prefect.tasks import exponential_backoff

from pipelines.errors import UsageError
from pipelines.settings import Settings
from pipelines.steps import Runner
from serving.secrets import without_secrets
from serving.wording import say, shown

HOUR = 3600.0
HOME = "GANLIB_HOME"


class Once(logging.Filter):
    """Drop Prefect's records of errors with an exit code, which the flow logs in one line (``as_flow``).

    Masks secrets in the other records.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the records that repeat an error."""
        text = record.getMessage()
        if text.startswith("Finished in state Failed") or (record.exc_info and _code(record.exc_info[1]) is not None):
            return False
        record.msg, record.args = without_secrets(text), ()
        return True


def _code(error: BaseException | None) -> int | None:
    """The exit code of an error; None if it has none."""
    code = getattr(error, "exit_code", None)
    return code if isinstance(code, int) else None


for _logger in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_logger).addFilter(Once())
_TRANSIENT = (5, 75)  # a registry or broker that is down, a lease that is held, a full disk


def is_transient(_: Any, __: Any, state: Any) -> bool:
    """Whether a retry may help; it does not after bad data, a failed gate or a wrong option."""
    error = state.result(raise_on_failure=False)
    code = _code(error)
    return isinstance(error, OSError) if code is None else code in _TRANSIENT


def as_task(step: Callable[..., Any], *, idempotent: bool, timeout: float = HOUR) -> Any:
    """A step as a task: never cached, limited in time, retried only if it is ``idempotent``."""
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
    """The settings with the day of the flow's scheduled start (UTC) as the section's date, if none is given.

    A repeated or backfilled run therefore keeps its day.
    """
    chosen = getattr(settings, section)
    started = (flow_run.scheduled_start_time or datetime.now(UTC)).astimezone(UTC).date().isoformat()
    return settings.model_copy(update={section: chosen.model_copy(update={"date": chosen.date or started})})


def as_flow(name: str, hours: float) -> Callable[[Callable[..., Any]], Any]:
    """A function as a flow. An error with an exit code ends it as ``Failed``, with one line and that code.

    A flow that is called directly raises the error itself.
    """

    def decorate(body: Callable[..., Any]) -> Any:
        @functools.wraps(body)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                enter_home()
                return body(*args, **kwargs)
            except Exception as error:
                if (code := _code(error)) is None:
                    raise
                message = f"{shown(str(error))} (exit code {code})"
                get_run_logger().error(message)
                return Failed(data=error, message=message)

        return flow(name=name, timeout_seconds=hours * HOUR)(run)

    return decorate


def enter_home() -> None:
    """Change to the worker's ``GANLIB_HOME``, to which a deployment's paths are relative; not if called directly.

    Raises UsageError if the variable is not set, is relative or names no folder.
    """
    if deployment.id is None:
        return
    home = os.environ.get(HOME, "")
    if not Path(home).is_absolute():
        found = f"is {home!r}, a relative path" if home else "is not set"
        raise UsageError(f"{HOME} {found} where the worker runs; export the full path of the data's folder")
    try:
        os.chdir(home)
    except OSError as error:
        raise UsageError(f"{HOME}={home} cannot be entered ({error.strerror}); export the data's folder") from error


def runner(tasks: Mapping[Any, Any]) -> Runner:
    """A job's runner that calls each step's task and reports to the run's log."""
    return Runner(report, lambda step, *args: tasks[step](*args))


def report(text: str) -> None:
    """Print each line on stderr and write it to the run's log."""
    for line in text.split("\n"):
        say(line)
        get_run_logger().info(shown(line))


def key(*parts: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def leave_table(name: str, rows: list[dict[str, Any]], description: str) -> None:
    """Show a table with the flow run."""
    create_table_artifact(rows, key=key(name), description=description)


def leave_link(name: str, link: str, text: str) -> None:
    """Show a link with the flow run."""
    create_link_artifact(link, text, key=key(name), description=text)
