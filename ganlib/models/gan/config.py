"""Options of every adversarial model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ganlib.config import Config, Count, Rate, Share, Weight, Whole
from ganlib.data.transforms import Policy


@dataclass(frozen=True, kw_only=True)
class GANConfig(Config):
    """``None`` uses the default of the objective's paper; for ``critic_networks`` and ``critic_learning_rate`` it means
    the same as the generator's.

    ``networks``: a row of ``nn.architecture.ARCHITECTURES``, ``critic_networks`` the critic's where it is another;
    ``hidden`` are an MLP's widths, ``width`` the first convolution's channels; norms are none, batch, layer, instance,
    virtual (generators only), or auto (batch in convolutional networks; in a critic of images under a penalty, or
    whose score is an energy, layer; under spectral norm none). ``critic_dropout`` in [0, 1) and ``critic_noise``
    (deviations on the input, and on the hidden layers where there is a second) disturb the critic's layers.
    ``objective_options`` change numbers of the objective's row (``real_target=0.9`` is one-sided label smoothing).
    ``critic_learning_rate`` sets a second time scale.

    Tricks: ``diff_augment`` (of images: what the critic sees, real or generated, is augmented by these steps of
    ``data.transforms.diff_augment``, against a critic that learns few examples by heart), ``instance_noise``
    (deviation, on D's inputs, annealed to 0 over ``noise_steps`` critic updates, 0 for constant),
    ``minibatch_discrimination`` (kernels), ``feature_matching`` (weight; ``adversarial`` weighs the game itself),
    ``historical_averaging`` (weight), ``unrolled_steps`` of the critic seen by the generator, ``replay`` (generated
    examples kept; half of D's fakes come from there), ``penalty_every`` (lazy: the penalty has its own update every so
    many steps, its weight times as large).
    """

    latent_dim: Count = 16
    networks: str = "auto"
    critic_networks: str | None = None
    hidden: tuple[Count, ...] = (128, 128)
    width: Count = 32
    generator_norm: str = "auto"
    critic_norm: str = "auto"
    spectral_norm: bool | None = None
    critic_dropout: Share = 0.0
    critic_noise: tuple[Weight, ...] = ()
    objective: str = "gan"
    objective_options: Any = None
    learning_rate: Rate | None = None
    critic_learning_rate: Rate | None = None
    betas: tuple[Share, Share] | None = None
    optimiser: str | None = None
    critic_steps: Count | None = None
    penalty: str | None = None
    penalty_weight: Weight | None = None
    penalty_every: Count = 1
    clip: Weight | None = None
    diff_augment: tuple[Policy, ...] = ()
    instance_noise: Weight = 0.0
    noise_steps: Whole = 0
    minibatch_discrimination: Whole = 0
    adversarial: Weight = 1.0
    feature_matching: Weight = 0.0
    historical_averaging: Weight = 0.0
    unrolled_steps: Whole = 0
    replay: Whole = 0
