"""Policy files: read from a source checkout's mlflow/ folder, or from the copy in the installed wheel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.files import read_yaml


def policy_file(name: str) -> Path:
    """A policy file; raises UsageError if the installation lacks it."""
    here = Path(__file__).resolve().parent
    for candidate in (here / "policy" / name, here.parent / "mlflow" / name):
        if candidate.is_file():
            return candidate
    raise UsageError(f"the policy file {name} is missing from this installation; install ganlib again")


def read_policy(path: str | Path, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A YAML mapping of version 1; raises UsageError on another version, and on keys that are not ``known``."""
    values = read_yaml(path, "policy", "see mlflow/gates.yaml")
    if not isinstance(values, dict) or values.get("version") != 1:
        raise UsageError(f"{path} is no policy of version 1; its first line must be `version: 1`")
    if known is not None and (unknown := set(values) - {"version", *known}):
        raise UsageError(f"{path} has unknown keys {sorted(map(str, unknown))}; there are {sorted(known)}")
    return values


@cache
def registry_policy() -> dict[str, Any]:
    """mlflow/registry.yaml."""
    return read_policy(policy_file("registry.yaml"), {"aliases": 0, "required_tags": 0, "ledger": 0})
