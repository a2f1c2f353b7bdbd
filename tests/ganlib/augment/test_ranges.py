"""Ranges of a numeric target: laws over distributions, and when a label is numeric."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganlib.augment.ranges import LEAST_RANGE, Ranges, is_numeric_target
from ganlib.errors import ConfigError, DataError

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "long tail": lambda rng, n: rng.lognormal(10, 1, n),
    "two peaks": lambda rng, n: np.r_[rng.normal(size=n - n // 8), rng.normal(30, 1, n // 8)],
    "often zero": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.exponential(5, n)),
    "whole": lambda rng, n: rng.integers(0, 300, n).astype(float),
    "tiny": lambda rng, n: 1e-6 + 1e-12 * rng.normal(size=n),
    "huge": lambda rng, n: 1e300 * rng.random(n),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(SHAPES)), st.integers(100, 400), st.integers(0, 10_000))
def test_ranges_divide_the_values(shape, n, seed):
    values = SHAPES[shape](np.random.default_rng(seed), n)
    target = pd.Series(np.r_[values, np.nan], name="y")
    ranges = Ranges.read(target)
    codes = ranges.codes(ranges.numbers(target))
    assert codes[-1] == -1 and (np.bincount(codes[:-1]) == ranges.counts).all() and ranges.counts.sum() == n
    assert ranges.counts.min() >= LEAST_RANGE and len(set(ranges.names)) == len(ranges.counts) >= 2
    assert (np.diff(ranges.edges) > 0).all() and ranges.within(values, codes[:-1]).all()
    mean = int(np.ceil(ranges.counts.mean()))
    assert (ranges.counts + ranges.lacking >= mean).all() and (ranges.lacking[ranges.counts >= mean] == 0).all()
    # A value beyond the outer edges belongs to the outer range, but does not lie within it.
    beyond = np.array([ranges.edges[0] - np.ptp(values), ranges.edges[-1] + np.ptp(values)])
    assert ranges.codes(beyond).tolist() == [0, len(ranges.counts) - 1]
    assert not ranges.within(beyond, ranges.codes(beyond)).any()


def test_rare_values_are_found_at_the_ends_and_amid_others():
    rng = np.random.default_rng(0)
    tail = Ranges.read(pd.Series(np.r_[rng.normal(size=300), rng.uniform(20, 30, 12)], name="y"))
    assert tail.lacking[-1] > 0 and 12 <= tail.counts[-1] < 20 and tail.edges[-2] < 20
    gap = Ranges.read(pd.Series(np.r_[rng.uniform(0, 1, 200), rng.uniform(1, 2, 12), rng.uniform(2, 3, 200)], name="y"))
    middle = int(gap.codes(np.array([1.5]))[0])
    assert gap.lacking[middle] == gap.lacking.max() > 0


@pytest.mark.parametrize("values, words", [
    ([1.5] * 40, "too few"),
    (np.arange(10) / 3, "too few"),
    ([0.0] * 100 + [1.5, 2.5], "too concentrated"),
    ([np.inf] + [0.5] * 50, "infinite"),
])  # fmt: skip
def test_values_without_rare_ranges_are_an_error(values, words):
    with pytest.raises(DataError, match=words):
        Ranges.read(pd.Series(values, name="y"))


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("values, numeric", [
    (RNG.normal(size=100), True),
    ([f"{value:.2f}".replace(".", ",") for value in RNG.normal(size=100)], True),
    (RNG.integers(0, 10**6, 100), True),
    (RNG.integers(0, 30, 300), False),  # codes
    (RNG.integers(0, 3, 100) / 2, False),  # few numbers
    (pd.Categorical(RNG.integers(0, 10**6, 100)), False),
    ([f"{value:06d}" for value in RNG.integers(0, 10**5, 100)], False),  # codes with leading zeros
    (RNG.random(100) < 0.5, False),
    (RNG.choice(["a", "b"], 100), False),
    (pd.date_range("2024", periods=100), False),
])  # fmt: skip
def test_whether_a_label_is_numeric(values, numeric):
    label = pd.Series(values, name="y")
    assert is_numeric_target(label, "auto") == numeric
    assert not is_numeric_target(label, "classes")


def test_a_requested_numeric_target_holds_numbers():
    assert is_numeric_target(pd.Series(RNG.integers(0, 30, 300), name="y"), "numeric")
    with pytest.raises(DataError, match="target 'y' holds no numbers"):
        is_numeric_target(pd.Series(["a", "b"] * 9, name="y"), "numeric")
    with pytest.raises(ConfigError, match="must be one of auto, classes, numeric"):
        is_numeric_target(pd.Series([1.5]), "number")
