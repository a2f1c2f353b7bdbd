"""The flow that trains a detector, or candidates to compare, and registers it as ``challenger``."""

from __future__ import annotations

from typing import Any

from pipelines import steps
from pipelines.flows.tasks import HOUR, as_flow, as_task, leave_link, leave_table, runner, with_day

TASKS = {
    steps.prepare: as_task(steps.prepare, idempotent=True),
    # It goes on from its finished trials.
    steps.tune: as_task(steps.tune, idempotent=True, timeout=24 * HOUR),
    steps.train_candidate: as_task(steps.train_candidate, idempotent=True, timeout=12 * HOUR),
    steps.choose: as_task(steps.choose, idempotent=True),
    # A second run would register a second version.
    steps.register: as_task(steps.register, idempotent=False),
}


@as_flow("train-detector", hours=48)
def train_detector(
    name: str,
    data: str | None = None,
    label: str | None = None,
    normal: str | None = None,
    model: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
    date: str | None = None,
) -> dict[str, Any]:
    """Train, compare, calibrate, seal and register; returns ``results.Trained`` as JSON values.

    ``config`` is a YAML file of settings, ``overrides`` dotted keys such as ``training.steps``; arguments win.
    ``{date}`` in ``data`` becomes ``date`` (YYYY-MM-DD), or the day of the scheduled start (UTC).
    """
    settings = steps.settings_of(
        data, label=label, normal=normal, model=model, config=config, overrides=overrides, date=date
    )
    trained = steps.train_detector(None, with_day(settings, "data"), name, runner(TASKS))
    rows = [{"model": m, trained.measure: round(v, 4), "chosen": m == trained.model}
            for m, v in trained.validation.items()]  # fmt: skip
    leave_table(f"candidates {name}", rows, f"{trained.rule}; {trained.measure} on validation rows")
    leave_link(f"artifact {name}", f"file://{trained.artifact}", f"{name} version {trained.version}")
    return trained.to_dict()
