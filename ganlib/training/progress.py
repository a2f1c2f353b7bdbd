"""The progress of a training run: plain values that change during training and are saved in checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ganlib.training.algorithm import Stage
from ganlib.training.config import History


class Meter:
    """Mean of each logged value since the last reading; sums stay on the values' device and are not read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def log(self, name: str, value: Tensor | float) -> None:
        """Add a scalar."""
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The means by name; resets the sums."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


@dataclass
class Progress:
    """Position in the stages, the History so far, and the state of early stopping.

    ``stage`` and ``stage_step`` count from 0, ``epoch`` counts finished epochs over all stages. ``best`` is the lowest
    validation loss, ``waited`` the validations since.
    """

    stage: int = 0
    stage_step: int = 0
    epoch: int = 0
    best: float = math.inf
    waited: int = 0
    history: History = field(default_factory=History)

    @property
    def going(self) -> bool:
        """Whether the run has not been stopped early."""
        return self.history.stopped == "budget"

    def take(self, other: Progress) -> None:
        """Copy the values of another one."""
        self.__dict__.update(other.__dict__)

    def step(self) -> None:
        """Count a finished step."""
        self.stage_step += 1
        self.history.steps += 1

    def end_epoch(self) -> None:
        """Count a finished epoch."""
        self.epoch += 1
        self.history.epochs = self.epoch

    def next_stage(self) -> None:
        """Go to the start of the next stage."""
        self.stage, self.stage_step = self.stage + 1, 0

    def fits(self, stages: Sequence[Stage]) -> bool:
        """Whether a run of these stages could have this position.

        The stages before must have taken as many steps as they take here, and the current one, unless it is the last,
        at most as many. A run of one stage therefore fits any budget.
        """
        if self.stage >= len(stages):
            return False
        before = sum(stage.steps for stage in stages[: self.stage])
        last = self.stage == len(stages) - 1
        return self.history.steps - self.stage_step == before and (last or self.stage_step <= stages[self.stage].steps)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``from_dict`` restores an equal object."""
        return {
            "best": self.best,
            "waited": self.waited,
            "epoch": self.epoch,
            "stage": [self.stage, self.stage_step],
            "history": dict(self.history.__dict__),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Progress:
        """Inverse of ``to_dict``; ignores other keys."""
        stage, stage_step = values["stage"]
        history = History(**values["history"])
        return cls(stage, stage_step, values["epoch"], values["best"], values["waited"], history)
