"""Scores by class: which classes have their own, and that they lead back to the class's rows."""

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.nn.marginals import Marginals


def _fitted(columns, y, draws=None):
    frame = pd.DataFrame(columns)
    encoder = TableEncoder(infer_schema(frame), for_generation=True).fit(frame)
    x, y = encoder.transform(frame), np.asarray(y)
    marginals = Marginals(encoder.spec, int(y.max()) + 1)
    draws = np.arange(len(x)) if draws is None else draws
    scores = marginals.fit_transform(x, y, encoder.codes, draws, np.random.default_rng(0))
    return encoder, marginals, scores


def _generated(encoder, marginals, label, n=4000, seed=0):
    z = torch.randn(n, encoder.spec.dim, generator=torch.Generator().manual_seed(seed))
    return encoder.inverse(marginals(z, torch.full((n,), label)).numpy())


def test_columns_of_very_many_atoms_come_back():
    values = np.concatenate([np.repeat(np.arange(100) * 10.0, 60), np.arange(99) * 10.0 + 5.5])
    encoder, marginals, scores = _fitted({"v": values, "w": values}, np.zeros(len(values), dtype=int))
    back = encoder.inverse(marginals(torch.from_numpy(scores)).numpy())["v"].to_numpy()
    assert np.array_equal(back[:6000], values[:6000]) and np.abs(back - values).max() < 10


@pytest.mark.parametrize(
    ("center", "spread"), [(9.0, 0.1), (9e6, 1e5), (-3e-4, 1e-5), (2.5, 0.05), (-40.0, 1e-3)], ids=str
)
@pytest.mark.parametrize("rows", [6, 20, 60])
def test_noise_of_a_concentrated_class_falls_where_the_class_is(center, spread, rows):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        values = np.append(rng.normal(size=5000), mine := rng.normal(center, spread, rows))
        encoder, marginals, scores = _fitted({"v": values}, [0] * 5000 + [1] * rows)
        made = _generated(encoder, marginals, 1)["v"].to_numpy()
        reach = np.ptp(mine)
        assert np.mean((made > mine.min() - reach / 2) & (made < mine.max() + reach / 2)) > 0.95
        assert abs(made.mean() - mine.mean()) < 0.4 * mine.std() and 0.8 < made.std() / mine.std() < 1.25
        assert np.abs(scores[-rows:]).max() < 3  # standard normal within the class


def test_a_class_of_two_clusters_stays_in_them():
    rng = np.random.default_rng(0)
    mine = np.where(np.arange(40) % 2, -9, 9) + rng.normal(0, 0.1, 40)
    encoder, marginals, _ = _fitted({"v": np.append(rng.normal(size=5000), mine)}, [0] * 5000 + [1] * 40)
    made = _generated(encoder, marginals, 1)["v"].to_numpy()
    assert (np.abs(np.abs(made) - 9) < 0.5).all() and 0.4 < np.mean(made > 0) < 0.6


def test_a_scarce_class_spread_over_the_column_uses_the_columns_scores():
    rng = np.random.default_rng(0)
    encoder, marginals, scores = _fitted({"v": rng.normal(size=90)}, [0] * 70 + [1] * 20)
    z = torch.randn(100, encoder.spec.dim)
    assert marginals(z, torch.ones(100, dtype=torch.int64)) is z and marginals(z) is z
    # A large class has its own.
    encoder, marginals, _ = _fitted({"v": rng.normal(size=190)}, [0] * 170 + [1] * 20)
    assert (marginals.table[0] > 0).all() and (marginals.table[1] == 0).all()


@pytest.mark.parametrize("value", [9.0, 0.0, -3e-4, 3.0])
def test_a_class_of_one_row_is_centred_on_it(value):
    values = np.append(np.random.default_rng(0).normal(size=5000), value)
    encoder, marginals, scores = _fitted({"v": values}, [0] * 5000 + [1])
    made = _generated(encoder, marginals, 1)["v"].to_numpy()
    assert abs(made.mean() - value) < 0.35 and 0.02 < made.std() < 1.2
    assert scores[-1, 0] == 0


def test_atoms_of_a_class_are_exact():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=3000), np.full(30, 0.1), np.full(10, 7.7)])
    encoder, marginals, _ = _fitted({"v": values}, [0] * 3000 + [1] * 40)
    assert set(_generated(encoder, marginals, 1)["v"]) == {0.1, 7.7}


def test_a_missing_number_is_no_observation_and_copies_of_an_atom_differ():
    values = pd.Series(np.random.default_rng(0).normal(size=300))
    values[:100] = 2.0
    values[100:150] = np.nan
    draws = np.append(np.arange(300), np.zeros(50, dtype=int))
    encoder, marginals, scores = _fitted({"v": values}, np.zeros(300, dtype=int), draws)
    assert len(np.unique(scores[300:, 0])) == 50
    assert scores[100:150, 0].std() == pytest.approx(1, abs=0.3)
    back = encoder.inverse(marginals(torch.from_numpy(scores)).numpy())["v"]
    assert (back[300:] == 2.0).all() and back[100:150].isna().all()
