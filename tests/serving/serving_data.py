"""The table that serving tests train and score on."""

import json
import sqlite3
import sys

import numpy as np
import onnx
import pandas as pd

from serving.opening.hashes import hashes_of
from serving.sources.sqlite_queue import QUEUE_TABLE

CLASSES = ["cat", "dog"]


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


def pictures(rows, seed=0):
    """Grey images of 8 x 8 bytes: a bright square at one of four places."""
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 30, (rows, 8, 8), dtype=np.uint8)
    for image, corner in zip(made, rng.integers(0, 4, rows), strict=True):
        row, column = divmod(int(corner), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 200
    return made


def waves(rows, seed=0):
    """Series of 2 channels and 24 steps, in units far from 0."""
    rng = np.random.default_rng(seed)
    phase, time = rng.uniform(0, 6, (rows, 1, 1)), np.linspace(0, 9, 24)
    return np.concatenate([300 + 20 * np.sin(time + phase), -1 + 0.1 * np.cos(time + phase)], 1)


WINDOWS = {
    "time": "at", "key": "machine", "channels": ["heat", "load"], "length": 8, "step": 60.0, "largest_gap": 5.0,
    "clock": "date", "timezone": "UTC",
}  # fmt: skip


def readings(keys, rows, seed=0):
    """Readings of machines, a row a minute of each in turn."""
    rng = np.random.default_rng(seed)
    minute = np.repeat(np.arange(rows), keys)
    return pd.DataFrame(
        {
            "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(minute, unit="min"),
            "machine": np.tile([f"m{i}" for i in range(keys)], rows),
            "heat": 300 + 20 * np.sin(minute / 3) + rng.normal(0, 2, rows * keys),
            "load": np.cos(minute / 3) + rng.normal(0, 0.1, rows * keys),
        }
    )


def resealed(model):
    """The bytes of a changed model whose hashes are made again, as whoever changes a file on purpose would."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    made = hashes_of(model.graph.SerializeToString(deterministic=True), entries)
    for entry in model.metadata_props:
        if entry.key == "hashes":
            entry.value = json.dumps({key: made[key] for key in made if key != "metadata" or model.producer_version})
    return model.SerializeToString(deterministic=True)


def good(count, seed=2):
    """Records that can be scored, as JSON."""
    return table(count, seed).to_json(orient="records", date_format="iso", lines=True).splitlines()


def fill(path, bodies):
    """Add records to a queue."""
    with sqlite3.connect(path) as db:
        db.execute(QUEUE_TABLE)
        db.executemany("INSERT INTO queue(body) VALUES (?)", [(b,) for b in bodies])


def command(artifact, source, output, *extra):
    """A stream's command line."""
    parts = [sys.executable, "-m", "serving", "stream", "--model", artifact, "--input", source, "--output", output]
    return [*map(str, parts), "--deadline", "0.05", *extra]


LEVELS = {
    "keys": ["m0", "m1"], "centres": [[300.0, 0.0], [295.0, 0.5]], "scales": [[2.0, 0.5], [4.0, 0.25]],
    "centre": [298.0, 0.25], "scale": [3.0, 0.4],
}  # fmt: skip


def with_levels(path, levels, **other):
    """The bytes of a model of windows that reads them relative to levels."""
    model = onnx.load(path)
    values = {"windows": json.dumps({**WINDOWS, "levels": levels}), "format_version": "5", **other}
    for entry in model.metadata_props:
        entry.value = values.get(entry.key, entry.value)
    return resealed(model)
