"""The false discovery rate, batch and online: against the sorted procedure, and by simulation."""

import math

import numpy as np
import pytest

from serving.discovery import Lond, _share, batch_threshold


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
