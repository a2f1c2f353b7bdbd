"""Toys of the VAEs."""

from __future__ import annotations

from dataclasses import replace

from ganlib.testing.toys.tables import FACTOR, LABELLED

_VAE = replace(
    FACTOR,
    at_least=0.95,
    config={"latent_dim": 3, "hidden": (64, 32)},
    trainer={"epochs": 200, "batch_size": 64},
)
TOYS = {
    "vae": _VAE,
    "aa_vae": _VAE,
    "iwae": replace(_VAE, trainer={"epochs": 100, "batch_size": 64}),
    "avb": replace(_VAE, config={**_VAE.config, "noise_dim": 8}, trainer={"epochs": 60, "batch_size": 64}),
    "cvae": replace(LABELLED, config={"latent_dim": 4, "hidden": (64, 32)}, trainer={"epochs": 60, "batch_size": 64}),
}
