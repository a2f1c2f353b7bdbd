"""Conditions, rare ranges of a numeric target and several scarce classes: exact counts, and no row that violates."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from ganlib.augment import MARK, as_augmenter
from ganlib.augment.cells import ROUNDS, sampled
from ganlib.augment.ranges import Ranges
from ganlib.data.conditions import Condition
from ganlib.errors import ConfigError, DataError

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:one row only", "ignore:not generated")
MODELS = {"gaussian": {}, "adversarial_forest": {}, "cvae": {"steps": 20, "hidden": (16,), "latent_dim": 3}}
WHERE = [
    "country = FR", "country != FR", "country in (FR, 'New York')", "age >= 70", "age < 30 and price > 3",
    "price <= 20.5", "active = true", "seen < 2024-01-15", "level = 3", "grade = 2 and country = DE", "kind = c",
    "age = 44", "kind != a and active = false",
]  # fmt: skip


def table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "country": rng.choice(["FR", "DE", "New York"], n, p=[0.15, 0.5, 0.35]),
        "age": np.r_[rng.integers(18, 90, n - 8), np.full(8, 44)],
        "active": rng.random(n) < 0.5,
        "seen": pd.date_range("2024-01-01", periods=n, freq="7h"),
        "level": pd.Categorical(rng.choice([1, 2, 3], n)),
        "grade": pd.Series(rng.choice([1, 2, None], n)).astype("Int64"),
    })  # fmt: skip
    frame["price"] = np.exp(frame["age"] / 25 + 0.3 * rng.normal(size=n)).round(2)
    frame["kind"] = rng.choice(["a", "b", "c"], n, p=[0.7, 0.2, 0.1])
    return frame


def model(name):
    return as_augmenter(name, **MODELS[name])


CASES = [("gaussian", where) for where in WHERE] + [(name, where) for name in list(MODELS)[1:] for where in WHERE[1::3]]


@pytest.mark.parametrize("name, where", CASES)
def test_generated_rows_satisfy_the_condition_in_exact_numbers(name, where):
    frame = table()
    whole = model(name).augment(frame, None, 37, where=where)
    real, made = whole[~whole[MARK]].drop(columns=MARK), whole[whole[MARK]]
    pd.testing.assert_frame_equal(real, frame)
    assert len(made) == 37 and Condition.read(where, frame).mask(made).all()


@pytest.mark.parametrize(
    "name, where", [("gaussian", "country = FR"), ("cvae", "age >= 70"), ("gaussian", "kind != a and active = false")]
)
def test_classes_are_counted_among_the_rows_that_satisfy_it(name, where):
    frame = table()
    held = Condition.read(where, frame).mask(frame)
    counts = frame.loc[held, "kind"].value_counts()
    made = model(name).augment(frame, "kind", where=where, only_synthetic=True)
    assert Condition.read(where, frame).mask(made).all()
    wanted = {kind: counts.max() - count for kind, count in counts.items() if count < counts.max()}
    assert made["kind"].value_counts().to_dict() == wanted
    one = model(name).augment(frame, "kind", 11, condition="b", where=where, only_synthetic=True)
    assert one["kind"].tolist() == ["b"] * 11 and Condition.read(where, frame).mask(one).all()
    both = model(name).augment(frame, "kind", counts={"b": 3, "c": 5}, where=where, only_synthetic=True)
    assert both["kind"].value_counts().to_dict() == {"c": 5, "b": 3}
    assert Condition.read(where, frame).mask(both).all()


def test_a_condition_that_every_row_satisfies_changes_nothing():
    frame = table()[["age", "price"]]
    plain = model("gaussian").augment(frame, None, 20)
    pd.testing.assert_frame_equal(model("gaussian").augment(frame, None, 20, where="age > 0"), plain)


def test_constraints_hold_as_well_and_their_counts_are_those_of_all_rounds():
    frame = table()[["country", "age", "price"]]
    frame["total"] = (frame["price"] + frame["age"]).round(2)
    one = model("gaussian")
    made = one.augment(frame, None, 40, where="total > 60 and country = DE", only_synthetic=True)
    assert [c.describe() for c in one.schema_.constraints] and one.constraint_report_
    np.testing.assert_allclose(made["total"], made["price"] + made["age"], atol=0.006)
    assert (made["total"] > 60).all() and (made["country"] == "DE").all() and len(made) == 40
    assert all(set(counts) == {"broken", "redrawn", "repaired"} for counts in one.constraint_report_.values())


@pytest.mark.parametrize("where, label, given, kind, words", [
    ("age > 200", None, {"rows": 5}, DataError, "no row satisfies the condition 'age > 200'"),
    ("country = FR and age > 89", None, {"rows": 5}, DataError, "rows? satisf"),
    ("age >", None, {"rows": 5}, ConfigError, "a value is expected"),
    ("kind = c", "kind", {"condition": "a", "rows": 5}, ConfigError, "no class 'a'; the classes are c"),
    ("country = FR", None, {}, ConfigError, "give the number of rows"),
    ("age > 20", "kond", {}, DataError, "did you mean 'kind'"),
])  # fmt: skip
def test_what_cannot_be_generated_is_an_error_before_training(where, label, given, kind, words, monkeypatch):
    one = model("gaussian")
    monkeypatch.setattr(type(one), "fit", lambda *_: pytest.fail("it trained"))
    with pytest.raises(kind, match=words):
        one.augment(table(), label, where=where, **given)


def test_a_column_that_is_not_generated_is_an_error():
    frame = table().assign(row=np.arange(300))
    with pytest.raises(DataError, match="column 'row' is not generated"):
        model("gaussian").augment(frame, None, 5, where="row < 100")


class TestSampled:
    """Rounds of sampling, with a generator whose every k-th row fits."""

    @staticmethod
    def draw(every):
        rng = np.random.default_rng(0)
        return lambda request, seed: pd.DataFrame({"fit": rng.random(sum(request.values())) < 1 / every})

    @staticmethod
    def fits(made, names):
        return made["fit"].to_numpy()

    @pytest.mark.parametrize("every", [1, 3, 8])
    def test_missing_rows_are_sampled_again(self, every):
        made = sampled(self.draw(every), {"a": 30, "none": 0, "b": 7}, self.fits, "it", 0)
        assert len(made) == 37 and made["fit"].all()

    def test_the_order_is_that_of_the_request(self):
        def draw(request, seed):
            return pd.DataFrame({"name": [name for name, n in request.items() for _ in range(n)]})

        made = sampled(draw, {"b": 2, "a": 3}, lambda rows, _: np.arange(len(rows)) % 2 == 0, "it", 0)
        assert made["name"].tolist() == ["b", "b", "a", "a", "a"]

    def test_too_few_are_an_error_with_counts(self):
        calls = []

        def draw(request, seed):
            calls.append(seed)
            return pd.DataFrame({"fit": np.zeros(sum(request.values()), dtype=bool)})

        with pytest.raises(DataError, match="generated rows of 'a' 0 satisfy age > 3, and 5 are needed"):
            sampled(draw, {"a": 5}, self.fits, "age > 3", 5)
        assert calls[0] == 5 and len(calls) == len(set(calls)) == ROUNDS


# ------------------------------------------------------------------------ numeric targets
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", [False, True])
def test_rows_of_rare_ranges_are_added_and_lie_within_them(name, text):
    frame = table()[["country", "age", "price"]]
    ranges = Ranges.read(frame["price"])
    if text:  # as a file with decimal commas
        frame["price"] = frame["price"].map(lambda value: f"{value:.2f}".replace(".", ","))
    whole = model(name).augment(frame, "price")
    made = whole[whole[MARK]]
    pd.testing.assert_frame_equal(whole[~whole[MARK]].drop(columns=MARK), frame)
    numbers = made["price"].str.replace(",", ".").astype(float) if text else made["price"]
    codes = ranges.codes(numbers.to_numpy())
    assert (np.bincount(codes, minlength=len(ranges.counts)) == ranges.lacking).all()
    assert ranges.within(numbers.to_numpy(), codes).all() and numbers.nunique() > 0.7 * len(numbers)


def test_a_numeric_target_with_a_condition_and_a_number_of_rows():
    frame = table()[["country", "age", "price"]]
    made = model("gaussian").augment(frame, "price", 24, where="price > 15 and country = DE", only_synthetic=True)
    assert len(made) == 24 and (made["price"] > 15).all() and (made["country"] == "DE").all()
    name = Ranges.read(frame["price"]).names[-1]
    high = model("gaussian").augment(frame, "price", 9, condition=name, only_synthetic=True)
    assert len(high) == 9 and (high["price"] >= Ranges.read(frame["price"]).edges[-2]).all()


@pytest.mark.parametrize("missing", [None, "NA"])
def test_rows_without_a_number_belong_to_no_range(missing):
    frame = table()[["country", "age", "price"]].astype({"price": object})
    frame["price"] = frame["price"].astype(str)
    ranges = Ranges.read(frame["price"])
    frame = pd.concat([frame, frame.assign(age=999, price=missing)[:60]], ignore_index=True)
    whole = model("gaussian").augment(frame, "price")
    made = whole[whole[MARK]]
    assert len(whole) - len(made) == 360 and len(made) == ranges.lacking.sum() and made["age"].max() < 91


def test_polars_frames_come_back_as_polars():
    frame = table()[["country", "age", "price"]]
    made = model("gaussian").augment(pl.from_pandas(frame), "price", 9, where="country = FR", only_synthetic=True)
    assert isinstance(made, pl.DataFrame) and made["country"].to_list() == ["FR"] * 9


def test_a_number_column_of_few_values_stays_classes():
    frame = table()[["country", "age"]].assign(y=np.repeat([1.5, 2.5, 3.5], [200, 70, 30]))
    made = model("gaussian").augment(frame, "y", only_synthetic=True)
    assert made["y"].value_counts().to_dict() == {3.5: 170, 2.5: 130}


# ------------------------------------------------------------------------ several scarce classes
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("counts", [(300, 40, 12, 5, 1), (60, 60, 2, 2), (50, 1, 1, 1), (9, 8, 7)])
def test_several_scarce_classes_are_balanced_exactly(name, counts):
    kinds = [f"k{i}" for i in range(len(counts))]
    rng = np.random.default_rng(0)
    order = rng.permutation(np.repeat(kinds, counts))
    place = np.array([kinds.index(kind) for kind in order])
    frame = pd.DataFrame(
        {"x": place + rng.normal(size=len(order)), "c": rng.choice(["p", "q"], len(order)), "kind": order}
    )
    whole = model(name).augment(frame, "kind")
    pd.testing.assert_frame_equal(whole[~whole[MARK]].drop(columns=MARK), frame)
    assert whole["kind"].value_counts().to_dict() == dict.fromkeys(kinds, max(counts))


def test_a_class_of_one_row_is_warned_of_and_one_of_none_is_an_error():
    frame = table(100)[["age", "price"]].assign(kind=["a"] * 80 + ["b"] * 19 + ["c"])
    with pytest.warns(UserWarning, match="one row only in class c"):
        model("gaussian").augment(frame, "kind", 3, condition="c")
    with pytest.raises(ConfigError, match="no class 'd'; the classes are a, b, c"):
        model("gaussian").augment(frame, "kind", 3, condition="d")
