"""The table that pipeline tests train on."""

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
