"""Rows of a batch that end no window: counted by reason, and named by ranges in the commit of their unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from serving.windows import WAITING
from serving.wording import counted

Commit = Mapping[str, Any]


def noted(waiting: Iterable[tuple[str, np.ndarray]]) -> dict[str, Any]:
    """The entries of a commit for rows ``(n,)`` by reason; none if there are no such rows."""
    found = [(reason, rows) for reason, rows in waiting if len(rows)]
    if not found:
        return {}
    counts: Counter[str] = Counter()
    for reason, rows in found:
        counts[reason] += len(rows)
    return {"waiting": dict(sorted(counts.items())), "waiting_rows": _ranges(np.concatenate([r for _, r in found]))}


def _ranges(rows: np.ndarray) -> list[list[int]]:
    """Start and end (exclusive) of each stretch of rows."""
    rows = np.sort(rows)
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return [[int(part[0]), int(part[-1]) + 1] for part in np.split(rows, cuts)]


def rows_of(commit: Commit) -> np.ndarray:
    """The rows of a unit that end no window, int64 ``(n,)``."""
    ranges = commit.get("waiting_rows", [])
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(start, stop) for start, stop in ranges)])


def waiting_rows(commit: Commit) -> int:
    """How many rows of a unit or of a run end no window."""
    return sum(commit.get("waiting", {}).values())


def waiting_counts(commits: Iterable[Commit]) -> dict[str, int]:
    """The counts of several commits by reason."""
    counts: Counter[str] = Counter()
    for commit in commits:
        counts.update(commit.get("waiting", {}))
    return dict(sorted(counts.items()))


def waiting_text(waiting: Mapping[str, int]) -> str:
    """The counts as text, empty without any."""
    if not waiting:
        return ""
    parts = ", ".join(f"{n:,} {WAITING.get(reason, reason)}" for reason, n in waiting.items())
    return f"{counted(sum(waiting.values()), 'row ends', 'rows end')} no window: {parts}"
