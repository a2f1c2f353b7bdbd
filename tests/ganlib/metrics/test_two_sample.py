import math

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from ganlib.errors import ConfigError, DataError
from ganlib.metrics.two_sample import MODELS, classifier_two_sample, energy_distance, kernel_mmd, mmd_test


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """A linear algebra library loaded before conftest takes two: on a busy machine each small product then waits."""
    with threadpool_limits(1):
        yield


def normal_cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("model", MODELS)
def test_classifier_cannot_tell_equal_laws_and_tells_disjoint_ones(model):
    rng = np.random.default_rng(1)
    real, same = rng.standard_normal((2, 500, 3)).astype(np.float32)
    equal = classifier_two_sample(real, same, 0, model)
    assert equal.accuracy == pytest.approx(0.5, abs=0.06)  # 2.7 standard errors of 500 rows
    assert equal.low < 0.5 < equal.high and equal.p_value > 0.01
    assert equal.rows == 500
    apart = classifier_two_sample(real, torch.from_numpy(same + 10), 0, model)
    assert 0.99 <= apart.accuracy <= 1.0
    assert apart.p_value < 1e-100 and 0.98 < apart.low < apart.high <= 1.0
    assert classifier_two_sample(real, same, 0, model) == equal


def test_classifier_reaches_the_best_possible_accuracy():
    """Of N(0, 1) against N(1, 1) the best rule is right with chance Phi(1/2)."""
    rng = np.random.default_rng(2)
    real, fake = rng.standard_normal((2000, 1)), 1 + rng.standard_normal((3000, 1))
    result = classifier_two_sample(real, fake, 0, "neural")
    assert result.rows == 2000  # the longer sample is cut: chance stays at one half
    assert result.accuracy == pytest.approx(normal_cdf(0.5), abs=0.03)
    # Wilson's interval is nearly the normal one here.
    half = 1.96 * math.sqrt(result.accuracy * (1 - result.accuracy) / 2000)
    assert (result.low, result.high) == pytest.approx((result.accuracy - half, result.accuracy + half), abs=2e-3)


def test_classifier_p_value_is_the_binomial_tail():
    """Of 10 rows held out with h hits: P(Bin(10, 1/2) >= h)."""
    rng = np.random.default_rng(3)
    real, fake = rng.standard_normal((10, 2)), 0.8 + rng.standard_normal((10, 2))
    for seed in range(4):
        result = classifier_two_sample(real, fake, seed, "neighbours")
        hits = round(result.accuracy * 10)
        tail = sum(math.comb(10, i) for i in range(hits, 11)) / 2**10
        assert result.p_value == pytest.approx(tail, abs=1e-12)


def test_mmd_by_hand():
    """x at 0 and 2, y at 1 and 1, width 1: pairs within x, within y and across."""
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])
    by_hand = math.exp(-2) + 1 - 2 * math.exp(-0.5)
    assert kernel_mmd(x, y, [1.0]) == pytest.approx(by_hand, abs=1e-12)
    wide = math.exp(-0.5) + 1 - 2 * math.exp(-1 / 8)
    assert kernel_mmd(x, y, [1.0, 2.0]) == pytest.approx((by_hand + wide) / 2, abs=1e-12)


def test_mmd_of_gaussians_in_closed_form():
    """N(0, 1) against N(1, 1), width w: 2 w / sqrt(w² + 2) (1 - exp(-1 / 2(w² + 2))), without bias even at n = 5."""
    w = 1.5
    truth = 2 * w / math.sqrt(w**2 + 2) * (1 - math.exp(-1 / (2 * (w**2 + 2))))
    rng = np.random.default_rng(4)
    small = [kernel_mmd(rng.standard_normal((5, 1)), 1 + rng.standard_normal((7, 1)), [w]) for _ in range(2000)]
    assert np.mean(small) == pytest.approx(truth, abs=3 * np.std(small) / math.sqrt(2000))
    large = kernel_mmd(rng.standard_normal((1500, 1)), 1 + rng.standard_normal((1500, 1)), [w])
    assert large == pytest.approx(truth, abs=0.025)


