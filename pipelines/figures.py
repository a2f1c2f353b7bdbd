"""What is measured of a trained detector: by which candidates are compared, and what only reports."""

from __future__ import annotations

from typing import Any

import numpy as np


def measured(measure: str, scores: np.ndarray, truth: np.ndarray) -> float:
    """AUPRC or, where the measure is called otherwise, AUROC."""
    from ganlib.metrics.detection import auprc, auroc

    return auprc(scores, truth) if measure == "AUPRC" else auroc(scores, truth)


def reported_figures(detector: Any, rows: Any) -> dict[str, float]:
    """What is reported of the test rows; it never chooses."""
    from ganlib.metrics.detection import auprc, auroc

    part, odd = rows.part("test"), rows.odd["test"]
    if len(part) == 0:
        return {}
    out, scores = {}, detector.anomaly_score(part)
    if (truth := rows.truth("test")) is not None:
        out = {"auroc": auroc(scores, truth), "auprc": auprc(scores, truth), "anomaly_share": float(truth.mean())}
    else:
        judged, truth, measure, _ = rows.judged("test")
        out = {"contrast_auroc": measured(measure, detector.anomaly_score(judged), truth)}
    alarms = detector.predict(part) == -1
    if (~odd).any():
        out["alarm_rate_normal"] = float(alarms[~odd].mean())
    if odd.any():
        out["alarm_rate_anomalous"] = float(alarms[odd].mean())
    return out


def calibration_figures(detector: Any, rows: Any) -> dict[str, Any]:
    """Shares of rows kept back that alarm, by alarm budget: of normal ones they should be the budget."""
    part = "test" if len(rows.odd["test"]) else "validation"
    p_values, odd = np.asarray(detector.p_value(rows.part(part))), rows.odd[part]
    budgets = np.round(np.arange(1, 51) / 100, 2)
    kinds = {"normal": p_values[~odd], "anomalous": p_values[odd]}
    shares = {kind: [float((p <= b).mean()) for b in budgets] for kind, p in kinds.items() if len(p)}
    return {"budgets": budgets.tolist(), "shares": shares, "rows": {kind: len(p) for kind, p in kinds.items()}}
