"""The gate of images and series: what networks learn from each arm, and which generators are accepted."""

import numpy as np
import pytest
import torch

from ganlib.augment import example_arms
from ganlib.augment.arms import BOTH, COPIES, EXAMPLES, MODEL, NONE, SMOTE, TRANSFORMS
from ganlib.augment.example_arms import figure, judge_examples, network, reduced
from ganlib.augment.gate import judge
from ganlib.augment.lift import Lift, lift_over
from ganlib.augment.splitting import held_out_splits
from ganlib.data.series_moves import RandomSeries
from ganlib.errors import ConfigError, DataError

SIDE, STEPS = 12, 60


def images(kind, n, rng):
    """A disc ("common") or a ring ("rare") of any place and size, on noise."""
    down, across = np.indices((SIDE, SIDE))
    middle, size = rng.uniform(2, 9, (2, n, 1, 1)), rng.uniform(2, 3.5, (n, 1, 1))
    far = np.hypot(down - middle[0], across - middle[1]) - size
    inside = far < 0 if kind == "common" else np.abs(far) < 0.8
    return np.clip(80 * inside + rng.normal(90, 50, (n, SIDE, SIDE)), 0, 255).astype(np.uint8)


def series(kind, n, rng):
    """One peak ("common"), or a second, narrower one after it ("rare"), of any place, on noise."""
    steps, at, gap = np.arange(40), rng.uniform(4, 34, (n, 1)), rng.uniform(4, 12, (n, 1))
    second = 0.9 * (kind == "rare") * np.exp(-np.square((steps - at - gap) / 1.5))
    return (np.exp(-np.square((steps - at) / 3)) + second + rng.normal(0, 0.3, (n, 40)))[:, None].astype(np.float32)


MAKERS = {"image": images, "series": series}


def generated(how, x, y, make, count, rng):
    """``count`` examples called "rare": true ones, copies, one of them again and again, or those of another class."""
    mine = x[y == "rare"]
    if how == "copies":
        return mine[rng.integers(len(mine), size=count)]
    if how == "one":
        return np.repeat(make("rare", 1, rng), count, 0)
    return make("rare" if how == "true" else "common", count, rng)


def verdict_on(how, modality, repeats):
    """Networks that learned from 112 common and 11 rare examples are evaluated on 200 others of each class."""
    rng, make = np.random.default_rng(0), MAKERS[modality]

    def examples(common, rare):
        x = np.concatenate([make("common", common, rng), make("rare", rare, rng)])
        return x, np.repeat(["common", "rare"], (common, rare))

    (x, y), held = examples(160, 16), examples(200, 200)

    def split(number, fit, test):
        made = generated(how, x[fit], y[fit], make, 100, np.random.default_rng(number))
        return judge_examples((x[fit], y[fit]), (made, np.repeat("rare", 100)), held, modality, number)

    lift = lift_over(held_out_splits(y, repeats, 0), split, "", repeats=repeats, seconds=None, kind=EXAMPLES)
    return lift, judge(lift, 0.5)


@pytest.mark.trained
@pytest.mark.parametrize("modality", MAKERS)
def test_true_examples_are_accepted_and_those_of_another_class_are_not(monkeypatch, modality):
    monkeypatch.setattr(example_arms, "STEPS", STEPS)
    lift, verdict = verdict_on("true", modality, 3)
    base, grown = lift.pair
    assert verdict.accepted and lift.mean(grown) > lift.mean(base) + 0.03, verdict.words
    assert set(lift.arms) == set(EXAMPLES.titles) and EXAMPLES.titles[base] in verdict.words
    verdict = verdict_on("false", modality, 3)[1]
    assert not verdict.accepted and "generated" not in verdict.advice.split(";")[0], verdict.words


@pytest.mark.parametrize("modality", MAKERS)
@pytest.mark.parametrize(("how", "words"), [("copies", "equal a real row"), ("one", "equal another generated row")])
def test_copies_and_repetitions_are_not_accepted(monkeypatch, modality, how, words):
    monkeypatch.setattr(example_arms, "STEPS", 3)
    verdict = verdict_on(how, modality, 2)[1]
    assert not verdict.accepted and words in verdict.words


def lift_with(**arms):
    """Five splits of which each arm has this mean, and little spread."""
    return Lift({arm: (mean + np.linspace(-0.01, 0.01, 5)).tolist() for arm, mean in arms.items()}, 0.3, kind=EXAMPLES)


