"""Options and results of pruning, and how both are printed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from serving.errors import UsageError
from serving.wording import counted

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Pruning:
    """Options: remove data that is older than ``cutoff`` (seconds since 1970) and no longer needed."""

    cutoff: float
    scored_by: tuple[Path, ...] = ()
    dead_letters: bool = False
    dry_run: bool = False
    wait: float = 0.0

    @property
    def before(self) -> str:
        """The cutoff in the text format of the times in scores and dead letters, which sort as text."""
        return datetime.fromtimestamp(self.cutoff, UTC).isoformat()


@dataclass(frozen=True)
class Removed:
    """What was, or would be, removed from a path; ``notes`` name old items that stay."""

    path: str
    what: str
    count: int
    bytes: int
    dry_run: bool
    notes: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The result as text for the console."""
        how = "would be removed" if self.dry_run else "removed"
        size = f" ({_size(self.bytes)})" if self.count else ""
        return "\n".join(
            [f"{self.path}: {counted(self.count, self.what)} {how}{size}", *(f"  {n}" for n in self.notes)]
        )


def seconds_of(text: str) -> float:
    """Seconds in ``30d``, ``12h`` or ``90m``; raises UsageError for other text."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if found is None or int(found[1]) == 0:
        raise UsageError(f"--older-than takes a whole number of {', '.join(UNITS)}, such as 30d or 12h; not {text!r}")
    return float(found[1]) * UNITS[found[2]]


def pruning_of(
    older_than: str, scored_by: Sequence[Path] | None = None, dead_letters: bool = False, dry_run: bool = False,
    wait: float = 0.0, now: float | None = None,
) -> Pruning:  # fmt: skip
    """Parse the options of both commands; raises UsageError."""
    cutoff = (time.time() if now is None else now) - seconds_of(older_than)
    return Pruning(cutoff, tuple(scored_by or ()), dead_letters, dry_run, wait)


def report(removed: Iterator[Removed], as_json: bool) -> None:
    """Print each result as it comes, or all as one JSON list; also prints the results before an error."""
    done: list[Removed] = []
    try:
        for one in removed:
            done.append(one)
            if not as_json:
                print(one.line(), flush=True)
    finally:
        if as_json:
            print(json.dumps([asdict(one) for one in done]), flush=True)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
