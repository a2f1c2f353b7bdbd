import numpy as np
import pytest

from ganlib.errors import DataError
from ganlib.metrics.privacy import canary_test, copied, membership_attack, nearest_records
from ganlib.metrics.rows import nearest_distances, row_numbers


def sample(rows, seed, width=3):
    return np.random.default_rng(seed).normal(size=(rows, width))


TRAIN, HOLDOUT = sample(600, 0), sample(400, 1)


# ---------------------------------------------------------------- rows
def test_the_search_is_exact_in_parts_as_at_once(monkeypatch):
    a, b = sample(50, 0), sample(40, 1)
    whole = np.sort(np.linalg.norm(a[:, None] - b[None], axis=2), axis=1)[:, :2]
    monkeypatch.setattr("ganlib.metrics.rows.PART_BYTES", 8 * len(b) * 7)
    np.testing.assert_allclose(nearest_distances(a, b, 2), whole)
    assert (nearest_distances(a, a)[:, 0] == 0).all() and (nearest_distances(a, a, same=True) > 0).all()
    assert np.isinf(nearest_distances(a, b[:1], 2)[:, 1]).all()


def test_rows_have_one_number_if_all_values_are_equal():
    a, b = np.array([[1.0, np.nan], [2.0, 0.0]]), np.array([[2.0, 0.0], [1.0, np.nan], [1.0, 0.0]])
    one, other = row_numbers(a, b)
    assert one.tolist() == [other[1], other[0]] and len({*one, *other}) == 3
    one, other = row_numbers(np.array([["a", "b"]]), np.array([["ab", ""], ["a", "b"]]))
    assert one[0] == other[1] != other[0]
    # So many columns of so many values that their product would overflow 64 bits.
    wide = np.random.default_rng(0).permuted(np.tile(np.arange(200)[:, None], (1, 12)), axis=0)
    assert (
        len(set(row_numbers(wide, wide)[0])) == 200 and (row_numbers(wide, wide)[0] == row_numbers(wide, wide)[1]).all()
    )


# ---------------------------------------------------------------- closest records
def test_nearest_records_by_hand():
    train, holdout = np.array([[0.0], [10.0], [30.0]]), np.array([[1.0], [4.0], [15.0]])
    found = nearest_records(train, np.array([[0.5], [20.0]]), holdout)
    # Held-out distances 1, 4, 5: the 5 % quantile is 1.3.
    assert (found.share, found.usual_share) == (0.5, pytest.approx(1 / 3))
    assert (found.distance, found.usual_distance) == (5.25, 4.0)
    # Ratios 0.5 / 9.5 and 10 / 10; of held-out rows 1 / 9, 4 / 6, 5 / 15.
    assert found.ratio == pytest.approx((0.5 / 9.5 + 1) / 2) and found.usual_ratio == pytest.approx(1 / 3)
    assert found.ratio_share == 0.5


def test_fresh_rows_have_the_usual_share_and_a_memoriser_all():
    fresh, copies = nearest_records(TRAIN, sample(2000, 2), HOLDOUT), nearest_records(TRAIN, TRAIN, HOLDOUT)
    assert fresh.share == pytest.approx(0.05, abs=0.03) and fresh.usual_share == pytest.approx(0.05, abs=0.003)
    assert fresh.ratio_share == pytest.approx(0.05, abs=0.03)
    assert (copies.share, copies.distance, copies.ratio, copies.ratio_share) == (1, 0, 0, 1)
    jittered = nearest_records(TRAIN, TRAIN + 0.01 * sample(600, 3), HOLDOUT)
    assert jittered.share > 0.95 and not copied(TRAIN, TRAIN + 0.01 * sample(600, 3)).any()


def test_equal_training_rows_repeat_no_single_row_and_ties_raise_the_usual_share():
    train = np.repeat([[0.0], [1.0]], 5, axis=0)
    found = nearest_records(train, np.array([[0.0]]), np.array([[0.0], [1.0], [1.0]]))
    assert (found.share, found.usual_share, found.ratio, found.usual_ratio_share) == (1, 1, 1, 1)


def test_weights_count_rows_in_the_shares():
    made = np.concatenate([TRAIN[:1], 9 + TRAIN[:1]])
    assert nearest_records(TRAIN, made, HOLDOUT, np.array([3.0, 1.0])).share == 0.75


def test_copies_are_found_whatever_the_type():
    assert copied(np.array([["a", "1"], ["b", "2"]]), np.array([["a", "2"], ["b", "2"]])).tolist() == [False, True]
    assert copied(TRAIN, np.concatenate([TRAIN[3:5], TRAIN[:1] + 1e-12])).tolist() == [True, True, False]
    with pytest.raises(DataError, match="same columns"):
        copied(TRAIN, TRAIN[:, :2])


# ---------------------------------------------------------------- attacks
def test_membership_by_hand():
    found = membership_attack(np.array([[0.0], [1.0]]), np.array([[5.0], [0.5]]), np.array([[0.0], [1.1]]))
    # Distances 0, 0.1 of members, 3.9, 0.5 of others.
    assert (found.auroc, found.found_1, found.found_10) == (1, 1, 1)
    assert membership_attack(HOLDOUT, HOLDOUT, TRAIN).auroc == 0.5


def test_a_memoriser_is_recognised_and_fresh_rows_are_not():
    copies, fresh = membership_attack(TRAIN, HOLDOUT, TRAIN), membership_attack(TRAIN, HOLDOUT, sample(600, 5))
    assert copies.auroc == 1 and copies.found_1 == 1
    assert (
        abs(fresh.auroc - 0.5) < 4 * fresh.error
        and fresh.found_1 < 0.05
        and fresh.found_10 == pytest.approx(0.1, abs=0.06)
    )
    assert fresh.error == pytest.approx(np.sqrt(1001 / (12 * 600 * 400)))


def test_a_reference_takes_off_what_is_near_to_any_row():
    rng = np.random.default_rng(0)
    # The members lie densely, the others far apart: nearness alone separates them without any memory.
    members, others, fresh, reference = (rng.normal(scale=scale, size=(400, 2)) for scale in (1.0, 3.0, 1.0, 1.0))
    plain, beside = membership_attack(members, others, fresh), membership_attack(members, others, fresh, reference)
    assert plain.auroc > 0.7 and abs(beside.auroc - 0.5) < 0.1
    assert membership_attack(members, others, members, reference).auroc > 0.9


def test_canaries_of_a_memoriser_are_found_and_of_an_honest_generator_not():
    rows = 8 * sample(20, 7)
    planted, absent = rows[:10], rows[10:]
    memory = canary_test(planted, absent, np.concatenate([TRAIN, planted]))
    assert memory.auroc > 0.99 and memory.p_value < 0.001 and memory.planted == 0 < memory.absent
    honest = [canary_test(*np.split(8 * sample(20, seed), 2), sample(600, seed + 100)).p_value for seed in range(40)]
    assert sum(p < 0.05 for p in honest) <= 6 and np.mean(honest) == pytest.approx(0.5, abs=0.2)


def test_wrong_arrays_are_named():
    with pytest.raises(DataError, match="synthetic"):
        nearest_records(TRAIN, TRAIN[:, :2], HOLDOUT)
    with pytest.raises(DataError, match="holdout"):
        nearest_records(TRAIN, TRAIN, HOLDOUT[:, :2])
    with pytest.raises(DataError, match="a second nearest"):
        nearest_records(TRAIN[:1], TRAIN, HOLDOUT)
    with pytest.raises(DataError, match="finite"):
        membership_attack(TRAIN, HOLDOUT, np.full((3, 3), np.nan))
