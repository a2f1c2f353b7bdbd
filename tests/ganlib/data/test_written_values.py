"""What a relation computes survives being written: a value that a column can write is read again as it was."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ganlib.data.constraints import fields_of, table_of
from ganlib.data.inference import infer_schema
from ganlib.data.inverse import to_series
from ganlib.data.values import as_numbers

ROWS = 60
RNG = np.random.default_rng(0)
CENTS, WHOLE = np.round(RNG.uniform(-50, 900, ROWS), 2), RNG.integers(-50, 900, ROWS)
FLOATS = RNG.normal(size=ROWS)
SECONDS = pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 300 * 86_400, ROWS), unit="s")
FINE = SECONDS + pd.to_timedelta(RNG.integers(0, 10**6, ROWS), unit="us")
DAYS = SECONDS.normalize()
NANO = pd.Series(SECONDS).astype("datetime64[ns]")

COLUMNS = {
    "float": FLOATS,
    "float32": FLOATS.astype("float32"),
    "float16": FLOATS.astype("float16"),
    "Float32": pd.array(FLOATS, "Float32"),
    "arrow float": pd.Series(FLOATS).astype("float[pyarrow]"),
    "cents": CENTS,
    "steps": np.round(CENTS * 20) / 20,
    "whole": WHOLE,
    "nullable": pd.array(WHOLE, "Int64"),
    "small": WHOLE.astype("int16"),
    "tens": WHOLE * 10,
    "decimals as text": pd.Series(CENTS).map("{:.2f}".format),
    "money": pd.Series(CENTS).map("${:,.2f}".format),
    "floats as text": pd.Series(FLOATS).astype(str),
    "Decimal": [Decimal(f"{v:.2f}") for v in CENTS],
    "long Decimal": [Decimal(repr(float(v))) for v in FLOATS],
    "arrow decimal": pd.Series([Decimal(f"{v:.3f}") for v in CENTS]).astype(pd.ArrowDtype(pa.decimal128(12, 3))),
    "durations": pd.to_timedelta(WHOLE, unit="min"),
    "seconds long": pd.Series(pd.to_timedelta(WHOLE, unit="s")).astype("timedelta64[s]"),
    "timedelta": pd.Series([timedelta(seconds=float(v)) for v in CENTS], dtype=object),
    "days": DAYS,
    "seconds": SECONDS,
    "microseconds": FINE,
    "in seconds": pd.Series(SECONDS).astype("datetime64[s]"),
    "days in Berlin": DAYS.tz_localize("Europe/Berlin"),
    "New York": SECONDS.tz_localize("America/New_York", ambiguous=True, nonexistent="shift_forward"),
    "+05:30": FINE.tz_localize("+05:30"),
    "days as text": DAYS.strftime("%d.%m.%Y"),
    "minutes as text": SECONDS.strftime("%Y-%m-%d %H:%M"),
    "ISO": SECONDS.strftime("%Y-%m-%dT%H:%M:%S"),
    "ISO in UTC": SECONDS.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "ISO with an offset": SECONDS.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
    "milliseconds as text": FINE.strftime("%Y-%m-%d %H:%M:%S.%f").str[:-3],
    "days as numbers": DAYS.strftime("%Y%m%d").astype(int),
    "date": pd.Series([d.date() for d in DAYS], dtype=object),
    "datetime": pd.Series([d.to_pydatetime() for d in FINE], dtype=object),
    "date32": pd.Series(DAYS).astype("date32[pyarrow]"),
    "arrow timestamp": pd.Series(SECONDS).astype("timestamp[s][pyarrow]"),
    **{f"period {freq}": NANO.dt.to_period(freq) for freq in ("h", "D", "W", "W-WED", "M", "Q", "Q-FEB", "Y", "Y-MAR")},
}


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("name", COLUMNS)
def test_what_can_be_written_is_read_as_it_was(name, timezone):
    frame = pd.DataFrame({name: COLUMNS[name], "other": WHOLE})
    schema = infer_schema(frame, for_generation=True, timezone=timezone)
    column = schema.column(name)
    written = fields_of((column,), schema.timezone)[name]
    values = np.random.default_rng(1).uniform(*column.bounds, 300)
    values = values.astype(np.int64) if column.kind == "date" else values

    def read(given):
        return table_of(schema, pd.DataFrame({name: to_series(column, given, schema.timezone)}), [name]).columns[name]

    for side in (-1, 0, 1):
        made = written.at(values, side)
        np.testing.assert_array_equal(read(made), made)
        assert (side * (made - values) >= 0).all()
    above, below = (written.beyond(written.at(values), side) for side in (1, -1))
    assert (below < written.at(values)).all() and (above > written.at(values)).all()
    np.testing.assert_array_equal(read(above), above)
    inside = written.written(values)
    assert written.inside(inside).all()
    np.testing.assert_array_equal(read(inside), inside)


def test_decimals_are_read_as_the_nearest_floats():
    texts = [f"{v:.2f}" for v in np.random.default_rng(0).uniform(-1000, 1000, 500)]
    read = as_numbers(pd.Series([Decimal(t) for t in texts]))
    np.testing.assert_array_equal(read, [float(t) for t in texts])
