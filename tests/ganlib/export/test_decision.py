"""p-values and decisions in the graph are those of the calibration."""

import numpy as np
import pytest

from ganlib.calibrate import Calibration
from ganlib.export.builder import FLOAT, GraphBuilder
from ganlib.export.decision import add_decision
from ganlib.export.parity import open_session

OUTPUTS = ["anomaly_score", "p_value", "is_anomaly"]


def decision_session(calibration, group=None):
    builder = GraphBuilder()
    score = builder.input("score", FLOAT, "batch")
    add_decision(builder, calibration, score, group, builder.option("alpha", 0.01, np.float32))
    return open_session(builder.model("decision").SerializeToString())


def probes(calibration, seed=0):
    """Around and between all calibration scores, beyond them, and what is not finite."""
    scores = calibration.pooled.scores
    edges = np.concatenate([scores, np.nextafter(scores, np.float32(np.inf)), np.nextafter(scores, np.float32(-9e9))])
    spread = np.random.default_rng(seed).normal(size=500).astype(np.float32) * 5
    return np.concatenate([edges, spread, np.float32([0, 1e9, 3e38, -3e38, np.inf, -np.inf, np.nan])])


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 1000])
@pytest.mark.parametrize("kind", ["exponential", "normal"])
def test_every_rank(n, kind):
    calibration = Calibration.fit(getattr(np.random.default_rng(n), kind)(size=n))
    scores = probes(calibration)
    got, p, flags = decision_session(calibration).run(OUTPUTS, {"score": scores})
    expected = calibration.p_value(scores)
    np.testing.assert_allclose(p, expected, rtol=1e-6, atol=0)
    assert np.array_equal(flags, p <= np.float32(0.01))
    finite = np.isfinite(scores)
    assert np.array_equal(got[finite], scores[finite]) and np.isposinf(got[~finite]).all()
    assert p[-1] == p[-3] == p.min(), "what is not finite is most anomalous"


def test_the_tail_goes_on_beyond_the_sample():
    calibration = Calibration.fit(np.random.default_rng(3).exponential(size=2000))
    assert calibration.tail is not None
    scores = np.float32([9, 12, 15, 1e4, 1e30, np.inf])
    least = np.array(calibration.alpha_min, np.float32)
    _, p, flags = decision_session(calibration).run(OUTPUTS, {"score": scores, "alpha": least})
    np.testing.assert_allclose(p, calibration.p_value(scores), rtol=1e-6)
    assert (np.diff(p) <= 0).all() and p[2] < 1 / 2001 and p[-1] > 0 and flags[-1]


def test_groups_use_their_table_and_strangers_the_pool():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.exponential(size=1000), 10 + rng.normal(size=150), rng.normal(size=5)])
    groups = np.array(["a"] * 1000 + ["b"] * 150 + ["c"] * 5)
    calibration = Calibration.fit(scores, groups)
    session = decision_session(calibration, "site")
    asked = np.tile(np.linspace(-3, 20, 300).astype(np.float32), 5)
    site = np.repeat(np.array(["a", "b", "c", "elsewhere", ""], dtype=object), 300)
    _, p, _ = session.run(OUTPUTS, {"score": asked, "site": site})
    np.testing.assert_allclose(p, calibration.p_value(asked, site), rtol=1e-6)
    assert not np.array_equal(p[:300], p[300:600]) and np.array_equal(p[600:900], p[900:1200])


def test_equal_rows_are_judged_alike_in_both_arithmetics():
    calibration = Calibration.fit(np.float32([0.3] * 50 + [0.7] * 49))
    rounding = np.float32([1 - 3e-6, 1, 1 + 3e-6])
    scores = np.concatenate([0.3 * rounding, 0.7 * rounding]).astype(np.float32)
    _, p, _ = decision_session(calibration).run(OUTPUTS, {"score": scores})
    assert p == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    assert calibration.p_value(scores) == pytest.approx(p)
