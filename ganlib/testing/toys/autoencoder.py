"""Toys of the auto-encoders."""

from __future__ import annotations

from dataclasses import replace

from ganlib.testing.toys.tables import FACTOR

_DETECTOR = replace(FACTOR, config={"latent_dim": 3}, trainer={"epochs": 80, "batch_size": 64})
TOYS = {"autoencoder": _DETECTOR, "denoising_autoencoder": _DETECTOR}
