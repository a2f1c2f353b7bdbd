"""The first reason names the column with the fault; contributions sum to the score for every model and row."""

import numpy as np
import pandas as pd
import pytest

from ganlib.detect import GANomalyDetector, ReconstructionVAEDetector, VAEDetector
from ganlib.explain import score_base


def correlated(rows, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))

    def noise():
        return rng.normal(size=rows) * 0.1

    return pd.DataFrame({
        "load": 50 + 10 * (a + noise()), "heat": 20 + 5 * (a + noise()), "flow": b + noise(), "drop": 3 * b + noise(),
        "both": a + b + noise(), "kind": np.where(a + noise() > 0, "gold", "iron"),
    })  # fmt: skip


@pytest.fixture(scope="module", params=[0, 1, 2])
def fitted(request):
    frame = correlated(1500, request.param)
    return VAEDetector(steps=150, random_state=request.param).fit(frame[:1000]), frame[1000:].reset_index(drop=True)


def faulty(frame, column, fault):
    rows = frame.copy()
    if fault == "other row":
        rows[column] = rows[column].to_numpy()[::-1]
    elif fault == "unit":
        rows[column] = rows[column] * 1000 if column != "kind" else "never seen"
    else:
        rows[column] = np.nan if column != "kind" else None
    return rows


def test_the_true_column_ranks_first(fitted):
    detector, frame = fitted
    first, three = [], []
    for index, column in enumerate(frame.columns):
        for fault in ("other row", "unit", "missing"):
            rows = faulty(frame[:100], column, fault)
            flagged = (detector.p_value(rows) <= 0.05) & (detector.p_value(frame[:100]) > 0.05)
            parts = detector.explain(rows[flagged]) if flagged.any() else np.zeros((0, 6))
            rank = (parts > parts[:, [index]]).sum(1)
            first.append(rank == 0)
            three.append(rank < 3)
    assert len(np.concatenate(first)) > 300
    assert np.concatenate(first).mean() >= 0.8 and np.concatenate(three).mean() >= 0.95


WILD = (1e300, -1e300, np.inf, np.nan, 1e12, 0.0)


@pytest.mark.parametrize("cls", [GANomalyDetector, VAEDetector, ReconstructionVAEDetector])
def test_contributions_sum_to_the_score(cls):
    frame = correlated(400, 5)
    detector = cls(steps=20).fit(frame)
    rows = pd.concat([frame[:50], *(frame[:3].assign(load=value) for value in WILD)])
    parts, scores = detector.explain(rows), detector.anomaly_score(rows)
    assert np.isfinite(parts).all() and (parts >= 0).all()
    expected = np.clip(scores - score_base(detector.calibration_), 0, 1e38)
    np.testing.assert_allclose(parts.sum(1, dtype=np.float64), expected, rtol=1e-5, atol=1e-6)


def test_scores_below_zero_are_divided_above_the_lowest():
    detector = VAEDetector(steps=20).fit(correlated(400, 5))
    scores = detector.calibration_.pooled.scores
    scores -= np.float32(scores.max() + 1)
    base = score_base(detector.calibration_)
    assert base == scores[0] < 0
    rows = correlated(20, 6)
    np.testing.assert_allclose(detector.explain(rows).sum(1), np.clip(detector.anomaly_score(rows) - base, 0, 1e38),
                               rtol=1e-5)  # fmt: skip


def test_reasons_in_words(fitted):
    detector, frame = fitted
    rows = frame[:3].copy()
    rows.loc[0, "kind"], rows.loc[1, "load"], rows.loc[2, "heat"] = "x" * 60, np.nan, 20000.0
    reasons = detector.top_reasons(rows)
    assert reasons[0].startswith(f"kind = unseen '{'x' * 39}…' (")
    assert reasons[1].startswith("load missing (") and reasons[2].startswith("heat = 20000 (")
    assert all(1 <= r.count(" %)") <= 3 for r in reasons)
    normal = detector.top_reasons(frame)
    assert [r is None for r in normal] == (detector.predict(frame) > 0).tolist()
