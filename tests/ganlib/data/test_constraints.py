"""Which relations between columns are proposed, and what a person may write in the schema file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ganlib.data.constraints import Combination, Order
from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.schema import Schema
from ganlib.errors import ConfigError

REGION = dict(zip("uvwxyz", "nnnsss", strict=True))


def found(frame):
    return set(infer_schema(frame, for_generation=True).constraints)


def spans(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    return start, start + pd.to_timedelta(rng.integers(0, 40, rows), unit="D")


@pytest.mark.parametrize("layout", [None, "%Y-%m-%d", "%d.%m.%Y"])
@pytest.mark.parametrize("missing", [False, True])
def test_an_order_of_dates_is_found_in_any_type(layout, missing):
    start, end = (pd.Series(s if layout is None else s.strftime(layout)) for s in spans())
    frame = pd.DataFrame({"end": end, "start": start})
    if missing:
        frame.loc[::7, "end"], frame.loc[::5, "start"] = None, None
    assert found(frame) == {Order("start", "end")}
    frame.loc[3, ["start", "end"]] = frame.loc[3, ["end", "start"]].to_numpy()
    frame.loc[3, "end"], frame.loc[3, "start"] = frame["start"].dropna().iloc[0], frame["end"].dropna().iloc[0]
    row = frame.loc[[3]].apply(lambda s: pd.to_datetime(s, format=layout))
    assert (row["start"] > row["end"]).all()
    assert found(frame) == set()


@pytest.mark.parametrize("kind", ["number", "text", "duration", "Int64"])
def test_an_order_of_numbers_and_durations_is_found(kind):
    rng = np.random.default_rng(1)
    low = pd.Series(rng.integers(0, 900, 150))
    high = low + rng.integers(1, 200, 150)
    kinds = {
        "number": lambda s: s / 7,
        "text": lambda s: s.map("${:,.2f}".format),
        "duration": lambda s: pd.to_timedelta(s, unit="m"),
        "Int64": lambda s: s.astype("Int64"),
    }
    frame = pd.DataFrame({"low": kinds[kind](low), "high": kinds[kind](high)})
    assert found(frame) == {Order("low", "high")}


def test_a_category_that_determines_another_is_found_once():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"region": "", "shop": rng.choice(list(REGION), 300), "other": rng.choice(list("pq"), 300)})
    frame["region"], frame["code"] = frame["shop"].map(REGION), frame["shop"].str.upper()
    pairs = {frozenset(c.columns) for c in found(frame)}
    assert pairs == {frozenset(p) for p in (("shop", "region"), ("shop", "code"), ("code", "region"))}
    assert len(found(frame)) == 3
    frame.loc[frame["shop"] == "u", "region"] = None
    assert Combination(("shop", "region")) in found(frame)
    frame.loc[frame.index[frame["shop"] == "v"][0], "region"] = "s"
    assert Combination(("shop", "region")) not in found(frame)


def test_what_ranges_constants_or_few_rows_explain_is_not_proposed():
    rng = np.random.default_rng(0)
    start, end = spans(49)
    assert found(pd.DataFrame({"start": start, "end": end})) == set()
    apart = pd.DataFrame({"a": rng.uniform(0, 5, 200), "b": rng.uniform(5, 9, 200), "c": rng.uniform(0, 9, 200)})
    assert found(apart) == set()
    rare = pd.DataFrame({"a": rng.choice(list("uvwxyz"), 300), "b": ["q"] * 300, "c": ["p"] * 295 + ["q"] * 5})
    rare.loc[295:, "a"] = "u"
    assert found(rare) == set()
    number, wait = pd.Series(rng.integers(0, 9, 200)), pd.to_timedelta(rng.integers(10, 99, 200), unit="s")
    assert found(pd.DataFrame({"number": number, "wait": wait})) == set()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rows", [60, 400])
def test_independent_columns_get_none(seed, rows):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            **{f"n{i}": rng.normal(rng.normal(), 1, rows) for i in range(5)},
            **{f"i{i}": rng.integers(0, 9, rows) * (rng.random(rows) > 0.5 + i / 10) for i in range(5)},
            **{f"d{i}": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, rows), "D") for i in range(3)},
            **{f"c{i}": rng.choice(list("abcdef")[: 2 + i], rows) for i in range(5)},
            **{f"s{i}": rng.choice(["usual", "rare"], rows, p=[0.97, 0.03]) for i in range(3)},
        }
    )
    assert found(frame) == set()


def both_kinds():
    start, end = spans(300)
    rng = np.random.default_rng(0)
    shop = rng.choice(list(REGION), 300)
    return pd.DataFrame({"start": start, "end": end, "shop": shop, "region": [REGION[s] for s in shop]})


def test_the_file_and_the_encoder_hold_what_was_found(tmp_path):
    frame = both_kinds()
    schema = infer_schema(frame, for_generation=True)
    assert schema.constraints == (Order("start", "end"), Combination(("shop", "region")))
    schema.save(tmp_path / "schema.yaml", {"start": ["a remark"]})
    assert Schema.load(tmp_path / "schema.yaml") == schema
    assert Schema.from_dict(schema.to_dict()) == schema
    encoder = TableEncoder(schema, for_generation=True).fit(frame)
    assert TableEncoder.from_dict(encoder.to_dict()).schema == schema


def test_a_detectors_schema_has_none_and_its_values_lack_the_key():
    schema = infer_schema(both_kinds())
    assert schema.constraints == ()
    assert "constraints" not in schema.to_dict()


def test_fewer_columns_keep_the_constraints_on_them():
    schema = infer_schema(both_kinds(), for_generation=True)
    assert schema.only(schema.columns[:2]).constraints == (Order("start", "end"),)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"kind": "order", "columns": ["start", "finish"]}], "'finish', which the schema does not have"),
        ([{"kind": "sum", "columns": ["start", "end"]}], "kind 'sum' is none of order, combination"),
        ([{"kind": ["order"], "columns": ["start", "end"]}], "is none of order, combination"),
        ([{"kind": "order", "columns": ["start", "end"], "strict": True}], "unknown keys strict"),
        ([{"kind": "order", "columns": ["start"]}], "an order has two columns"),
        ([{"kind": "order", "columns": ["start", "start"]}], "two different columns"),
        ([{"kind": "combination", "columns": ["shop"]}], "two different columns"),
        ([{"kind": "order", "columns": ["start", "shop"]}], r"not for 'start' \(date\) and 'shop' \(category\)"),
        ([{"kind": "combination", "columns": ["shop", "end"]}], "column 'end' is of kind date"),
        ([{"kind": "order", "columns": "start"}], "a list of column names"),
        (["start <= end"], "not a mapping"),
        ("start <= end", "must be a list"),
    ],
)
def test_what_a_person_writes_wrong_is_named(entries, said):
    schema = infer_schema(both_kinds(), for_generation=True)
    with pytest.raises(ConfigError, match=said):
        Schema.from_dict({**schema.to_dict(), "constraints": entries})


def test_a_constraint_in_code_is_checked_too():
    schema = infer_schema(both_kinds(), for_generation=True)
    with pytest.raises(ConfigError, match="'finish'"):
        replace(schema, constraints=(Order("start", "finish"),))
