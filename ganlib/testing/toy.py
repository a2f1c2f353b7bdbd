"""Toys: small problems on which laws train and measure a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganlib.data.spec import DataSpec


@dataclass(frozen=True)
class Toy:
    """A small problem and the level that a model must reach on it.

    - ``data(seed)``: training tensors by name; ``spec`` describes them.
    - ``level(algorithm, seed)``: measure of the trained model, higher is better. The worst of three seeds must reach
      ``at_least``. ``measure`` describes it in words.
    - ``baseline(seed)``: the same measure of the trivial answer, which must be below ``at_least``.
    - ``config``, ``trainer``: override the model's options and the TrainerConfig.
    - ``two_of_five``: require the level for two of five seeds instead, if training ends in one of several states.
    - ``domains``: of a translator that needs other data than any two domains of its kind, lines of Python that set
      ``a`` and ``b``, arrays that its estimator can be fitted on. The model's page shows and runs them.
    """

    data: Callable[[int], Mapping[str, Any]]
    spec: DataSpec
    level: Callable[[Any, int], float]
    at_least: float
    measure: str
    baseline: Callable[[int], float]
    config: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    two_of_five: bool = False
    domains: str = ""
