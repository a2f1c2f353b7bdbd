"""How estimators train: what the caller states, then the model's entry, then what follows from the data's size.

One rule for all: a run goes on for ``wait`` steps without a better validation loss, which is read about every ``every``
steps; ``patience`` is the number of those readings. A Trainer used by itself has no patience, since it may have no
validation rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ganlib.errors import ConfigError
from ganlib.estimator import TrainerOptions, reject_twice
from ganlib.registry import Entry
from ganlib.training import Algorithm, History, Trainer, TrainerConfig
from ganlib.training.callbacks import Callback, ProgressBar

BATCH = 128
BUDGET = ("steps", "epochs")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
LEAST_EPOCHS, MOST_STEPS = 30, 20_000  # of large tables: as many epochs, but no more steps than that
# Of all models and data alike; no paper's choice.
STEADY: Mapping[str, Any] = {"ema": 0.99, "gradient_clip": 5.0}


@dataclass(frozen=True)
class Recipe:
    """How a kind of estimator trains where neither the caller nor the model's entry says otherwise.

    ``steps`` is the usual budget, of small tables; ``few`` that of tables below two batches, if it is less.
    """

    steps: int
    every: int
    wait: int
    few: int | None = None
    whole_epochs: bool = False

    def budget(self, usual: int, rows: int, batch_size: int, batches: int) -> dict[str, int]:
        """The budget for this number of rows; ``usual`` is the model's or the recipe's."""
        if self.few is not None and rows < 2 * batch_size:
            return {"steps": min(usual, self.few)}
        steps = max(usual, min(LEAST_EPOCHS * batches, MOST_STEPS))
        return {"epochs": math.ceil(steps / batches)} if self.whole_epochs else {"steps": steps}


DETECTION = Recipe(steps=3000, every=50, wait=600, whole_epochs=True)
# A detector stops as soon as its loss stands still. A generator's loss may fall slowly for long: it waits longer, but
# not on a handful of rows, which the budget would have it memorise.
GENERATION = Recipe(steps=2000, every=100, wait=1000, few=600)
DENSITY = Recipe(steps=3000, every=50, wait=600, few=600)
# Without pairs there is no loss to stop by.
TRANSLATION = Recipe(steps=4000, every=100, wait=1000)


@dataclass(frozen=True)
class Training:
    """The training runs of one fit: ``given`` as parameters, stated in ``trainer``, ``usual`` for such estimators."""

    model: Entry
    usual: Recipe
    given: Mapping[str, Any]
    trainer: Mapping[str, Any]
    seed: int
    device: str
    callbacks: tuple[Callback, ...] = ()

    @classmethod
    def of(cls, estimator: Any, model: Entry, usual: Recipe, seed: int) -> Training:
        """The runs that an estimator's parameters ask for.

        These are ``steps``, ``epochs``, ``batch_size``, ``patience``, ``device``, ``verbose`` and ``trainer``, which is
        a TrainerConfig (of which the options that were given count), a mapping of its options and ``callbacks``, or
        None. Raises ConfigError on an unknown option, and on one that is given twice.
        """
        trainer, callbacks = _opened(estimator.trainer)
        named = {name: getattr(estimator, name) for name in (*BUDGET, "batch_size", "patience")}
        given = {name: value for name, value in named.items() if value is not None}
        changed = {"random_state": estimator.random_state != 0, "device": estimator.device != "auto"}
        reject_twice(given | {name: True for name, other in changed.items() if other}, trainer, "trainer")
        if set(BUDGET) & given.keys() and set(BUDGET) & trainer.keys():
            raise ConfigError("steps and epochs are both given, one by itself and one in trainer: leave one out")
        bar = (ProgressBar(f"training {model.name}"),) if estimator.verbose else ()
        return cls(model, usual, given, trainer, seed, estimator.device, bar + callbacks)

    def config(self, rows: int, validated: bool) -> TrainerConfig:
        """The configuration for ``rows`` to train on; ``validated`` is whether there are validation rows to judge by.

        Without them, only a patience stated in ``trainer`` is kept, so that the Trainer warns that it has no effect.
        """
        stated = {**self.given, **self.trainer}
        options = {"batch_size": BATCH, "patience": self.usual.wait // self.usual.every, **STEADY, **self.model.trainer}
        size = stated.get("batch_size", options["batch_size"])
        batches = max(1, rows // min(size, rows))
        options.setdefault("validate_every", max(1, self.usual.every // batches))
        if set(BUDGET) & stated.keys():
            options = {name: value for name, value in options.items() if name not in BUDGET}
        elif "epochs" not in options:
            options |= self.usual.budget(options.pop("steps", self.usual.steps), rows, size, batches)
        options |= {"random_state": self.seed, "device": self.device, **stated}
        if not validated:
            options["patience"] = self.trainer.get("patience", 0)
        return TrainerConfig.from_dict(options)

    def check_models(self, count: int) -> None:
        """Raise ConfigError if several models would share one checkpoint."""
        if count > 1 and self.trainer.get("checkpoint"):
            raise ConfigError(
                f"a checkpoint is of one training, and {self.model.name!r} is trained once for each of {count} "
                "classes: leave checkpoint out, or choose a model of all classes (cvae, cgan)"
            )

    def run(
        self, algorithm: Algorithm, data: Mapping[str, Tensor], validation: Mapping[str, Tensor], least: int = 1
    ) -> History:
        """Train, with early stopping if there are ``least`` validation rows and the model has a validation loss."""
        validated = len(validation["x"]) >= least and algorithm.validates
        trainer = Trainer(self.config(len(data["x"]), validated), self.callbacks)
        return trainer.fit(algorithm, data, validation if validated else None)


def _opened(trainer: TrainerOptions) -> tuple[dict[str, Any], tuple[Callback, ...]]:
    """The options that ``trainer`` states, checked, and its callbacks."""
    if isinstance(trainer, TrainerConfig):
        return trainer.given, ()
    if not isinstance(trainer, Mapping | None):
        raise ConfigError(f"trainer is a TrainerConfig, a mapping of its options or None, not {trainer!r}")
    options = dict(trainer or {})
    callbacks = options.pop("callbacks", None) or ()
    for callback in callbacks:
        if not (hasattr(callback, "on_step") and hasattr(callback, "on_end")):
            raise ConfigError(f"a callback has the methods on_step and on_end; {callback!r} has not")
    return TrainerConfig.from_dict(options).given, tuple(callbacks)


def seconds_of(budget: float | str | None) -> float | None:
    """The seconds of a budget: a number, or text such as ``30s``, ``2min`` and ``1h``. Raises ConfigError on others."""
    if budget is None:
        return None
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", str(budget).lower())
    if found is None or found[2] not in _UNITS or not float(found[1]) > 0:
        raise ConfigError(f"a budget is a time above 0, such as 30s, 2min or 1h, not {budget!r}")
    return float(found[1]) * _UNITS[found[2]]
