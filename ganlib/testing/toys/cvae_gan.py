"""Toys of the VAEs with a critic."""

from __future__ import annotations

from dataclasses import replace

from ganlib.testing.toys.points import RING
from ganlib.testing.toys.tables import LABELLED

TOYS = {
    "cvae_gan": replace(
        LABELLED,
        at_least=0.5,
        config={"latent_dim": 4, "hidden": (64, 32), "kl": 1.0, "reconstruction": "likelihood"},
        trainer={"epochs": 40, "batch_size": 64},
    ),
    "vae_gan": replace(RING, trainer={"steps": 2000, "batch_size": 128}),
}
