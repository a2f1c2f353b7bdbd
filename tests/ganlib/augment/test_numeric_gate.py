"""The gate of numeric targets and of conditions: planted generators are judged for what they are."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

from ganlib import AutoAugmenter, as_augmenter
from ganlib.augment.arms import CLASSES, COPIES, MODEL, NONE, NUMBERS, SMOTE, WEIGHTS
from ganlib.augment.gate import expected, judge
from ganlib.augment.lift import measure_lift
from ganlib.augment.numeric_arms import Part, between, judge_numbers
from ganlib.augment.ranges import Ranges
from ganlib.augment.usual import UNKNOWN, Usual
from ganlib.errors import DataError

FOREST = RandomForestRegressor(50, min_samples_leaf=3, random_state=0)
COLUMNS = [f"x{i}" for i in range(6)]


def features(y, rng):
    """Noisy readings of the target; high values lie apart from common ones, and are read with more noise."""
    high, noise = y[:, None] > 5, rng.normal(size=(len(y), len(COLUMNS)))
    return np.where(high, 24 + y[:, None] + 3 * noise, y[:, None] + noise)


def table(seed=0, common=100, rare=16):
    rng = np.random.default_rng(seed)
    y = np.concatenate([rng.normal(size=common), rng.uniform(12, 20, rare)])
    return pd.DataFrame(features(y, rng), columns=COLUMNS).assign(y=y, site=rng.choice(["a", "b"], len(y)))


class Planted(BaseEstimator):
    """A generator of high values with a known fault, or none."""

    def __init__(self, fault="none", random_state=0):
        self.fault = fault
        self.random_state = random_state
        self.schema = None

    def augment(self, frame, label, rows=None, *, condition=None, where=None, target, only_synthetic=True):
        rng, n = np.random.default_rng(self.random_state), 150
        real = frame[frame["y"] > 5]
        y = rng.uniform(12, 20, n)
        made = pd.DataFrame(features(y, rng), columns=COLUMNS).assign(y=y)
        if self.fault == "memoriser":
            return real.iloc[rng.integers(len(real), size=n)].reset_index(drop=True)
        if self.fault == "shuffled":
            made[COLUMNS] = features(rng.normal(size=n), rng)
        return made.assign(site=rng.choice(["a", "b"], n))


def measured(fault, seed=0, learner=FOREST):
    return measure_lift(Planted(fault), table(seed), "y", target="numeric", repeats=6, seed=seed, learner=learner)


def test_rows_that_know_the_rare_range_are_accepted():
    for seed in range(2):
        lift = measured("none", seed)
        verdict = judge(lift, 0.5)
        assert lift.kind is NUMBERS and lift.learnable and "macro skill" in lift.measure
        assert verdict.accepted and lift.over(NONE).mean > 0 and "macro skill" in verdict.words, verdict.words
        assert set(lift.arms) == set(NUMBERS.titles) and lift.mean(NONE) < lift.mean(MODEL) < 1


@pytest.mark.parametrize("fault, words", [("memoriser", "equal a real row"), ("shuffled", "chance")])
def test_rows_with_a_planted_fault_are_not_accepted(fault, words):
    verdict = judge(measured(fault), 0.5)
    assert not verdict.accepted and words in verdict.words and verdict.advice, verdict.words


def test_what_is_usual_of_classes_is_not_weighed_in():
    lift = measured("none", learner=Ridge())
    assert expected(lift, 0.5, Usual(0.5, 0.01)) == expected(lift, 0.5, UNKNOWN)
    assert {COPIES, SMOTE, WEIGHTS} < set(lift.arms) and list(lift.learners) == ["Ridge"]


def test_a_target_that_nothing_predicts_is_named():
    frame = table()
    frame["y"] = np.random.default_rng(1).permutation(frame["y"])
    lift = measure_lift(Planted("shuffled"), frame, "y", target="numeric", repeats=4, learner=FOREST)
    assert not lift.learnable and "no better than the median" in judge(lift, 0.5).words


def test_skill_is_one_without_error_and_rows_of_all_ranges_count_alike():
    rng = np.random.default_rng(0)
    y = np.r_[rng.normal(size=200), rng.uniform(10, 12, 20)]
    frame = pd.DataFrame({"x": y, "y": y})
    exact = judge_numbers(frame, frame[-9:], frame, "y", learner=Ridge(alpha=1e-3))
    assert exact.arms[NONE] == pytest.approx(1, abs=0.01)

    class Median(BaseEstimator):
        def fit(self, x, y):
            self.value = np.median(y[:220])  # of the real rows, whatever an arm adds
            return self

        def predict(self, x):
            return np.full(len(x), self.value)

    assert judge_numbers(frame, frame[-9:], frame, "y", learner=Median()).arms[NONE] == 0


def test_smoter_rows_lie_between_neighbours_of_their_range():
    rng = np.random.default_rng(0)
    y = np.r_[rng.normal(size=60), rng.uniform(10, 12, 9), 40.0]
    ranges = np.r_[np.zeros(60), np.ones(9), 2].astype(int)
    base = Part(np.c_[y, 2 * y], y, ranges)
    codes = np.repeat([0, 1, 2], [5, 30, 3])
    x, made = between(base, codes, np.ones(70, dtype=bool), 0)
    np.testing.assert_allclose(x, np.c_[made, 2 * made])
    assert (made[5:35] >= 10).all() and (made[5:35] <= 12).all() and (made[35:] == 40).all()
    assert len(np.unique(made[5:35])) == 30


def test_rows_of_a_condition_are_judged_on_the_rows_that_satisfy_it():
    frame = table()
    seen = []

    class Watching(Planted):
        def augment(self, real, label, rows=None, *, where=None, **given):
            seen.append(where.mask(real).sum())
            return super().augment(real, label, rows, where=where, **given)

    lift = measure_lift(Watching(), frame, "y", target="numeric", where="site = a", repeats=3, learner=Ridge())
    other = measure_lift(Watching(), frame, "y", target="numeric", repeats=3, learner=Ridge(), where="site in (a, b)")
    assert len(seen) == 6 and max(seen[:3]) < min(seen[3:]) and "satisfy the condition" in lift.measure
    assert lift.arms[NONE] != other.arms[NONE]


def test_classes_of_a_condition_need_rows_that_satisfy_it():
    frame = pd.DataFrame({"x": np.arange(60.0), "kind": ["a"] * 40 + ["b"] * 20})
    with pytest.raises(DataError, match="two classes of 'kind' of which 4 rows or more satisfy the condition 'x < 42'"):
        measure_lift(as_augmenter("gaussian"), frame, "kind", where="x < 42", repeats=2)
    lift = measure_lift(as_augmenter("gaussian"), frame, "kind", where="x < 50", repeats=2)
    assert lift.kind is CLASSES and lift.splits == 2


def test_the_automatic_augmenter_returns_the_real_rows_alone_if_rare_ranges_gain_nothing():
    frame = table()[[*COLUMNS, "y"]]
    frame["y"] = np.random.default_rng(1).permutation(frame["y"])
    one = AutoAugmenter(members=["gaussian"], repeats=2, confidence=1.0, learner=Ridge())
    with pytest.warns(UserWarning, match="no rows were added: .* macro skill"):
        whole = one.augment(frame, "y")
    assert len(whole) == len(frame) and one.choice_ == NONE and one.comparison_.kind is NUMBERS
    asked = one.augment(frame, "y", 15)
    assert len(asked) == len(frame) + 15 and Ranges.read(frame["y"]).lacking.sum() > 0
