"""Rows of a detector's job by part, and figures on them: some choose a candidate, others are only reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.job import Job
from pipelines.results import DetectorData, DetectorRows

if TYPE_CHECKING:
    import pandas as pd


class Parts:
    """The parts ``fit``, ``validation`` and ``test`` as frames of features, with the known anomalies of each."""

    def __init__(self, job: Job) -> None:
        from ganlib.data.schema import Schema

        self.data, rows = job.load("facts", DetectorData), job.load("rows", DetectorRows)
        frame = job.table(self.data.fingerprint)
        label = job.settings.data.label
        self._features = frame.drop(columns=[label]) if label else frame
        self._rows = rows.parts
        self.anomalous = {part: np.array(flags, dtype=bool) for part, flags in rows.anomalous.items()}
        self.schema = Schema.load(job.folder / "schema.yaml")
        self.seed = job.settings.training.random_state

    def part(self, name: str) -> pd.DataFrame:
        """Features of a part."""
        return self._features.iloc[self._rows[name]].reset_index(drop=True)

    def truth(self, name: str) -> np.ndarray | None:
        """Known anomalies of a part as a mask; None unless it holds both normal and anomalous rows."""
        anomalous = self.anomalous[name]
        return anomalous if anomalous.any() and not anomalous.all() else None

    def judged(self, name: str) -> tuple[pd.DataFrame, np.ndarray, str, float]:
        """What candidates are measured on: rows, their truth, the measure's name and its chance level.

        These are the part's rows if it holds known anomalies, else its rows and the same rows with permuted columns.
        """
        import pandas as pd

        from ganlib.detect import permuted_columns

        rows, truth = self.part(name), self.truth(name)
        if truth is not None:
            return rows, truth, "AUPRC", float(truth.mean())
        columns = [c.name for c in self.schema.features]
        permuted = permuted_columns(rows, self.seed, columns=columns)
        both = pd.concat([rows, permuted], ignore_index=True)
        return both, np.repeat([False, True], len(rows)), "AUROC against permuted columns", 0.5


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


def baseline_figures(parts: Parts, judged: pd.DataFrame, truth: np.ndarray, measure: str) -> dict[str, float]:
    """PCA reconstruction and IsolationForest on the same encoded rows."""
    import torch
    from sklearn.ensemble import IsolationForest

    from ganlib.data.encoder import TableEncoder
    from ganlib.metrics.detection import pca_scores

    fit = parts.part("fit")
    encoder = TableEncoder(parts.schema).fit(fit)
    x, z = encoder.transform(fit), encoder.transform(judged)
    pca = pca_scores(torch.from_numpy(x), torch.from_numpy(z)).numpy()
    forest = -IsolationForest(random_state=parts.seed).fit(x).score_samples(z)
    return {"PCA": measured(measure, pca, truth), "IsolationForest": measured(measure, forest, truth)}


def champion_figures(job: Job, judged: pd.DataFrame, truth: np.ndarray, measure: str) -> dict[str, Any] | None:
    """The current champion's version and figure on the same rows; None if there is none or it needs other columns."""
    from serving.artifact import load_artifact
    from serving.errors import DataError, UsageError
    from serving.scorer import Scorer

    registry = job.registry()
    if job.name not in registry.names() or "champion" not in registry.aliases(job.name):
        return None
    found = registry.resolve(f"models:/{job.name}@champion")
    try:
        scores = Scorer(load_artifact(found.path, found.sha256)).score(judged).anomaly_score
    except (DataError, UsageError):
        return None
    return {"version": found.version, "quality": measured(measure, scores, truth)}
