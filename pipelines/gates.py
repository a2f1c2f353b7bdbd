"""The gates of a promotion: requirements of a challenger and what was found (docs/promotion.md)."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import UsageError
from pipelines.policies import policy_file, read_policy, registry_policy
from pipelines.registry import ModelVersion, Registry
from pipelines.results import DetectorDetails, Trained
from serving.artifact import Artifact, golden_feeds, load_artifact
from serving.errors import IntegrityError
from serving.scorer import Scorer

if TYPE_CHECKING:
    from pipelines.settings import Settings


@dataclass(frozen=True)
class Gate:
    """The result of one gate: what was found and what was needed."""

    name: str
    passed: bool
    found: str
    needed: str


@dataclass(frozen=True)
class Verdict:
    """All gates of one challenger; no gates if it is champion ``already``."""

    name: str
    version: str
    gates: tuple[Gate, ...]
    already: bool = False

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)

    @property
    def failures(self) -> str:
        """The gates that did not pass, in one line."""
        return "; ".join(f"{g.name}: {g.found}, needed {g.needed}" for g in self.gates if not g.passed)

    def rows(self) -> list[dict[str, Any]]:
        """The table as JSON values."""
        return [asdict(gate) for gate in self.gates]


@dataclass(frozen=True)
class _Case:
    """What the gates read: the challenger, its opened artifact, and the champion, if there is one."""

    challenger: ModelVersion
    champion: ModelVersion | None
    artifact: Artifact

    def number(self, tag: str) -> float:
        """A numeric tag of the challenger; NaN, which passes no gate, if it is missing."""
        try:
            return float(self.challenger.tags.get(tag, "nan"))
        except ValueError:
            return math.nan


def _at_least(name: str, found: float, needed: float) -> Gate:
    return Gate(name, found >= needed, f"{found:.4g}", f"at least {needed:.4g}")


def _at_most(name: str, found: float, needed: float) -> Gate:
    return Gate(name, found <= needed, f"{found:.4g}", f"at most {needed:.4g}")


def _lineage(case: _Case, _: Any) -> Gate:
    lacking = [tag for tag in registry_policy()["required_tags"] if not case.challenger.tags.get(tag)]
    return Gate("lineage", not lacking, f"lacks {', '.join(lacking)}" if lacking else "complete", "required tags")


def _privacy(case: _Case, _: Any) -> Gate:
    found = case.challenger.tags.get("privacy", "not checked")
    return Gate("privacy", found == "passed", found, "passed")


def _parity(case: _Case, needed: Any) -> Gate:
    return _at_most("parity ratio", case.number("parity_ratio"), float(needed))


def _over_chance(case: _Case, needed: Any) -> Gate:
    name = f"{case.challenger.tags.get('quality_measure', 'quality')} over chance"
    return _at_least(name, case.number("quality") - case.number("quality_chance"), float(needed))


def _saved(case: _Case, needed: Any) -> Gate:
    """What translation saves on held-out examples; leaving them untranslated saves nothing."""
    return _at_least(case.challenger.tags.get("quality_measure", "quality"), case.number("quality"), float(needed))


def _behind_champion(case: _Case, needed: Any) -> Gate:
    """Compared on the same rows: the champion scored them when the challenger was trained, or has the same data."""
    mine, theirs = case.challenger.tags, case.champion.tags if case.champion else {}
    needed_text = f"at most {float(needed):.4g}"
    if case.champion is None:
        return Gate("behind champion", True, "no champion yet", needed_text)
    if mine.get("champion_version") == case.champion.version and "champion_quality" in mine:
        return _at_most("behind champion", case.number("champion_quality") - case.number("quality"), float(needed))
    same = all(mine.get(k) == theirs.get(k) for k in ("quality_measure", "data_fingerprint"))
    if same and "quality" in theirs:
        return _at_most("behind champion", float(theirs["quality"]) - case.number("quality"), float(needed))
    return Gate("behind champion", True, f"version {case.champion.version} is not comparable", needed_text)


def _behind_pca(case: _Case, needed: Any) -> Gate:
    return _at_most("behind PCA", case.number("baseline_pca") - case.number("quality"), float(needed))


def _calibration_rows(case: _Case, needed: Any) -> Gate:
    return _at_least("calibration rows", float(case.artifact.calibration["n"]), float(needed))


def _alpha(case: _Case, needed: Any) -> Gate:
    wanted = case.number("alpha") if needed is True else float(needed)
    least, rows = float(case.artifact.calibration["alpha_min"]), case.artifact.calibration["n"]
    found = f"{least:.4g} with {rows} calibration rows"
    if supported(least, wanted):
        return Gate("alpha supported", True, found, f"{wanted:.4g}")
    more = f"{wanted:.4g}: {rows_for(wanted)} rows, or alpha >= {least:.4g}" if wanted > 0 else f"{wanted:.4g}"
    return Gate("alpha supported", False, found, more)


def supported(alpha_min: float, alpha: float) -> bool:
    """Whether a calibration supports an alarm budget."""
    # Alphas are quotients of integers: equal ones may differ in the last digit.
    return alpha_min <= alpha * (1 + 1e-6)


def rows_for(alpha: float) -> int:
    """Calibration rows that support an alarm budget."""
    return math.ceil(1 / alpha) - 1


def _one_row(case: _Case, needed: Any) -> Gate:
    return _at_most("one row, ms", _milliseconds(case.artifact, 1, 50), float(needed))


def _thousand_rows(case: _Case, needed: Any) -> Gate:
    return _at_most("1,000 rows, ms", _milliseconds(case.artifact, 1000, 5), float(needed))


def _milliseconds(artifact: Artifact, rows: int, times: int) -> float:
    """Median time of scoring golden rows, repeated to ``rows``."""
    scorer = Scorer(artifact)
    feeds = {n: v[np.resize(np.arange(len(v)), rows)] for n, v in golden_feeds(artifact).items()}
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        scorer.score(feeds)
        spent.append(1000 * (time.perf_counter() - start))
    return statistics.median(spent)


_COMMON: dict[str, Callable[[_Case, Any], Gate]] = {
    "lineage": _lineage,
    "privacy": _privacy,
    "parity_ratio_at_most": _parity,
}
CHECKS: Mapping[str, Mapping[str, Callable[[_Case, Any], Gate]]] = {
    "augmenter": _COMMON,
    "translator": _COMMON | {"saved_at_least": _saved, "behind_champion_at_most": _behind_champion},
    "detector": _COMMON
    | {
        "over_chance_at_least": _over_chance,
        "behind_champion_at_most": _behind_champion,
        "behind_pca_at_most": _behind_pca,
        "calibration_rows_at_least": _calibration_rows,
        "alpha_supported": _alpha,
        "one_row_ms_at_most": _one_row,
        "thousand_rows_ms_at_most": _thousand_rows,
    },
}


def load_gates(path: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """The gates by task; raises UsageError on an unknown gate or a value that is not a number."""
    path = Path(path) if path else policy_file("gates.yaml")
    values = read_policy(path, CHECKS)
    gates: dict[str, dict[str, Any]] = {}
    for task in CHECKS:
        gates[task] = values.get(task) or {}
        if not isinstance(gates[task], dict):
            raise UsageError(f"{path}: {task} must hold gates and their bounds")
        known = {"integrity", *CHECKS[task]}
        if unknown := set(gates[task]) - known:
            raise UsageError(f"{path}: {task} has no gate {sorted(map(str, unknown))[0]!r}; there are {sorted(known)}")
        for name, value in gates[task].items():
            if not isinstance(value, bool | int | float) or (name.endswith(("_most", "_least")) and value is True):
                raise UsageError(f"{path}: gate {name} of {task} needs a number, not {value!r}")
    return gates


def judge(
    registry: Registry,
    name: str,
    version: str | None = None,
    gates: str | Path | None = None,
    holder: Registry | None = None,
) -> tuple[Verdict, str | None]:
    """The verdict on the challenger (or a version), and the champion's version before the first gate.

    ``holder`` is the challenger's registry, if it differs from the champion's.
    """
    policy, holder = load_gates(gates), holder or registry
    known = holder is registry or name in registry.names()
    current = registry.aliases(name).get("champion") if known else None
    challenger = holder.version(name, version) if version else holder.by_alias(name, "challenger")
    required = {k: v for k, v in policy.get(challenger.tags.get("task", ""), {}).items() if v is not False}
    try:
        resolved = holder.resolve(f"models:/{name}/{challenger.version}", fresh=True)
        artifact = load_artifact(resolved.path, resolved.sha256)
        _check_back(holder, challenger)
    except IntegrityError as error:
        # The other gates need an intact file.
        return Verdict(name, challenger.version, (Gate("integrity", False, str(error), "verified"),)), current
    found = [Gate("integrity", True, f"sha-256 {artifact.sha256[:12]}", "verified")] if "integrity" in required else []
    case = _Case(challenger, registry.version(name, current) if current else None, artifact)
    checks = CHECKS[artifact.kind]
    found += [checks[key](case, value) for key, value in required.items() if key != "integrity"]
    return Verdict(name, challenger.version, tuple(found)), current


def _check_back(holder: Registry, challenger: ModelVersion) -> None:
    """Raise IntegrityError unless the other direction of a translator, if it has one, is intact too."""
    if "back_sha256" in challenger.tags:
        other = "a" if challenger.tags.get("to") == "b" else "b"
        back = holder.resolve(f"models:/{challenger.name}/{challenger.version}", fresh=True, to=other)
        load_artifact(back.path, back.sha256)


def next_step(trained: Trained, chosen: Settings) -> str:
    """What to do after training: promote, or train again if the gate on the alarm budget would reject the version."""
    extra = trained.extra
    if not isinstance(extra, DetectorDetails):
        return f"next: ganlib promote {trained.name}"
    before = f"warning: {extra.doubt}\n" if extra.doubt else ""
    required = load_gates(chosen.registry.gates)["detector"].get("alpha_supported", False)
    wanted = chosen.calibration.alpha if required is True else float(required)
    if trained.alpha_min is None or required is False or supported(trained.alpha_min, wanted):
        return f"{before}next: ganlib promote {trained.name}"
    # Rounded up, so that the printed value is supported.
    least = math.ceil(trained.alpha_min * 1000) / 1000
    larger = f"train again with --alpha {least:g} or more, or" if required is True else "train again"
    return (
        f"{before}`ganlib promote {trained.name}` would be rejected (gate alpha_supported): {wanted:g} needs "
        f"{rows_for(wanted):,} calibration rows, there were {extra.calibration_rows:,}\n"
        f"next: {larger} with more rows (or a larger calibration.fraction)"
    )
