"""Detectors of images on MNIST, one digit held out as the anomaly: AUROC and AUPRC at a fixed number of epochs.

    OMP_NUM_THREADS=1 python -m benchmarks.images mnist.npz [--digits 1 3 5 8] [--rows 10000] [--epochs 5] [--json FILE]

All images are pooled. Four fifths of the normal ones, at most ``--rows``, are for training; the test is 4,000 of the
rest and 2,000 anomalies, or a share of both (``--share``). No option is chosen on the test. In the same run, on the
same rows: the reconstruction error of 20 principal components, the mean distance to the 5 nearest training images, and
that distance (10 neighbours, 50 components) over the neighbours' own, a simple local outlier factor.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.metrics.detection import auprc, auroc
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

IMAGES, FLAT = DataSpec.image(1, 28, 28), DataSpec.vector(784)
MODELS: dict[str, tuple[str, DataSpec, dict[str, Any]]] = {
    "ganomaly": ("ganomaly", IMAGES, {"width": 16}),
    "skip_ganomaly": ("skip_ganomaly", IMAGES, {"width": 16}),
    "adversarial_autoencoder": ("adversarial_autoencoder", IMAGES, {"width": 16, "latent_dim": 32}),
    "vae, flat pixels": ("vae", FLAT, {"hidden": (256, 128), "latent_dim": 32}),
    "vq_vae": ("vq_vae", IMAGES, {"width": 16}),
    "glow_images": ("glow_images", IMAGES, {"flow_steps": 3, "width": 16}),
    "glow_images, typicality": ("glow_images", IMAGES, {"flow_steps": 3, "width": 16, "score": "typicality"}),
}


def split(x: np.ndarray, y: np.ndarray, digit: int, seed: int, rows: int, share: float) -> tuple[Tensor, ...]:
    """Training images, test images, and which of these are anomalies; images in [-1, 1]."""
    rng = np.random.default_rng(zlib.crc32(f"mnist|ganomaly|{digit}|{seed}".encode()))
    normal = rng.permutation(np.flatnonzero(y != digit))
    odd = rng.permutation(np.flatnonzero(y == digit))[: round(2000 * share)]
    cut = int(0.8 * len(normal))
    usual = normal[cut:][: round(4000 * share)]
    chosen = (normal[:cut][:rows], np.r_[usual, odd])
    train, test = (torch.tensor(x[part]).float().view(-1, 1, 28, 28) / 127.5 - 1 for part in chosen)
    return train, test, torch.arange(len(test)) >= len(usual)


def _neighbours(queries: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    found = [torch.cdist(part, train).topk(k, 1, largest=False) for part in queries.split(500)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def baselines(train: Tensor, test: Tensor) -> dict[str, Tensor]:
    """Scores of the methods without networks."""
    train, test = train.flatten(1), test.flatten(1)
    mean = train.mean(0)
    axes = torch.linalg.eigh((train - mean).T @ (train - mean)).eigenvectors.flip(1)
    first, second = ((part - mean) @ axes[:, :50] for part in (train, test))
    own = _neighbours(first, first, 11)[0][:, 1:].mean(1)
    distance, index = _neighbours(second, first, 10)
    return {
        "PCA-20 reconstruction": (test - mean).square().sum(1) - second[:, :20].square().sum(1),
        "kNN-5 on pixels": _neighbours(test, train, 5)[0].mean(1),
        "LOF-10 on PCA-50": distance.mean(1) / (own[index].mean(1) + 1e-6),
    }


def scores(name: str, train: Tensor, test: Tensor, seed: int, epochs: int) -> Tensor:
    """A model's scores of the test images."""
    model_name, spec, options = MODELS[name]
    train, test = (part.view(-1, *spec.shape) for part in (train, test))
    torch.manual_seed(seed)
    model = create(model_name, spec, **options)
    Trainer(TrainerConfig(epochs=epochs, batch_size=64, random_state=seed, ema=0.99)).fit(model, {"x": train})
    scorer: Callable[[Tensor], Tensor] = model.eval().scorer()  # type: ignore[attr-defined]
    with torch.no_grad():
        return torch.cat([scorer(part) for part in test.split(250)])


def table(rows: list[dict[str, Any]]) -> None:
    """Mean over digits and seeds, and AUROC of each digit."""
    digits = sorted({row["digit"] for row in rows})
    print("| | AUROC | AUPRC | " + " | ".join(f"digit {digit}" for digit in digits) + " | fit, CPU s |")
    print("|---|---|---|" + "---|" * (len(digits) + 1))
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]

        def mean(key: str, digit: int | None = None, own: list[dict[str, Any]] = own) -> float:
            values = [row[key] for row in own if digit is None or row["digit"] == digit]
            return float(np.mean(values)) if values else float("nan")

        cells = [mean("auroc"), mean("auprc"), *(mean("auroc", digit) for digit in digits)]
        print(f"| {method} | " + " | ".join(f"{cell:.3f}" for cell in cells) + f" | {mean('seconds'):.0f} |")


def main() -> None:
    """Print a row as each method ends, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--digits", type=int, nargs="*", default=list(range(10)))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=1.0, help="of the 4,000 normal and 2,000 anomalous test images")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(given.data) as data:
        x, y = (np.concatenate([data[f"{name}_train"], data[f"{name}_test"]]) for name in ("X", "y"))
    rows: list[dict[str, Any]] = []

    def judge(method: str, found: Tensor, odd: Tensor, seconds: float, **about: int) -> None:
        figures = {"auroc": auroc(found, odd), "auprc": auprc(found, odd)}
        rows.append({"method": method, **figures, "seconds": seconds, **about})
        print(f"{about} {method:26s} AUROC {figures['auroc']:.3f} AUPRC {figures['auprc']:.3f}", flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")

    for seed in given.seeds:
        for digit in given.digits:
            train, test, odd = split(x, y, digit, seed, given.rows, given.share)
            began = time.process_time()
            for method, found in baselines(train, test).items():
                judge(method, found, odd, time.process_time() - began, seed=seed, digit=digit)
            for method in given.models:
                began = time.process_time()
                found = scores(method, train, test, seed, given.epochs)
                judge(method, found, odd, time.process_time() - began, seed=seed, digit=digit)
    table(rows)


if __name__ == "__main__":
    main()
