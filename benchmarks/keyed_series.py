"""Runs of several machines as one table of readings, by the commands: `ganlib train`, then `ganlib score`.

    python benchmarks/keyed_series.py --data FOLDER [--seeds 0 1 2] [--window 20] [--level auto none] [--model auto]

FOLDER holds ``skab.parquet``: SKAB, 34 runs with anomalies, columns ``series``, eight sensors and ``anomaly``. The
first 400 rows of each run train one model for all runs, labels unused; the later rows are judged, each by the window
that ends there. Rows are in order by their number, which no model sees. The limit is that of ``--alpha``, from
calibration rows. Printed are the mean AUROC by run, F1, false alarms and missed rows in percent over all rows judged,
for each seed, of the scores as they are and of their median over five rows.

Beside it, by script: principal components and an autoregression of each run alone, limit from 100 held-out rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

FIT, HELD = 400, 100
MEDIAN = 5
LAGS, SHARE = 5, 0.9  # of the autoregression; variance that the components keep
Score = Callable[[np.ndarray], np.ndarray]


def readings(folder: Path) -> pd.DataFrame:
    """The runs with anomalies as one table: ``series``, ``row``, the sensors and ``anomaly``."""
    frame = pd.read_parquet(folder / "skab.parquet").drop(columns=["datetime", "changepoint"])
    frame["series"] = frame["series"].astype(str)
    frame = frame[~frame["series"].str.contains("free")].reset_index(drop=True)
    return frame.assign(row=frame.groupby("series").cumcount().astype(float))


def by_command(frame: pd.DataFrame, folder: Path, window: int, seed: int, given: Sequence[str]) -> pd.DataFrame:
    """Scores and alarms of all rows that end a window, by ``ganlib train`` on the first rows of each run."""
    frame[frame["row"] < FIT].drop(columns="anomaly").to_parquet(folder / "train.parquet")
    frame.drop(columns="anomaly").to_parquet(folder / "all.parquet")
    roles = ["--time", "row", "--key", "series", "--window", str(window), "--name", "runs", "--seed", str(seed)]
    _run(folder, "train", "--data", "train.parquet", *roles, *given)
    _run(folder, "score", "--model", "models:/runs@challenger", "--input", "all.parquet", "--output", "scores")
    return pd.read_parquet(folder / "scores").set_index("source_row").sort_index()


def _run(folder: Path, *command: str) -> None:
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    for line in done.stderr.splitlines():
        if "warning" in line:
            print(f"  {line}", flush=True)


def components(train: np.ndarray, window: int) -> Score:
    """The residual of windows beside the principal components of training windows."""
    mean, deviation = train.mean(0), np.where(train.std(0) < 1e-6, 1.0, train.std(0))

    def cut(rows: np.ndarray) -> np.ndarray:
        found = np.lib.stride_tricks.sliding_window_view((rows - mean) / deviation, window, axis=0)
        return found.reshape(len(found), -1)

    made = cut(train)
    centre = made.mean(0)
    _, sizes, axes = np.linalg.svd(made - centre, full_matrices=False)
    kept = axes[: int(np.searchsorted(np.cumsum(sizes**2) / (sizes**2).sum(), SHARE)) + 1]

    def score(rows: np.ndarray) -> np.ndarray:
        apart = cut(rows) - centre
        return np.sqrt(((apart - apart @ kept.T @ kept) ** 2).mean(1))

    return score


def autoregression(train: np.ndarray, window: int) -> Score:
    """The mean error, over channels and a moving mean over time, of a linear forecast by the last rows."""
    mean, deviation = train.mean(0), np.where(train.std(0) < 1e-6, 1.0, train.std(0))

    def pairs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        made = (rows - mean) / deviation
        before = np.lib.stride_tricks.sliding_window_view(made[:-1], LAGS, axis=0).reshape(len(made) - LAGS, -1)
        return np.hstack([before, np.ones((len(before), 1))]), made[LAGS:]

    x, y = pairs(train)
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    usual = np.maximum((y - x @ weights).std(0), 1e-3)

    def score(rows: np.ndarray) -> np.ndarray:
        x, y = pairs(rows)
        errors = (np.abs(y - x @ weights) / usual).mean(1)
        smooth = pd.Series(errors).ewm(alpha=0.1, adjust=False).mean().to_numpy()
        return smooth[window - 1 - LAGS :]

    return score


def alone(frame: pd.DataFrame, sensors: list[str], window: int, made: Callable[..., Score]) -> pd.DataFrame:
    """Scores and alarms of a detector fitted on each run alone; the limit is the highest score of its held-out rows."""
    parts = []
    for _, rows in frame.groupby("series"):
        values = rows[sensors].to_numpy()
        scores = made(values[:FIT], window)(values)
        fewer = made(values[: FIT - HELD], window)(values[:FIT])
        held = fewer[FIT - HELD - window + 1 :]
        limit = pd.Series(held).rolling(MEDIAN, min_periods=1).median().max()
        parts.append(pd.DataFrame({"anomaly_score": scores, "limit": limit}, index=rows.index[window - 1 :]))
    found = pd.concat(parts).sort_index()
    return found.assign(is_anomaly=found["anomaly_score"] > found["limit"])


def judged(frame: pd.DataFrame, scores: pd.DataFrame, smooth: bool) -> dict[str, float]:
    """The figures on rows after the training rows; ``smooth`` takes medians over five rows, of alarms the majority."""
    joined = frame[["series", "row", "anomaly"]].join(scores[["anomaly_score", "is_anomaly"]])
    joined = joined[joined["row"] >= FIT]
    if joined["anomaly_score"].isna().any():
        raise SystemExit(f"{int(joined['anomaly_score'].isna().sum())} rows have no score")
    score, alarm = joined["anomaly_score"].astype(float), joined["is_anomaly"].astype(float)
    if smooth:
        by = joined["series"]
        score, alarm = (v.groupby(by).rolling(MEDIAN, min_periods=1).median().droplevel(0) for v in (score, alarm))
        score, alarm = score.reindex(joined.index), alarm.reindex(joined.index)
    truth, flagged = joined["anomaly"].to_numpy() > 0, alarm.to_numpy() > 0.5
    hits, false, missed = (truth & flagged).sum(), (~truth & flagged).sum(), (truth & ~flagged).sum()
    by_run = [
        roc_auc_score(truth[places], score.to_numpy()[places])
        for places in joined.groupby("series").indices.values()
        if 0 < truth[places].mean() < 1
    ]
    return {
        "AUROC": float(np.mean(by_run)), "F1": 2 * hits / (2 * hits + false + missed),
        "false alarms %": 100 * false / (~truth).sum(), "missed %": 100 * missed / truth.sum(), "rows": len(joined),
    }  # fmt: skip


def said(name: str, figures: dict[str, float]) -> None:
    """Print a line of figures."""
    parts = " ".join(f"{key} {value:.3f}" if value < 1 else f"{key} {value:.1f}" for key, value in figures.items())
    print(f"{name:44s} {parts}", flush=True)


def main() -> None:
    """Measure the command at each level and seed, and the baselines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--level", nargs="*", default=["auto", "none"])
    parser.add_argument("--model", default="auto")
    parser.add_argument("--alpha", default="0.01")
    parser.add_argument("--out", type=Path, help="Folder for the scores of each run of the command.")
    options = parser.parse_args()
    frame = readings(options.data)
    sensors = [name for name in frame.columns if name not in ("series", "row", "anomaly")]
    for name, made in (("components of each run", components), ("autoregression of each run", autoregression)):
        scores = alone(frame, sensors, options.window, made)
        for smooth in (False, True):
            said(f"{name}{', median' * smooth}", judged(frame, scores, smooth))
    for level in options.level:
        for seed in options.seeds:
            begun = time.time()
            given = ["--level", level, "--model", options.model, "--alpha", options.alpha]
            with tempfile.TemporaryDirectory() as folder:
                scores = by_command(frame, Path(folder), options.window, seed, given)
            if options.out:
                options.out.mkdir(parents=True, exist_ok=True)
                scores.to_parquet(options.out / f"{options.model}-{level}-{options.window}-{seed}.parquet")
            for smooth in (False, True):
                figures = judged(frame, scores, smooth) | {"seconds": time.time() - begun}
                said(f"{options.model}, level {level}, seed {seed}{', median' * smooth}", figures)
    print(json.dumps({"window": options.window, "alpha": options.alpha, "fit": FIT}))


if __name__ == "__main__":
    main()
