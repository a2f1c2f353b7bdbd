"""The quantile map: what pure noise gives back, atoms, gaps, sentinels, and what the knots reveal."""

import numpy as np
import pytest
from scipy.special import ndtri

from ganlib.data.normal_scores import LEAST, fit_knots, from_scores, nearest, rounded, to_scores

NOISE = ndtri((np.arange(200_000) + 0.5) / 200_000)


def _zeros(rng, n):
    return np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(0, 1, n))


_SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "normal, far from 0": lambda rng, n: rng.normal(1e9, 1e-2, n),
    "uniform": lambda rng, n: rng.random(n),
    "lognormal 1": lambda rng, n: rng.lognormal(0, 1, n),
    "lognormal 2": lambda rng, n: rng.lognormal(0, 2, n),
    "t2": lambda rng, n: rng.standard_t(2, n),
    "t3": lambda rng, n: rng.standard_t(3, n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "pareto": lambda rng, n: 1 + rng.pareto(2.5, n),
    "minus pareto": lambda rng, n: -1 - rng.pareto(2.5, n),
    "bimodal": lambda rng, n: np.where(rng.random(n) < 0.5, -3, 3) + 0.5 * rng.normal(size=n),
    "mostly zero": _zeros,
    "whole": lambda rng, n: rng.poisson(8, n).astype(float),
    "sentinel": lambda rng, n: np.where(rng.random(n) < 0.03, -999, rng.normal(size=n)),
    "year 1": lambda rng, n: np.where(rng.random(n) < 0.03, -6.2e16, rng.normal(1.7e15, 1e13, n)),
}


def _outward(values):
    """Bounds as a schema has them."""
    span = np.ptp(values)
    return values.min() - 0.01 * span, values.max() + 0.01 * span


@pytest.mark.parametrize("n", [500, 1000, 2000, 5000, 50_000])
@pytest.mark.parametrize("shape", list(_SHAPES))
def test_a_perfect_generator_gives_the_distribution_back(shape, n):
    """Pure noise keeps mean, deviation and 99.5th percentile of the sample within 3 %.

    Under 1,000 rows fewer than five lie beyond the percentile, which is then not stored: three rows either way also
    pass. Whole numbers are rounded, as decoding rounds them, and may be one off, since there is nothing between.
    """
    for seed in range(10 if n <= 5000 else 3):
        values = _SHAPES[shape](np.random.default_rng(seed), n)
        knots, scores = fit_knots(values, *_outward(values))
        made = from_scores(NOISE, knots, scores)
        deviation = values.std()
        assert abs(made.mean() - values.mean()) < 0.03 * max(abs(values.mean()), 0.5 * deviation)
        assert made.std() == pytest.approx(deviation, rel=0.03)
        made = np.rint(made) if shape == "whole" else made
        middle = np.quantile(values, 0.995)
        margin = 0.03 * min(abs(middle), np.ptp(np.quantile(values, [0.005, 0.995])))
        margin = max(margin, 1.0) if shape == "whole" else margin
        low, high = middle - margin, middle + margin
        if n < 1000:
            ordered, at = np.sort(values), int(0.995 * (n - 1))
            low, high = min(low, ordered[at - 3]), max(high, ordered[min(at + 4, n - 1)])
        assert low <= np.quantile(made, 0.995) <= high


@pytest.mark.parametrize("n", [7, 60, 500, 5000])
@pytest.mark.parametrize("shape", list(_SHAPES))
def test_real_rows_come_back_from_their_scores(shape, n):
    values = _SHAPES[shape](np.random.default_rng(3), n)
    knots, scores = fit_knots(values, *_outward(values))
    assert (np.diff(knots) >= 0).all() and (np.diff(scores) >= 0).all()
    assert ((np.diff(knots) > 0) | (np.diff(scores) > 0)).all()
    back = from_scores(to_scores(values, knots, scores), knots, scores)
    # Fewer than five rows in a gap's shadow are known to three digits only.
    assert np.mean(np.abs(back - values) < 1e-6 * np.ptp(values)) > 1 - 5 / n
    assert np.abs(back - values).max() < 0.1 * np.ptp(values)


