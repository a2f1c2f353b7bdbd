"""What `ganlib train --tune` gains: AUPRC on test rows of the default options, of tuned ones, and of those kept.

    python -m benchmarks.tuning FOLDER MODEL TRIALS SEED TABLE ...

FOLDER holds TABLE.npz with X and y (1 = anomaly). At most 1,500 normal rows and 200 anomalies of each are used, half
of the latter in validation rows. A training has 1,000 steps. Options are chosen by half of the validation rows, the
other half keeps the defaults or the tuned options, test rows choose nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ganlib.metrics.detection import auprc
from ganlib.registry import entry
from pipelines.figures import Parts
from pipelines.job import Job
from pipelines.registry import Registry
from pipelines.steps import prepare, settings_of, tune
from pipelines.trials import DetectorTrials

NORMAL, ANOMALIES, STEPS = 1500, 200, 1000


def measured(folder: Path, table: str, model: str, trials: int, seed: int) -> dict[str, float]:
    """AUPRC of default and tuned options on the rows that chose, the other validation rows and the test rows."""
    with np.load(next(folder.glob(f"*{table}.npz"))) as held:
        x, y = held["X"], held["y"].astype(int)
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:most] for k, most in ((0, NORMAL), (1, ANOMALIES))])
    frame = pd.DataFrame(x[rows], columns=[f"c{i}" for i in range(x.shape[1])]).assign(fault=y[rows])
    with tempfile.TemporaryDirectory() as place:
        frame.to_parquet(f"{place}/data.parquet")
        given = {"model.tune": trials, "model.studies": place, "training.steps": STEPS, "training.random_state": seed}
        settings = settings_of(f"{place}/data.parquet", label="fault", model=model, overrides=given)
        job = Job.create(place, "bench", settings, Registry(f"sqlite:///{place}/mlflow.db"))
        prepare(place)
        found, parts = tune(place), Parts(job)
        runs = DetectorTrials(entry(model), settings.detector_parameters() | job.read().parameters(job.folder), parts)
        out = {"chosen by default": found.default, "chosen by tuned": found.best}
        for name, options in (("default", {}), ("tuned", found.options)):
            _, detector, _ = runs.trained(options, lambda part, value: None)
            for part in ("validation", "test"):
                out[f"{part} {name}"] = auprc(detector.anomaly_score(parts.part(part)), parts.anomalous[part])
    kept = "tuned" if out["validation tuned"] > out["validation default"] else "default"
    return out | {"test kept": out[f"test {kept}"]}


if __name__ == "__main__":
    folder, model, trials, seed, *tables = sys.argv[1:]
    for table in tables:
        start = time.monotonic()
        figures = measured(Path(folder), table, model, int(trials), int(seed))
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        print(f"{table:14} {model} seed {seed}  {shown}  {time.monotonic() - start:.0f} s", flush=True)
