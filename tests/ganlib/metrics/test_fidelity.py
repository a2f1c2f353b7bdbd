import numpy as np
import pandas as pd
import pytest

from ganlib.errors import DataError
from ganlib.metrics.fidelity import contingency_similarity, correlation_similarity, ks_complement, tv_complement


def test_shapes_by_hand():
    # Uniform on 0 to 1 against 0.25 to 1.25: the largest gap of the distribution functions is 0.25.
    grid = (np.arange(10_000) + 0.5) / 10_000
    assert ks_complement(grid, grid + 0.25) == pytest.approx(0.75, abs=1e-3)
    assert ks_complement(grid, 2 * grid) == pytest.approx(0.5, abs=1e-3)
    assert ks_complement(np.array([1.0, np.nan]), np.array([1.0, 1.0])) == 1
    assert ks_complement(np.zeros(3), np.ones(3)) == 0
    # Shares 3/4, 1/4, 0 against 1/4, 1/4, 1/2: half the sum of differences is 1/2.
    assert tv_complement(np.array(list("aaab")), np.array(list("abcc"))) == 0.5
    assert tv_complement(np.array(["a"]), np.array(["b"])) == 0


def test_contingency_by_hand():
    real = np.array([("a", "x"), ("a", "x"), ("b", "y"), ("b", "y")])
    crossed = np.array([("a", "y"), ("a", "x"), ("b", "x"), ("b", "y")])
    # Half of the rows lie in other cells, though each column has the same shares.
    assert contingency_similarity(real, crossed) == 0.5
    assert all(tv_complement(real[:, i], crossed[:, i]) == 1 for i in (0, 1))
    table = pd.crosstab(*real.T).to_numpy() / 4, pd.crosstab(*crossed.T).to_numpy() / 4
    assert contingency_similarity(real, crossed) == 1 - np.abs(table[0] - table[1]).sum() / 2


def test_correlations_are_those_of_scipy():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 2)).round(1)
    b = np.column_stack([a[:, 0], a[:, 0] + 0.3 * a[:, 1]])
    gap = abs(spearmanr(*a.T).statistic - spearmanr(*b.T).statistic)
    assert correlation_similarity(a, b) == pytest.approx(1 - gap / 2)
    turned = np.column_stack([a[:, 0], -a[:, 0]])
    assert correlation_similarity(np.column_stack([a[:, 0]] * 2), turned) == pytest.approx(0)
    holes = np.concatenate([b, [[np.nan, 5.0]]])
    assert correlation_similarity(a, holes) == pytest.approx(correlation_similarity(a, b))


def test_constant_columns():
    line, flat = np.column_stack([np.arange(9.0)] * 2), np.column_stack([np.arange(9.0), np.ones(9)])
    assert correlation_similarity(line, flat) == 0.5
    assert np.isnan(correlation_similarity(flat, line)) and np.isnan(correlation_similarity(line, line[:2]))


def test_wrong_arrays_are_named():
    with pytest.raises(DataError, match="synthetic holds no numbers"):
        ks_complement(np.ones(3), np.full(3, np.nan))
    with pytest.raises(DataError, match="same columns"):
        contingency_similarity(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(DataError, match="two columns"):
        correlation_similarity(np.ones((3, 2)), np.ones((3, 3)))
