import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def numbers():
    """600 rows near a plane in six columns."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(600, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(600, 6))


@pytest.fixture(scope="session")
def mixed():
    """400 rows with every kind of column, missing values, an identifier and a group."""
    rng = np.random.default_rng(1)
    n = 400
    level = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "amount": np.exp(level),
            "count": rng.poisson(3, n).astype("float64"),
            "paid": level + rng.normal(size=n) > 0,
            "colour": rng.choice(["red", "green", "blue"], n),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90 * 24, n), unit="h"),
            "note": [" ".join(rng.choice(["alpha", "beta", "gamma", "delta", "eta"], 5)) + f" {i}" for i in range(n)],
            "key": [f"id{i:06d}" for i in range(n)],
            "site": rng.choice(["north", "south"], n),
        }
    )
    frame.loc[rng.choice(n, 40, replace=False), "count"] = np.nan
    frame.loc[rng.choice(n, 20, replace=False), "colour"] = None
    return frame
