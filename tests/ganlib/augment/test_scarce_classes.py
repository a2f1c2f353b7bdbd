"""A scarce class is generated where its rows are, by the estimator and by the sealed graph."""

import warnings

import numpy as np
import pandas as pd
import pytest

from ganlib import CVAEAugmenter, CVAEGANAugmenter
from ganlib.export.augmenter import seal_augmenter


def _table(seed, scarce, rows=2000):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(np.r_[rng.normal(size=(rows, 3)), scarce(rng)], columns=list("abc"))
    return X, [0] * rows + [1] * (len(X) - rows)


@pytest.mark.parametrize("kind", [CVAEAugmenter, CVAEGANAugmenter])
@pytest.mark.parametrize(("center", "spread"), [(9.0, 0.1), (9e6, 1e5), (-3e-4, 1e-5)], ids=str)
def test_a_scarce_class_is_generated_where_it_is(kind, center, spread):
    for seed in range(3):
        X, y = _table(seed, lambda rng: rng.normal(center, spread, (20, 3)))
        made = kind(sampling_strategy={1: 320}, steps=30, random_state=seed).fit_resample(X, y)[0][2020:]
        mine = X[2000:]
        assert (made.sub(center).abs().max(axis=1) < 10 * spread).mean() > 0.95
        assert (made.ge(mine.min() - spread) & made.le(mine.max() + spread)).to_numpy().mean() > 0.95


@pytest.mark.parametrize("kind", [CVAEAugmenter, CVAEGANAugmenter])
def test_a_class_of_one_row_is_spread_around_it(kind):
    for seed in range(3):
        X, y = _table(seed, lambda rng: np.full((1, 3), 9.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = kind(sampling_strategy={1: 301}, steps=30, random_state=seed).fit_resample(X, y)[0][2001:]
        assert (made.mean() - 9).abs().max() < 0.5 and (made.nunique() > 10).any()


@pytest.mark.trained
def test_nothing_is_generated_between_a_sentinel_and_the_data():
    X, y = _table(0, lambda rng: rng.normal(1, 1, (200, 3)))
    X.loc[::40, "a"] = -999.0
    model = CVAEAugmenter(steps=150).fit(X, y)
    made = model.sample(2000)["a"]
    assert ((made == -999) | (made.abs() < 6)).all() and (made == -999).any()


def test_the_sealed_graph_generates_the_same_classes():
    """``seal_augmenter`` itself compares the graph with torch; here each class's rows are also where they should be."""
    import onnxruntime

    X, y = _table(0, lambda rng: np.r_[rng.normal(9, 0.1, (20, 3)), rng.normal(-50, 2, (3, 3))])
    y[-3:] = [2] * 3
    X.loc[:100, "b"] = -999.0
    model = CVAEAugmenter(steps=30).fit(X, y)
    sealed = seal_augmenter(model)
    session = onnxruntime.InferenceSession(sealed.model.SerializeToString())
    z = np.random.default_rng(0).standard_normal((600, sealed.metadata["latent_dim"]), dtype=np.float32)
    for label, center, reach in ((1, 9, 1), (2, -50, 8)):
        names = [o.name for o in session.get_outputs()]
        feeds = {"z": z, "condition": np.full(600, str(label), dtype=object)}
        got = dict(zip(names, session.run(names, feeds), strict=True))
        here = model.generate(z, np.full(600, label))
        for name in names:
            assert np.mean(np.abs(got[name] - center) < reach) > 0.95
            assert np.mean(np.abs(got[name] - here[name].to_numpy()) < 1e-3) > 0.98
