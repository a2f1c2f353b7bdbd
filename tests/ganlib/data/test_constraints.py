"""Which relations between columns are proposed, and what a person may write in the schema file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ganlib.data.constraints import Combination, Line, Order
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
    return start, start + pd.to_timedelta(rng.integers(0, 120, rows), unit="D")


@pytest.mark.parametrize("layout", [None, "%Y-%m-%d", "%d.%m.%Y"])
@pytest.mark.parametrize("missing", [False, True])
def test_an_order_of_dates_is_found_in_any_type(layout, missing):
    start, end = (pd.Series(s if layout is None else s.strftime(layout)) for s in spans())
    frame = pd.DataFrame({"end": end, "start": start})
    if missing:
        frame.loc[::7, "end"], frame.loc[::5, "start"] = None, None
    assert found(frame) == {Order(("start", "end"))}
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
    assert found(frame) == {Order(("low", "high"))}


def test_a_category_that_determines_another_is_found_once():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"region": "", "shop": rng.choice(list(REGION), 300), "other": rng.choice(list("pq"), 300)})
    frame["region"], frame["code"] = frame["shop"].map(REGION), frame["shop"].str.upper()
    # The shop determines the code and the code the shop, so that one of them says all of the region.
    assert found(frame) == {Combination(("shop", "region")), Combination(("shop", "code"))}
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
    assert schema.constraints == (Combination(("shop", "region")), Order(("start", "end")))
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
    assert schema.only(schema.columns[:2]).constraints == (Order(("start", "end")),)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"kind": "order", "columns": ["start", "finish"]}], "'finish', which the schema does not have"),
        (
            [{"kind": "less", "columns": ["start", "end"]}],
            "kind 'less' is none of product, sum, line, combination, ord",
        ),
        ([{"kind": ["order"], "columns": ["start", "end"]}], "is none of product, sum"),
        (
            [{"kind": "order", "columns": ["start", "end"], "weights": [1]}],
            "unknown keys weights; write kind, columns, st",
        ),
        ([{"kind": "order", "columns": ["start", "end"], "strict": "yes"}], "strict must be true or false, not 'yes'"),
        ([{"kind": "sum", "columns": ["end"]}], "a sum has two columns or more"),
        ([{"kind": "sum", "columns": ["end", "start"], "weights": [1, 2]}], "weights must be a list of 1 numbers"),
        ([{"kind": "sum", "columns": ["end", "start"], "weights": ["a"]}], "a weight must be a number or a fraction"),
        ([{"kind": "sum", "columns": ["end", "start"], "weights": ["1/0"]}], "a weight must be a number or a fraction"),
        ([{"kind": "sum", "columns": ["end", "start"], "weights": [float("nan")]}], "a weight must be a number"),
        ([{"kind": "sum", "columns": ["end", "start"], "weights": [0]}], "a weight is 0: remove its column"),
        ([{"kind": "sum", "columns": ["end", "start"], "constant": True}], "constant must be a number"),
        (
            [{"kind": "sum", "columns": ["end", "shop"]}],
            r"for numbers, dates and durations, not for .*'shop' \(category",
        ),
        ([{"kind": "product", "columns": ["end", "start"]}], "a product has three columns or more"),
        ([{"kind": "line", "columns": ["end", "start", "shop"]}], "a line has two columns"),
        (
            [{"kind": "sum", "columns": ["end", "start"]}, {"kind": "line", "columns": ["end", "start"]}],
            "'end = start' and 'end is nearly linear in start' both compute column 'end'",
        ),
        (
            [{"kind": "sum", "columns": ["end", "start"]}, {"kind": "sum", "columns": ["start", "end"]}],
            "would be computed from itself by 'end = start', 'start = end'",
        ),
        ([{"kind": "order", "columns": ["start"]}], "an order has two columns"),
        ([{"kind": "order", "columns": ["start", "start"]}], "two different columns"),
        ([{"kind": "combination", "columns": ["shop"]}], "two different columns"),
        ([{"kind": "order", "columns": ["start", "shop"]}], r"not for 'start' \(date\), 'shop' \(category\)"),
        (
            [{"kind": "combination", "columns": ["shop", "end"]}],
            r"for categories, whole numbers and booleans, not for .*'end' \(date\)",
        ),
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
        replace(schema, constraints=(Order(("start", "finish")),))


@pytest.mark.parametrize("role", ["id", "dropped"])
def test_a_constraint_on_a_column_that_is_not_used_is_an_error_where_a_person_wrote_it(role, tmp_path):
    schema = infer_schema(both_kinds(), for_generation=True)
    values = schema.to_dict()
    next(c for c in values["columns"] if c["name"] == "shop")["role"] = role
    with pytest.raises(
        ConfigError, match=f"'combinations of shop, region' names 'shop', whose role is {role}.*remove the"
    ):
        Schema.from_dict(values)
    # Who changes the role of a column takes what was found of it away.
    assert schema.with_column("shop", role=role).constraints == (Order(("start", "end")),)


N = 300


def p_q(rng):
    return np.round(rng.gamma(3, 10, N), 2), np.round(rng.gamma(2, 5, N), 2)


def table(name):
    rng = np.random.default_rng(0)
    (p, q), (i, j, k) = p_q(rng), (rng.integers(0, 50, N) for _ in range(3))
    off, day = np.round(rng.gamma(1, 2, N), 2), pd.Timestamp("2024-01-01") + pd.to_timedelta(i, unit="D")
    one = rng.integers(0, 3, N)
    up = i + rng.integers(1, 9, N)
    return pd.DataFrame(
        {
            "total first": {"total": np.round(p + q, 2), "p": p, "q": q},
            "parts": {"p": p, "q": q, "rest": np.round(p - q, 2)},
            "weights": {"i": i, "j": j, "s": i + 2 * j},
            "two": {"i": i, "j": j, "k": k, "s": i + j, "t": i + j + k},
            "bill": {"net": p, "tax": q, "gross": np.round(p + q, 2), "off": off, "pay": np.round(p + q - off, 2)},
            "rate": {"net": p, "gross": np.round(p * 1.19, 2)},
            "degrees": {"c": np.round(p, 1), "f": np.round(1.8 * np.round(p, 1) + 32, 2)},
            "hours": {"start": day, "end": day + pd.to_timedelta(j, unit="h"), "hours": j.astype(float)},
            "minutes": {"wait": pd.to_timedelta(up, unit="min"), "minutes": up},
            "one of three": {f"is{n}": (one == n).astype(int) for n in range(3)},
            "shipped": {"price": p, "count": i, "amount": np.round(p * i, 2), "ship": q, "all": np.round(p * i + q, 2)},
            "equal": {"x": p, "y": p, "z": np.round(p + q, 2)},
            "chain": {"a": i, "b": up, "c": up + rng.integers(0, 9, N)},
            "nullable chain": {"a": i, "b": np.where(rng.random(N) < 0.1, np.nan, up), "c": up + rng.integers(0, 9, N)},
            "longer": {"i": i, "longer": i + up},
        }[name]
    )


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("total first", ["total = p + q"]),
        ("parts", ["p = q + rest"]),
        ("weights", ["s = i + 2 j"]),
        ("two", ["s = i + j", "t = k + s"]),
        ("bill", ["gross = net + tax", "pay = gross - off"]),
        ("rate", ["gross = 1.19 net"]),
        ("degrees", ["f = 1.8 c + 32"]),
        ("hours", ["end = start + 3600 hours"]),
        ("minutes", ["wait = 60 minutes"]),
        ("one of three", ["is1 = 1 - is0 - is2"]),
        ("shipped", ["amount = price * count", "all = amount + ship"]),
        # An equal column takes part in the order by the other; a chain implies the order of its ends, if no link lacks.
        ("equal", ["y = x", "x <= z"]),
        ("chain", ["a < b", "b <= c"]),
        ("nullable chain", ["a < b", "a <= c", "b <= c"]),
    ],
)
def test_what_is_found_implies_the_rest(name, described):
    schema = infer_schema(table(name), for_generation=True)
    assert [c.describe() for c in schema.constraints] == described
    assert Schema.from_dict(schema.to_dict()).constraints == schema.constraints


@pytest.mark.parametrize("name", ["total first", "bill", "shipped", "hours"])
def test_one_row_that_breaks_it_is_enough(name):
    frame = table(name)
    first = infer_schema(frame, for_generation=True).constraints[0]
    values = frame[first.target]
    frame[first.target] = values.where(np.arange(N) != 7, values.max())
    assert first not in found(frame)


def test_an_order_is_strict_where_chance_would_bring_equal_values():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 60, 300)
    for least, strict in ((1, True), (0, False)):
        frame = pd.DataFrame({"a": a, "b": a + rng.integers(least, 12, 300)})
        assert found(frame) == {Order(("a", "b"), strict)}
    # A step of many values says nothing of equal ones.
    assert found(pd.DataFrame({"a": a * 7, "b": a * 7 + rng.integers(1, 400, 300)})) == {Order(("a", "b"))}


def sensors(noise):
    rng = np.random.default_rng(0)
    base = rng.normal(20, 5, N)
    return pd.DataFrame({"a": base, "b": 2 * base + noise(rng, base), "c": rng.normal(size=N)})


@pytest.mark.parametrize(
    ("noise", "lines"),
    [
        (lambda rng, base: rng.normal(0, 0.5, N), {Line(("b", "a"))}),
        (lambda rng, base: rng.uniform(-1, 1, N), {Line(("b", "a"))}),
        (lambda rng, base: rng.normal(0, 4, N), set()),  # r = .93
        (lambda rng, base: rng.normal(0, 1, N) * np.abs(base - 20) / 4, set()),  # wider at its ends
        (lambda rng, base: 0.03 * (base - 20) ** 2, set()),  # bent
    ],
)
def test_a_line_is_proposed_where_residuals_are_alike_along_it(noise, lines):
    assert {c for c in found(sensors(noise)) if isinstance(c, Line)} == lines


def test_of_several_sensors_each_is_computed_once():
    rng = np.random.default_rng(0)
    base = rng.normal(size=N)
    frame = pd.DataFrame({f"s{i}": base + rng.normal(0, 0.03 + 0.01 * i, N) for i in range(5)})
    lines = list(infer_schema(frame, for_generation=True).constraints)
    assert len(lines) == 4 and len({c.target for c in lines}) == 4


@pytest.mark.parametrize("kind", ["normal", "whole"])
def test_sixty_unrelated_columns_get_none(kind):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 60)) if kind == "normal" else rng.integers(0, 4, (300, 60))
    assert found(pd.DataFrame(values, columns=[f"x{i}" for i in range(60)])) == set()
