"""The flow that scores a file or folder with a registered model: the nightly job of ``prefect.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines import steps
from pipelines.flows.tasks import HOUR, as_flow, as_task, leave_link, leave_table, report, with_day
from pipelines.settings import Settings, load_settings
from serving.batch import Summary


def score_rows(settings: dict[str, Any]) -> dict[str, Any]:
    """Score the units that are not committed yet, so that a retry continues."""
    given = Settings.model_validate(settings)
    return steps.score(None, given).to_dict()


def recount(output: str) -> dict[str, Any]:
    """Check that each input row was scored exactly once."""
    from serving.verify import verify

    return dict(verify(Path(output)))


SCORE = as_task(score_rows, idempotent=True, timeout=12 * HOUR)
RECOUNT = as_task(recount, idempotent=True)


@as_flow("score-batch", hours=24)
def score_batch(
    model: str | None = None,
    input: str | None = None,
    output: str | None = None,
    alpha: float | None = None,
    explain: bool | None = None,
    config: str | None = None,
    date: str | None = None,
    keep: list[str] | None = None,
    bad_rows: str | None = None,
    max_bad_share: float | None = None,
    require_rows: bool | None = None,
    max_alarm_share: float | None = None,
    max_missing_share: float | None = None,
    max_drift: float | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Score and recount; ``{date}`` in ``input`` and ``output`` becomes ``date``, or the day of the scheduled start.

    ``config`` is a YAML file of settings, ``overrides`` dotted keys such as ``score.executor``; arguments win.
    Fails after writing everything if a limit (``max_alarm_share``, ``max_missing_share``, ``max_drift``) is exceeded.
    Give ``date`` (YYYY-MM-DD) to score a past day again. A repeated run keeps its scheduled day (UTC) and continues.
    """
    given = {
        "model": model, "input": input, "output": output, "alpha": alpha, "explain": explain, "date": date,
        "keep": keep, "bad_rows": bad_rows, "max_bad_share": max_bad_share, "require_rows": require_rows,
        "max_alarm_share": max_alarm_share, "max_missing_share": max_missing_share,
        "max_drift": max_drift,
    }  # fmt: skip
    chosen = {f"score.{key}": value for key, value in given.items() if value is not None}
    settings = load_settings(config, dict(overrides or {}) | chosen)
    done = SCORE(with_day(settings, "score").to_json())
    folder = done["output"]
    counts = RECOUNT(folder)
    summary = Summary(**done)
    report(summary.report())
    shown = ("model_name", "model_version", "alpha", "rows", "dead", "anomalies", "units", "skipped")
    leave_table("scores", [{name: done[name] for name in shown} | {"recounted": counts["rows"]}], f"scores in {folder}")
    leave_link("scores-folder", Path(folder).resolve().as_uri(), folder)
    summary.check()
    return done
