"""Checks whose figures come from the MNIST benchmarks: each row takes the figures of its benchmark for one seed."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.models.checks.check import Check, Figures, store


def _transfer(model: str, *others: str, measure: str = "tstr") -> Any:
    """The figure of a model, and the best of others."""

    def run(row: dict[str, dict[str, float]]) -> Figures:
        return row[model][measure], max(row[other][measure] for other in others)

    return run


def _beside_pixels(name: str, pixels: str, row: dict[str, float]) -> Figures:
    return row[name], row[pixels]


BENCHES: dict[str, tuple[Check, ...]] = {
    "transfer": (
        Check("B4 MNIST", "cvae", "MNIST: train synthetic, test real", "class Gaussians", 0.94,
              _transfer("cvae", "gaussians")),
        Check("B5 MNIST", "cvae_gan", "MNIST: train synthetic, test real", "class Gaussians", 0.95,
              _transfer("cvae_gan", "gaussians")),
        Check("B5 MNIST beside", "cvae_gan", "MNIST: train synthetic, test real", "better of CVAE and CGAN", 0.0,
              _transfer("cvae_gan", "cvae", "cgan"), gain=True),
        Check("B5 MNIST sharpness", "cvae_gan", "MNIST: sharpness, real images 1", "CVAE", 0.0,
              _transfer("cvae_gan", "cvae", measure="sharpness"), gain=True, worst=True),
    ),
    "few_labels": (
        Check("B12 MNIST", "semi_supervised_gan", "MNIST, 100 labels: accuracy", "supervised only", 0.97,
              lambda row: (1 - row["k_plus_one"], 1 - row["supervised"])),
        Check("B12 MNIST self", "semi_supervised_gan", "MNIST, 100 labels: accuracy", "self-training", 0.0,
              lambda row: (1 - row["k_plus_one"], 1 - row["self_training"]), gain=True),
    ),
    "codes": (
        Check("B7 MNIST", "infogan", "MNIST: information in nats, of 2.303", "before training", 1.5,
              lambda row: (row["nats"], row["nats_before"])),
        Check("B7 MNIST clusters", "infogan", "MNIST: cluster accuracy", "k-means", 0.0,
              lambda row: (row["accuracy"], row["kmeans"]), gain=True, finding=True),
    ),
    "stacked": (
        Check("B11", "stackgan", "MNIST: stage II's class consistency", "stage I enlarged", 0.0,
              lambda row: (row["accuracy_second"], row["accuracy_enlarged"]), gain=True),
        Check("B11 distance", "stackgan", "MNIST: Fréchet distance, stage I enlarged over stage II",
              "over as many real images", 1.0,
              lambda row: (row["distance_enlarged"] / row["distance_second"],
                           row["distance_enlarged"] / row["distance_real"])),
    ),
    "enlarged": (
        Check("D7 MNIST", "srgan", "MNIST enlarged from 7x7 to 28x28: accuracy of a classifier, gain", "bicubic", 0.0,
              lambda row: (row["accuracy_srgan"], row["accuracy_bicubic"]), gain=True),
        Check("D7 MNIST squared error", "srgan", "MNIST enlarged from 7x7 to 28x28: accuracy of a classifier, gain",
              "the squared error alone", 0.0,
              lambda row: (row["accuracy_srgan"], row["accuracy_squared"]), gain=True, level=0.05),
        Check("D7 MNIST detail", "srgan", "MNIST: energy of detail over that of real images: minus its distance from 1",
              "the squared error alone", -0.3,
              lambda row: tuple(-abs(row[f"detail_{name}"] - 1) for name in ("srgan", "squared")), worst=True),
    ),
    "layered": tuple(
        Check(f"{row} MNIST {count}", name, f"MNIST, {count} labels: accuracy of logistic regression on features, gain",
              "on pixels", 0.0, partial(_beside_pixels, f"{name}_{count}", f"pixels_{count}"), gain=True)
        for row, name in (("I2", "dbn"), ("I4", "stacked_autoencoder")) for count in (50, 100)
    ),
}  # fmt: skip


def record(bench: str, rows: dict[int, Any]) -> None:
    """Keep in docs/checks.json what a bench measured, by seed."""
    for check in BENCHES[bench]:
        store({check.name: check.record([check.run(row) for row in rows.values()], list(rows))})
