"""Conformal p-values keep their promise, by the laws that hold for them."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import betabinom

from ganlib.calibrate import Calibration
from ganlib.calibrate.tail import fit_tail
from ganlib.errors import ConfigError, DataError


def test_p_values_are_the_ranks():
    calibration = Calibration.fit(np.array([1.0, 2.0, 3.0, 4.0]))
    p = calibration.p_value(np.array([0.0, 2.0, 2.5, 4.0, 9.0]))
    assert p == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert calibration.alpha_min == pytest.approx(0.2)


def test_alarm_rate_over_seeds_is_alpha():
    alpha, n, m = 0.05, 199, 1000
    rates = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        calibration = Calibration.fit(rng.normal(size=n))
        alarms = int((calibration.p_value(rng.normal(size=m)) <= alpha).sum())
        rates.append(alarms / m)
        # Given one calibration sample the rate is beta, so alarms are beta-binomial.
        k = int(alpha * (n + 1))
        low, high = betabinom.ppf([1e-6, 1 - 1e-6], m, k, n + 1 - k)
        assert low <= alarms <= high
    assert np.mean(rates) == pytest.approx(alpha, abs=4 * np.std(rates) / np.sqrt(200))


def test_tail_is_accepted_on_exponential_scores_and_refused_on_others():
    accepted = [fit_tail(np.random.default_rng(s).exponential(size=1000)) is not None for s in range(20)]
    assert np.mean(accepted) >= 0.8
    refused = [fit_tail(np.random.default_rng(s).uniform(size=1000)) is None for s in range(20)]
    assert np.mean(refused) >= 0.8
    assert fit_tail(np.random.default_rng(0).exponential(size=400)) is None, "fewer than 50 exceedances"


def test_p_values_fall_with_the_score_and_meet_at_the_threshold():
    scores = np.random.default_rng(3).exponential(size=2000)
    calibration = Calibration.fit(scores)
    assert calibration.tail is not None
    grid = np.linspace(0, 40, 5001)
    p = calibration.p_value(grid)
    assert (np.diff(p) <= 0).all() and (p > 0).all()
    tail = calibration.tail
    empirical = (1 + (scores >= tail.threshold).sum()) / 2001
    assert tail.p_value(np.array([tail.threshold]))[0] == pytest.approx(empirical, abs=2 / 2001)
    assert calibration.alpha_min == pytest.approx(1 / 6003)


@pytest.mark.parametrize("alpha", [0.5, 0.1, 0.011, 0.0006])
def test_threshold_is_the_smallest_alarming_score(alpha):
    calibration = Calibration.fit(np.random.default_rng(1).gamma(2.0, size=2000))
    threshold = np.float32(calibration.threshold(alpha))
    below = np.nextafter(threshold, np.float32(-np.inf))
    p = calibration.p_value(np.array([threshold, below]))
    assert p[0] <= np.float32(alpha) < p[1]


def test_groups_have_their_own_table_and_small_ones_use_the_pool():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(size=300), 10 + rng.normal(size=300), rng.normal(size=5)])
    groups = np.array(["a"] * 300 + ["b"] * 300 + ["c"] * 5)
    calibration = Calibration.fit(scores, groups)
    assert set(calibration.groups) == {"a", "b"}
    p = calibration.p_value(np.array([10.0] * 4), np.array(["a", "b", "c", "unseen"]))
    assert p[0] < 0.01 and 0.2 < p[1] < 0.8 and p[2] == p[3] == calibration.pooled.p_value(np.array([10.0]))[0]


def test_scores_that_are_not_finite_are_most_anomalous():
    calibration = Calibration.fit(np.arange(99.0))
    assert calibration.p_value(np.array([np.nan, np.inf])) == pytest.approx([0.01, 0.01])


def test_refusals():
    with pytest.raises(DataError, match="held-out row"):
        Calibration.fit(np.array([]))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Calibration.fit(np.arange(9.0)).supports(1.5)
    assert Calibration.fit(np.arange(9.0)).rows_needed(0.01) == 99


@pytest.mark.parametrize(
    "law", [stats.expon(), stats.gamma(0.5), stats.lognorm(1.0), stats.t(2)], ids=lambda v: v.dist.name
)
@pytest.mark.parametrize("n", [600, 1500])
def test_alarm_rate_in_the_tail_is_alpha(law, n, monkeypatch):
    """Below 1/(n+1) only the tail gives p-values: the mean alarm rate of fresh rows is alpha within a factor of two."""
    monkeypatch.setattr("ganlib.calibrate.tail._BOOTSTRAPS", 19)
    rng, rates = np.random.default_rng(7), []
    while len(rates) < 120:
        calibration = Calibration.fit(law.rvs(n, random_state=rng))
        if calibration.tail is not None:
            rates.append(law.sf(calibration.threshold(calibration.alpha_min)) / calibration.alpha_min)
    assert 0.5 <= np.mean(rates) <= 2.0, np.mean(rates)


def test_goodness_of_fit_is_not_too_lenient():
    """With the fitted law true, about 5 % of tails are refused: a test that ignores the fitting would refuse none."""
    refused = [fit_tail(np.random.default_rng(s).exponential(size=600)) is None for s in range(300)]
    # Two-sided binomial band at 1e-4 around the level of 0.05, widened by the bound on the shape.
    assert 0.01 <= np.mean(refused) <= 0.12


def test_scores_may_be_negative():
    calibration = Calibration.fit(np.array([-4.0, -3.0, -2.0, -1.0]))
    assert calibration.median_score == pytest.approx(2.5)
    assert calibration.p_value(np.array([-5.0, -3.0, 0.0])) == pytest.approx([1.0, 0.8, 0.2])


def test_equal_scores_stay_equal_under_rounding():
    calibration = Calibration.fit(np.float32([1.0] * 60 + [2.0] * 39))
    p = calibration.p_value(np.float32([1 - 4e-6, 1, 1 + 4e-6, 1 + 4e-4]))
    assert p == pytest.approx([1.0, 1.0, 1.0, 0.4])


@pytest.mark.parametrize("n", [100, 3000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_rounding_moves_no_p_value_by_a_rank(n, sign):
    """Whatever the score: also one that lies just where a tie ends."""
    rng = np.random.default_rng(n)
    scores = (sign * rng.lognormal(size=n)).astype(np.float32)
    table = Calibration.fit(scores).pooled
    edges = np.concatenate([scores + np.float32(width) * np.maximum(np.abs(scores), table.median)
                            for width in (0, 1e-5, 1e-5 + 2e-4)])  # fmt: skip
    asked = np.concatenate([edges, rng.choice(scores, 5000) * rng.normal(1, 0.3, 5000)]).astype(np.float32)
    exact = table.p_value(asked)
    step = (1 + (table.scores[None] >= asked[:, None]).sum(1)) / (n + 1)
    assert (exact >= np.minimum(step, 1 if table.tail is None else exact) - 1e-6).all(), "ties only raise it"
    crowd = max((np.abs(table.scores - s) <= 3e-4 * max(abs(s), table.median)).sum() for s in table.scores)
    for size in (3e-7, -1e-6):
        bound = crowd * 1.2 * abs(size) / 2e-4 / (n + 1) + 2e-6
        assert bound < 0.1 / (n + 1)
        moved = np.abs(table.p_value(asked * np.float32(1 + size)) - exact)
        assert moved.max() <= bound


def test_the_whole_calibration_goes_through_json():
    import json

    rng = np.random.default_rng(0)
    calibration = Calibration.fit(rng.exponential(size=900), np.array(["a"] * 700 + ["b"] * 200))
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict(scores=True))))
    asked, groups = rng.exponential(size=500) * 3, rng.choice(["a", "b", "c"], 500)
    assert np.array_equal(again.p_value(asked, groups), calibration.p_value(asked, groups))
    assert again.to_dict() == calibration.to_dict() and "scores" not in calibration.to_dict()
