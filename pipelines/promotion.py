"""Promotion: gates, alias, ledger; and the way back (docs/promotion.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.errors import GateRefused
from pipelines.gates import Gate, Verdict, judge, load_gates
from pipelines.ledger import Ledger, target_of_rollback
from pipelines.policies import policy_file
from pipelines.registry import Registry

__all__ = ["Gate", "Verdict", "history", "judge", "load_gates", "policy_file", "promote", "rollback"]


def promote(
    registry: Registry, name: str, version: str | None = None, gates: str | Path | None = None, dry_run: bool = False
) -> Verdict:
    """Judge the challenger, or a version, and make it champion; what was champion becomes ``previous``.

    A half-done promotion is finished or undone first. Promoting the champion asks no gate and changes nothing. With
    ``dry_run`` nothing at all is written. Raises GateRefused (exit 3; its ``verdict`` is the table), TryAgain (75)
    where somebody else moved the alias meanwhile, UsageError, RegistryDown.
    """
    ledger = Ledger(registry, name)
    if not dry_run:
        ledger.settle()
    aliases = registry.aliases(name)
    if "champion" in aliases and (version or aliases.get("challenger")) == aliases["champion"]:
        return Verdict(name, aliases["champion"], (), already=True)
    verdict, before = judge(registry, name, version, gates)
    if not verdict.passed:
        if not dry_run:
            ledger.note_refusal(before, verdict.version, verdict.rows())
            registry.tag(name, verdict.version, "gate_verdict", "refused")
        raise GateRefused(f"{name} version {verdict.version} was not promoted: {verdict.failures}", verdict)
    if dry_run:
        return verdict
    registry.tag(name, verdict.version, "gate_verdict", "passed")
    ledger.move("promote", before, verdict.version, before, verdict.rows())
    return verdict


def rollback(registry: Registry, name: str, dry_run: bool = False) -> tuple[str, str]:
    """Back to the champion before: ``(from, to)`` versions; called again, one further back.

    Raises UsageError where the ledger knows none, TryAgain (75) where somebody else moves the alias.
    """
    ledger = Ledger(registry, name)
    if not dry_run:
        ledger.settle()
    current, target, behind = target_of_rollback(ledger)
    if not dry_run:
        ledger.move("rollback", current, target, behind, [])
    return current, target


def history(registry: Registry, name: str) -> list[dict[str, Any]]:
    """Ledger rows of a model as JSON values, newest first."""
    return [row.to_dict() for row in reversed(Ledger(registry, name).rows())]
