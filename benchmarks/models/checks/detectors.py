"""Checks of detectors on digits: one digit is held out as the anomaly, four fifths of the others are for training."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.models.checks.check import Check, Figures, digits_held_out, fit
from ganlib.data.spec import DataSpec
from ganlib.metrics.detection import auroc, pca_scores

_DIGITS = (1, 3, 5, 8)  # each third of all digits' difficulty for PCA is among them, .655 to .919


def _held_out(name: str, steps: int, **options: Any) -> Callable[[int], Figures]:
    """Mean AUROC over four held-out digits after a fixed number of steps; baseline: PCA's reconstruction error."""

    def run(seed: int) -> Figures:
        found = []
        for normal, test, odd in digits_held_out(seed, _DIGITS):
            model, _ = fit(name, DataSpec.image(1, 8, 8), {"x": normal}, seed, steps, 64, 0.99, **options)
            with torch.no_grad():
                scores = model.scorer()(test)
            flat = pca_scores(normal.flatten(1), test.flatten(1))
            found.append((auroc(scores, odd), auroc(flat, odd)))
        return statistics.mean(f for f, _ in found), statistics.mean(b for _, b in found)

    return run


ROWS = (
    Check("A1 digits", "ganomaly", "8x8 digits 1, 3, 5, 8 held out in turn: AUROC", "PCA reconstruction", 0.814,
          _held_out("ganomaly", 300, width=16)),
    Check("I7 digits", "gaussian", "8x8 digits 1, 3, 5, 8 held out in turn: AUROC", "PCA reconstruction", 0.0,
          _held_out("gaussian", 300), finding=True),
    Check("A3 EGBAD digits", "egbad", "8x8 digits 1, 3, 5, 8 held out in turn: AUROC", "PCA reconstruction", 0.814,
          _held_out("egbad", 300, width=16, learning_rate=5e-4)),
    Check("A3 Skip digits", "skip_ganomaly", "8x8 digits 1, 3, 5, 8 held out in turn: AUROC", "PCA reconstruction",
          0.814, _held_out("skip_ganomaly", 300, width=16)),
)  # fmt: skip
