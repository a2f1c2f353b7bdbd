"""docs/tutorial-images-series.md, word for word: every block of it, in its order, in an empty folder."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_tutorial_data import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(580)
@pytest.mark.trained
def test_the_tutorial(tmp_path):
    page = (ROOT / "docs/tutorial-images-series.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 5
    for kind, code in blocks:
        command = ["bash", "-ec", code] if kind == "sh" else [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (code, done.stdout, done.stderr)
    scores = pd.read_parquet(tmp_path / "scores").sort_values("name")
    assert scores["name"].tolist() == [f"{number:03}.png" for number in range(len(scores))]
    good, bad = scores["is_anomaly"][:28], scores["is_anomaly"][28:]
    assert len(scores) == 48 and good.mean() < 0.4 and bad.mean() > 0.7
    with sqlite3.connect(tmp_path / "live.db") as live:
        flags = [row[0] for row in live.execute("SELECT is_anomaly FROM scores ORDER BY rowid")]
    assert len(flags) == 20 and sum(flags[:10]) <= 4 and sum(flags[10:]) >= 7
    generated_images_hold(tmp_path)


def generated_images_hold(folder):
    from PIL import Image

    from ganlib.data.read import read_examples

    more, real = np.load(folder / "more.npz"), read_examples(folder / "tiles")
    synthetic = more["_synthetic"]
    assert np.array_equal(more["x"][:190], real["x"]) and more["y"][:190].tolist() == real["y"].tolist()
    assert synthetic.sum() == 110 and not synthetic[:190].any() and set(more["y"][190:]) == {"bad"}
    files = sorted((folder / "synthetic").rglob("*.png"))
    assert len(files) == 20 and all(file.name.startswith("synthetic-") for file in files)
    assert all(Image.open(file).text["Synthetic"] == "true" for file in files)
