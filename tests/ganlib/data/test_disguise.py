"""Text that is numbers, durations, times of day or dates: what is read as which, and written back as it was."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganlib.data.encoder import TableEncoder
from ganlib.data.feeds import make_feeds
from ganlib.data.inference import infer_schema
from ganlib.data.roles import find_roles
from ganlib.errors import DataError
from serving.errors import ValueRefused
from serving.frame import FrameAdapter
from serving.table.layouts import number_layout, parse_date, write_date
from serving.table.spans import read_span

NOISE = np.random.default_rng(0).normal(size=200)


def table(texts):
    return pd.DataFrame({"c": np.resize(np.array(texts, dtype=object), 200), "noise": NOISE})


def inferred(texts):
    return infer_schema(table(texts), for_generation=True).column("c")


READ = {
    "decimal commas": (["0,5", "12,25", "3"], "number", "{:,2f}", 0.5),
    "points and a decimal comma": (["1.234,56", "0,50", "12,00"], "number", "{:.,2f}", 1234.56),
    "a leading zero shows that it is no thousand": (["0,123", "1,234"], "number", "{:,3f}", 0.123),
    "one value that is no thousand shows it": (["1,234", "1,5"], "number", "{:,3f}", 1.234),
    "an exponent": (["1,5E-05", "2,25"], "number", "{:,6f}", 1.5e-5),
    "a currency": (["1.234,50 €", "7,25 €"], "number", "{:.,2f} €", 1234.5),
    "percent": (["12,5 %", "3,0 %"], "number", "{:,1f} %", 12.5),
    "thousands, perhaps": (["1,234", "12,345"], "integer", "{:,d}", 1234),
    "thousands for sure": (["1,234.50", "12.25"], "number", "{:,.2f}", 1234.5),
    "lists": (["1,2,3", "4,5"], "category", None, None),
    "codes with points": (["1.234.567", "2.345.678"], "category", None, None),
    "hours and minutes": (["08:30", "17:05"], "date", "%H:%M", 30_600e6),
    "hours of one digit": (["8:30", "17:05"], "date", "%H:%M", 30_600e6),
    "seconds": (["08:30:15", "17:05:00"], "date", "%H:%M:%S", 30_615e6),
    "fractions": (["08:30:15.250", "17:05:00.125"], "date", "%H:%M:%S.%3f", 30_615.25e6),
    "halves of a day": (["08:30 PM", "1:05 AM"], "date", "%I:%M %p", 73_800e6),
    "ratios": (["1:10", "1:20"], "category", None, None),
    "scores": (["2:1", "10:0"], "category", None, None),
    "days and hours": (["1 days 02:03:04", "0 days 00:00:01"], "number", "%d days %H:%M:%S", 93_784.0),
    "days with fractions": (["0 days 00:00:01.500000", "0 days 00:00:02"], "number", "%d days %H:%M:%S.%6f", 1.5),
    "days alone": (["1 days", "3 days"], "number", "%d days", 86_400.0),
    "hours above 23": (["02:00:00", "36:15:00"], "number", "%H:%M:%S", 7200.0),
    "a sign": (["-02:00:00", "01:15:00"], "number", "%H:%M:%S", -7200.0),
    "ISO durations": (["PT1H30M", "P1DT0.5S"], "number", "ISO", 5400.0),
    "months have no length": (["P1M", "P2M"], "category", None, None),
    "nanoseconds of zeros": (
        ["2026-01-02 03:04:05.123456000", "2026-02-03 03:04:05.123450000"], "date", "%Y-%m-%d %H:%M:%S.%9f",
        1_767_323_045_123_456,
    ),
    "nanoseconds": (
        ["2026-01-02T03:04:05.123456789Z", "2026-02-03T03:04:05.1234567Z"], "date", "%Y-%m-%dT%H:%M:%S.%9fZ",
        1_767_323_045_123_456,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(READ))
def test_text_is_read_as_what_it_shows(name):
    texts, kind, layout, first = READ[name]
    column = inferred(texts)
    assert (column.kind, column.layout) == (kind, layout)
    if first is not None:
        assert make_feeds(infer_schema(table(texts), for_generation=True), table(texts))["c"][0] == first


def test_notes_name_what_is_doubtful():
    assert "set layout: '{:,3f}'" in inferred(["1,234", "12,345"]).note
    assert inferred(["1,234.50", "12.25"]).note == inferred(["0,5", "1,25"]).note == ""
    assert "cut to microseconds" in inferred(READ["nanoseconds"][0]).note
    assert inferred(READ["nanoseconds of zeros"][0]).note == ""


def test_marks_that_come_late_are_found():
    texts = [str(i) for i in range(300)]
    for late, layout in (("1,250", "{:,d}"), ("0,5", "{:,1f}")):
        frame = pd.DataFrame({"c": np.resize(np.array([*texts, late], dtype=object), 600)})
        assert infer_schema(frame, for_generation=True).column("c").layout == layout


# Each reads every value it writes; the resolution is what it can write.
WRITTEN = {"{:,2f}": 0.01, "{:.,2f} €": 0.01, "{:.d}": 1, "{:,.3f}": 0.001, "%d days %H:%M:%S": 1,
           "%H:%M:%S.%3f": 0.001, "%d days": 86_400, "ISO": 1e-6}  # fmt: skip


@given(value=st.floats(-1e7, 1e7), layout=st.sampled_from(sorted(WRITTEN)))
def test_a_layout_reads_what_it_writes(value, layout):
    column = {"name": "c", "input": "c", "kind": "number", "role": "feature", "layout": layout}
    adapter = FrameAdapter({"timezone": "UTC", "missing_words": [""], "columns": [column]})
    text = number_layout(layout).write(value)
    (read,) = adapter.feeds(pa.table({"c": [text]}))["c"]
    assert abs(read - value) <= WRITTEN[layout] / 2 + 1e-6
    assert number_layout(layout).write(read) == text


@given(moment=st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)), digits=st.integers(1, 9))
def test_dates_and_times_of_any_digits_are_read_as_written(moment, digits):
    cut = moment.replace(microsecond=moment.microsecond // 10 ** max(0, 6 - digits) * 10 ** max(0, 6 - digits))
    layout = f"%Y-%m-%d %H:%M:%S.%{digits}f"
    assert parse_date(write_date(cut, layout), layout) == cut
    clock = f"%H:%M:%S.%{digits}f"
    assert parse_date(write_date(cut, clock), clock).time() == cut.time()


def test_a_value_is_read_alike_whatever_is_beside_it():
    """``1.234`` is 1234 where points separate thousands, also where a whole batch looks like plain numbers."""
    schema = infer_schema(table(["1.234,56", "0,50"]), for_generation=True)
    for texts in (["1.234"], ["1.234", "0,50"]):
        assert make_feeds(schema, pd.DataFrame({"c": texts, "noise": 0.0}))["c"][0] == 1234
    with pytest.raises(DataError, match=r"'c', row 0: '0\.5' is not a number; the column writes them as \{:\.,2f\}"):
        make_feeds(schema, pd.DataFrame({"c": ["0.5"], "noise": 0.0}))


def test_what_is_no_number_is_no_duration():
    assert [read_span(t) for t in ("P", "PT", "1 day", "1:2:3", "01:60:00", "")] == [None, None, 86_400.0] + [None] * 3


CLOCK = [dt.time(8, 30), dt.time(23, 59)]


@pytest.mark.parametrize("clock", [["08:30", "23:59"], CLOCK, pd.array(CLOCK, dtype="time64[us][pyarrow]")])
def test_times_of_day_are_read_alike_as_text_as_objects_and_from_arrow(clock):
    frame = table(["08:30", "23:59"])
    frame["c"] = pd.Series(clock, dtype=getattr(clock, "dtype", object)).repeat(100).reset_index(drop=True)
    schema = infer_schema(frame)
    adapter = FrameAdapter(schema.to_dict())
    assert make_feeds(schema, frame)["c"][[0, -1]].tolist() == [30_600_000_000, 86_340_000_000]
    for unit, whole in (("s", pa.time32), ("ms", pa.time32), ("us", pa.time64), ("ns", pa.time64)):
        given = pa.table({"c": pa.array(CLOCK).cast(whole(unit)), "noise": [0.0, 0.0]})
        assert adapter.feeds(given)["c"].tolist() == [30_600_000_000, 86_340_000_000]
    assert adapter.feeds([{"c": "08:30:00", "noise": 1.0}])["c"] == 30_600_000_000
    with pytest.raises(ValueRefused, match="'c', row 0: .* is no time of day"):
        adapter.feeds(pd.DataFrame({"c": pd.to_datetime(["2026-01-02"]), "noise": 0.0}))
    with pytest.raises(ValueRefused, match="'c', row 0: '2026-01-02 08:30' is not a time of day"):
        adapter.feeds([{"c": "2026-01-02 08:30", "noise": 1.0}])


def test_a_time_among_dates_is_refused_by_name():
    schema = infer_schema(pd.DataFrame({"c": pd.date_range("2026-01-01", periods=200), "noise": NOISE}))
    with pytest.raises(DataError, match="'c', row 0: .* is a time of day, not a date"):
        make_feeds(schema, pd.DataFrame({"c": CLOCK, "noise": 0.0}))


def test_a_detector_reads_times_of_day_by_their_cycle():
    minutes = np.random.default_rng(1).integers(0, 1440, 400)
    frame = pd.DataFrame({"c": [f"{m // 60:02d}:{m % 60:02d}" for m in minutes], "noise": np.resize(NOISE, 400)})
    schema = infer_schema(frame, timezone="Europe/Berlin")
    column = schema.column("c")
    assert (column.clock, column.cycles) == ("recurring", ("day",)) and "time of day" in column.note
    assert not find_roles(frame, schema), "it recurs every day: no running clock"
    encoder = TableEncoder(schema).fit(frame)
    late, early, noon = encoder.transform(pd.DataFrame({"c": ["23:59", "00:01", "12:00"], "noise": 0.0}))
    assert np.linalg.norm(late - early) < 0.01 and np.linalg.norm(late - noon) > 1.9


def test_times_of_day_are_not_ordered_against_dates():
    days = pd.Series(pd.date_range("2026-01-01", periods=200)).sample(frac=1, random_state=0, ignore_index=True)
    frame = pd.DataFrame({"day": days, "at": [f"{i % 24:02d}:30" for i in range(200)]})
    assert infer_schema(frame, for_generation=True).constraints == ()
