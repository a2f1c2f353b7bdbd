"""Deep convolutional GAN, and its self-attention successor: settings of ``gan``.

Papers: Radford et al., Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks,
arXiv 1511.06434, 2015; Zhang et al., Self-Attention Generative Adversarial Networks, arXiv 1805.08318, 2018.

Idea (dcgan): the game of `gan` with convolutional networks that train: strided convolutions, no fully connected hidden
layers, batch norm but at G's output and D's input, ReLU in G, LeakyReLU 0.2 in D:

    critic:     -E log D(x) - E log(1 - D(G(z)));   generator: -E log D(G(z))

Idea (sagan): up to two layers of each network, at most at 32 x 32 positions, mix all positions; spectral norm in both:

    y = x + gamma · attention(x), gamma from 0
    critic:     E max(0, 1 - f(x)) + E max(0, 1 + f(G(z)));   generator: -E f(G(z))

Defaults (dcgan): weights N(0, 0.02), Adam 2e-4 with beta1 0.5, batches of 128, 100 latents.
Defaults (sagan): Adam (0, 0.9) with 1e-4 for G and 4e-4 for D; 128 latents.
Shapes: x ``(n, channels, height, width)`` in [-1, 1]. Deviations: Gaussian latents where DCGAN's are uniform; sides
other than powers of two are halved upwards and cut; SAGAN is unconditional here, in the DCGAN pyramid of its ports.

Use it for (dcgan): images and series from some thousand examples, and features of its critic: a probe on them read
digits from 100 labels with accuracy .917 (on pixels .877).

Not for (dcgan): few examples, or images by class: `cvae` learns from less and does not collapse. Points and tables:
`gan`. A classifier still knows its 8x8 digits from real ones (taken for the other kind: .26; real ones .48).

Use it for (sagan): images whose far parts must agree. On pairs of distant blobs the orientations agreed with kappa .65;
without attention .06.

Not for (sagan): small or local images, where `dcgan` is cheaper. Large ones without memory to spare: attention at 64 x
64 positions holds 538 MiB for a batch of 8. Few examples: `cvae`.

Symbols (dcgan):
    G, D         ConvGenerator, ConvTrunk
    N(0, 0.02)   dcgan_weights
    latents   GANConfig.latent_dim

Symbols (sagan):
    attention, gamma   SelfAttention
    hinge objective    GameConfig.objective
    spectral norm      GameConfig.spectral_norm
    rates of G and D   GameConfig.learning_rate, GameConfig.critic_learning_rate
"""

from __future__ import annotations

from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.registry import register

register(
    "dcgan",
    config=GANConfig,
    defaults={"networks": "dcgan", "latent_dim": 100, "width": 64},
    modalities=("image", "series"),
    paper="Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs, arXiv 1511.06434, 2015",
    text=__doc__,
)(GAN)

register(
    "sagan",
    config=GANConfig,
    defaults={
        "networks": "attention",
        "latent_dim": 128,
        "width": 64,
        "objective": "hinge",
        "learning_rate": 1e-4,
        "critic_learning_rate": 4e-4,
    },
    modalities=("image", "series"),
    paper="Zhang et al., Self-Attention Generative Adversarial Networks, arXiv 1805.08318, 2018",
    text=__doc__,
)(GAN)
