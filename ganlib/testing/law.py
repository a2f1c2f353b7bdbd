"""Laws: named checks of a registered model on its toy problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ganlib.registry import LAWS, Entry
from ganlib.training import Batch, Trainer, TrainerConfig
from ganlib.training.algorithm import Algorithm

SHORT = {"steps": 6, "batch_size": 32, "device": "cpu"}


class Case:
    """One model and its toy, the argument of a law."""

    def __init__(self, entry: Entry) -> None:
        self.entry, self.toy = entry, entry.toy

    def make(self, seed: int = 0) -> Algorithm:
        """An untrained model for the toy, with weights from ``seed``."""
        torch.manual_seed(seed)
        return self.entry.create(self.toy.spec, **self.toy.config)

    def data(self, seed: int = 0, rows: int | None = None) -> dict[str, Tensor]:
        """The toy's data, or its first ``rows``."""
        return {name: values[:rows] for name, values in self.toy.data(seed).items()}

    def batch(self, rows: int = 32) -> Batch:
        """The first rows as a batch, with noise of seed 0."""
        return Batch(self.data(rows=rows), torch.Generator().manual_seed(0))

    def short(self, **changes: Any) -> Trainer:
        """A Trainer of six steps, with the toy's averaging of weights."""
        averaged = {name: value for name, value in self.toy.trainer.items() if name == "ema"}
        return Trainer(TrainerConfig(**{**SHORT, **averaged, **changes}))

    def trained(self, **changes: Any) -> Algorithm:
        """A model after a short training."""
        algorithm = self.make()
        self.short(**changes).fit(algorithm, self.data())
        return algorithm


class Law:
    """A check that must hold for every model for which ``applies(entry)`` is True.

    ``check(case)`` raises AssertionError if it does not hold; it may return its measurements as text. ``long`` marks a
    law that trains 100 steps or more.
    """

    def __init__(
        self, name: str, check: Callable[[Case], str | None], applies: Callable[[Entry], bool], long: bool
    ) -> None:
        if name not in LAWS:
            raise ValueError(
                f"law {name!r} is not in ganlib.registry.LAWS; add it there, so that known_gaps may name it"
            )
        self.name, self.check, self.applies, self.long = name, check, applies, long

    @property
    def text(self) -> str:
        """The law in one line."""
        return (self.check.__doc__ or "").splitlines()[0]

    def __call__(self, entry: Entry) -> str | None:
        """Check one model; the global random state is left unchanged. Raises AssertionError naming model and law."""
        case = Case(entry)
        try:
            with torch.random.fork_rng(devices=[]):
                return self.check(case)
        except Exception as error:
            what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"model {entry.name!r} breaks law {self.name!r} ({self.text}): {what}") from error

    def __repr__(self) -> str:
        return f"<law {self.name}: {self.text}>"


def law(
    name: str, applies: Callable[[Entry], bool] = lambda entry: True, long: bool = False
) -> Callable[[Callable[[Case], str | None]], Law]:
    """Decorator that turns a check into a law, for models for which ``applies(entry)`` is True."""
    return lambda check: Law(name, check, applies, long)


def expect(holds: bool, message: str) -> None:
    """Raise AssertionError with ``message`` unless it holds; unlike ``assert``, also under ``python -O``."""
    if not holds:
        raise AssertionError(message)


def weights(algorithm: Algorithm) -> dict[str, Tensor]:
    """A copy of the state."""
    return {name: value.clone() for name, value in algorithm.state_dict().items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names of values that differ between two states, or that only one of them has."""
    return sorted(
        name for name in a.keys() | b.keys() if name not in a or name not in b or not torch.equal(a[name], b[name])
    )
