"""Columns of every kind that is accepted, for the laws over column kinds."""

import datetime as dt
import enum
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa

ROWS = 120
NO_PARQUET = ("Enum", "intervals")
_RNG = np.random.default_rng(3)
_WHOLE = _RNG.integers(0, 40, ROWS)
_FEW = _WHOLE % 3
_STAMPS = pd.Series(pd.date_range("2026-01-01", periods=ROWS, freq="7h")).sample(
    frac=1, random_state=0, ignore_index=True
)
_UNIFORM = _RNG.random(ROWS)


class Colour(enum.Enum):
    """A level that is neither text nor number."""

    RED = 1
    BLUE = 2
    GREEN = 3


def _objects(values):
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return pd.Series(out, dtype=object)


def _gaps(series):
    return series.where(np.arange(ROWS) % 7 > 0)


def _arrow(values, kind):
    return pd.Series(pd.array(pa.array(values, type=kind), dtype=pd.ArrowDtype(kind)))


KINDS = {
    "int": pd.Series(_WHOLE),
    "Int64 with gaps": _gaps(pd.Series(_WHOLE, dtype="Int64")),
    "float": pd.Series(_UNIFORM * 100),
    "float with gaps": _gaps(pd.Series(_UNIFORM)),
    "two decimals": pd.Series((_UNIFORM * 100).round(2)),
    "quarters": pd.Series(_WHOLE / 4),
    "bool": pd.Series(_WHOLE % 2 == 0),
    "boolean with gaps": _gaps(pd.Series(_WHOLE % 2 == 0, dtype="boolean")),
    "words": _gaps(pd.Series(np.array(["red", "Green", "dark blue"])[_FEW], dtype=object)),
    "country codes": pd.Series(np.array(["NA", "ZA", "BW"])[_FEW]),
    "grades": pd.Series(np.array(["None", "Mild", "Severe"])[_FEW]),
    "codes": pd.Series(np.array(["01", "02", "007"])[_FEW]),
    "numbers as words": pd.Series(np.array(["1", "2.5", "n/a"])[_FEW]),
    "money": pd.Series([f"${v * 5000:,.2f}" for v in _UNIFORM]),
    "percent": pd.Series([f"{v * 100:.1f} %" for v in _UNIFORM]),
    "decimal commas": pd.Series([f"{v * 5:.2f}".replace(".", ",") for v in _UNIFORM]),
    "money with a decimal comma": pd.Series(
        [f"{v * 5000:,.2f} €".translate(str.maketrans(",.", ".,")) for v in _UNIFORM]
    ),
    "truths as words": pd.Series(np.array(["TRUE", "FALSE"])[_WHOLE % 2]),
    "times": _STAMPS,
    "times in a zone": _STAMPS.dt.tz_localize("Europe/Berlin"),
    "days at +05:30": _STAMPS.dt.normalize().dt.tz_localize(dt.timezone(dt.timedelta(hours=5.5))),
    "days as words": _STAMPS.dt.strftime("%Y-%m-%d"),
    "minutes as words": _STAMPS.dt.strftime("%Y-%m-%d %H:%M"),
    "days with points": _STAMPS.dt.strftime("%d.%m.%Y"),
    "milliseconds": pd.Series([f"{t:%Y-%m-%dT%H:%M:%S}.{w:03d}Z" for t, w in zip(_STAMPS, _WHOLE * 25, strict=True)]),
    "nanoseconds": pd.Series([f"{t:%Y-%m-%d %H:%M:%S}.123456789" for t in _STAMPS]),
    "times of day as words": _STAMPS.dt.strftime("%H:%M"),
    "seconds of the day as words": _STAMPS.dt.strftime("%H:%M:59"),
    "time objects": _objects([t.time() for t in _STAMPS]),
    "arrow time": _arrow([t.time() for t in _STAMPS], pa.time64("us")),
    "durations as words": pd.Series([f"{w} days 0{w % 10}:30:00" for w in _WHOLE]),
    "long hours as words": pd.Series([f"{w + 1:02d}:30:00" for w in _WHOLE]),
    "ISO durations": pd.Series([f"PT{w // 10 + 1}H{w + 1}M" for w in _WHOLE]),
    "days as numbers": _STAMPS.dt.strftime("%Y%m%d").astype("int64"),
    "date objects": _objects([t.date() for t in _STAMPS]),
    "minutes long": pd.Series(pd.to_timedelta(_WHOLE, unit="min")),
    "months": pd.Series(pd.PeriodIndex(_STAMPS, freq="M")),
    "category": pd.Series(pd.Categorical(np.array(["a", "b", "c"])[_FEW])),
    "ordered with an unused level": pd.Series(
        pd.Categorical(np.array(["low", "mid", "high"])[_FEW], ["low", "mid", "high", "top"], ordered=True)
    ),
    "category of int": pd.Series(pd.Categorical(_FEW)),
    "intervals": pd.Series(pd.cut(_UNIFORM, [0, 0.3, 0.6, 1.0])),
    "Decimal": _objects([Decimal(str(v)) / 4 for v in _WHOLE.tolist()]),
    "bytes": _objects([b"ab", b"c"] * (ROWS // 2)),
    "UUID": _objects([uuid.UUID(int=int(v)) for v in _FEW]),
    "Enum": _objects([list(Colour)[v] for v in _FEW]),
    "arrow string": _arrow(np.array(["x", "y", "z"])[_FEW], pa.string()),
    "arrow dictionary": _arrow(["xyz"[v] for v in _FEW], pa.dictionary(pa.int32(), pa.string())),
    "arrow timestamp": _arrow(_STAMPS, pa.timestamp("us")),
    "arrow int": _arrow(_WHOLE, pa.int64()),
}
