"""One critic against one generator, for models that supply the critic's scores."""

from __future__ import annotations

from torch import Tensor, nn

from ganlib.losses.adversarial import score_objective
from ganlib.losses.objective import Objective
from ganlib.nn.architecture import finish


class Game(nn.Module):
    """The losses of one critic and one generator under a named objective, from scores ``(n, 1)``.

    A model with several critics holds several games. The objective is looked up by name, so that a game can be
    pickled. Raises ConfigError if the objective is unknown or needs more than the critic's scores.
    """

    def __init__(self, objective: str) -> None:
        super().__init__()
        self.name = score_objective(objective).name

    @property
    def objective(self) -> Objective:
        """The row of the objective's table."""
        return score_objective(self.name)

    def finish(self, critic: nn.Module) -> nn.Module:
        """Add spectral norm to a critic's weights if the objective's paper uses it; returns the critic."""
        return finish(critic, "spectral" if self.objective.recipe.spectral_norm else "none")

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss, a scalar."""
        return self.objective.critic_of(real, fake)

    def generator_loss(self, fake: Tensor) -> Tensor:
        """The generator's loss, a scalar."""
        return self.objective.generator_of(fake)
