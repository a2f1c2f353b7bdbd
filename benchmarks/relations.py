"""Relations between columns in generated rows: the share of rows that break each, and how the columns come back.

`python benchmarks/relations.py` prints the table of docs/constraints.md: a made-up table of 3,000 orders, a CVAE of 600
steps, 2,000 rows from the estimator and 2,000 from its sealed file.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from ganlib.augment import CVAEAugmenter
from ganlib.export import seal
from serving.artifact import load_artifact
from serving.generator import Generator

COUNTRY = {"Rome": "IT", "Milan": "IT", "Paris": "FR", "Lyon": "FR", "Bonn": "DE", "Kiel": "DE"}


def orders(rows: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Start and end, city and country (words and codes), price x quantity, net + tax, and two sensors of r = .999."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    city = rng.choice(list(COUNTRY), rows)
    price, quantity = np.round(np.exp(rng.normal(2, 0.6, rows)), 2), rng.integers(1, 12, rows)
    net, tax = np.round(rng.gamma(4, 20, rows), 2), np.round(rng.gamma(3, 5, rows), 2)
    sensor = rng.normal(20, 5, rows)
    return pd.DataFrame(
        {
            "start": start,
            "end": start + pd.to_timedelta(rng.integers(1, 40, rows), unit="D"),
            "city": city,
            "country": [COUNTRY[c] for c in city],
            "area": [100 + sorted(COUNTRY).index(c) for c in city],
            "price": price,
            "quantity": quantity,
            "amount": np.round(price * quantity, 2),
            "net": net,
            "tax": tax,
            "total": np.round(net + tax, 2),
            "inside": np.round(sensor, 3),
            "outside": np.round(1.8 * sensor + 32 + rng.normal(0, 0.4, rows), 3),
        }
    )


def broken(made: pd.DataFrame) -> dict[str, float]:
    """The share of rows that break each relation."""
    area = made["city"].map(lambda c: 100 + sorted(COUNTRY).index(c))
    return {
        "start < end": float((made["start"] >= made["end"]).mean()),
        "city, country": float((made["city"].map(COUNTRY) != made["country"]).mean()),
        "city, area (codes)": float((area != made["area"]).mean()),
        "amount = price x quantity": float(((made["price"] * made["quantity"] - made["amount"]).abs() > 0.0051).mean()),
        "total = net + tax": float(((made["net"] + made["tax"] - made["total"]).abs() > 0.0001).mean()),
    }


def returned(real: pd.DataFrame, made: pd.DataFrame) -> dict[str, float]:
    """Correlations that come back, and how far the columns' distributions lie from the real ones."""
    from scipy.stats import ks_2samp

    numbers = [n for n in real if real[n].dtype.kind in "if"]
    ks = {n: float(ks_2samp(real[n], made[n]).statistic) for n in numbers}
    means = {n: float(abs(made[n].mean() / real[n].mean() - 1)) for n in numbers}
    return {
        "r(inside, outside)": float(made["inside"].corr(made["outside"])),
        **{f"KS {n}": ks[n] for n in ("amount", "total", "outside", "price", "net")},
        "KS end - start": float(ks_2samp(*((t["end"] - t["start"]).dt.days for t in (real, made))).statistic),
        "largest KS": max(ks.values()),
        "largest change of a mean": max(means.values()),
    }


def main() -> None:
    """Train once, generate twice, print."""
    warnings.simplefilter("ignore")
    real = orders()
    fitted = CVAEAugmenter(steps=600).fit(real)
    with tempfile.TemporaryDirectory() as folder:
        seal(fitted, Path(folder) / "orders.onnx")
        sealed = Generator(load_artifact(Path(folder) / "orders.onnx")).frame(2000)
    rows = {"real": real, "estimator": fitted.sample(2000), "sealed file": sealed}
    print(json.dumps([c.describe() for c in fitted.schema_.constraints], indent=0))
    table = {name: broken(made) | returned(real, made) for name, made in rows.items()}
    print(pd.DataFrame(table).to_string(float_format=lambda v: f"{v:.4f}"))


if __name__ == "__main__":
    main()
