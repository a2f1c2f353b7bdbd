"""Toys of the anomaly models."""

from __future__ import annotations

from dataclasses import replace

from ganlib.testing.toys.images import ENERGY
from ganlib.testing.toys.points import RING
from ganlib.testing.toys.tables import FACTOR

_DETECTOR = replace(FACTOR, config={"latent_dim": 3}, trainer={"epochs": 80, "batch_size": 64})
_IMAGES = replace(
    ENERGY,
    at_least=0.7,
    measure="8x8 digits: AUROC of the score, images with shuffled pixels",
    config={"width": 8},
    trainer={"steps": 200, "batch_size": 64},
)
TOYS = {
    "ganomaly": _DETECTOR,
    "reconstruction_vae": _DETECTOR,
    "patch_gaussian": replace(_IMAGES, config={}, trainer={"epochs": 1, "batch_size": 64}),
    "blended_patches": replace(_IMAGES, trainer={"steps": 300, "batch_size": 32}),
    "skip_ganomaly": _IMAGES,
    "egbad": replace(
        RING,
        at_least=0.15,
        config={"latent_dim": 2, "hidden": (128, 128), "learning_rate": 1e-3},
        trainer={"steps": 1000, "batch_size": 128, "ema": 0.99},
    ),
}
