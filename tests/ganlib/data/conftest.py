"""One table with a column of every common kind."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def table():
    rng, rows = np.random.default_rng(7), 240
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(sigma=2, size=rows),
            "count": rng.integers(0, 50, rows),
            "grade": pd.array(rng.integers(0, 9, rows), dtype="Int64"),
            "flag": rng.random(rows) < 0.3,
            "maybe": pd.array(rng.random(rows) < 0.5, dtype="boolean"),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], rows)),
            "word": rng.choice(["a", "b", "c"], rows),
            "when": pd.date_range("2026-01-01", periods=rows, freq="7h", tz="Europe/Berlin"),
            "day": pd.date_range("2025-03-01", periods=rows, freq="D"),
        }
    )
    frame.loc[::7, "grade"] = pd.NA
    frame.loc[::9, "maybe"] = pd.NA
    frame.loc[::11, "amount"] = np.nan
    frame.loc[::13, "word"] = None
    return frame


@pytest.fixture
def tree(tmp_path):
    """Two classes, five grey images of 12 x 10 pixels (width x height), and things to pass over."""
    from tests.ganlib.data.image_set import noise, save

    pixels = noise(5, 10, 12)
    for i, name in enumerate(["cat/a.png", "cat/deep/b.png", "cat/c.bmp", "dog/a.png", "dog/b.tiff"]):
        save(tmp_path / "set" / name, pixels[i])
    save(tmp_path / "set" / ".hidden" / "x.png", noise(99, 99))
    save(tmp_path / "set" / "cat" / "_draft.png", noise(99, 99))
    (tmp_path / "set" / "cat" / "notes.txt").write_text("no image")
    return tmp_path / "set", pixels
