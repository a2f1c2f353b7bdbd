"""Toys of the score models."""

from __future__ import annotations

from dataclasses import replace

from ganlib.testing.toys.tables import FACTOR

TOYS = {"denoising_score": replace(FACTOR, config={"smallest": 0.1}, trainer={"epochs": 80, "batch_size": 128})}
