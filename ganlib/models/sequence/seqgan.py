"""SeqGAN: a token generator trained by policy gradient, with a critic's score as the reward.

Paper: Yu et al., SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient, arXiv 1609.05473, 2017.

Idea: sampling tokens has no gradient, so the critic's probability of "real" becomes a reward. The value of token t
is the mean reward of ``rollouts`` completions of the prefix (Monte-Carlo search, equation 4), and the generator follows

    grad J = E sum_t grad log G(y_t | y_<t) · (Q_t - baseline)                               (equation 7)

Stages: the generator is pre-trained by maximum likelihood, then the critic, then both are trained (algorithm 1).
Shapes: x int64 ``(n, length)`` token ids. Defaults: the paper's 120 pre-training epochs, 16 rollouts, LSTM of 32 units.
Deviations: GRU instead of LSTM; a GRU critic instead of the convolutional one; rewards are centred per position by
the batch mean; a maximum-likelihood step follows each policy step (Li et al., arXiv 1701.06547), so that the
small model does not collapse; roll-outs use the current generator.

Use it for: sequences of a fixed length over a small vocabulary, when whole sequences can be judged better than single
tokens.

Not for: what maximum likelihood already learns: the critic adds least there and costs roll-outs, and no gain over
pre-training is recorded here. Sealing is not supported yet. Numbers over time: `vq_vae` or `dcgan` on series.

Symbols:
    G(y_t | y_<t)   TokenGenerator.logits
    Q_t             SeqGAN.action_values
    D               TokenCritic
    baseline        mean over the batch in SeqGAN.policy_loss
    roll-outs       TokenGenerator.complete, SeqGANConfig.rollouts
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count, Rate, Share
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase, Stage


@dataclass(frozen=True, kw_only=True)
class SeqGANConfig(GameConfig):
    """``generator_share`` and ``critic_share``: parts of the step budget spent on pre-training.

    ``embedding``: width of a token's vector; ``rollouts``: completions for each value; ``policy_learning_rate``: that
    of the policy gradient. Of the game's options, those of the critic are used; the generator follows the policy
    gradient.
    """

    embedding: Count = 16
    hidden: Count = 32
    rollouts: Count = 4
    generator_share: Share = 0.6
    critic_share: Share = 0.2
    learning_rate: Rate | None = 5e-3
    betas: tuple[Share, Share] | None = (0.9, 0.999)
    policy_learning_rate: Rate = 1e-3


class TokenGenerator(nn.Module):
    """Autoregressive GRU; token ``vocabulary`` starts a sequence."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, embedding)
        self.cell = nn.GRU(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of each token given the previous ones: ``(n, length, vocabulary)``."""
        start = torch.full_like(tokens[:, :1], self.vocabulary)
        states, _ = self.cell(self.embedding(torch.cat([start, tokens[:, :-1]], 1)))
        return self.head(states)

    @torch.no_grad()
    def complete(self, prefix: Tensor, length: int, generator: torch.Generator | None) -> Tensor:
        """Sample the rest of each prefix: ``(n, k)`` to ``(n, length)``; k may be 0."""
        start = torch.full((len(prefix), 1), self.vocabulary, device=prefix.device)
        states, memory = self.cell(self.embedding(torch.cat([start, prefix], 1)))
        tokens = [prefix]
        logits = self.head(states[:, -1])
        for _ in range(length - prefix.shape[1]):
            token = torch.multinomial(logits.softmax(1), 1, generator=generator)
            tokens.append(token)
            states, memory = self.cell(self.embedding(token), memory)
            logits = self.head(states[:, -1])
        return torch.cat(tokens, 1)


class TokenCritic(nn.Module):
    """GRU over a whole sequence to one logit: ``(n, length) -> (n, 1)``."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.cell = nn.GRU(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Score sequences."""
        states, _ = self.cell(self.embedding(tokens))
        return self.head(states.mean(1))


@register(
    "seqgan",
    config=SeqGANConfig,
    tasks=("sequence",),
    modalities=("tokens",),
    paper="Yu et al., SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient, arXiv 1609.05473, 2017",
    known_gaps={"export": "small proving model: its full catalogue check and export come with the sequence family"},
)
class SeqGAN(Algorithm):
    """Players ``generator`` and ``critic``."""

    config: SeqGANConfig

    def __init__(self, spec: DataSpec, config: SeqGANConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.generator = TokenGenerator(spec.vocabulary, config.embedding, config.hidden)
        critic = TokenCritic(spec.vocabulary, config.embedding, config.hidden)
        self.game = Game(critic, config, spec.x, generator=self.generator)
        self.game.rules.reject(
            "adversarial", "feature_matching", "unrolled_steps", why="SeqGAN's generator follows a policy gradient"
        )

    @property
    def critic(self) -> nn.Module:
        """Of the game."""
        assert self.game.critic is not None
        return self.game.critic

    def players(self) -> dict[str, nn.Module]:
        """Generator and critic."""
        return {"generator": self.generator} | self.game.players()

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam; the policy gradient has a smaller rate."""
        own = self.game.optimisers()
        return own | {"generator": replace(own["generator"], learning_rate=self.config.policy_learning_rate)}

    def stages(self, budget: int) -> tuple[Stage, ...]:
        """Maximum likelihood, critic alone, then both."""
        first, second = int(budget * self.config.generator_share), int(budget * self.config.critic_share)
        likelihood = Phase("generator", self.likelihood_loss, optimiser=self.game.optimisers()["generator"])
        return (
            Stage("likelihood", (likelihood,), first),
            Stage("critic", (self._critic_phase(),), second),
            Stage("adversarial", self.phases(), budget - first - second),
        )

    def phases(self) -> tuple[Phase, ...]:
        """The adversarial stage's updates."""
        return (
            Phase("generator", self.policy_loss),
            Phase("generator", self.likelihood_loss, after=(self.game.generator_after,)),
            self._critic_phase(),
        )

    def _critic_phase(self) -> Phase:
        return Phase("critic", self.critic_loss, repeat=self.game.rules.critic_steps, after=(self.critic_after,))

    def sides(self, batch: Batch) -> Sides:
        """Real sequences against sampled ones."""
        return Sides(batch.x, self.game.fakes(batch, lambda: self.sample(batch)))

    def critic_after(self, batch: Batch) -> None:
        """The game's clipping and tricks."""
        self.game.after(batch, self.sides(batch))

    def likelihood_loss(self, batch: Batch) -> Losses:
        """Cross-entropy of real tokens, nats per token."""
        logits = self.generator.logits(batch.x)
        return Losses(likelihood=F.cross_entropy(logits.flatten(0, 1), batch.x.flatten()))

    def sample(self, batch: Batch) -> Tensor:
        """A sequence for each row of the batch."""
        return self.generator.complete(batch.x[:, :0], batch.x.shape[1], batch.generator)

    def critic_loss(self, batch: Batch) -> Losses:
        """Real against sampled sequences."""
        return self.game.critic_loss(batch, self.sides(batch))

    def policy_loss(self, batch: Batch) -> Losses:
        """The surrogate whose gradient is the policy gradient; the mean reward is only logged."""
        tokens = self.sample(batch)
        value = self.action_values(tokens, batch.generator)
        log_p = wide(self.generator.logits(tokens)).log_softmax(2).gather(2, tokens[..., None]).squeeze(2)
        loss = -(log_p * (value - value.mean(0))).mean()
        return Losses(weights={"reward": 0.0}, policy=loss, reward=value[:, -1].mean())

    def couples_batch(self) -> str:
        """Tokens are sampled row by row from the run's generator, which is the same in every process."""
        return self.game.couples() or "it samples sequences from noise that would be the same in every process"

    @torch.no_grad()
    def action_values(self, tokens: Tensor, generator: torch.Generator | None) -> Tensor:
        """Q of each token by roll-outs, ``(n, length)`` in [0, 1]."""
        n, length = tokens.shape
        values = []
        for t in range(1, length):
            prefix = tokens[:, :t].repeat(self.config.rollouts, 1)
            finished = self.generator.complete(prefix, length, generator)
            values.append(torch.sigmoid(wide(self.critic(finished))).view(self.config.rollouts, n).mean(0))
        values.append(torch.sigmoid(wide(self.critic(tokens))).view(n))
        return torch.stack(values, 1)
