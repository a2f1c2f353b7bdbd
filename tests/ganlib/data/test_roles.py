"""Clocks, counters, identifiers, constants and leaks: what becomes of them, and what a person reads of it."""

import uuid

import numpy as np
import pandas as pd
import pytest

from ganlib.data.describing import comments, describe_columns
from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.roles import covered_cycles, find_roles, runs_with_rows
from ganlib.data.schema import Schema
from ganlib.errors import ConfigError, DataError

ROWS, DAY = 600, 86_400
RNG = np.random.default_rng(11)
NOISE = RNG.normal(size=(ROWS, 2))


def seconds(days=5.0, start=0.0, rows=ROWS, seed=0):
    """Arrivals over some days, in order."""
    return start * DAY + np.sort(np.random.default_rng(seed).uniform(0, days * DAY, rows))


def stamps(values):
    return pd.Series(np.datetime64("2026-01-05") + values.astype("timedelta64[s]"))


# Each makes a column of ROWS values from arrivals in seconds.
CLOCKS = {
    "datetime": stamps,
    "datetime in a zone": lambda s: stamps(s).dt.tz_localize("Asia/Tokyo"),
    "text date": lambda s: stamps(s).dt.strftime("%Y-%m-%d %H:%M:%S"),
    "text date of days": lambda s: stamps(s).dt.strftime("%Y-%m-%d"),
    "text date that is not ISO": lambda s: stamps(s).dt.strftime("%d/%m/%Y %H:%M"),
    "text date of nanoseconds": lambda s: stamps(s).dt.strftime("%Y-%m-%d %H:%M:%S.123456789"),
    "dates as objects": lambda s: stamps(s).dt.date,
    "dates with gaps": lambda s: stamps(s).where(np.arange(len(s)) % 9 > 0),
    "seconds since 1970": lambda s: pd.Series(1_767_571_200 + s.astype(int)),
    "milliseconds since 1970 as text": lambda s: pd.Series(1_767_571_200_000 + (1000 * s).astype(int)).astype(str),
    "float days": lambda s: pd.Series(s / DAY),
    "float days with gaps": lambda s: pd.Series(s / DAY).where(np.arange(len(s)) % 9 > 0),
    "float days, a little out of order": lambda s: pd.Series((s + RNG.normal(0, 300, len(s))) / DAY),
    "hours counted down": lambda s: pd.Series(1e4 - s / 3600),
    "timedelta": lambda s: pd.Series(s.astype("timedelta64[s]")),
    "row counter": lambda s: pd.Series(int(s[0]) + np.arange(len(s))),
    "row counter as floats": lambda s: pd.Series(int(s[0]) + np.arange(len(s)) * 1.0),
    "row counter as text": lambda s: pd.Series(int(s[0]) + np.arange(len(s))).astype(str),
    "counter with equal neighbours": lambda s: pd.Series((int(s[0]) + np.arange(len(s))) // 3),
}
ORDERS = {"in order": slice(None), "newest first": slice(None, None, -1)}


def table(column, order=slice(None)):
    frame = pd.DataFrame({"c": column, "a": NOISE[: len(column), 0], "b": NOISE[: len(column), 1]})
    return frame.iloc[order].reset_index(drop=True)


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("name", list(CLOCKS))
def test_a_clock_moves_no_encoded_row_out_of_the_range_of_training(name, order):
    train = table(CLOCKS[name](seconds()), ORDERS[order])
    later = table(CLOCKS[name](seconds(start=7, seed=1)), ORDERS[order])
    schema = infer_schema(train)
    encoder = TableEncoder(schema).fit(train)
    before, after = encoder.transform(train), encoder.transform(later)
    places = [p for c in encoder.codes if c.column == "c" for p in range(c.start, c.start + c.width)]
    for place in [*places, *([encoder.unexpected_position] if encoder.unexpected_position else [])]:
        low, high = before[:, place].min(), before[:, place].max()
        assert low - 0.01 <= after[:, place].min() and after[:, place].max() <= high + 0.01
    found = [f for f in find_roles(train, schema) if f.column == "c"]
    assert len(found) == 1 and found[0].kind in ("clock", "counter") and found[0].done != "kept", found
    assert "schema file" in found[0].line()
    assert infer_schema(train, for_generation=True).column("c").clock is None


@pytest.mark.parametrize("name", ["datetime", "datetime in a zone", "text date", "dates with gaps"])
@pytest.mark.parametrize("seed", range(3))
def test_a_clock_in_no_order_is_known_as_well(name, seed):
    frame = table(CLOCKS[name](np.random.default_rng(seed).permutation(seconds())))
    column = infer_schema(frame).column("c")
    assert (column.clock, column.cycles, column.role) == ("recurring", ("day",), "feature")


@pytest.mark.parametrize(
    ("days", "cycles"), [(0.2, ()), (1.5, ()), (2.1, ("day",)), (12, ("day",)), (14.5, ("day", "week")),
                         (600, ("day", "week")), (740, ("day", "week", "year"))],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_cycles_need_to_be_covered_twice(days, cycles, seed):
    frame = table(stamps(seconds(days, seed=seed)))
    column = infer_schema(frame).column("c")
    assert column.cycles == cycles and column.role == ("feature" if cycles else "dropped")
    assert column.note.startswith("a clock: ")
    stray = frame["c"].where(np.arange(ROWS) != 300, pd.Timestamp("1970-01-01"))
    assert infer_schema(table(stray)).column("c").cycles == cycles
    whole = infer_schema(table(frame["c"].dt.normalize())).column("c")
    assert whole.cycles == tuple(c for c in cycles if c != "day")


@pytest.mark.parametrize("seed", range(5))
def test_birth_dates_keep_their_distance(seed):
    days = np.random.default_rng(seed).integers(0, 20_000, ROWS)
    born = pd.Series(np.datetime64("1950-01-01") + days.astype("timedelta64[D]"))
    for column in (born, born.dt.strftime("%Y-%m-%d"), born.dt.date):
        schema = infer_schema(table(column))
        assert (schema.column("c").clock, schema.column("c").cycles) == ("absolute", ())
        (found,) = [f for f in find_roles(table(column), schema) if f.column == "c"]
        assert (found.kind, found.done) == ("date", "kept") and "--drop c" in found.line()
    # Sorted, the same days are a clock; so are they with a time of day.
    assert infer_schema(table(born.sort_values(ignore_index=True))).column("c").clock == "recurring"
    timed = born + pd.to_timedelta(np.random.default_rng(seed).integers(0, DAY, ROWS), unit="s")
    assert infer_schema(table(timed)).column("c").clock == "recurring"


MEASUREMENTS = {
    "normal": lambda rng: rng.normal(size=ROWS),
    "sorted normal": lambda rng: np.sort(rng.normal(size=ROWS)),
    "sorted heavy tail": lambda rng: np.sort(rng.lognormal(sigma=1.5, size=ROWS)),
    "a slow drift": lambda rng: np.arange(ROWS) / ROWS + rng.normal(0, 0.1, ROWS),
    "a day's rhythm": lambda rng: np.sin(np.arange(ROWS) / 40) + rng.normal(0, 0.01, ROWS),
    "steps": lambda rng: np.arange(ROWS) // 100,
    "whole numbers": lambda rng: rng.integers(0, 10**6, ROWS),
    "huge": lambda rng: rng.normal(size=ROWS) * 1e300,
    "constant": lambda rng: np.full(ROWS, 7.5),
    "prices of a billion": lambda rng: rng.integers(10**9, 4 * 10**9, ROWS),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list(MEASUREMENTS))
def test_measurements_stay_features(name, seed):
    frame = table(pd.Series(MEASUREMENTS[name](np.random.default_rng(seed))))
    schema = infer_schema(frame)
    assert schema.column("c").role == "feature"
    kinds = {f.kind for f in find_roles(frame, schema) if f.column == "c"}
    assert kinds == {"sorted normal": {"clock"}, "sorted heavy tail": {"clock"}, "steps": {"clock"},
                     "constant": {"constant"}}.get(name, set())  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2, 19])
