"""docs/models.md: the registry as a page, with what the recorded checks found."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.registry import Entry

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORDED, MIXTURES = DOCS / "checks.json", DOCS / "mixtures.json"


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
    return "\n".join([*head, *rows, *_checks(), *_mixtures(), "", "## Known gaps", *gaps, ""])


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


def _mixtures() -> list[str]:
    """The recorded runs of ``benchmarks.models.mixtures``, best first."""
    if not MIXTURES.is_file():
        return []
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in json.loads(MIXTURES.read_text(encoding="utf-8")):
        runs.setdefault(run["set"], {}).setdefault(run["objective"], []).append(run)
    page = [
        "", "## Objectives on mixtures",
        "One network and one budget for every objective, at the learning rate of its toy, by `python -m "
        "benchmarks.models.mixtures --write`: modes found and share of points within three deviations of one, mean and "
        "by seed; CPU beside `gan`'s. Those that lose stay in the table.",
    ]  # fmt: skip
    for name, objectives in runs.items():
        usual = _mean(objectives.get("gan", next(iter(objectives.values()))), "cpu_s")
        page += ["", f"| {name} | modes | share | CPU |", "|---|---|---|---|"]
        ranked = sorted(objectives.items(), key=lambda item: (-_mean(item[1], "modes"), -_mean(item[1], "quality")))
        for objective, rows in ranked:
            modes, shares = (" ".join(f"{row[key]:.3g}" for row in rows) for key in ("modes", "quality"))
            page.append(
                f"| {objective} | {_mean(rows, 'modes'):.3g} ({modes}) | {_mean(rows, 'quality'):.2f} ({shares}) "
                f"| {_mean(rows, 'cpu_s') / usual:.1f} |"
            )
    return page


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.mean(row[key] for row in rows)


def _row(name: str, check: dict[str, Any]) -> str:
    figures, baselines = (" ".join(f"{value:.3g}" for value in check[key]) for key in ("figures", "baselines"))
    judged = f"{'worst' if check['worst'] else 'mean'} {'gain ' if check['gain'] else ''}{check['need']:g}"
    mean = statistics.mean(check["figures"])
    verdict = "reproduced" if check["passed"] else "not reproduced"
    return (
        f"| {name} | `{check['model']}` | {check['measure']} | {mean:.3g} ({figures}) "
        f"| {check['baseline']}: {baselines} | {judged} | {verdict} |"
    )
