"""Held-out likelihoods of the registered densities on two toys and two tables, in nats per row (lower is better).

    python -m benchmarks.densities --data TABLES [--steps 400] [--seeds 0 1 2] [--only MODEL ...]
        [--sets SET ...] [--json FILE]

TABLES holds abalone.csv.gz (seven lengths and weights; sex and rings left out) and phoneme.csv.gz (five harmonics; the
class left out). Values on a grid get uniform noise of one step. Four fifths of the rows are trained on (of the toys
2,000 points, and as many tested), and all columns are standardised by them. No row is held out for early stopping: each
network takes ``--steps`` steps of 128 rows, Adam at the model's learning rate, one thread.

Beside the models: scikit-learn's mixture of eight Gaussians, and the neural spline flow of zuko where it is installed
(3 autoregressive transforms of two layers of 64, 8 bins, Adam 1e-3; the same steps, batches and seeds).
``denoising_score`` has no density, only its gradient.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ganlib import DataSpec, Trainer, TrainerConfig, create
from ganlib.testing.problems import ring
from ganlib.testing.toys.flow import moons
from serving.table.layouts import find_step

BATCH = 128
OURS = ("spline_flow", "glow", "realnvp", "nice", "gaussian", "gaussian_mixture", "kernel_density")
OTHERS = ("zuko NSF", "scikit-learn mixture")
COLUMNS = {"abalone": slice(1, 8), "phoneme": slice(0, 5)}
Split = tuple[Tensor, Tensor]


def toy(name: str, seed: int) -> Split:
    """2,000 points to train on, 2,000 to test."""
    if name == "moons":
        return moons(2000, seed), moons(2000, seed + 500)
    return ring(2000, seed, deviation=0.1)[0], ring(2000, seed + 500, deviation=0.1)[0]


def table(folder: Path, name: str, seed: int) -> Split:
    """Numeric columns, with noise on grids, four fifths of the rows and the others."""
    values = pd.read_csv(folder / f"{name}.csv.gz").iloc[:, COLUMNS[name]].to_numpy(float)
    rng = np.random.default_rng(seed)
    steps = np.array([find_step(column) or 0.0 for column in values.T])
    values = values + steps * (rng.random(values.shape) - 0.5)
    values = torch.tensor(values[rng.permutation(len(values))])
    cut = len(values) * 4 // 5
    return values[:cut], values[cut:]


def standardised(train: Tensor, test: Tensor) -> Split:
    """Mean 0 and deviation 1 of the training rows, float32."""
    mean, deviation = train.mean(0), train.std(0)
    return ((train - mean) / deviation).float(), ((test - mean) / deviation).float()


def own(name: str, train: Tensor, test: Tensor, seed: int, steps: int) -> float:
    """A registered model's negative log-likelihood."""
    torch.manual_seed(seed)
    model: Any = create(name, DataSpec.vector(train.shape[1]))
    Trainer(TrainerConfig(steps=steps, batch_size=BATCH, random_state=seed, device="cpu")).fit(model, {"x": train})
    with torch.no_grad():
        return -float(model.log_prob(test).mean())


def zuko_nsf(train: Tensor, test: Tensor, seed: int, steps: int) -> float:
    """The same of zuko's neural spline flow."""
    import zuko  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    flow = zuko.flows.NSF(train.shape[1], transforms=3, bins=8, hidden_features=(64, 64))
    optimiser = torch.optim.Adam(flow.parameters(), 1e-3)
    generator, order = torch.Generator().manual_seed(seed), torch.zeros(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(train), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        loss = -flow().log_prob(train[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return -float(flow().log_prob(test).mean())


def mixture(train: Tensor, test: Tensor, seed: int, steps: int) -> float:
    """The same of scikit-learn's mixture."""
    from sklearn.mixture import GaussianMixture

    return -float(GaussianMixture(8, random_state=seed).fit(train.numpy()).score(test.numpy()))


def runner(name: str) -> Callable[[Tensor, Tensor, int, int], float]:
    """What trains and judges a model."""
    if name in OTHERS:
        return zuko_nsf if name == "zuko NSF" else mixture
    return lambda train, test, seed, steps: own(name, train, test, seed, steps)


def line(found: list[dict[str, float]]) -> str:
    """Mean and range over seeds, and seconds."""
    values = [row["nll"] for row in found]
    low, high = min(values), max(values)
    seconds = statistics.mean(row["seconds"] for row in found)
    return f"{statistics.mean(values):.3f} ({low:.3f} to {high:.3f}) | {seconds:.1f}"


def main() -> None:
    """Print a row of a table for each model and data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=(*OURS, *OTHERS))
    parser.add_argument("--sets", nargs="+", choices=("moons", "ring", *COLUMNS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    models = given.only or [*OURS, *OTHERS]
    if importlib.util.find_spec("zuko") is None:
        models = [name for name in models if name != "zuko NSF"]
    kept: dict[str, list[dict[str, float]]] = {}
    for data in given.sets or ("moons", "ring", *(COLUMNS if given.data else ())):
        for name in models:
            found = kept[f"{data} | {name}"] = []
            for seed in given.seeds:
                train, test = standardised(*(table(given.data, data, seed) if data in COLUMNS else toy(data, seed)))
                start = time.process_time()
                nll = runner(name)(train, test, seed, given.steps)
                found.append({"nll": nll, "seconds": time.process_time() - start})
                assert math.isfinite(nll)
            print(f"| {data} | {name} | {line(found)} |", flush=True)
            if given.json:
                given.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
