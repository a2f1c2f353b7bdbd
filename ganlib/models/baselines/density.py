"""What the baselines share: one player, fitted by maximum likelihood, scored by -log p(x)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ganlib.data.spec import DataSpec
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


class NegativeLogProb(nn.Module):
    """``(n, *shape) -> (n,)``: -log p(x) in nats."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return -self.model.log_prob(x)


class Density(Algorithm):
    """A model with ``log_prob``, trained by it."""

    def __init__(self, spec: DataSpec, config: Any) -> None:
        super().__init__()
        self.spec, self.config = spec, config

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"density": self}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam at the configured rate."""
        return {"density": Optimiser("adam", self.config.learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood."""
        return (Phase("density", self.loss),)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, ``(n,)``."""
        raise TypeError(f"{type(self).__name__} must define log_prob()")

    def loss(self, batch: Batch) -> Losses:
        """Negative log-likelihood per example."""
        return Losses(nll=-self.log_prob(batch.x).mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out examples."""
        return self.loss(batch).total

    def scorer(self) -> nn.Module:
        """-log p(x), for export."""
        return NegativeLogProb(self).eval()
