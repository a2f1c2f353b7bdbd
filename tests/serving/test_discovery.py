"""The false discovery rate, batch and online: against the sorted procedure, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from ganlib.calibrate import Calibration
from serving.discovery import Lond, _share, batch_threshold, check_calibration, least_p_value, nothing_selected
from serving.errors import UsageError


@pytest.mark.parametrize("seed", range(20))
def test_the_passes_find_what_sorting_finds(seed):
    rng = np.random.default_rng(seed)
    p = np.concatenate([rng.random(400), rng.random(seed * 5) * 1e-3])
    p = np.round(p, 3) if seed % 2 else p
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= 0.1 * np.arange(1, len(p) + 1) / len(p))
    selected = p <= (ordered[below[-1]] if len(below) else -1.0)
    threshold = batch_threshold(0.1, len(p), lambda limit: int((p <= limit).sum()))
    assert np.array_equal(selected, (p <= threshold) & (threshold > 0))


def runs(rule, repeats=300, rows=400, share=0.1, seed=0):
    """False discovery proportion and share of found anomalies of each simulated run."""
    rng, false, found = np.random.default_rng(seed), [], []
    for _ in range(repeats):
        odd = rng.random(rows) < share
        p = np.where(odd, rng.random(rows) * 1e-6, rng.random(rows))
        chosen = rule(p)
        false.append((chosen & ~odd).sum() / max(1, chosen.sum()))
        found.append((chosen & odd).sum() / max(1, odd.sum()))
    return np.array(false), np.array(found)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_online_rule_keeps_its_rate_and_finds_clear_anomalies(rate):
    def rule(p):
        lond = Lond(rate)
        return np.array([lond.decide(v) for v in p])

    false, found = runs(rule)
    spread = 3 * false.std(ddof=1) / math.sqrt(len(false))
    assert false.mean() <= rate + spread
    assert found.mean() > 0.9
    every, _ = runs(lambda p: p <= rate)
    assert every.mean() > 0.3 > false.mean(), "alarms without a rate are the baseline"


@pytest.mark.parametrize("law", [stats.lognorm(1.0), stats.t(2), stats.expon()], ids=lambda v: v.dist.name)
def test_normal_rows_alone_are_selected_no_more_often_than_the_rate(law, monkeypatch):
    """Every selection is false here, so the share of runs that select is the false discovery rate; with p-values of the
    fitted tail it is above the rate for heavy tails."""
    monkeypatch.setattr("ganlib.calibrate.tail._BOOTSTRAPS", 19)
    rate, runs, rng = 0.1, 300, np.random.default_rng(3)
    batch, stream, naive = 0, 0, 0
    for _ in range(runs):
        calibration = Calibration.fit(law.rvs(600, random_state=rng))
        p, least = (
            calibration.p_value(law.rvs(400, random_state=rng)).astype(float),
            least_p_value(calibration.to_dict()),
        )
        assert least == 1 / 601
        batch += batch_threshold(rate, len(p), lambda limit, p=p: int((p <= limit).sum()), least) > 0
        naive += batch_threshold(rate, len(p), lambda limit, p=p: int((p <= limit).sum())) > 0
        rule = Lond(rate)
        stream += any([rule.decide(max(value, least)) for value in p])
    bound = rate + 2 * math.sqrt(rate * (1 - rate) / runs)
    assert batch / runs <= bound and stream / runs <= bound
    assert law.dist.name != "t" or naive / runs > bound, "p-values of the tail are the baseline"


def test_a_calibration_that_is_too_small_for_a_stream_is_an_error():
    with pytest.raises(UsageError, match="at least 24,047 calibration rows.*this one has 500,"):
        check_calibration(0.1, 1 / 501)
    check_calibration(0.1, 1 / 24_048)
    rule = Lond(0.1)
    decided = [rule.decide(1.0) for _ in range(99)] + [rule.decide(1 / 24_048)]
    assert decided == [False] * 99 + [True]


def test_the_smallest_group_decides():
    assert least_p_value({"n": 900, "groups": {"a": {"n": 100}, "b": {"n": 300}}}) == 1 / 101
    assert least_p_value({"n": 9, "groups": {}}) == least_p_value({"n": 9, "groups": None}) == 0.1


def test_how_many_rows_a_batch_needs_is_said():
    words = nothing_selected(0.1, 610, 1 / 101)
    assert "100 calibration rows" in words and "at least 61 of 610 rows" in words
    for beyond, selects in ((60, False), (61, True)):
        p = np.array([1 / 101] * beyond + [1.0] * (610 - beyond))
        assert (batch_threshold(0.1, 610, lambda limit, p=p: int((p <= limit).sum()), 1 / 101) > 0) is selects


def test_shares_never_add_up_to_more_than_one():
    whole = sum(_share(t) for t in range(1, 200_001))
    a = math.sqrt(math.log(200_000))
    rest = 0.07720838 * 2 * math.exp(-a) * (a**3 + 3 * a**2 + 6 * a + 6)
    assert 0.9 < whole + rest <= 1


def test_the_state_continues_where_it_stopped():
    p = np.random.default_rng(1).random(200) ** 6
    whole = Lond(0.3)
    expected = [whole.decide(v) for v in p]
    first = Lond(0.3)
    got = [first.decide(v) for v in p[:77]]
    second = Lond(0.3, first.state)
    assert got + [second.decide(v) for v in p[77:]] == expected
