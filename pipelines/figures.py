"""Rows of a detector's job by part, and figures on them: some choose a candidate, others are only reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.job import Job
from pipelines.results import DetectorData, DetectorRows

if TYPE_CHECKING:
    from serving.windows import Windows


class Parts:
    """The parts ``fit``, ``validation`` and ``test`` without labels, with the known anomalies of each."""

    def __init__(self, job: Job) -> None:
        self.data, rows = job.load("facts", DetectorData), job.load("rows", DetectorRows)
        self.reader, self.folder = job.read(self.data.fingerprint), job.folder
        self.rows = rows.parts
        self.anomalous = {part: np.array(flags, dtype=bool) for part, flags in rows.anomalous.items()}
        self.seed = job.settings.training.random_state

    def part(self, name: str) -> Any:
        """A part's rows, as estimators read them."""
        return self.reader.part(self.rows[name])

    def learned(self) -> tuple[Any, np.ndarray | None, np.ndarray | None]:
        """The rows that a detector is fitted on, which of them are known anomalies, and their runs if they have any.

        The known anomalies among them are those that weigh a fusion.
        """
        fit, weighing = self.rows["fit"], self.rows.get("weighing", [])
        known = np.repeat([False, True], [len(fit), len(weighing)]) if "weighing" in self.rows else None
        rows = [*fit, *weighing]
        return self.reader.part(rows), known, None if self.reader.runs is None else self.reader.runs[rows]

    def truth(self, name: str) -> np.ndarray | None:
        """Known anomalies of a part as a mask; None unless it holds both normal and anomalous rows."""
        anomalous = self.anomalous[name]
        return anomalous if anomalous.any() and not anomalous.all() else None

    def judged(self, name: str) -> tuple[Any, np.ndarray, str, float]:
        """What candidates are measured on: rows, their truth, the measure's name and its chance level.

        These are the part's rows if it holds known anomalies, else its rows and the same rows altered.
        """
        rows, truth = self.part(name), self.truth(name)
        if truth is not None:
            return rows, truth, "AUPRC", float(truth.mean())
        return *self.reader.contrast(rows, self.folder, self.seed), 0.5


def measured(measure: str, scores: np.ndarray, truth: np.ndarray) -> float:
    """AUPRC if the measure is called so, else AUROC."""
    from ganlib.metrics.detection import auprc, auroc

    return auprc(scores, truth) if measure == "AUPRC" else auroc(scores, truth)


def reported_figures(detector: Any, parts: Parts) -> dict[str, float]:
    """Figures on the test rows, which never choose a candidate; empty without test rows."""
    from ganlib.metrics.detection import auprc, auroc

    rows, anomalous = parts.part("test"), parts.anomalous["test"]
    if len(rows) == 0:
        return {}
    out, scores = {}, detector.anomaly_score(rows)
    if (truth := parts.truth("test")) is not None:
        out = {"auroc": auroc(scores, truth), "auprc": auprc(scores, truth), "anomaly_share": float(truth.mean())}
    else:
        judged, truth, measure, _ = parts.judged("test")
        out = {"contrast_auroc": measured(measure, detector.anomaly_score(judged), truth)}
    alarms = detector.predict(rows) == -1
    if (~anomalous).any():
        out["alarm_rate_normal"] = float(alarms[~anomalous].mean())
    if anomalous.any():
        out["alarm_rate_anomalous"] = float(alarms[anomalous].mean())
    return out


def calibration_figures(detector: Any, parts: Parts) -> dict[str, Any]:
    """Shares of held-out rows that alarm, by alarm budget; for normal rows they should equal the budget."""
    name = "test" if len(parts.anomalous["test"]) else "validation"
    p_values, anomalous = np.asarray(detector.p_value(parts.part(name))), parts.anomalous[name]
    budgets = np.round(np.arange(1, 51) / 100, 2)
    kinds = {"normal": p_values[~anomalous], "anomalous": p_values[anomalous]}
    shares = {kind: [float((p <= b).mean()) for b in budgets] for kind, p in kinds.items() if len(p)}
    return {"budgets": budgets.tolist(), "shares": shares, "rows": {kind: len(p) for kind, p in kinds.items()}}


def baseline_figures(parts: Parts, judged: Any, truth: np.ndarray, measure: str) -> dict[str, float]:
    """Figures of simple detectors on the same rows."""
    scores = parts.reader.baselines(parts.part("fit"), judged, parts.folder, parts.seed)
    return {name: measured(measure, values, truth) for name, values in scores.items()}


def champion_figures(job: Job, parts: Parts, judged: Any, truth: np.ndarray, measure: str) -> dict[str, Any] | None:
    """The current champion's version and figure on the same rows; None if there is none or it needs other columns.

    ``judged`` are made of the validation rows.
    """
    from serving.artifact import load_artifact
    from serving.errors import DataError, UsageError
    from serving.scorer import Scorer

    registry = job.registry()
    if job.name not in registry.names() or "champion" not in registry.aliases(job.name):
        return None
    found = registry.resolve(f"models:/{job.name}@champion")
    artifact = load_artifact(found.path, found.sha256)
    windows = artifact.windows if artifact.kind == "detector" else None
    if _channels(windows) != _channels(parts.reader.windows):
        return None  # their arrays may have one shape
    judged = parts.reader.read_by(windows, parts.rows["validation"], judged)
    try:
        scores = Scorer(artifact).score(judged).anomaly_score
    except (DataError, UsageError):
        return None
    return {"version": found.version, "quality": measured(measure, scores, truth)}


def _channels(windows: Windows | None) -> list[str] | None:
    return None if windows is None else windows.channels
