"""The table that pipeline tests train on, and what a refusal looks like."""

import numpy as np
import pandas as pd

CANARY_TEXT, CANARY_NUMBER = "canary-6f1d0c93", 918273.645123


def sensor_table(rows=240, seed=0, canary=False):
    """Mixed columns, a label with a few anomalies, and on request values that must never leave the data."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(5, 1, rows)
    frame = pd.DataFrame(
        {
            "flow": flow,
            "pressure": 2 * flow + rng.normal(0, 0.1, rows),
            "count": rng.integers(0, 50, rows),
            "valve": rng.choice(["open", "closed", "half"], rows),
            "active": rng.random(rows) < 0.4,
            "when": pd.date_range("2026-01-01", periods=rows, freq="7h", tz="UTC"),
            "fault": 0,
        }
    )
    frame.loc[::11, "flow"] = np.nan
    odd = frame.index[-20:]
    frame.loc[odd, "pressure"] = 9 - frame.loc[odd, "pressure"]
    frame.loc[odd, "fault"] = 1
    if canary:
        frame["operator"] = rng.choice(["ann", "bob"], rows)
        frame.loc[3, "operator"] = CANARY_TEXT
        frame.loc[5, "flow"] = CANARY_NUMBER
    return frame


def refused(result, code, *words):
    """Exit code and one line on stderr that says these words; nothing on stdout, no traceback."""
    got, out, err = result
    assert got == code, (got, out, err)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in err and "unexpected" not in err, err
    for word in words:
        assert word in errors[0], (word, errors[0])
    return errors[0]


def tiles(count, seed=0):
    """Grey images of 8 x 8 bytes with a bright bar at one of eight heights."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, 8, 8), dtype=np.uint8)
    images[np.arange(count), rng.integers(0, 8, count)] += 180
    return images
