"""Options of a game, the part of every adversarial model's configuration that is about critic against generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ganlib.config import Config, Count, Rate, Share, Weight, Whole
from ganlib.data.transforms import Policy


@dataclass(frozen=True, kw_only=True)
class GameConfig(Config):
    """``None`` uses the default of the objective's paper; for ``critic_learning_rate`` it means the generator's.

    ``objective`` is a row of ``losses.adversarial.OBJECTIVES``; ``objective_options`` change its numbers
    (``real_target=0.9`` is one-sided label smoothing). ``critic_steps``: critic updates per generator update.
    ``penalty`` is a row of ``losses.penalties.PENALTIES`` or none, with ``penalty_weight``; ``penalty_every`` (lazy)
    gives it an update of its own every so many steps, its weight times as large. ``clip`` bounds the critic's weights,
    0 for none. ``spectral_norm`` of the critic's weights. ``critic_learning_rate`` sets a second time scale.

    Tricks: ``diff_augment`` (of images: what the critic sees, real or generated, is augmented by these steps of
    ``data.transforms.diff_augment``, against a critic that memorises few examples), ``instance_noise``
    (deviation, on the critic's inputs, annealed to 0 over ``noise_steps`` critic updates, 0 for constant),
    ``feature_matching`` (weight; ``adversarial`` weighs the game itself), ``historical_averaging`` (weight),
    ``unrolled_steps`` of the critic seen by the generator, ``replay`` (generated examples kept; half of the critic's
    fakes come from there).
    """

    objective: str = "gan"
    objective_options: Any = None
    learning_rate: Rate | None = None
    critic_learning_rate: Rate | None = None
    betas: tuple[Share, Share] | None = None
    optimiser: str | None = None
    critic_steps: Count | None = None
    spectral_norm: bool | None = None
    penalty: str | None = None
    penalty_weight: Weight | None = None
    penalty_every: Count = 1
    clip: Weight | None = None
    diff_augment: tuple[Policy, ...] = ()
    instance_noise: Weight = 0.0
    noise_steps: Whole = 0
    adversarial: Weight = 1.0
    feature_matching: Weight = 0.0
    historical_averaging: Weight = 0.0
    unrolled_steps: Whole = 0
    replay: Whole = 0