def test_the_pair_that_does_better_without_generated_examples_decides():
    arms = {NONE: 0.7, TRANSFORMS: 0.9, MODEL: 0.85, BOTH: 0.89, SMOTE: 0.6}
    helped = lift_with(**arms)
    assert helped.pair == (TRANSFORMS, BOTH) and helped.over(TRANSFORMS).mean == pytest.approx(-0.01)
    verdict = judge(helped, 1.0)
    assert not verdict.accepted and "use the real examples with transforms" in verdict.advice
    harmed = lift_with(**(arms | {TRANSFORMS: 0.6}))
    assert harmed.pair == (NONE, MODEL) and judge(harmed, 1.0).accepted
    assert harmed.detectable() < harmed.over(NONE).mean


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 40), (1, 24), (6, 500), (1, 3), (2, 1, 5)])
def test_examples_of_any_size_are_read(monkeypatch, shape):
    x = torch.rand(4, *shape) * 2 - 1
    small = reduced(x)
    assert max(small.shape[2:]) <= example_arms.MOST[len(shape) - 1]
    assert small.mean() == pytest.approx(float(x.mean()), abs=0.05)
    y = np.array(["a", "b", "a", "b"])
    state = torch.random.get_rng_state()
    monkeypatch.setattr(example_arms, "STEPS", 3)
    found = [figure((small, y), (small, y), 3, moved=moved) for moved in (False, True, True)]
    assert 0 < found[0] <= 1 and found[1] == found[2] and torch.equal(state, torch.random.get_rng_state())
    assert network(tuple(small.shape[1:]), 2).eval()(small).shape == (4, 2)


def test_without_generated_examples_there_is_nothing_to_judge():
    x, y = np.zeros((4, 8, 8), np.uint8), np.array(["a", "b", "a", "b"])
    with pytest.raises(DataError, match="no examples to generate"):
        judge_examples((x, y), (x[:0], y[:0]), (x, y), "image")


def test_series_are_moved_and_their_ends_stay():
    x = torch.randn(50, 2, 30)

    def moved(seed, **options):
        return RandomSeries(**options)(x, torch.Generator().manual_seed(seed))

    assert torch.allclose(moved(0, jitter=0, scale=0, warp=0), x, atol=1e-5)
    warped = moved(0, jitter=0, scale=0)
    assert torch.allclose(warped[:, :, [0, -1]], x[:, :, [0, -1]], atol=1e-5) and not torch.allclose(warped, x)
    assert float((moved(0, scale=0, warp=0) - x).std()) == pytest.approx(0.05, rel=0.1)
    factors = (moved(0, jitter=0, warp=0) / x).flatten(2)
    assert float(factors.std(2).max()) < 1e-4 and float(factors[:, :, 0].std()) == pytest.approx(0.1, rel=0.3)
    assert torch.equal(moved(1), moved(1)) and not torch.equal(moved(1), moved(2))
    assert RandomSeries()(x[:, :, :1], torch.Generator()).shape == (50, 2, 1)
    for wrong in (x[0], x.long()):
        with pytest.raises(DataError, match="series are floats"):
            RandomSeries()(wrong, torch.Generator())
    with pytest.raises(ConfigError):
        RandomSeries(jitter=-1)


def test_an_order_of_generated_examples_changes_no_other_arm(monkeypatch):
    monkeypatch.setattr(example_arms, "STEPS", 3)
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], (30, 9, 6))
    x, held = (rng.integers(0, 256, (45, SIDE, SIDE), dtype=np.uint8) for _ in range(2))
    made, named = rng.integers(0, 256, (60, SIDE, SIDE), dtype=np.uint8), np.repeat(["b", "c"], (40, 20))
    order = rng.permutation(60)
    first, second = (judge_examples((x, y), (made[i], named[i]), (held, y), "image").arms for i in (slice(None), order))
    assert all(first[arm] == second[arm] for arm in (NONE, COPIES, SMOTE, TRANSFORMS))


def test_real_and_generated_examples_of_a_class_are_drawn_equally_often():
    classes = np.array(["a", "b", "b", "c", "c", "b", "b", "b", "b", "b", "b"])
    often = example_arms._evenly(classes, 5)
    real = np.arange(11) < 5
    for name in "abc":
        mine = classes == name
        assert often[mine].sum() == pytest.approx(mine.sum())
        if (mine & ~real).any():
            assert often[mine & real].sum() == pytest.approx(often[mine & ~real].sum())
