"""docs/models.md: the registry as a page, with what the recorded checks found."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.registry import Entry

RECORDED = Path(__file__).resolve().parents[1] / "docs" / "checks.json"


def models_page(found: list[Entry]) -> str:
    """Every model: what it is for, the level the tests hold it to, its recorded check, and its gaps."""
    found = sorted(found, key=lambda entry: entry.name)
    head = ["# Models", "Written by `ganlib models --markdown`; a test keeps it true. *Level* is what `make test-full` "
            "asks of the worst of three seeds on the model's toy problem.", "",
            "| name | task | data | exports | level | paper |", "|---|---|---|---|---|---|"]  # fmt: skip
    rows = [
        f"| `{e.name}` | {', '.join(e.tasks)} | {', '.join(e.modalities)} | {', '.join(e.exports) or '-'} "
        f"| {e.toy.measure}: at least {e.toy.at_least:g} | {e.paper} |"
        for e in found
    ]
    gaps = [f"- `{e.name}`, {law}: {reason}" for e in found for law, reason in e.known_gaps.items()]
    return "\n".join([*head, *rows, *_checks(), "", "## Known gaps", *gaps, ""])


def _checks() -> list[str]:
    """The recorded runs of ``benchmarks.models.checks``; nothing where they are not at hand."""
    if not RECORDED.is_file():
        return []
    stored: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return [
        "", "## Checks",
        "Each model's own test, by `python -m benchmarks.models.checks --write`: the figure and the baseline of every "
        "seed. *Needs* is the bound on the mean, or on the worst seed; *gain* bounds figure less baseline.", "",
        "| check | model | what is measured | figure | baseline | needs | |", "|---|---|---|---|---|---|---|",
        *(_row(name, check) for name, check in sorted(stored.items())),
    ]  # fmt: skip


def _row(name: str, check: dict[str, Any]) -> str:
    figures, baselines = (" ".join(f"{value:.3g}" for value in check[key]) for key in ("figures", "baselines"))
    judged = f"{'worst' if check['worst'] else 'mean'} {'gain ' if check['gain'] else ''}{check['need']:g}"
    mean = statistics.mean(check["figures"])
    verdict = "reproduced" if check["passed"] else "not reproduced"
    return (
        f"| {name} | `{check['model']}` | {check['measure']} | {mean:.3g} ({figures}) "
        f"| {check['baseline']}: {baselines} | {judged} | {verdict} |"
    )
