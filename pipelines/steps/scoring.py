"""Scoring a file or folder, and explaining rows, with a registered model or a sealed file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.following import followed, note_scored
from pipelines.references import in_registry
from pipelines.registry import Registry
from pipelines.settings import Settings

if TYPE_CHECKING:
    from serving.batch import Summary
    from serving.explained import Explanation


def score(registry: Registry | None, settings: Settings, new_run: bool = False) -> Summary:
    """Score ``score.input`` with ``models:/NAME@ALIAS`` or a sealed file; calling it again continues.

    ``registry`` None opens the one that the settings name, if the model is registered. ``new_run`` replaces an output
    folder that holds another run. Raises UsageError if model, input or output are missing, and what
    ``serving.batch.score_batch`` raises.
    """
    from serving.batch import score_batch

    chosen = settings.score
    for name in ("model", "input", "output"):
        _given(getattr(chosen, name), name)
    path: str | Path = str(chosen.model)
    identity: dict[str, Any] = {}
    found = None
    if in_registry(str(path)):
        registry = registry or Registry(settings=settings.registry)
        found = followed(registry, str(path))
        path, identity = found.path, {"sha256": found.sha256, "model_name": found.name, "model_version": found.version}
    summary = score_batch(
        path, str(chosen.input), str(chosen.output), alpha=chosen.alpha, explain=chosen.explain, fdr=chosen.fdr,
        keep=chosen.keep, bad_rows=chosen.bad_rows, max_bad_share=chosen.max_bad_share,
        require_rows=chosen.require_rows, max_alarm_share=chosen.max_alarm_share,
        max_missing_share=chosen.max_missing_share, max_drift=chosen.max_drift,
        date=chosen.date, workers=chosen.workers, new_run=new_run,
        wait=chosen.wait, executor=chosen.executor, require_gpu=chosen.require_gpu, **identity,
    )  # fmt: skip
    if registry is not None and found is not None:
        note_scored(registry, found)
    return summary


def explain(
    registry: Registry | None,
    settings: Settings,
    rows: Sequence[str] = (),
    worst: int | None = None,
    record: str | None = None,
) -> list[Explanation]:
    """Explain rows of ``score.input``, or one ``record``, by ``score.model``; nothing is written.

    ``registry`` None opens the one that the settings name, if the model is registered. Raises UsageError if the model
    or the rows are missing, and what ``serving.explain.explain`` raises.
    """
    from serving.explain import explain as run

    chosen = settings.score
    path, sha256 = _given(chosen.model, "model"), None
    source = _given(chosen.input, "input") if record is None else None
    if in_registry(path):
        found = followed(registry or Registry(settings=settings.registry), path)
        path, sha256 = str(found.path), found.sha256
    return run(path, source, rows=rows, worst=worst, record=record, alpha=chosen.alpha, date=chosen.date, sha256=sha256)


def _given(value: str | None, name: str) -> str:
    """A setting of scoring; raises UsageError if it is missing."""
    if value is None:
        raise UsageError(f"--{name} is missing: give it, or score.{name} in the configuration (--config)")
    return value
