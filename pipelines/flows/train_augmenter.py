"""Flows that train and register an augmenter, and that augment a table."""

from __future__ import annotations

from typing import Any

from pipelines import steps
from pipelines.flows.tasks import HOUR, as_flow, as_task, leave_link, leave_table, report, runner, with_day
from pipelines.settings import Settings

TASKS = {
    steps.prepare_augmenter: as_task(steps.prepare_augmenter, idempotent=True),
    steps.fit_augmenter: as_task(steps.fit_augmenter, idempotent=True, timeout=12 * HOUR),
    # A second run would register a second version.
    steps.register_augmenter: as_task(steps.register_augmenter, idempotent=False),
}


def augment_rows(settings: dict[str, Any]) -> dict[str, Any]:
    """Write the augmented table; the same settings give the same file."""
    given = Settings.model_validate(settings)
    return steps.augment(None, given, steps.Runner(report)).to_dict()


AUGMENT = as_task(augment_rows, idempotent=True, timeout=12 * HOUR)


@as_flow("train-augmenter", hours=24)
def train_augmenter(
    name: str,
    data: str | None = None,
    label: str | None = None,
    model: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
    date: str | None = None,
) -> dict[str, Any]:
    """Fit a generator by class, measure its lift on held-out real rows, seal and register it as ``challenger``.

    ``{date}`` in ``data`` becomes ``date`` (YYYY-MM-DD), or the day of the scheduled start (UTC).
    """
    given = dict(overrides or {}) | {"augment.model": model}
    settings = steps.settings_of(data, label=label, config=config, overrides=given, date=date)
    trained = steps.train_augmenter(None, with_day(settings, "data"), name, runner(TASKS))
    from ganlib.augment.arms import NAMES

    rows = [{"trained on": NAMES[key], trained.measure: round(value, 4)} for key, value in trained.test.items()]
    leave_table(f"lift {name}", rows, f"{trained.measure}: a forest trained on real rows, and on augmented rows")
    leave_link(f"artifact {name}", f"file://{trained.artifact}", f"{name} version {trained.version}")
    return trained.to_dict()


@as_flow("augment", hours=24)
def augment(
    data: str | None = None,
    output: str | None = None,
    label: str | None = None,
    rows: int | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
    date: str | None = None,
) -> dict[str, Any]:
    """Write the real rows, then generated ones marked ``_synthetic``.

    ``{date}`` in ``data`` and ``output`` becomes ``date`` (YYYY-MM-DD), or the day of the scheduled start (UTC).
    """
    given = dict(overrides or {}) | {"augment.output": output, "augment.rows": rows}
    settings = steps.settings_of(data, label=label, config=config, overrides=given, date=date)
    done = AUGMENT(with_day(settings, "data").to_json())
    classes = [{"class": name, "generated rows": count} for name, count in done["classes"].items()]
    leave_table("augmented", classes or [{"generated rows": done["synthetic"]}], f"{done['output']}: {done['model']}")
    return done