@pytest.mark.parametrize("sentinel", [-999.0, 9999.0, -6.2e16])
@pytest.mark.parametrize("count", [LEAST, 30, 400])
def test_nothing_is_generated_between_a_sentinel_and_the_data(sentinel, count):
    for seed in range(3):
        values = np.append(np.random.default_rng(seed).normal(size=5000), np.full(count, sentinel))
        knots, scores = fit_knots(values, values.min(), values.max())
        made = from_scores(NOISE, knots, scores)
        assert ((made == sentinel) | (np.abs(made) < 5)).all()
        assert np.mean(made == sentinel) == pytest.approx(count / len(values), rel=0.1)


def test_gaps_between_clusters_stay_empty():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.normal(c, 0.1, size) for c, size in ((0, 3000), (9, 20), (-40, 8), (3, 700))])
        knots, scores = fit_knots(values, *_outward(values))
        made = from_scores(NOISE, knots, scores)
        assert np.abs(made[:, None] - [0, 9, -40, 3]).min(1).max() < 0.8
        assert nearest(np.array([5.0, -30.0]), knots, scores) == pytest.approx([3, -40], abs=0.8)


def test_atoms_are_exact_and_keep_their_mass():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.full(300, 0.1), np.full(100, 1 / 3), rng.normal(size=600)])
    knots, scores = fit_knots(values, *_outward(values))
    made = from_scores(NOISE.astype(np.float32), knots, scores)
    for value, share in ((0.1, 0.3), (1 / 3, 0.1)):
        assert np.mean(made == value) == pytest.approx(share, abs=0.002)
        drawn = to_scores(np.full(4000, value), knots, scores, rng.random(4000))
        assert len(np.unique(drawn)) == 4000 and (from_scores(drawn, knots, scores) == value).all()


def test_no_knot_is_a_single_row():
    for shape, make in _SHAPES.items():
        if shape in ("whole",):
            continue
        values = make(np.random.default_rng(1), 400)
        distinct, counts = np.unique(values, return_counts=True)
        knots, _ = fit_knots(values, *_outward(values))
        assert not set(knots) & set(distinct[counts < LEAST]), shape


@pytest.mark.parametrize("bounds", ["outward", "none", "inward"])
@pytest.mark.parametrize("seed", range(60))
def test_no_knot_is_a_single_row_beside_atoms_clusters_and_bounds(seed, bounds):
    rng = np.random.default_rng(seed)
    atoms = [np.repeat(rng.normal(0, 10), rng.integers(5, 40)) for _ in range(rng.integers(0, 4))]
    clusters = [
        rng.normal(rng.normal(0, 30), rng.choice([0.01, 1, 50]), rng.integers(1, 12)) for _ in range(rng.integers(1, 4))
    ]
    values = np.concatenate([*atoms, *clusters])
    low, high = np.floor(values.min()), np.ceil(values.max())
    given = {"outward": (low, high), "none": (None, None), "inward": (low + 2, high - 2)}[bounds]
    distinct, counts = np.unique(values, return_counts=True)
    assert not set(fit_knots(values, *given)[0]) & set(distinct[counts < LEAST])


def test_few_rows_have_no_knots():
    assert fit_knots(np.array([1.0, 2.0, 3.0, 4.0]), 1.0, 4.0) == ((), ())
    assert fit_knots(np.array([-1e308] * 5 + [1e308] * 5), None, None) == ((), ())
    knots, scores = fit_knots(np.full(5, 2.0), 2.0, 2.0)
    assert set(knots) == {2.0} and (from_scores(NOISE, knots, scores) == 2.0).all()


def test_rounding_is_to_three_digits_of_the_value_or_the_range():
    assert rounded(812.37, 1e6) == 812.0
    assert rounded(1_000_000.7123, 2.0) == pytest.approx(1_000_000.71)
    assert rounded(0.0, 5.0) == 0.0
