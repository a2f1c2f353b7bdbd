"""Promotion through the gates, and rollback (docs/promotion.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.card import with_gates
from pipelines.connection import masked
from pipelines.copying import chosen, copy_version
from pipelines.errors import GateRefused, UsageError
from pipelines.gates import Gate, Verdict, judge, load_gates
from pipelines.ledger import Ledger, target_of_rollback
from pipelines.policies import policy_file
from pipelines.registry import Registry

__all__ = ["Gate", "Verdict", "history", "judge", "load_gates", "policy_file", "promote", "rollback"]


def promote(
    registry: Registry,
    name: str,
    version: str | None = None,
    gates: str | Path | None = None,
    dry_run: bool = False,
    source: Registry | None = None,
) -> Verdict:
    """Judge the challenger, or a version, and make it champion; what was champion becomes ``previous``.

    - ``source``: another registry, from which its champion (or ``version``) is copied first.
    - ``dry_run``: judge only, write nothing.

    A promotion that a crash interrupted is finished or undone first. Promoting the champion runs no gate and changes
    nothing, unless the alias was moved by hand.

    Raises GateRefused (exit 3; its ``verdict`` is the table), TryAgain (75) if another process moved the alias,
    UsageError, IntegrityError, RegistryDown.
    """
    if source is not None:
        if source.uri == registry.uri:
            raise UsageError(f"{masked(source.uri)} is this registry itself: name another to copy from")
        if dry_run:
            return _passed(judge(registry, name, chosen(source, name, version).version, gates, source)[0])
        version = copy_version(source, registry, name, version).version
    ledger = Ledger(registry, name)
    if not dry_run:
        ledger.settle()
    aliases = registry.aliases(name)
    current = aliases.get("champion")
    if current is not None and (version or aliases.get("challenger")) == current and not ledger.doubt():
        return Verdict(name, current, (), already=True)
    verdict, before = judge(registry, name, version, gates)
    if dry_run:
        return _passed(verdict)
    _note(registry, verdict)
    if not verdict.passed:
        ledger.note_refusal(before, verdict.version, verdict.rows())
    _passed(verdict)
    behind = [v for v in [*ledger.line(), before] if v != verdict.version]
    ledger.move("promote", before, verdict.version, behind[-1] if behind else None, verdict.rows())
    return verdict


def _passed(verdict: Verdict) -> Verdict:
    if not verdict.passed:
        raise GateRefused(f"{verdict.name} version {verdict.version} was not promoted: {verdict.failures}", verdict)
    return verdict


def _note(registry: Registry, verdict: Verdict) -> None:
    """Save the verdict as a tag of the version and as a table on its card."""
    name, version = verdict.name, verdict.version
    registry.tag(name, version, "gate_verdict", "passed" if verdict.passed else "refused")
    found = registry.version(name, version)
    registry.set_card(name, version, with_gates(found.card, verdict.rows()))


def rollback(registry: Registry, name: str, dry_run: bool = False) -> tuple[str, str]:
    """Make the previous champion champion again; returns the versions ``(from, to)``.

    Each call goes back by one. Raises UsageError if the ledger holds none, TryAgain (75) if another process moves the
    alias.
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
