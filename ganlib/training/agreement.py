"""Checks that processes training one model have the same inputs and weights, before, during and after training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from torch import Tensor

from ganlib.errors import ConfigError, GanlibError
from ganlib.training.algorithm import Algorithm, Routine, Stage
from ganlib.training.config import TrainerConfig
from ganlib.training.ranks import Ranks, coupling_layer, digests


class Agreement:
    """Compares the ranks of a run; all checks pass if there is only one process."""

    def __init__(self, algorithm: Algorithm, ranks: Ranks) -> None:
        self.algorithm, self.ranks = algorithm, ranks

    def on_start(self, config: TrainerConfig, data: Mapping[str, Tensor], validation: Mapping[str, Tensor]) -> None:
        """Give all ranks the first one's weights.

        Raises ConfigError if the model cannot be split over ranks, or if their arguments differ.
        """
        if self.ranks.alone:
            return
        if reason := self.algorithm.couples_batch() or coupling_layer(self.algorithm.named_modules()):
            raise self._rejected(reason)
        given = {f"option {name}": json.dumps(value) for name, value in config.to_dict().items() if name != "device"}
        given |= {f"training rows {name!r}": value for name, value in digests(data).items()}
        given |= {f"held-out rows {name!r}": value for name, value in digests(validation).items()}
        state = self.algorithm.state_dict()
        given |= {f"the model's {name}": f"{value.dtype} {tuple(value.shape)}" for name, value in state.items()}
        if differing := self.ranks.differing(given):
            raise ConfigError(
                f"the processes have different arguments ({', '.join(differing[:5])}): each must build the same "
                "model and read the same rows in the same order (seed what shuffles or samples them)"
            )
        self.ranks.share(self.algorithm)

    def on_stages(self, stages: Sequence[Stage]) -> None:
        """Raise ConfigError for a Routine in several processes."""
        routines = [item.name for stage in stages for item in stage.phases if isinstance(item, Routine)]
        if routines and not self.ranks.alone:
            raise self._rejected(f"its routine {routines[0]!r} runs its own optimisation")

    def after_first_step(self) -> None:
        """Raise ConfigError if a buffer depends on the rank's rows; weights are equal by construction."""
        if differing := self._differing():
            raise self._rejected(f"buffers depend on each process's rows ({', '.join(differing[:5])})")

    def at_step(self, step: int) -> None:
        """Raise GanlibError if weights or buffers are no longer bit-equal."""
        if differing := self._differing():
            raise GanlibError(
                f"the processes' weights differ at step {step} ({', '.join(differing[:5])}), so this is no longer one "
                "model. Check that nothing depends on the rank, or train with deterministic=True"
            )

    def _differing(self) -> list[str]:
        return [] if self.ranks.alone else self.ranks.differing(digests(self.algorithm.state_dict()))

    def _rejected(self, reason: str) -> ConfigError:
        name = type(self.algorithm).__name__
        return ConfigError(f"{name} cannot be trained data-parallel: {reason}; train it in one process")