def test_mmd_is_free_of_scale_and_bears_copies():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((40, 2)), 1 + rng.standard_normal((50, 2))
    assert kernel_mmd(1000 * x, 1000 * y) == pytest.approx(kernel_mmd(x, y), abs=1e-10)
    assert kernel_mmd(np.zeros((9, 2)), np.zeros((9, 2))) == pytest.approx(0.0, abs=1e-12)
    # Most pairs coincide: the median distance is 0, the mean is not.
    apart = kernel_mmd(np.zeros((40, 1)), np.concatenate([np.zeros((35, 1)), np.ones((5, 1))]))
    assert 0 < apart < 0.1


def test_mmd_test_statistic_and_smallest_p_value():
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((30, 2)), 5 + rng.standard_normal((20, 2))
    result = mmd_test(x, y, permutations=99)
    assert result.statistic == pytest.approx(kernel_mmd(x, y), abs=1e-12)
    assert result.p_value == 0.01
    assert mmd_test(np.ones((5, 1)), np.ones((6, 1))).p_value == 1.0


def test_mmd_test_size():
    """Under one law 5% of tests reject; the standard error of 1000 tests is 0.7%."""
    rng = np.random.default_rng(7)
    p = [mmd_test(rng.standard_normal((60, 2)), rng.standard_normal((60, 2)), 200, i).p_value for i in range(1000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p) == pytest.approx(0.5, abs=0.03)


def test_mmd_test_power():
    rng = np.random.default_rng(8)
    rejected = [
        mmd_test(rng.standard_normal((500, 1)), 0.5 + rng.standard_normal((500, 1)), 200, i).p_value <= 0.05
        for i in range(12)
    ]
    assert 0.9 < np.mean(rejected) <= 1.0


def test_energy_distance():
    """By hand, and N(0, 1) against N(1, 1): 4 / sqrt(pi) (exp(-1/4) - 1) + 2 (1 - 2 Phi(-1 / sqrt 2))."""
    assert energy_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])) == pytest.approx(
        2 * (1 + 5 + 1 + 3) / 4 - 2 - 4, abs=1e-12
    )
    truth = 4 / math.sqrt(math.pi) * (math.exp(-0.25) - 1) + 2 * (1 - 2 * normal_cdf(-1 / math.sqrt(2)))
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((1500, 1)), 1 + rng.standard_normal((1500, 1))
    assert energy_distance(x, y) == pytest.approx(truth, abs=0.09)
    assert energy_distance(x, rng.standard_normal((1500, 1))) == pytest.approx(0.0, abs=0.01)


def test_refusals():
    good = np.zeros((20, 3))
    with pytest.raises(DataError, match="fake has 9 samples"):
        classifier_two_sample(good, good[:9])
    with pytest.raises(ConfigError, match="forest, neural, neighbours"):
        classifier_two_sample(good, good, model="oracle")
    with pytest.raises(DataError, match="same columns"):
        kernel_mmd(good, np.zeros((20, 4)))
    with pytest.raises(DataError, match="y has 1 samples"):
        energy_distance(good, good[:1])
    with pytest.raises(DataError, match="x holds values that are not finite"):
        mmd_test(np.full((5, 3), np.inf), good)
    with pytest.raises(DataError, match="x has 1 axes"):
        kernel_mmd(np.zeros(5), good)
    with pytest.raises(DataError, match="must be one array of numbers"):
        kernel_mmd(np.array([["a"], ["b"]]), good)
    for widths in ([0.0], 1.0, [], ["a"], [[1.0, 2.0]]):
        with pytest.raises(ConfigError, match="bandwidths"):
            kernel_mmd(good, good, widths)
    for permutations in (0, 2.5, "9", True):
        with pytest.raises(ConfigError, match="permutations must be a whole number"):
            mmd_test(good, good, permutations)
