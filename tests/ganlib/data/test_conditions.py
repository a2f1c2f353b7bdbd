"""Conditions on column values: what is parsed, which rows satisfy it, and each error."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.conditions import IN, Condition, Term, read_terms
from ganlib.data.inference import infer_schema
from ganlib.errors import ConfigError, DataError


def table():
    rng = np.random.default_rng(0)
    n = 80
    frame = pd.DataFrame({
        "country": rng.choice(["FR", "DE", "New York", "it's", 'say "x"'], n),
        "age": rng.integers(18, 90, n),
        "price": rng.normal(50, 10, n).round(2),
        "euro": [f"{x:.2f}".replace(".", ",") for x in rng.normal(1000, 300, n)],
        "active": rng.random(n) < 0.5,
        "seen": pd.date_range("2024-01-01", periods=n, freq="7h"),
        "day": [f"{d:02d}.{m:02d}.2024" for d, m in zip(rng.integers(13, 28, n), rng.integers(1, 12, n), strict=True)],
        "my col": rng.choice([1.0, 2.0], n),
        "code": rng.choice(["01", "02"], n),
        "grade": pd.Series(rng.choice([1, 2, None], n)).astype("Int64"),
        "level": pd.Categorical(rng.choice([1, 2, 3], n)),
        "note": [f"free text of row {i} {rng.random()}" for i in range(n)],
    })  # fmt: skip
    frame.loc[:4, "country"] = None
    frame.loc[5:9, "price"] = np.nan
    return frame


EURO = {"euro": lambda f: f["euro"].str.replace(",", ".").astype(float)}
DAYS = {"day": lambda f: pd.to_datetime(f["day"], format="%d.%m.%Y")}


@pytest.mark.parametrize("where, expected", [
    ("country = FR", lambda f: f.country == "FR"),
    ("country == FR", lambda f: f.country == "FR"),
    ("country != FR", lambda f: (f.country != "FR") & f.country.notna()),
    ("country <> FR", lambda f: (f.country != "FR") & f.country.notna()),
    ("country in (FR, 'New York')", lambda f: f.country.isin(["FR", "New York"])),
    ("country='it''s'", lambda f: f.country == "it's"),
    ('country="say ""x"""', lambda f: f.country == 'say "x"'),
    ("age>=40 and age<60", lambda f: (f.age >= 40) & (f.age < 60)),
    ("age in (40, 41.0, 42)", lambda f: f.age.isin([40, 41, 42])),
    ("price < 50", lambda f: f.price < 50),
    ("price <= 50 AND price > 4e1", lambda f: (f.price <= 50) & (f.price > 40)),
    ("price != -1", lambda f: f.price.notna()),
    ("euro > '1000,50'", lambda f: EURO["euro"](f) > 1000.5),
    ("euro > 1000.5", lambda f: EURO["euro"](f) > 1000.5),
    ("active = true", lambda f: f.active),
    ("active != TRUE", lambda f: ~f.active),
    ("seen >= 2024-01-05", lambda f: f.seen >= "2024-01-05"),
    ("seen = '2024-01-01 07:00'", lambda f: f.seen == "2024-01-01 07:00"),
    ("seen < 2024-01-05T12:30", lambda f: f.seen < "2024-01-05 12:30"),
    ("day < 2024-06-05", lambda f: DAYS["day"](f) < "2024-06-05"),
    ("day < 15.06.2024", lambda f: DAYS["day"](f) < "2024-06-15"),
    ("`my col` = 1", lambda f: f["my col"] == 1),
    ("'my col' = 1.0 and \"age\" > 30", lambda f: (f["my col"] == 1) & (f.age > 30)),
    ("code = 01", lambda f: f.code == "01"),
    ("grade = 2", lambda f: (f.grade == 2).fillna(False).astype(bool)),
    ("level in (1, 3)", lambda f: f.level.isin([1, 3])),
    (["country = FR", "age > 40"], lambda f: (f.country == "FR") & (f.age > 40)),
])  # fmt: skip
def test_a_condition_marks_the_rows_that_satisfy_it(where, expected):
    frame = table()
    read, wanted = Condition.read(where, frame), expected(frame).to_numpy(dtype=bool)
    assert 0 < wanted.sum() < len(frame)
    assert (read.mask(frame) == wanted).all()
    assert (Condition.read(where, frame, infer_schema(frame, for_generation=True)).mask(frame) == wanted).all()
    assert read_terms(read.describe()) == read.terms


