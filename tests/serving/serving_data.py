"""The table that serving tests train and score on."""

import numpy as np
import pandas as pd


def table(rows, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(size=rows),
            "count": rng.integers(0, 50, rows),
            "flag": rng.random(rows) < 0.3,
            "kind": rng.choice(["a", "b", "c"], rows),
            "when": pd.date_range("2026-01-01", periods=rows, freq="7h", tz="UTC"),
        }
    )
    frame.loc[::9, "amount"] = np.nan
    return frame
