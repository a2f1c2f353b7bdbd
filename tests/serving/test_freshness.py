"""The check of stale calibration: its arithmetic, how rarely it is wrong, and that jobs and streams report it."""

import itertools
import json
import math

import numpy as np
import pytest

from ganlib.calibrate import Calibration
from serving.freshness import ENOUGH, Freshness, evidence, shift, stale
from serving.opening.deciles import BINS, tally

DRAWS = {
    "lognormal": lambda rng, n: rng.lognormal(0, 1, n),
    "heavy": lambda rng, n: rng.standard_t(2, n),
    "ties": lambda rng, n: np.round(rng.exponential(size=n) * 2),
    "two values": lambda rng, n: (rng.random(n) < 0.3) * 1.0,
}


def calibrated(rng, n, draw):
    calibration = Calibration.fit(draw(rng, n))
    return calibration, calibration.deciles


def test_deciles_are_counted_alike_in_training_and_scoring():
    rng = np.random.default_rng(0)
    for n in (9, 10, 99, 1000, 1234):
        for draw in DRAWS.values():
            calibration, deciles = calibrated(rng, n, draw)
            assert deciles == tally(calibration.pooled.p_value(calibration.pooled.scores)) and sum(deciles) == n
    edges = np.arange(1, BINS + 1, dtype=np.float32) / np.float32(BINS)
    assert tally(edges) == [1] * BINS and tally(np.nextafter(edges, 0)) == [1] * BINS


def test_evidence_is_the_ratio_of_two_urns_whatever_the_order_and_its_mean_is_one():
    held, total = [0, 30, 50], 0.0
    held = [*held, *[0] * (BINS - 3)]
    for order in itertools.product((1, 2), repeat=6):
        null = bet = 1.0
        seen = [0] * BINS
        for place in order:
            rows = sum(seen[1:])
            null *= (held[place] + seen[place]) / (80 + rows)
            bet *= (20 * held[place] / 80 + seen[place]) / (20 + rows)
            seen[place] += 1
        assert evidence(held, seen) == pytest.approx(bet / null, rel=1e-9)
        total += bet  # the probability under the null times the ratio
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("n", [60, 300, 2000])
def test_rows_like_those_of_calibration_hardly_ever_gather_evidence(name, n):
    rng, ever = np.random.default_rng(n), 0
    for _ in range(200):
        calibration, held = calibrated(rng, n, DRAWS[name])
        seen, peak = [0] * BINS, 1.0
        for _ in range(20):
            p = calibration.p_value(DRAWS[name](rng, 200))
            seen = [a + b for a, b in zip(seen, tally(p), strict=True)]
            peak = max(peak, evidence(held, seen))
        ever += peak >= 20
    assert ever / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200), ever


def test_a_shift_is_found_and_said_but_anomalies_alone_are_not_one():
    rng = np.random.default_rng(1)
    calibration, held = calibrated(rng, 1000, DRAWS["lognormal"])
    usual = calibration.p_value(rng.lognormal(0, 1, 3000))
    odd = calibration.p_value(np.full(600, 1e3))
    assert stale(held, tally(np.r_[usual, odd])) is None
    moved = tally(calibration.p_value(rng.lognormal(0.6, 1, 1000)))
    assert evidence(held, moved) > ENOUGH and shift(held, moved) > 0.05
    assert "less usual" in stale(held, moved) and "train again" in stale(held, moved)
    fewer = tally(calibration.p_value(rng.lognormal(-0.6, 1, 1000)))
    assert "more usual" in stale(held, fewer)
    assert stale(None, moved) is None  # a file of an earlier release
    slight = tally(calibration.p_value(rng.lognormal(0.05, 1, 200_000)))
    assert stale(held, slight) is None  # evident with so many rows, and of no importance


@pytest.mark.parametrize(("moved", "rows"), [(1.0, 500), (0.5, 4000)])
def test_how_soon_a_shift_is_found(moved, rows):
    rng = np.random.default_rng(3)
    for _ in range(20):
        calibration = Calibration.fit(rng.normal(size=1000))
        seen = tally(calibration.p_value(rng.normal(moved, 1, rows)))
        assert stale(calibration.deciles, seen), seen


def test_the_state_of_a_stream_survives_as_json_and_starts_again_with_another_model():
    rng = np.random.default_rng(2)
    calibration, held = calibrated(rng, 1000, DRAWS["lognormal"])
    once, parts = Freshness(), Freshness()
    p = [calibration.p_value(rng.lognormal(0.6, 1, 100)) for _ in range(8)]
    for part in p:
        once.add("a", held, part)
        parts = Freshness(json.loads(json.dumps(parts.state)))
        parts.add("a", held, part)
    assert once.state == parts.state and once.peak > ENOUGH
    assert once.news() and once.news() is None  # said once in a run
    assert Freshness(once.state).news() is None  # no row of this run has been scored
    once.add("b", held, p[0][:10])
    assert sum(once.seen) == 10 and once.peak < ENOUGH
