"""Listing a registry's models, and one version with its card."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from pipelines.card import card
from pipelines.errors import UsageError
from pipelines.following import LAST_SCORED
from pipelines.ledger import Ledger
from pipelines.registry import ModelVersion, Registry
from serving.artifact import load_artifact


def overview(registry: Registry) -> list[dict[str, Any]]:
    """One row a model, as JSON values; ``age_days`` is that of the champion, or else of the newest version."""
    return [_row(registry, name) for name in registry.names()]


def _row(registry: Registry, name: str) -> dict[str, Any]:
    aliases, versions = registry.aliases(name), registry.versions(name)
    champion = next((v for v in versions if v.version == aliases.get("champion")), None)
    shown = champion or (versions[-1] if versions else None)
    scored = [v.tags[LAST_SCORED] for v in versions if LAST_SCORED in v.tags]
    return {
        "name": name,
        "task": shown.tags.get("task", "") if shown else "",
        "aliases": aliases,
        "versions": [v.version for v in versions],
        "age_days": round((time.time() - shown.created) / 86400, 2) if shown else None,
        "last_scored": max(scored, default=None),
        "doubt": Ledger(registry, name).doubt(),
    }


def find_version(registry: Registry, what: str) -> ModelVersion:
    """The version that NAME, NAME@ALIAS or NAME/VERSION names; a name alone: champion, else challenger, else newest."""
    what = what.removeprefix("models:/")
    if "@" in what or "/" in what:
        return registry.find(f"models:/{what}")
    aliases = registry.aliases(what)
    for alias in ("champion", "challenger"):
        if alias in aliases:
            return registry.version(what, aliases[alias])
    if not (versions := registry.versions(what)):
        raise UsageError(f"model {what!r} has no version yet; train one with `ganlib train --name {what}`")
    return versions[-1]


def described(registry: Registry, what: str) -> dict[str, Any]:
    """A version and its card, as JSON values."""
    found = find_version(registry, what)
    text = found.card
    if not text.strip():  # registered by another tool, or by an earlier release
        resolved = registry.resolve(f"models:/{found.name}/{found.version}")
        text = card(load_artifact(resolved.path, resolved.sha256), found.name, found.tags)
    aliases = registry.aliases(found.name)
    return {
        "name": found.name,
        "version": found.version,
        "aliases": sorted(alias for alias, version in aliases.items() if version == found.version),
        "made": datetime.fromtimestamp(found.created, UTC).isoformat(timespec="seconds"),
        "last_scored": found.tags.get(LAST_SCORED),
        "doubt": Ledger(registry, found.name).doubt() if aliases.get("champion") == found.version else None,
        "tags": dict(found.tags),
        "card": text,
    }
