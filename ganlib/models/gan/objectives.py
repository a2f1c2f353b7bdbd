"""Generative adversarial network under another objective.

Defaults: the networks and all options are those of `gan`; the objective and its paper's recipe differ. f is the
critic's score, high for real examples; x are data, G(z) generated examples. Figures on mixtures of 8 and 25 Gaussians
are of one network and one budget (docs/objectives.md).

Symbols:
    x, G(z)                 Play.x, Play.made
    f(x), f(G(z))           Play.real, Play.fake
    critic, generator       Objective.critic, Objective.generator

Title (least_squares_gan): LSGAN: a critic with a squared error to two targets.

Idea (least_squares_gan): squared errors do not saturate, so that examples on the right side of the critic's boundary,
but far from the data, are still drawn towards it:

    critic:     ½ E (f(x) - b)² + ½ E (f(G(z)) - a)²
    generator:  ½ E (f(G(z)) - c)²,   a, b, c = 0, 1, 1

Use it for (least_squares_gan): sharp samples of a few modes. Of the objectives that found 20 or more of 25 Gaussians it
has the highest share of good points (.93; `gan` .86).

Not for (least_squares_gan): many modes: it found 20 of 25, `wgan_gp` 25. Distances between distributions: its loss
estimates none; `wgan_gp` does.

Symbols (least_squares_gan):
    a, b, c   Objective.options: fake_target, real_target, generator_target

Title (loss_sensitive_gan): Loss-sensitive GAN: the critic's margin grows with the distance of the examples.

Idea (loss_sensitive_gan): real examples should have a lower loss L = -f than generated ones, by a margin that is the
distance between the two, so that nothing is pushed on that is close already:

    critic:     mu E L(x) + E max(0, margin · |x - G(z)| + L(x) - L(G(z)))          (equations 4 and 6)
    generator:  E L(G(z))

Use it for (loss_sensitive_gan): data whose mean absolute differences are meaningful, such as scaled points or small
images. The gap of losses followed the margin with correlation 1.0 (logits of `gan`: .19).

Not for (loss_sensitive_gan): many modes: it found 13.7 of 25, `wgan_gp` 25. Anomaly scores: far from data and
generated examples its loss means nothing; use `began` (AUROC .92) or `ganomaly`.

Symbols (loss_sensitive_gan):
    L                 _loss_sensitive
    |x - G(z)|        Play.gap
    margin, mu        Objective.options: margin, real_weight

Title (generalised_loss_sensitive_gan): GLS-GAN: between the loss-sensitive and the Wasserstein GAN.

Idea (generalised_loss_sensitive_gan): the loss-sensitive GAN's hinge gets a slope below zero; with slope 0 it is
`loss_sensitive_gan`, with slope 1 the margin has no effect and it is `wgan`:

    critic:     E C(margin · |x - G(z)| + L(x) - L(G(z))),   C(a) = max(a, leak · a)
    generator:  E L(G(z)),   L = -f

Use it for (generalised_loss_sensitive_gan): studying what lies between LS-GAN and WGAN by one number, ``leak``. It
found 8 of 8 modes on the ring.

Not for (generalised_loss_sensitive_gan): many modes: it found 1 of 25, `wgan_gp` 25. Use without a penalty: its slope
is bounded by nothing else (the toy has a zero-centred one of weight 0.1).

Symbols (generalised_loss_sensitive_gan):
    C                 _loss_sensitive
    |x - G(z)|        Play.gap
    margin, leak      Objective.options: margin, leak

Title (wgan): Wasserstein GAN with clipped weights.

Idea (wgan): the critic estimates the earth mover's distance, which grows with the gap where other divergences are flat;
clipped weights keep its slope bounded:

    critic:     E f(G(z)) - E f(x),   each weight within ±clip     (algorithm 1)
    generator:  -E f(G(z))

Use it for (wgan): a loss that measures how far generated examples are: between point masses its estimate grew with
their distance for all three seeds, where Jensen-Shannon's is flat.

Not for (wgan): generating. Clipping makes it slow: 2 of 25 modes and 7.3 of 8 at four times the CPU of `gan`; `wgan_gp`
found all of both.

Symbols (wgan):
    clip      GameConfig.clip
    warm-up   Recipe.warm_up

Title (wgan_gp): Wasserstein GAN with a gradient penalty.

Idea (wgan_gp): as the Wasserstein GAN, but the critic's slope is drawn to 1 between data and generated examples instead
of clipping its weights:

    critic:     E f(G(z)) - E f(x) + lambda · E (||∇f(u)|| - 1)²,   u between x and G(z)   (equation 3)
    generator:  -E f(G(z))

Use it for (wgan_gp): covering many modes, and training with networks that are not tuned. It found all 25 Gaussians and
trained 8 of 8 random networks, where `gan` found 20.3 and trained 5.

Not for (wgan_gp): short budgets: five critic steps and second derivatives cost 5 times the CPU of `gan`;
`f_gan_squared_hellinger` with a penalty found 25 modes at 1.4 times. Examples by class: `cvae` learns from fewer.

Symbols (wgan_gp):
    lambda    GameConfig.penalty_weight
    ||∇f||    slopes
    u         _between

Title (wgan_gp_one_sided): Wasserstein GAN with a one-sided gradient penalty.

Idea (wgan_gp_one_sided): as `wgan_gp`, but only slopes above 1 cost:

    critic:     E f(G(z)) - E f(x) + lambda · E max(0, ||∇f(u)|| - 1)²,   u between x and G(z)
    generator:  -E f(G(z))

Use it for (wgan_gp_one_sided): what `wgan_gp` is for, when a critic that is flat in places should not be pushed to
slope 1. It found 25 of 25 modes, with .87 of the points good (`wgan_gp` .86).

Not for (wgan_gp_one_sided): reading the loss as a distance, which needs slope 1: take `wgan_gp`, whose slopes were
within .07 of 1. Short budgets: it costs 5.4 times the CPU of `gan`.

Symbols (wgan_gp_one_sided):
    lambda    GameConfig.penalty_weight
    ||∇f||    slopes

Title (wgan_difference_quotient): Wasserstein GAN with a penalty on chords.

Idea (wgan_difference_quotient): slopes of chords between pairs of interpolated points replace the gradient, so that no
second derivative is needed:

    critic:     E f(G(z)) - E f(x) + lambda · E (|f(u) - f(v)| / ||u - v|| - 1)²,   u, v between x and G(z)
    generator:  -E f(G(z))

Use it for (wgan_difference_quotient): points and small tables where the gradient penalty is too slow or has no second
derivative: in its check `wgan_gp` took 1.3 times its CPU. It found 24.3 of 25 modes.

Not for (wgan_difference_quotient): images and wide tables: a random chord is nearly orthogonal to the gradient, so that
the slope it allows grows with the dimension (22 for 784 values); use `wgan_gp`. Its share of good points is lower, too
(.72, `wgan_gp` .86).

Symbols (wgan_difference_quotient):
    u         _between
    chords    _difference_quotient

Title (dragan): DRAGAN: a slope penalty around the data only.

Idea (dragan): the game of `gan`, whose critic must have slope 1 in a neighbourhood of the data, against the sharp
gradients there that go with mode collapse:

    critic:     -E log D(x) - E log(1 - D(G(z))) + lambda · E (||∇D(x + d)|| - 1)²,   d within half a deviation
    generator:  -E log D(G(z)),   D = sigmoid(f)

Use it for (dragan): a steadier `gan` at less than half the cost of `wgan_gp`: 24 of 25 modes (`gan` 20.3) for 2.1 times
the CPU of `gan`.

Not for (dragan): points and tables with the paper's weight of 10, which failed on two of three seeds here: set
``penalty_weight=0.1``. Every last mode: `wgan_gp` found 25.

Symbols (dragan):
    lambda    GameConfig.penalty_weight
    x + d     _dragan
    ||∇D||    slopes

Title (hinge_gan): GAN with the hinge objective and spectral norm.

Idea (hinge_gan): the critic learns only from examples within its margin, and its layers' largest singular values are
held at 1:

    critic:     E max(0, 1 - f(x)) + E max(0, 1 + f(G(z)))
    generator:  -E f(G(z))

Use it for (hinge_gan): images with deep convolutional networks, the setting of SN-GAN and `sagan`; and 24 of 25 modes
for 1.8 times the CPU of `gan`.

Not for (hinge_gan): sharp points: .64 of its points on 25 Gaussians were good, of `least_squares_gan`'s .93. A
generator of fully connected layers gets no spectral norm.

Symbols (hinge_gan):
    spectral norm   GameConfig.spectral_norm

Title (importance_weighted_gan): GAN whose generator weighs its examples by the critic's odds.

Idea (importance_weighted_gan): as an importance-weighted auto-encoder tightens a bound, the generator's update weighs
each generated example by how real the critic takes it to be, normalised over the batch:

    critic:     -E log D(x) - E log(1 - D(G(z)))
    generator:  -sum_i w_i log D(G(z_i)),   w = D / (1 - D), normalised          (equation 16)

Use it for (importance_weighted_gan): studying the link of GANs and VAEs of its paper, at the cost of `gan`: 8 of 8
modes, and .96 of the points good.

Not for (importance_weighted_gan): more modes than `gan` finds: 22, 24 and 17 of 25 at three seeds against 25, 17 and
16, and on another processor 20, 19 and 19 against 20, 20 and 21; use `wgan_gp` (25). Training on several processes: the
weights are normalised over a batch.

Symbols (importance_weighted_gan):
    w         _importance_weighted
    D         _cross_entropy

Title (began): BEGAN: the critic is an auto-encoder, held in equilibrium with the generator.

Idea (began): the critic rebuilds data well and generated examples badly; k balances the two, so that the energy of
generated examples stays at a share gamma of the data's. M is low when both are in balance and data are rebuilt well:

    critic:     E L(x) - k · E L(G(z)),   L = error of rebuilding = -f
    generator:  E L(G(z));   k <- k + gain · (gamma · E L(x) - E L(G(z)));   M = E L(x) + |gamma · E L(x) - E L(G(z))|

Use it for (began): images, with a critic that also scores anomalies. Its energy had AUROC .92 for digits of another
class (isolation forest .75), and M fell by .88 in training.

Not for (began): variety: its generator may keep to one kind of image (see the picture), and it found 1 of 25 modes and
0 of 8; use `wgan_gp` (25 and 8). Choosing a checkpoint by M: its correlation with closeness to the data (.9) is no
higher than that of the step. Anomalies in tables: `vae` is measured there.

Symbols (began):
    L           Energy
    gamma, gain   Objective.options: gamma, gain
    k           _equilibrium_update
    M           _equilibrium_measure

Title (ebgan): EBGAN: the critic is an auto-encoder with a margin.

Idea (ebgan): the critic gives data a low energy, the error of rebuilding, and pushes that of generated examples up to a
margin; a repelling term keeps the generator's examples apart:

    critic:     E L(x) + E max(0, m - L(G(z))),   L = error of rebuilding = -f          (equation 1)
    generator:  E L(G(z)) + repelling · mean squared cosine of the codes of two generated examples     (equations 2, 4)

Use it for (ebgan): a generator and an energy of the same training, where examples are far from each other.

Not for (ebgan): many modes: 15 of 25 and 5.3 of 8 at one setting (7.7 of 8 with repelling 1 and instance noise .3);
`wgan_gp` found all. Detection with a recorded figure: `began` (.92) or `ganomaly` (.85 on digits).

Symbols (ebgan):
    L            Energy
    m            Objective.options: margin
    cosine       _energy_generator

Title (fisher_gan): Fisher GAN: the critic's second moment is held at 1.

Idea (fisher_gan): a difference of means under a constraint on the data, kept by an augmented Lagrangian, replaces
clipping and gradient penalties:

    critic:     E f(G(z)) - E f(x) + lambda · c + ½ rho · c²,   c = ½ E f(x)² + ½ E f(G(z))² - 1     (equation 9)
    generator:  -E f(G(z));   lambda <- lambda + rho · c

Use it for (fisher_gan): a Wasserstein-like loss without second derivatives: all 8 modes of the ring with .97 of the
points good, for 1.2 times the CPU of `gan` (`wgan_gp` 6 times).

Not for (fisher_gan): many modes: 6 of 25; use `wgan_gp`, or `f_gan_reverse_kl` with a penalty (25 for 1.4 times). On
points the paper's rho loses modes: set ``objective_options={"rho": 1e-2}``.

Symbols (fisher_gan):
    c, rho    _fisher, Objective.options: rho
    lambda    _fisher_update

Title (mmd_gan): Generative moment matching: no critic, but a kernel.

Idea (mmd_gan): the generator minimises the kernel distance of a batch of its examples to a batch of data, under a mix
of Gaussian kernels whose widths follow the data:

    generator:  E k(x, x') + E k(G(z), G(z')) - 2 E k(x, G(z))          (equation 3)

Use it for (mmd_gan): points and small tables without a game, so that nothing oscillates and the loss says how far one
is. It found 25 of 25 and 8 of 8 modes.

Not for (mmd_gan): sharp samples: .67 of its points were good, of `wgan_gp`'s .86. Images: distances between pixels say
little; use `cvae` or `dcgan`. Generation by class: nothing would check the class.

Symbols (mmd_gan):
    k         rbf_mmd

Title (energy_distance_gan): Generator trained by the energy distance: no critic, no kernel width.

Idea (energy_distance_gan): the generator minimises the energy distance of a batch of its examples to a batch of data,
which has no width to choose:

    generator:  2 E ||x - G(z)|| - E ||x - x'|| - E ||G(z) - G(z')||          (equation 5)

Use it for (energy_distance_gan): a first fit of points and small tables without a game and without any width: the
cheapest objective here (.8 of the CPU of `gan`), with 8 of 8 modes.

Not for (energy_distance_gan): structure much finer than the data's spread: 0 of 25 modes; `mmd_gan`, which has several
widths, found 25. Images and generation by class, as for `mmd_gan`.

Symbols (energy_distance_gan):
    ||x - y||   energy_distance

Title (f_gan_kl, f_gan_reverse_kl, f_gan_pearson, f_gan_squared_hellinger, f_gan_jensen_shannon): f-GAN: a named
divergence, bounded from below by the critic.

Idea (f_gan_kl): the Kullback-Leibler divergence from data to generator, by its variational bound; it costs most where
there are data and no generated examples:

    critic:     -E f(x) + E exp(f(G(z)) - 1)          (equation 4, table 2)
    generator:  -E f(G(z))

Use it for (f_gan_kl): covering data with a generator that is too simple for it: a Gaussian fitted to two modes got
deviation 2.1 (`f_gan_reverse_kl` .5). It found 23.3 of 25 modes.

Not for (f_gan_kl): samples that must all be plausible: it puts points between modes, .67 good (`f_gan_reverse_kl` .85).
Training without a penalty: the bound has no limit; set ``penalty="zero_centred"``, ``penalty_weight=1.0``.

Idea (f_gan_reverse_kl): the Kullback-Leibler divergence from generator to data, by its variational bound; it costs most
where there are generated examples and no data:

    critic:     E exp(-f(x)) + E f(G(z)) - 1          (equation 4, table 2)
    generator:  1 - E f(G(z))

Use it for (f_gan_reverse_kl): samples that are plausible one by one. With a penalty it found 25 of 25 modes, .85 of the
points good, for 1.4 times the CPU of `gan` (`wgan_gp`: .86 for 5.1 times).

Not for (f_gan_reverse_kl): a generator too simple for its data, which it fits to one part (deviation .5 where
`f_gan_kl` has 2.1). Training without ``penalty="zero_centred"``, ``penalty_weight=1.0``: 16, 20 and 11 modes of 25.

Idea (f_gan_pearson): Pearson's chi-squared divergence by its variational bound:

    critic:     -E f(x) + E [¼ f(G(z))² + f(G(z))]          (equation 4, table 2)
    generator:  -E f(G(z))

Use it for (f_gan_pearson): comparing divergences: it weighs missing modes even more than Kullback-Leibler does. It
found 23.3 of 25 modes and 8 of 8.

Not for (f_gan_pearson): samples that must be sharp: .58 of its points on 25 modes were good; `f_gan_squared_hellinger`
has .84. Training without a penalty: 0 of 25 modes.

Idea (f_gan_squared_hellinger): the squared Hellinger distance by its variational bound, symmetric and at most 2:

    critic:     E exp(-f(x)) + E exp(f(G(z))) - 2          (equation 4, table 2)
    generator:  -E [1 - exp(-f(G(z)))]

Use it for (f_gan_squared_hellinger): many modes for little CPU: with a penalty it found 25 of 25, .84 of the points
good, for 1.4 times the CPU of `gan` (`wgan_gp` 5.1 times).

Not for (f_gan_squared_hellinger): training without ``penalty="zero_centred"``, ``penalty_weight=1.0``: 11, 25 and 1
modes of 25. A loss that also measures distance without overlap: `wgan_gp`.

Idea (f_gan_jensen_shannon): twice the Jensen-Shannon divergence by its variational bound; `gan` in other units:

    critic:     E softplus(-f(x)) + E softplus(f(G(z))) - 2 log 2          (equation 4, table 2)
    generator:  -E [log 2 - softplus(-f(G(z)))]

Use it for (f_gan_jensen_shannon): a loss in units of the divergence, at most 2 log 2. It trains as `gan` does: the same
20.3 of 25 modes.

Not for (f_gan_jensen_shannon): better samples than `gan`: there is no difference but a constant. Many modes:
`f_gan_squared_hellinger` with a penalty, or `wgan_gp` (25 each).

Symbols (f_gan_kl, f_gan_reverse_kl, f_gan_pearson, f_gan_squared_hellinger, f_gan_jensen_shannon):
    bound         Divergence.bound
    g_f, f*       Divergence.activation, Divergence.conjugate
"""

from __future__ import annotations

from ganlib.losses.adversarial import OBJECTIVES
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.registry import register

_MODALITIES = ("points", "table", "image", "series")
register(
    "gan",
    config=GANConfig,
    modalities=_MODALITIES,
    paper="Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, 2014",
)(GAN)


def _register_objectives() -> None:
    """Every objective that is a model in its own right; its words are in this module's docstring, under its name."""
    for row in OBJECTIVES.values():
        if row.model:
            register(
                row.model,
                config=GANConfig,
                defaults={"objective": row.name},
                modalities=_MODALITIES,
                paper=row.source,
                text=__doc__,
            )(GAN)


_register_objectives()
