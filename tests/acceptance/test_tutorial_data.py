"""docs/tutorial-data.md, word for word: every block of it, in its order, in an empty folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]


def environment():
    """As after `. .venv/bin/activate`, without settings of the machine that runs the tests."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PREFECT", "GANLIB"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.mark.timeout(300)
def test_the_tutorial(tmp_path):
    page = (ROOT / "docs/tutorial-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 8
    for kind, code in blocks:
        command = ["bash", "-ec", code] if kind == "sh" else [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (code, done.stderr)
    scores_hold(tmp_path)
    generated_rows_hold(tmp_path)


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
