"""The gate: planted generators are judged for what they are, and a useless one is seldom accepted."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from ganlib import AutoAugmenter
from ganlib.augment.arms import COPIES, MODEL, NONE, SMOTE, WEIGHTS, Judged
from ganlib.augment.gate import expected, judge
from ganlib.augment.lift import (
    CONFIDENCE,
    MOST_SPLITS,
    USUAL_SPLITS,
    WORTH,
    Lift,
    lift_over,
    measure_lift,
    splits_needed,
)
from ganlib.augment.splitting import held_out_splits
from ganlib.augment.usual import ARMS, UNKNOWN, Usual
from ganlib.errors import DataError
from pipelines.sections import AugmentSettings

COLUMNS = [f"x{i}" for i in range(20)]
SHIFT = 0.45


def table(seed, common=200, scarce=20):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(common + scarce, len(COLUMNS)))
    x[common:] += SHIFT
    return pd.DataFrame(x, columns=COLUMNS).assign(kind=["usual"] * common + ["rare"] * scarce)


class Planted(BaseEstimator):
    """A generator of the scarce class with a known fault, or none."""

    def __init__(self, fault="none", random_state=0):
        self.fault = fault
        self.random_state = random_state

    def augment(self, frame, label, rows=None, *, condition=None, only_synthetic=True):
        rng = np.random.default_rng(self.random_state)
        real = frame.loc[frame[label] == "rare", COLUMNS].to_numpy()
        n = int((frame[label] == "usual").sum()) - len(real)
        rows = {
            "none": lambda: SHIFT + rng.normal(size=(n, len(COLUMNS))),
            "memoriser": lambda: real[rng.integers(len(real), size=n)],
            "jittered memoriser": lambda: real[rng.integers(len(real), size=n)] + 1e-3 * rng.normal(size=(n, 20)),
            "leaker": lambda: np.c_[np.full(n, 9.0), rng.normal(size=(n, len(COLUMNS) - 1))],
            "noise": lambda: rng.uniform(-4, 4, size=(n, len(COLUMNS))),
            "collapsed": lambda: real.mean(0) + 1e-3 * rng.normal(size=(n, len(COLUMNS))),
            "three modes": lambda: (real[:3] + 0.5)[rng.integers(3, size=n)],
        }[self.fault]()
        return pd.DataFrame(rows, columns=COLUMNS).assign(**{label: "rare"})


def test_what_is_usual_counts_only_where_there_is_something_to_learn():
    rng, usual = np.random.default_rng(0), Usual(0.035, 0.04)
    noise = table(0).assign(kind=rng.permutation(table(0)["kind"]))
    lift = measure_lift(Planted(), noise, "kind", learner=LogisticRegression(max_iter=300), repeats=5)
    verdict = judge(lift, 0.5, usual)
    assert not lift.learnable and "no better than chance" in verdict.words
    assert verdict.expected == judge(lift, 0.5).expected
    assert measure_lift(Planted(), table(0), "kind", learner=LogisticRegression(max_iter=300), repeats=5).learnable


@pytest.mark.parametrize(
    "fault, words",
    [("memoriser", "equal a real row"), ("jittered memoriser", "equal a real row"), ("leaker", "chance"),
     ("noise", "chance"), ("collapsed", "equal another"), ("three modes", "equal another")],
)  # fmt: skip
def test_a_generator_with_a_planted_fault_is_not_accepted(fault, words):
    linear = LogisticRegression(max_iter=300)
    lift = measure_lift(Planted(fault), table(0), "kind", learner=linear, seed=1, repeats=5)
    verdict = judge(lift, 0.5)
    assert not verdict.accepted and words in verdict.words and verdict.advice, verdict.words
    # What is usual of good models does not carry it through either.
    assert not judge(lift, 0.5, usual=Usual(0.035, 0.04)).accepted


def test_a_generator_that_knows_the_class_is_accepted():
    for seed in range(3):
        lift = measure_lift(Planted(), table(seed), "kind", learner=LogisticRegression(max_iter=300), seed=seed)
        verdict = judge(lift, 0.5)
        assert verdict.accepted and verdict.chance > 0.75 and not verdict.advice, verdict.words
        assert lift.copies == lift.twins == 0 and verdict.expected[MODEL].mean > 0


def test_a_useless_generator_is_seldom_accepted():
    """Labels are drawn at random, so that no row can help: 200 tables, of which a share may pass by chance."""

    def chance_of(seed):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(120, 4)), np.repeat([0, 1], [100, 20])

        def split(number, train, test):
            made = x[train][y[train] == 1].mean(0) + np.random.default_rng(seed + number).normal(size=(56, 4))
            arms = {}
            for arm, more in ((NONE, made[:0]), (MODEL, made)):
                rows, labels = np.r_[x[train], more], np.r_[y[train], np.ones(len(more))]
                weights = np.linalg.lstsq(np.c_[rows, np.ones(len(rows))], labels)[0]
                arms[arm] = average_precision_score(y[test], x[test] @ weights[:-1])
            return Judged({"linear": arms}, chance=0.2)

        lift = lift_over(held_out_splits(y, 10, seed), split, "", repeats=10, seconds=None)
        return judge(lift, 0.5).chance

    chances = np.array([chance_of(seed) for seed in range(200)])
    for confidence in (0.6, CONFIDENCE, 0.8, 0.9):
        allowed = 1 - confidence + 2 * math.sqrt(confidence * (1 - confidence) / 200)
        assert (chances >= confidence).mean() <= allowed, (confidence, (chances >= confidence).mean())


def judged(**arms):
    """Ten splits of which each arm has this mean over the real rows alone, and little spread."""
    base = np.linspace(0.5, 0.6, 10)
    wobble = 0.001 * np.resize([1, -1], 10)
    return Lift({NONE: base.tolist()} | {arm: (base + gain + wobble).tolist() for arm, gain in arms.items()}, 0.3)


def test_expected_gains_are_the_posterior_of_a_normal_prior():
    found = judged(**{MODEL: -0.05, SMOTE: 0.02})
    error = found.over(NONE, SMOTE).error * 1.0595  # Student's t with nine degrees of freedom, at one sigma
    precision = [1 / (0.5 * ARMS[SMOTE].spread) ** 2, 1 / error**2]
    gains = expected(found, 0.5, Usual(0.03, 0.04))
    mean = np.average([0.5 * ARMS[SMOTE].mean, 0.02], weights=precision)
    assert gains[SMOTE].mean == pytest.approx(mean, rel=1e-3) and gains[MODEL].mean < -0.04
    assert gains[SMOTE].error == pytest.approx(sum(precision) ** -0.5, rel=1e-2)
    assert gains[NONE].mean == 0.0 and gains[NONE].chance == 0.0 and gains[SMOTE].chance > 0.99 > gains[MODEL].chance
    # One split measures nothing: what is usual stands.
    single = Lift({NONE: [0.5], MODEL: [0.1]}, 0.3)
    assert expected(single, 1.0, Usual(0.03, 0.04))[MODEL].mean == pytest.approx(0.03)
    # Where every split is perfect without more rows, there is nothing to gain.
    assert not judge(Lift({NONE: [1.0] * 5, MODEL: [1.0] * 5}, 0.3), 1.0).accepted


def test_jobs_and_estimators_have_one_confidence():
    assert AugmentSettings().confidence == AutoAugmenter().confidence == CONFIDENCE


def test_images_are_measured_by_their_own_model():
    assert AutoAugmenter().quick("image").members == ["learned_warps"] and AutoAugmenter().usual("image") == UNKNOWN
    assert AutoAugmenter().quick("table").members == ["adversarial_forest", "gaussian"]


def test_the_advice_names_what_did_best():
    verdict = judge(judged(**{MODEL: -0.05, WEIGHTS: 0.03, COPIES: -0.01}), 0.5)
    assert not verdict.accepted and "class weights did best (+0.030)" in verdict.advice
    assert "use the real rows alone" in judge(judged(**{MODEL: -0.05, WEIGHTS: -0.03}), 0.5).advice


def test_more_splits_are_measured_only_where_they_find_a_gain_worth_finding():
    def spread(size):
        return Lift({NONE: [0.5] * 10, MODEL: (0.5 + size * np.resize([1, -1], 10)).tolist()}, 0.3)

    assert splits_needed(spread(0.001)) == USUAL_SPLITS == splits_needed(spread(0.05))
    between = next(n for size in np.linspace(0.005, 0.012, 200) if (n := splits_needed(spread(size))) > 12)
    assert between <= MOST_SPLITS
    one = spread(0.02)
    assert one.detectable(30) < one.detectable() and one.detectable(math.inf) > WORTH
    counts = []
    planted = Planted("noise")
    measure_lift(planted, table(0), "kind", repeats=2, learner=LogisticRegression(), report=lambda *n: counts.append(n))
    assert counts == [(1, 2), (2, 2)]


class TestSplits:
    labels = np.repeat(["a", "b"], [40, 8])

    def test_every_class_is_on_both_sides_and_no_row_on_two(self):
        for learned, held in held_out_splits(self.labels, 10, 0):
            assert not set(learned) & set(held) and set(self.labels[learned]) == set(self.labels[held]) == {"a", "b"}

    def test_groups_stay_together(self):
        groups = np.arange(48) // 2
        found = list(held_out_splits(self.labels, 10, 0, groups=groups))
        assert len(found) == 10 and len({tuple(held) for _, held in found}) > 5
        for learned, held in found:
            assert not set(groups[learned]) & set(groups[held]) and len(learned) + len(held) == 48

    def test_what_is_learned_precedes_what_is_held_out(self):
        times = np.random.default_rng(0).permutation(48) // 3  # three rows of each time
        found = list(held_out_splits(np.resize(["a", "b"], 48), 10, 0, times=times))
        assert len(found) > 5
        for learned, held in found:
            assert times[learned].max() < times[held].min() and len(learned) >= 20

    def test_classes_that_cannot_be_on_both_sides_are_named(self):
        with pytest.raises(DataError, match="no split by time has rows of every class"):
            list(held_out_splits(self.labels, 10, 0, times=np.arange(48)))
        with pytest.raises(DataError, match="no split by group"):
            list(held_out_splits(self.labels, 10, 0, groups=np.r_[np.arange(40), np.full(8, 99)]))
        with pytest.raises(DataError, match="one group"):
            list(held_out_splits(self.labels, 10, 0, groups=np.zeros(48)))
        with pytest.raises(DataError, match="not by both"):
            next(held_out_splits(self.labels, 10, 0, groups=np.zeros(48), times=np.zeros(48)))

    def test_no_generator_learns_from_a_held_out_row(self):
        """By the content of rows: what a split's generator was given, and what judges it."""
        seen = []

        class Watching(Planted):
            def augment(self, frame, label, *given, **options):
                seen.append(set(map(tuple, frame[COLUMNS].to_numpy())))
                return super().augment(frame, label, *given, **options)

        frame = table(0)
        whole = set(map(tuple, frame[COLUMNS].to_numpy()))
        patients = np.arange(len(frame)) // 2
        measure_lift(Watching(), frame, "kind", repeats=4, groups=patients, learner=LogisticRegression())
        assert len(seen) == 4 and all(0.6 < len(part) / len(whole) < 0.75 for part in seen)
        rows = {tuple(row): who for row, who in zip(frame[COLUMNS].to_numpy(), patients, strict=True)}
        for part in seen:
            assert not {rows[row] for row in part} & {rows[row] for row in whole - part}


def test_where_nothing_is_left_to_gain_no_arm_did_best():
    perfect = Lift({NONE: [1.0] * 5, WEIGHTS: [1.0, 1.0, 1.0, 1.0, 1.0 - 1e-9], MODEL: [1.0 - 1e-6] * 5}, 0.3)
    verdict = judge(perfect, 1.0)
    assert "use the real rows alone" in verdict.advice and "-0.000" not in verdict.words
