"""Options of every GAN of one generator and one critic."""

from __future__ import annotations

from dataclasses import dataclass

from ganlib.adversarial.config import GameConfig
from ganlib.config import Count, Share, Weight, Whole


@dataclass(frozen=True, kw_only=True)
class GANConfig(GameConfig):
    """Options of the networks, beside those of the game.

    ``networks``: a row of ``nn.architecture.ARCHITECTURES``; ``critic_networks``: the critic's row, ``None``: the same;
    ``hidden``: an MLP's widths; ``width``: the first convolution's channels. ``generator_norm``, ``critic_norm``: none,
    batch, layer, instance, virtual (generators only), or auto (batch in convolutional networks; in a critic of images
    under a penalty, or whose score is an energy, layer; under spectral norm none). ``spectral_norm``: of both networks,
    but not of a generator of fully connected layers. ``critic_dropout``: share of the critic's units; ``critic_noise``:
    deviations of noise on the critic's input, and on the hidden layers if there is a second;
    ``minibatch_discrimination``: kernels.
    """

    latent_dim: Count = 16
    networks: str = "auto"
    critic_networks: str | None = None
    hidden: tuple[Count, ...] = (128, 128)
    width: Count = 32
    generator_norm: str = "auto"
    critic_norm: str = "auto"
    critic_dropout: Share = 0.0
    critic_noise: tuple[Weight, ...] = ()
    minibatch_discrimination: Whole = 0
