"""Toys of the energy models: digits beside images of shuffled pixels."""

from __future__ import annotations

from dataclasses import replace

from ganlib.testing.toys.images import ENERGY

TOYS = {
    "rbm": replace(ENERGY, at_least=0.65, config={"hidden_units": 64}, trainer={"steps": 600, "batch_size": 64}),
    "dbn": replace(ENERGY, at_least=0.65, trainer={"steps": 600, "batch_size": 64}),
    "dbm": replace(ENERGY, at_least=0.65, trainer={"steps": 600, "batch_size": 64}),
    # At the default rate, 600 steps reach 0.53.
    "helmholtz": replace(
        ENERGY, at_least=0.65, config={"learning_rate": 1e-2}, trainer={"steps": 600, "batch_size": 64}
    ),
    "stacked_autoencoder": replace(ENERGY, at_least=0.8, trainer={"steps": 600, "batch_size": 64}),
}
