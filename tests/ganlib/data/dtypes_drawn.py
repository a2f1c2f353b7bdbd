"""Columns of every type of pandas and Arrow that is accepted, drawn at random."""

import datetime as dt
import enum
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

_ZERO = dt.datetime(2026, 1, 1)
_WORDS = ("x", "y z", "é", "NA", "01", "1.5", "true")


class Colour(enum.Enum):
    """A level that is neither text nor number."""

    RED = 1
    BLUE = 2


class Size(enum.StrEnum):
    """A level that is a string, too."""

    SMALL = "s"
    LARGE = "l"


def _moment(n):
    return _ZERO + dt.timedelta(hours=7 * n, seconds=n)


def _long_ago(n):
    return dt.datetime(1931, 5, 6, 7, 8, 9, 123_456) + dt.timedelta(days=n)


def _series(values, dtype):
    return pd.Series(values, dtype=dtype)


def _typed(value, dtype):
    return lambda ns: _series([None if n is None else value(n) for n in ns], dtype)


def _full(value, dtype):
    """A type that has no value for missing."""
    return lambda ns: _series([value(n or 0) for n in ns], dtype)


def _objects(value):
    def make(ns):
        out = np.empty(len(ns), dtype=object)
        out[:] = [None if n is None else value(n) for n in ns]
        return pd.Series(out, dtype=object)

    return make


def _arrow(value, kind):
    def make(ns):
        return pd.Series(pd.array(pa.array([None if n is None else value(n) for n in ns], kind), pd.ArrowDtype(kind)))

    return make


def _dated(unit, zone=None):
    def make(ns):
        times = pd.Series([pd.NaT if n is None else _moment(n) for n in ns], dtype=f"datetime64[{unit}]")
        return times.dt.tz_localize(zone) if zone else times

    return make


def _nanoseconds(ns):
    return pd.Series([pd.NaT if n is None else pd.Timestamp(_long_ago(n)) + pd.Timedelta(789 * n, "ns") for n in ns],
                     dtype="datetime64[ns]")  # fmt: skip


def _category(levels, ordered=False):
    return lambda ns: pd.Series(
        pd.Categorical([None if n is None else levels[n % (len(levels) - 1)] for n in ns], levels, ordered=ordered)
    )


def _periods(frequency):
    return lambda ns: pd.Series(pd.PeriodIndex([pd.NaT if n is None else _moment(40 * n) for n in ns], freq=frequency))


def _sparse(ns):
    return pd.Series(pd.arrays.SparseArray([0.0 if n is None else n / 4 for n in ns], fill_value=0.0))


def _span(n):
    return dt.timedelta(minutes=15 * n, days=n % 2)


def _time(n):
    return dt.time(n % 24, n % 60, 5)


