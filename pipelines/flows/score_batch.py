"""The flow that scores a file or folder with a registered model: the nightly job of ``prefect.yaml``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from pipelines import steps
from pipelines.flows.tasks import HOUR, as_task, leave_link, leave_table, tell
from pipelines.registry import Registry
from pipelines.settings import Settings, load_settings
from serving.wording import counted


def score_rows(settings: dict[str, Any]) -> dict[str, Any]:
    """Score what is not scored yet; committed units are skipped, so that a retry continues."""
    given = Settings.model_validate(settings)
    return steps.score(given.score, Registry(settings=given.registry)).to_dict()


def recount(output: str) -> dict[str, Any]:
    """Check that each input row was scored exactly once."""
    from serving.verify import verify

    return dict(verify(Path(output)))


SCORE = as_task(score_rows, idempotent=True, timeout=12 * HOUR)
RECOUNT = as_task(recount, idempotent=True)


@flow(name="score-batch", timeout_seconds=24 * HOUR)
def score_batch(
    model: str | None = None,
    input: str | None = None,
    output: str | None = None,
    alpha: float | None = None,
    explain: bool | None = None,
    config: str | None = None,
) -> dict[str, Any]:
    """Score and recount; ``{date}`` in ``output`` becomes the day of the scheduled start (UTC).

    A folder belongs to one input: a job that runs every night on a growing folder needs an output of its own each
    night. A run that is repeated keeps its scheduled day, and continues.
    """
    given = {"model": model, "input": input, "output": output, "alpha": alpha, "explain": explain}
    settings = load_settings(config, {f"score.{key}": value for key, value in given.items()})
    day = (flow_run.scheduled_start_time or datetime.now(UTC)).astimezone(UTC).date().isoformat()
    folder = None if settings.score.output is None else settings.score.output.replace("{date}", day)
    chosen = settings.score.model_copy(update={"output": folder})
    done = SCORE(settings.model_copy(update={"score": chosen}).to_json())
    folder = done["output"]
    counts = RECOUNT(folder)
    odd = counted(done["anomalies"], "anomaly", "anomalies")
    tell(f"{counted(done['rows'], 'row')} scored, {odd} at alpha {done['alpha']:g}: {folder}")
    shown = ("model_name", "model_version", "alpha", "rows", "anomalies", "units", "skipped")
    leave_table("scores", [{name: done[name] for name in shown} | {"recounted": counts["rows"]}], f"scores in {folder}")
    leave_link("scores-folder", Path(folder).resolve().as_uri(), folder)
    return done
