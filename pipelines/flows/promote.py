"""Flows that promote a challenger through the gates, and roll back to the previous champion."""

from __future__ import annotations

from typing import Any

from pipelines import promotion
from pipelines.errors import GateRefused
from pipelines.flows.tasks import as_flow, as_task, leave_table, report
from pipelines.registry import Registry
from pipelines.settings import load_settings


def move_champion(
    name: str, version: str | None, gates: str | None, dry_run: bool, config: str | None
) -> dict[str, Any]:
    """Judge and promote; failed gates are a result here, so that the flow can show their table."""
    settings = load_settings(config).registry
    try:
        verdict = promotion.promote(Registry(settings=settings), name, version, gates or settings.gates, dry_run)
    except GateRefused as error:
        if error.verdict is None:
            raise
        verdict = error.verdict
    return {"name": name, "version": verdict.version, "passed": verdict.passed, "failures": verdict.failures,
            "gates": verdict.rows(), "already": verdict.already}  # fmt: skip


def move_back(name: str, dry_run: bool, config: str | None) -> list[str]:
    """Roll back by one: [from, to]."""
    return list(promotion.rollback(Registry(settings=load_settings(config).registry), name, dry_run))


# No retries: another process may have moved the alias.
MOVE = as_task(move_champion, idempotent=False)
BACK = as_task(move_back, idempotent=False)


@as_flow("promote", hours=1)
def promote(
    name: str,
    version: str | None = None,
    gates: str | None = None,
    dry_run: bool = False,
    config: str | None = None,
) -> dict[str, Any]:
    """Make the challenger champion if it passes the gates; raises GateRefused (exit 3), TryAgain (75)."""
    done = MOVE(name, version, gates, dry_run, config)
    if done["already"]:
        report(f"{name} version {done['version']} is champion already; nothing to promote")
        return done
    state = "passed" if done["passed"] else "refused"
    leave_table(f"gates {name}", done["gates"], f"{name} version {done['version']}: {state}")
    if not done["passed"]:
        raise GateRefused(f"{name} version {done['version']} was not promoted: {done['failures']}")
    report(f"{name} version {done['version']} {'would be' if dry_run else 'is'} champion")
    return done


@as_flow("rollback", hours=1)
def rollback(name: str, dry_run: bool = False, config: str | None = None) -> dict[str, Any]:
    """Make the previous champion champion again."""
    before, after = BACK(name, dry_run, config)
    leave_table(f"rollback {name}", [{"from": before, "to": after}], f"champion of {name}")
    report(f"{name}: version {before} {'would give' if dry_run else 'gave'} way to version {after}")
    return {"name": name, "from": before, "to": after}
