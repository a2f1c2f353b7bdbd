"""Rows of a later week are no anomalies for being later: detectors, their sealed files and batch scoring."""

import numpy as np
import pandas as pd
import pytest

ROWS, DAY, ALPHA = 1200, 86_400, 0.05


def stamps(seconds):
    return pd.Series(np.datetime64("2026-01-05") + seconds.astype("timedelta64[s]"))


CLOCKS = {
    "datetime": stamps,
    "text date": lambda s: stamps(s).dt.strftime("%Y-%m-%dT%H:%M:%S"),
    "epoch seconds": lambda s: pd.Series(1_767_571_200 + s.astype(int)),
    "row counter": lambda s: pd.Series(int(s[0]) + np.arange(len(s))),
    "float days": lambda s: pd.Series(s / DAY),
}


def week(clock, start, seed):
    """Five days of rows; every sensor follows the same law in every week."""
    rng = np.random.default_rng(seed)
    seconds = start * DAY + np.sort(rng.uniform(0, 5 * DAY, ROWS))
    flow = rng.normal(size=ROWS) + np.sin(2 * np.pi * seconds / DAY)
    return pd.DataFrame(
        {"clock": CLOCKS[clock](seconds), "flow": flow, "pressure": 2 * flow + rng.normal(0, 0.3, ROWS)}
    )


def fitted(schema=None, clock="datetime"):
    from ganlib.detect import VAEDetector

    return VAEDetector(steps=60, hidden=(16,), latent_dim=2, alpha=ALPHA, schema=schema).fit(week(clock, 0, 0))


@pytest.mark.parametrize("clock", list(CLOCKS))
def test_a_week_later_the_alarms_keep_to_their_budget(clock, tmp_path):
    from ganlib.export import seal
    from serving.batch import open_scores, score_batch

    detector, later = fitted(clock=clock), week(clock, 7, 1)
    alarms = detector.predict(later) == -1
    assert 0.2 * ALPHA < alarms.mean() < 2.2 * ALPHA
    seal(detector, tmp_path / "m.onnx")
    later.to_csv(tmp_path / "later.csv", index=False)
    score_batch(tmp_path / "m.onnx", tmp_path / "later.csv", tmp_path / "out")
    scores = open_scores(tmp_path / "out")
    assert np.mean(scores["is_anomaly"] == alarms) > 0.998
    np.testing.assert_allclose(scores["anomaly_score"], detector.anomaly_score(later), rtol=1e-3)


def test_what_a_schema_file_says_of_a_clock_is_done(tmp_path):
    from ganlib.data.inference import infer_schema
    from ganlib.export import seal
    from serving.artifact import load_artifact
    from serving.scorer import Scorer

    absolute = infer_schema(week("datetime", 0, 0)).with_column("clock", clock="absolute", cycles=("day",))
    absolute.save(tmp_path / "s.yaml")
    detector, later = fitted(str(tmp_path / "s.yaml")), week("datetime", 7, 1)
    assert (detector.predict(later) == -1).mean() > 0.9
    seal(detector, tmp_path / "m.onnx")
    assert Scorer(load_artifact(tmp_path / "m.onnx")).score(later).is_anomaly.mean() > 0.9