MAKERS = {
    **{d: _full(int, d) for d in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")},
    **{d: _typed(int, d) for d in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")},
    **{d: _typed(lambda n: n / 4, d) for d in ("float16", "float32", "float64", "Float32", "Float64")},
    "long double": lambda ns: pd.Series(np.array([np.nan if n is None else n / 4 for n in ns], dtype=np.longdouble)),
    "thirds": _typed(lambda n: n / 3, "float64"),
    "boolean": _typed(lambda n: n % 2 == 0, "boolean"),
    **{f"string {s}": _typed(lambda n: _WORDS[n % 7], pd.StringDtype(s)) for s in ("python", "pyarrow")},
    "str": _typed(lambda n: _WORDS[n % 3], "str"),
    "category": _category(["x", "y", "z"]),
    "ordered category": _category(["low", "mid", "high", "never"], ordered=True),
    "category of int": _category([3, 1, 2]),
    "category of float": _category([0.5, 1.0, 2.0]),
    "category of dates": _category(list(pd.date_range("2026-01-01", periods=4))),
    "category of bool": _category([False, True]),
    **{f"datetime64[{u}]": _dated(u) for u in ("s", "ms", "us", "ns")},
    **{f"datetime64[{u}, Europe/Berlin]": _dated(u, "Europe/Berlin") for u in ("s", "ns")},
    "datetime64[us, +05:30]": _dated("us", dt.timezone(dt.timedelta(hours=5.5))),
    "nanoseconds before 1970": _nanoseconds,
    **{f"timedelta64[{u}]": _typed(_span, f"timedelta64[{u}]") for u in ("s", "ms", "us", "ns")},
    **{f"period {f}": _periods(f) for f in ("D", "M", "Y", "Q", "h")},
    "interval": lambda ns: pd.Series(pd.cut([np.nan if n is None else n for n in ns], [-1, 5, 11, 40])),
    "interval dtype": lambda ns: pd.Series(pd.arrays.IntervalArray.from_tuples([(n or 0, (n or 0) + 1) for n in ns])),
    "sparse": _sparse,
    **{f"arrow {d}": _arrow(int, getattr(pa, d)()) for d in (
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    "arrow float16": _arrow(lambda n: np.float16(n / 4), pa.float16()),
    "arrow float32": _arrow(lambda n: n / 4, pa.float32()),
    "arrow float64": _arrow(lambda n: n / 3, pa.float64()),
    "arrow decimal": _arrow(lambda n: Decimal(n) / 10, pa.decimal128(12, 3)),
    "arrow bool": _arrow(lambda n: n % 2 == 0, pa.bool_()),
    "arrow string": _arrow(lambda n: _WORDS[n % 7], pa.string()),
    "arrow large_string": _arrow(lambda n: _WORDS[n % 3], pa.large_string()),
    "arrow binary": _arrow(lambda n: b"ab"[: n % 3], pa.binary()),
    "arrow date32": _arrow(lambda n: _moment(n).date(), pa.date32()),
    "arrow date64": _arrow(lambda n: _moment(n).date(), pa.date64()),
    **{f"arrow timestamp {u}": _arrow(_moment, pa.timestamp(u)) for u in ("s", "ms", "us", "ns")},
    "arrow timestamp in a zone": _arrow(lambda n: _moment(n).replace(tzinfo=dt.UTC), pa.timestamp("us", "Asia/Tokyo")),
    "arrow time32": _arrow(_time, pa.time32("s")),
    "arrow time64": _arrow(_time, pa.time64("ns")),
    "arrow duration": _arrow(_span, pa.duration("ms")),
    "arrow dictionary": _arrow(lambda n: _WORDS[n % 3], pa.dictionary(pa.int8(), pa.string())),
    "arrow null": _arrow(lambda n: None, pa.null()),
    "Decimal": _objects(lambda n: Decimal(n) / 10),
    "int objects": _objects(int),
    "float objects": _objects(lambda n: n / 3),
    "bool objects": _objects(lambda n: n % 2 == 0),
    "date objects": _objects(lambda n: _moment(n).date()),
    "datetime objects": _objects(_moment),
    "datetime objects in two zones": _objects(
        lambda n: _moment(n).replace(tzinfo=dt.timezone(dt.timedelta(hours=n % 2)))
    ),
    "time objects": _objects(_time),
    "fine time objects": _objects(lambda n: _time(n).replace(microsecond=25 * n)),
    "timedelta objects": _objects(_span),
    "bytes": _objects(lambda n: b"ab"[: n % 3]),
    "UUID": _objects(lambda n: uuid.UUID(int=n % 3)),
    "Enum": _objects(lambda n: list(Colour)[n % 2]),
    "StrEnum": _objects(lambda n: list(Size)[n % 2]),
    "mixed": _objects(lambda n: (n, f"w{n}", n / 2 + 0.25, "NA")[n % 4]),
    "complex": _full(complex, "complex128"),
    "lists": _objects(lambda n: [n]),
    "half characters": _objects(lambda n: "\ud800" if n % 2 else "a"),
    "beyond floats": _full(lambda n: 2**60 + n % 3, "int64"),
}  # fmt: skip


@st.composite
def columns(draw, name):
    """A column of one type: repeated values, missing ones among them where the type has a value for it."""
    few = draw(st.lists(st.one_of(st.none(), st.integers(0, 40)), min_size=2, max_size=12))
    # Five times each: what is rarer is no level of a category.
    return MAKERS[name](few * 5)