def test_few_rows_have_no_order(rows):
    assert not runs_with_rows(np.arange(rows) * 1.0) and covered_cycles(np.arange(1) * 1.0) == ()


def test_a_clock_alone_is_kept_and_says_so():
    for column in ("float days", "datetime"):
        frame = pd.DataFrame({"c": CLOCKS[column](seconds(0.2))})
        schema = infer_schema(frame)
        assert schema.column("c").role == "feature" and "kept: no other column is left" in schema.column("c").note
        (found,) = find_roles(frame, schema)
        assert (found.kind, found.done) == ("clock", "kept")


IDS = {
    "uuid, each thrice": [str(uuid.UUID(int=int(i))) for i in RNG.integers(1, 2**62, ROWS // 3)] * 3,
    "codes that hardly repeat": [f"AX{i:05d}" for i in [*range(ROWS - 9), *range(9)]],
    "codes, all different": [f"AX{i:05d}" for i in RNG.permutation(ROWS)],
}


@pytest.mark.parametrize("name", list(IDS))
def test_identifying_texts_are_dropped_and_named(name):
    frame = table(pd.Series(IDS[name]))
    schema = infer_schema(frame)
    (found,) = [f for f in find_roles(frame, schema) if f.column == "c"]
    assert schema.column("c").role == "id" and (found.kind, found.done) == ("identifier", "not used")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a b", "c d e"] * (ROWS // 2), set()),
        ([f"the pump {i} failed after {i * i} hours" for i in range(ROWS)], set()),
        (["x"] * (ROWS - 2) + ["y"] * 2, {"near-constant"}),
        ([True] * ROWS, {"constant"}),
        ([None] * ROWS, {"empty"}),
        ([[1], [2]] * (ROWS // 2), {"unreadable"}),
    ],
)
def test_what_else_is_named(values, kind):
    frame = table(pd.Series(values))
    assert {f.kind for f in find_roles(frame, infer_schema(frame)) if f.column == "c"} == kind


def test_numbers_named_like_identifiers_are_kept_and_named():
    frame = table(pd.Series(RNG.integers(0, 50, ROWS))).rename(columns={"c": "user_id"})
    (found,) = find_roles(frame, infer_schema(frame))
    assert (found.column, found.kind, found.done) == ("user_id", "identifier", "kept")


# ---------------------------------------------------------------- leaks
ODD = np.arange(ROWS) % 30 == 0
LEAKS = {
    "number": NOISE[:, 0] - 50.0 * ODD,
    "boolean": ODD,
    "category": np.where(ODD, "bad", RNG.choice(["x", "y"], ROWS)),
    "date": np.datetime64("2020-01-05") + np.where(ODD, 3000, RNG.integers(0, 1000, ROWS)).astype("timedelta64[D]"),
    "missing": np.where(ODD, np.nan, NOISE[:, 1]),
    "present": np.where(ODD, NOISE[:, 1], np.nan),
}


@pytest.mark.parametrize("kind", list(LEAKS))
def test_one_column_that_tells_anomalies_alone_is_named(kind):
    frame = table(pd.Series(LEAKS[kind]))
    schema = infer_schema(frame.loc[~ODD]) if kind != "present" else infer_schema(frame)
    leaks = [f for f in find_roles(frame, schema, ODD) if f.kind == "leak"]
    assert [f.column for f in leaks] == ["c"] and leaks[0].done == "kept" and "--drop c" in leaks[0].line()
    assert not [f for f in find_roles(frame, schema) if f.kind == "leak"]


def test_a_good_sign_of_anomalies_is_no_leak():
    frame = table(pd.Series(NOISE[:, 0] + 2.5 * ODD)).assign(d=RNG.choice(list("xyz"), ROWS), e=RNG.random(ROWS) < 0.5)
    assert not find_roles(frame, infer_schema(frame), ODD)
    few = np.arange(ROWS) < 4
    assert not [f for f in find_roles(frame.assign(c=few * 1.0), infer_schema(frame), few) if f.kind == "leak"]


# ---------------------------------------------------------------- requests and files
def test_columns_are_dropped_and_named_identifiers_on_request():
    frame = table(pd.Series([1 + 2j] * ROWS)).assign(d="x", day="2026-01-05")
    schema = infer_schema(frame, drop=["c", "b"], ids=["d", "day"])
    roles = {c.name: c.role for c in schema.columns}
    assert roles == {"c": "dropped", "a": "feature", "b": "dropped", "d": "id", "day": "id"}
    assert Schema.from_dict(schema.to_dict()) == schema
    assert not [f for f in find_roles(frame, schema) if f.column != "a"]
    for name in ("b", "d", "day"):
        column = schema.column(name)
        assert (column.minimum, column.quantiles, column.categories, column.clock) == (None, (), None, None)


@pytest.mark.parametrize(
    ("requests", "error", "words"),
    [
        ({"drop": ["bb"]}, DataError, "no column 'bb' to drop; did you mean 'b'"),
        ({"ids": ["aa"]}, DataError, "no column 'aa' to be an identifier"),
        ({"drop": ["a"], "ids": ["a"]}, ConfigError, "'a' is both to be dropped and an identifier"),
        ({"drop": ["c"], "label": "c"}, ConfigError, "'c' is the label"),
        ({"drop": ["a", "b", "c"]}, DataError, "no column can serve as a feature"),
    ],
)
def test_requests_that_cannot_be(requests, error, words):
    with pytest.raises(error, match=words):
        infer_schema(table(pd.Series(["x", "y"] * (ROWS // 2))), **requests)


def test_the_file_says_what_was_found_and_comes_back(tmp_path):
    frame = table(stamps(seconds())).assign(n=np.arange(ROWS))
    schema = infer_schema(frame)
    schema.save(tmp_path / "s.yaml", comments(find_roles(frame, schema)))
    text = (tmp_path / "s.yaml").read_text()
    assert "# clock: a running clock over 5 days; read by the time of day." in text and "\n# counter: " in text
    assert text.index("# counter: ") < text.index("- name: n\n") and max(map(len, text.splitlines())) <= 120
    assert Schema.load(tmp_path / "s.yaml") == schema


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"clock": "running"}, "clock 'running' is none of recurring, absolute"),
        ({"clock": "recurring"}, r"clock: recurring needs cycles, such as \[day, week\]"),
        ({"clock": None, "cycles": ["day"]}, "cycles need a clock"),
        ({"clock": "absolute", "cycles": ["month"]}, "cycle 'month' is none of day, week, year"),
        ({"clock": "absolute", "cycles": ["day", "day"]}, "cycles come twice: day"),
        ({"clock": "absolute", "kind": "number"}, "clock and cycles are for dates"),
        ({"clock": 5}, "clock must be recurring, absolute or null"),
    ],
)
def test_a_broken_edit_of_a_clock_is_named(edit, words):
    values = infer_schema(table(stamps(seconds()))).to_dict()
    values["columns"][0] = {k: v for k, v in values["columns"][0].items() if k not in ("clock", "cycles")} | edit
    with pytest.raises(ConfigError, match=words):
        Schema.from_dict(values)


def test_other_columns_are_written_as_before_there_were_clocks():
    values = infer_schema(table(stamps(seconds()))).to_dict()["columns"]
    assert values[0]["clock"] == "recurring" and not [c for c in values[1:] if "clock" in c or "cycles" in c]
    old = {k: v for k, v in values[0].items() if k not in ("clock", "cycles")}
    assert Schema.from_dict({"version": 1, "columns": [old]}).to_dict()["columns"] == [old]


def test_the_table_lists_every_column_of_schema_and_data():
    frame = table(stamps(seconds())).assign(empty=None, nested=[[1]] * ROWS, more=1.0)
    schema = infer_schema(frame.drop(columns="more").assign(gone=NOISE[:, 0]), drop=["b"])
    rows = {r["column"]: r for r in describe_columns(frame, schema, find_roles(frame, schema))}
    assert list(rows) == ["c", "a", "b", "empty", "nested", "gone", "more"]
    assert (rows["b"]["role"], rows["b"]["note"]) == ("dropped", "dropped on request")
    assert (rows["gone"]["note"], rows["more"]["note"]) == ("not in the data", "not in the schema: not used")
    assert rows["empty"]["missing"] == 1 and rows["a"]["distinct"] == ROWS and rows["c"]["examples"]
