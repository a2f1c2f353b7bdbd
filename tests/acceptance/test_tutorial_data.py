"""docs/tutorial-*.md, word for word: every block of them, in their order, in an empty folder."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def environment():
    """As after `. .venv/bin/activate`, without settings of the machine that runs the tests."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PREFECT", "GANLIB"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def run_page(name, folder):
    """Run the blocks of a page; returns how many there are."""
    blocks = re.findall(
        r"```(sh|python)\n(.*?)```", (ROOT / "docs" / name).read_text(encoding="utf-8"), flags=re.DOTALL
    )
    for kind, code in blocks:
        command = ["bash", "-ec", code] if kind == "sh" else [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (code, done.stdout, done.stderr)
    return len(blocks)


@pytest.mark.timeout(300)
def test_the_tutorial(tmp_path):
    assert run_page("tutorial-data.md", tmp_path) == 8
    scores_hold(tmp_path)
    generated_rows_hold(tmp_path)


@pytest.mark.timeout(580)
@pytest.mark.rounding
@pytest.mark.trained
def test_the_tutorial_of_images_and_series(tmp_path):
    assert run_page("tutorial-images-series.md", tmp_path) == 7
    images_are_scored(tmp_path)
    readings_are_scored(tmp_path)
    series_are_streamed(tmp_path)
    generated_images_hold(tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.trained
def test_the_page_of_translation(tmp_path):
    assert run_page("translation.md", tmp_path) == 4
    drawn = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "drawn").iterdir())]).astype(float)
    source = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "new").iterdir())]).astype(float)
    true = 255 - np.minimum(source * 2, 255)
    assert np.abs(drawn - true).mean() < 0.3 * np.abs(source - true).mean()
    made, today = pd.read_csv(tmp_path / "as-newer.csv"), pd.read_csv(tmp_path / "today.csv")
    assert list(made.columns) == ["run", "mode", "flow", "temp_f", "_synthetic"] and made["_synthetic"].all()
    assert made["run"].tolist() == today["run"].tolist() and made["temp_f"].between(138, 196).all()
    back = pd.read_parquet(tmp_path / "back.parquet")
    others = today["temp_c"].iloc[::-1].to_numpy()
    assert (back["temp_c"] - today["temp_c"]).abs().mean() < 0.5 * (others - today["temp_c"]).abs().mean()


def scores_hold(folder):
    new = pd.read_csv(folder / "new.csv", dtype=str, keep_default_na=False)
    joined = new.merge(pd.read_parquet(folder / "scores"), on="order_id", validate="one_to_one")
    assert len(joined) == len(new) == 300
    alarms = joined.groupby("fault")["is_anomaly"].mean()
    assert 0.01 <= alarms["0"] <= 0.12 and alarms["1"] > 0.7
    live = [json.loads(line) for line in (folder / "live.jsonl").read_text().splitlines()]
    assert [line["is_anomaly"] for line in live] == list(joined["is_anomaly"][:50])


def generated_rows_hold(folder):
    real = pd.read_csv(folder / "orders.csv", dtype=str, keep_default_na=False)
    more = pd.read_csv(folder / "more.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(more.loc[: len(real) - 1, real.columns], real)
    made = more[more["_synthetic"] == "True"]
    assert len(made) == len(more) - len(real) > 1000 and set(made["fault"]) == {"1"}
    layouts = {"amount": r"\$[\d,]+\.\d\d", "discount": r"\d+\.\d %", "ordered_on": r"\d\d\.\d\d\.\d{4}",
               "shipped_on": r"\d{4}-\d\d-\d\d \d\d:\d\d", "currency": "USD"}  # fmt: skip
    for column, layout in layouts.items():
        assert made[column].str.fullmatch(layout).all(), column
    assert set(made["zip"]) <= set(real["zip"]) and "NA" in set(made["country"]) <= {"NA", "ZA", "BW"}


def images_are_scored(folder):
    scores = pd.read_parquet(folder / "scores").sort_values("name")
    assert scores["name"].tolist() == [f"{number:03}.png" for number in range(len(scores))]
    good, bad = scores["is_anomaly"][:28], scores["is_anomaly"][28:]
    assert len(scores) == 48 and good.mean() < 0.4 and bad.mean() > 0.7


def readings_are_scored(folder):
    scores = pd.read_parquet(folder / "flows")
    assert len(scores) == 12 * (720 - 23)
    clogged = (scores["pump"] == "p7") & (scores["ts"] >= "2026-03-02 10:48")
    shares = scores.groupby(clogged)["is_anomaly"].mean()
    assert shares[True] > 0.9 and shares[False] < 0.1, shares


def series_are_streamed(folder):
    with sqlite3.connect(folder / "live.db") as live:
        flags = [row[0] for row in live.execute("SELECT is_anomaly FROM scores ORDER BY rowid")]
    assert len(flags) == 20 and sum(flags[:10]) <= 4 and sum(flags[10:]) >= 7


def generated_images_hold(folder):
    from ganlib.data.read import read_examples

    more, real = np.load(folder / "more.npz"), read_examples(folder / "tiles")
    synthetic = more["_synthetic"]
    assert np.array_equal(more["x"][:190], real["x"]) and more["y"][:190].tolist() == real["y"].tolist()
    assert synthetic.sum() == 110 and not synthetic[:190].any() and set(more["y"][190:]) == {"bad"}
    files = sorted((folder / "synthetic").rglob("*.png"))
    assert len(files) == 20 and all(file.name.startswith("synthetic-") for file in files)
    assert all(Image.open(file).text["Synthetic"] == "true" for file in files)
