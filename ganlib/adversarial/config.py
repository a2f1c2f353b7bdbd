"""Options of a game, the part of every adversarial model's configuration that is about critic against generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ganlib.config import Config, Count, Rate, Share, Weight, Whole
from ganlib.data.transforms import Policy


@dataclass(frozen=True, kw_only=True)
class GameConfig(Config):
    """``None`` uses the default of the objective's paper.

    ``objective``: a row of ``losses.adversarial.OBJECTIVES``; ``objective_options``: changes of its numbers
    (``real_target=0.9`` is one-sided label smoothing). ``learning_rate``: of both players; ``critic_learning_rate``:
    the critic's, if it has a time scale of its own; ``betas``: of Adam; ``optimiser``: its name. ``critic_steps``:
    critic updates per generator update. ``penalty``: a row of ``losses.penalties.PENALTIES``, or none;
    ``penalty_weight``: its weight; ``penalty_every``: give it an update of its own every so many steps, its weight
    times as large (lazy).
    ``clip``: bound on the critic's weights, 0 for none; ``spectral_norm``: of the critic's weights.

    Tricks: ``diff_augment``: augment what the critic sees, real or generated images, by these steps of
    ``data.transforms.diff_augment``, against a critic that memorises few examples. ``instance_noise``: deviation of
    noise on the critic's inputs, annealed to 0 over ``noise_steps`` critic updates; ``noise_steps``: 0 for constant
    noise. ``feature_matching``: weight of the distance between mean features; ``adversarial``: weight of the game
    itself. ``historical_averaging``: weight of the distance to earlier parameters; ``unrolled_steps``: steps of the
    critic that the generator foresees; ``replay``: generated examples that are kept, from which half of the critic's
    fakes come.
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
