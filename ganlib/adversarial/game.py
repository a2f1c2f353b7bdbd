"""One critic against one generator, for models that supply the critic's scores."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ganlib.errors import ConfigError
from ganlib.losses.adversarial import score_objective
from ganlib.losses.objective import Objective
from ganlib.nn.architecture import finish
from ganlib.nn.conditional import where_wrong


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
        if not self.objective.recipe.spectral_norm:
            return critic
        critic.register_load_state_dict_pre_hook(_check_norms)
        return finish(critic, "spectral")

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss, a scalar."""
        return self.objective.critic_of(real, fake)

    def mismatch_loss(self, real: Tensor, score: Tensor, wrong: Tensor, condition: Tensor) -> Tensor:
        """The critic's loss if its negatives are real data under wrong conditions, a scalar.

        ``score`` is the critic's of data under ``wrong``; one equal to the row's own carries no gradient.
        """
        return self.critic_loss(real, where_wrong(score, wrong, condition))

    def generator_loss(self, fake: Tensor) -> Tensor:
        """The generator's loss, a scalar."""
        return self.objective.generator_of(fake)


def _check_norms(critic: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Reject the weights of a critic from before objectives gave every critic their spectral norm."""
    saved = [name for name in state if name.startswith(prefix)]
    if saved and not any(".parametrizations." in name for name in saved):
        raise ConfigError(
            "the saved critic has no spectral norm, which its objective now gives it: delete the checkpoint and train "
            "again, or choose another objective"
        )
