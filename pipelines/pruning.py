"""Removing old model versions that no alias and no rollback needs (docs/promotion.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

from pipelines.ledger import Ledger
from pipelines.registry import Registry
from serving.pruning import Pruning, Removed


def prune_versions(registry: Registry, pruning: Pruning) -> Iterator[Removed]:
    """Delete old versions that are not needed; yields one result a model.

    The run and the logged model of a version are marked deleted with it, unless another version uses them. MLflow's
    garbage collection frees their files. Raises TryAgain (75) while a champion is being moved, RegistryDown.
    """
    for name in registry.names():
        ledger = Ledger(registry, name)
        if not pruning.dry_run:
            ledger.settle()
        # No alias may move while versions are chosen and deleted.
        with nullcontext() if pruning.dry_run else ledger._turn():
            old, kept = _parted(registry, ledger, pruning)
            models = {_model(v) for v in old} - {_model(v) for v in kept} - {""}
            size = sum(registry._ask(partial(_size, model=model)) for model in models)
            for version in () if pruning.dry_run else old:
                registry._ask(partial(_delete, version=version))
        notes = [f"version {', '.join(str(version.version) for version in old)}"] if old else []
        yield Removed(f"models:/{name}", "version", len(old), size, pruning.dry_run, notes)


def _parted(registry: Registry, ledger: Ledger, pruning: Pruning) -> tuple[list[Any], list[Any]]:
    """The versions to delete and those to keep, oldest first."""
    needed = {*registry.aliases(ledger.name).values(), *ledger.line()}
    for row in ledger.rows():
        if row.state == "open":
            needed |= {row.after, *filter(None, [row.before, row.tags.get("previous")])}
    versions = registry._ask(partial(_versions, query=f"name = '{ledger.name}'"))
    old: list[Any] = []
    kept: list[Any] = []
    for version in sorted(versions, key=lambda version: int(version.version)):
        goes = version.creation_timestamp / 1000 < pruning.cutoff and str(version.version) not in needed
        (old if goes else kept).append(version)
    return old, kept


def _versions(client: Any, query: str) -> list[Any]:
    found, token = [], None
    while True:
        page = client.search_model_versions(query, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _model(version: Any) -> str:
    """The id of a version's logged model; empty if it has none."""
    return version.source.removeprefix("models:/") if version.source.startswith("models:/m-") else ""


def _delete(client: Any, version: Any) -> None:
    """Delete a version, then the run and model that only it used; a crash in between leaves a run to delete by hand."""
    client.delete_model_version(version.name, str(version.version))
    if _model(version) and not _versions(client, f"source_path = '{version.source}'"):
        client.delete_logged_model(_model(version))
    if version.run_id and not _versions(client, f"run_id = '{version.run_id}'"):
        client.delete_run(version.run_id)


def _size(client: Any, model: str, path: str | None = None) -> int:
    """Bytes of a logged model's files."""
    files = client.list_logged_model_artifacts(model, path)
    return sum(_size(client, model, file.path) if file.is_dir else file.file_size or 0 for file in files)
