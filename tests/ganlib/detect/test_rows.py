"""Which rows are kept back: sizes, order, copies, fairness."""

import numpy as np
import pandas as pd
import pytest

from ganlib.data.content import row_hash
from ganlib.detect.rows import hold_out, normal_rows, runs_of
from ganlib.errors import ConfigError, DataError


def table(n, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(size=n), "b": rng.choice(["x", "y"], n)})


def parts(frame, seed=0):
    held = hold_out(row_hash(frame), 0.1, 0.2, seed)
    return held.train, held.validation, held.calibration


def test_parts_are_disjoint_complete_and_of_the_size_requested():
    train, validation, calibration = parts(table(200))
    assert (len(train), len(validation), len(calibration)) == (140, 20, 40)
    assert sorted(np.concatenate([train, validation, calibration])) == list(range(200))


def test_order_of_rows_does_not_matter_and_the_seed_does():
    frame = table(100)
    order = np.random.default_rng(1).permutation(100)
    for first, second in zip(parts(frame), parts(frame.iloc[order].reset_index(drop=True)), strict=True):
        assert np.array_equal(first, order[second])
    assert not np.array_equal(parts(frame)[2], parts(frame, seed=1)[2])


def test_rows_mostly_stay_where_they_were_when_more_come():
    frame = table(1000)
    before, after = set(parts(frame[:900])[2]), set(parts(frame)[2])
    assert len(before & after) >= 0.95 * len(before)


def test_copies_of_a_row_are_shared_out():
    frame = pd.DataFrame({"a": np.repeat([1.0, 2.0], [900, 100])})
    for positions in parts(frame):
        common = (frame["a"].to_numpy()[positions] == 1.0).sum()
        # hypergeometric: four deviations around nine in ten
        assert abs(common - 0.9 * len(positions)) <= 4 * np.sqrt(len(positions) * 0.09)


def test_the_split_is_fair_over_seeds():
    frame = table(50)
    share = np.mean([np.isin(np.arange(50), parts(frame, seed)[2]) for seed in range(400)], axis=0)
    assert np.abs(share - 0.2).max() < 4.5 * np.sqrt(0.2 * 0.8 / 400)


def test_refusals():
    with pytest.raises(DataError, match="at least 10 normal rows"):
        hold_out(row_hash(table(9)), 0.1, 0.2, 0)
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        hold_out(row_hash(table(20)), 0.9, 0.2, 0)


def test_unhashable_cells_are_split_by_their_text():
    frame = pd.DataFrame({"a": [{"k": i} for i in range(20)]})
    assert len(hold_out(row_hash(frame), 0.1, 0.2, 0).calibration) == 4


@pytest.mark.parametrize("y", [[0, 1, None], ["normal", "worm", ""], [False, True, np.nan], ["0", "1", None]])
def test_normal_rows(y):
    assert list(normal_rows(y, 3)) == [True, False, True]


@pytest.mark.parametrize("names", [np.arange(10), np.array([f"m{i}" for i in range(10)])])
def test_runs_stay_in_one_part(names):
    content, runs = row_hash(table(200)), np.repeat(names, 20)
    held = hold_out(content, 0.1, 0.2, 0, runs)
    parts = [set(runs[rows]) for rows in (held.train, held.validation, held.calibration)]
    assert [len(part) for part in parts] == [7, 1, 2] and set.union(*parts) == set(names)
    assert len(held.train) + len(held.validation) + len(held.calibration) == 200
    other = hold_out(content, 0.1, 0.2, 1, runs)
    assert set(runs[other.calibration]) != parts[2]
    assert set(runs[hold_out(content, 0.0, 0.2, 0, runs).calibration]) == parts[2]


def test_too_few_runs_and_wrong_labels_of_runs_are_rejected():
    content = row_hash(table(20))
    with pytest.raises(DataError, match="2 runs are too few"):
        hold_out(content, 0.1, 0.2, 0, np.repeat([0, 1], 10))
    with pytest.raises(DataError, match="19 labels for 20 rows"):
        runs_of(range(19), 20)
    with pytest.raises(DataError, match="is missing"):
        runs_of([None] * 20, 20)