TEXTS = st.text(min_size=1, max_size=8).filter(lambda text: text.strip() == text != "")
TERMS = st.builds(Term, TEXTS.filter(lambda t: not {"`", "'"} <= set(t)),
                  st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.tuples(TEXTS))  # fmt: skip


@settings(deadline=None)
@given(st.lists(TERMS | st.builds(Term, TEXTS, st.just(IN), st.lists(TEXTS, min_size=1).map(tuple)), min_size=1))
def test_what_is_described_is_read_again(terms):
    assert list(read_terms(" and ".join(term.describe() for term in terms))) == terms


@pytest.mark.parametrize("where, words", [
    ("", "a column is expected at the end"),
    ("age", "an operator is expected after column 'age'"),
    ("age >", "a value is expected at the end"),
    ("> 3", "a column is expected before '>'"),
    ("age > 3 and", "a column is expected at the end"),
    ("age > 3 or age < 2", "'or' is not supported"),
    ("country = New York", "'York' follows a whole comparison"),
    ("country = ''", "a value is empty"),
    ("country in FR", "round brackets"),
    ("country in (FR", "not closed"),
    ("country in ()", "a value is expected before"),
    ("age = = 3", "a value is expected before '='"),
    ("country = 'FR", "cannot read"),
    ((), "where must be a condition"),
    ([3], "where must be a condition"),
])  # fmt: skip
def test_what_cannot_be_parsed_is_named(where, words):
    with pytest.raises(ConfigError) as error:
        read_terms(where)
    assert words in str(error.value)


@pytest.mark.parametrize("where, kind, words", [
    ("contry = FR", DataError, "there is no column 'contry'; did you mean 'country'?"),
    ("country = FRA", DataError, "no row has 'FRA' in 'country'; values: 'FR'"),
    ("country in (FR, XX)", DataError, "no row has 'XX'"),
    ("code = 1", DataError, "no row has '1' in 'code'"),
    ("note = x", DataError, "free text, which is not generated"),
    ("country < FR", ConfigError, "categories have no order"),
    ("active > false", ConfigError, "booleans have no order"),
    ("age > old", ConfigError, "column 'age' needs a number, not 'old'"),
    ("age = NA", ConfigError, "needs a number"),
    ("age < 1e999", ConfigError, "needs a number"),
    ("seen > yesterday", ConfigError, "column 'seen' needs a date"),
    ("active = perhaps", ConfigError, "column 'active' needs true or false"),
])  # fmt: skip
def test_what_no_column_can_satisfy_is_named(where, kind, words):
    with pytest.raises(kind) as error:
        Condition.read(where, table())
    assert words in str(error.value)


def test_an_unused_column_is_an_error():
    schema = infer_schema(table(), for_generation=True, ids=["age"])
    with pytest.raises(DataError, match="column 'age' has the role id, so it is not generated"):
        Condition.read("age > 3", table(), schema)


def test_dates_are_read_in_the_time_zone_of_the_schema():
    frame = pd.DataFrame({"at": [dt.datetime(2024, 1, 1, h) for h in (22, 23)] * 10, "x": np.arange(20.0) ** 2})
    aware = frame.assign(at=frame["at"].dt.tz_localize("UTC"))
    schema = infer_schema(aware, timezone="Europe/Berlin", for_generation=True)
    assert Condition.read("at >= 2024-01-02", aware, schema).mask(aware).sum() == 10  # 23:00 UTC is midnight there
    assert Condition.read("at >= 2024-01-02", frame).mask(frame).sum() == 0
