"""Flows that train and register a translator, and that translate data."""

from __future__ import annotations

from typing import Any

from pipelines import steps
from pipelines.flows.tasks import HOUR, as_flow, as_task, leave_link, leave_table, report, runner, with_day
from pipelines.settings import Settings

TASKS = {
    steps.prepare_translator: as_task(steps.prepare_translator, idempotent=True),
    steps.fit_translator: as_task(steps.fit_translator, idempotent=True, timeout=12 * HOUR),
    # A second run would register a second version.
    steps.register_translator: as_task(steps.register_translator, idempotent=False),
}


def translate_rows(settings: dict[str, Any]) -> dict[str, Any]:
    """Write the counterparts; the same settings give the same file."""
    given = Settings.model_validate(settings)
    return steps.translate(None, given, steps.Runner(report)).to_dict()


TRANSLATE = as_task(translate_rows, idempotent=True, timeout=12 * HOUR)


@as_flow("train-translator", hours=24)
def train_translator(
    name: str,
    data: str | None = None,
    data_b: str | None = None,
    model: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
    date: str | None = None,
) -> dict[str, Any]:
    """Fit a translator from ``data`` to ``data_b``, measure it on held-out examples and register it as ``challenger``.

    ``{date}`` in both places becomes ``date`` (YYYY-MM-DD), or the day of the scheduled start (UTC).
    """
    given = dict(overrides or {}) | {"data.path_b": data_b}
    settings = steps.settings_of(data, model=model, config=config, overrides=given, date=date)
    trained = steps.train_translator(None, with_day(settings, "data"), name, runner(TASKS))
    rows = [{"what": key, trained.measure: round(value, 4)} for key, value in trained.test.items()]
    leave_table(f"translator {name}", rows, trained.measure)
    leave_link(f"artifact {name}", f"file://{trained.artifact}", f"{name} version {trained.version}")
    return trained.to_dict()


@as_flow("translate", hours=24)
def translate(
    model: str | None = None,
    data: str | None = None,
    output: str | None = None,
    to: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
    date: str | None = None,
) -> dict[str, Any]:
    """Write the counterparts of ``data`` in domain ``to``, marked as synthetic.

    ``{date}`` in ``data`` and ``output`` becomes ``date`` (YYYY-MM-DD), or the day of the scheduled start (UTC).
    """
    given = dict(overrides or {}) | {"translate.model": model, "translate.output": output, "translate.to": to}
    settings = steps.settings_of(data, config=config, overrides=given, date=date)
    done = TRANSLATE(with_day(settings, "data").to_json())
    leave_table("translated", [{"rows": done["rows"], "to": done["to"]}], f"{done['output']}: {done['model']}")
    return done
