"""UNIT: two domains of images as two renderings of one code, learned without pairs.

Paper: Liu, Breuel & Kautz, Unsupervised Image-to-Image Translation Networks, arXiv 1703.00848, NIPS 2017.

Idea: each domain has a variational auto-encoder, and the two share the layers next to the code, so that a code means
the same in both; decoding A's code as B translates. With h = E(x) + n, n ~ N(0, 1):

    generators, in each domain (equation 3, with the terms of equations 4 to 6):
      gan · L_GAN(G_b(h_a)) + reconstruction · |G_a(h_a) - a| + kl · mean E_a(a)²
      + cycle · |G_a(h_ab) - a| + kl_cycle · mean E_b(G_b(h_a))²,   h_ab = E_b(G_b(h_a)) + n
    critics: each its own domain, least squares, patches at three scales

``gan`` is ``adversarial`` of ``GameConfig``. As the code is N(E(x), 1), its divergence from N(0, 1) is half its mean
square. A translation in use has no noise.
Shapes: x ``(n, c, height, width)`` of domain A and x_b ``(n, d, height, width)`` of domain B, images in no common
order; their channels may differ.
Defaults of the authors' code: adversarial 1, reconstruction 10, kl 0.01, cycle 10, kl_cycle 0.01, 4 residual blocks
(one of them shared), three scales, Adam 1e-4 with beta1 0.5. Its batch is 1, here 16.
Deviations: no loss on VGG's features and no decay of weights; instance norm and L1 as in the code, not the paper.
The pair of games is ``coupled_pair``'s.

Use it for: translating unlabelled images between two domains with common content, and taking a classifier trained on
one of them to the other.
Not for: known pairs (``pix2pix``); domains that differ in geometry, since codes keep their places in the image;
predicting labels only, for which ``dann`` is smaller.

Symbols:
    E_a, E_b    ``UNIT.networks.code(x, 0)`` and ``(x, 1)``
    G_a, G_b    ``UNIT.decode(code, 0)`` and ``(code, 1)``
    L_GAN       ``UNIT.game_a``, ``UNIT.game_b``
    n           ``UNIT.noisy``
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.adversarial import Sides
from ganlib.config import Count, Rate, Weight, Whole
from ganlib.data.spec import DataSpec, Field, Image
from ganlib.errors import ConfigError
from ganlib.models.translation.coupled_pair import CoupledPair, CoupledPairConfig, within
from ganlib.nn.architecture import NetOptions
from ganlib.nn.patch import PyramidCritic
from ganlib.nn.shared_latent import SharedLatent
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses


@dataclass(frozen=True, kw_only=True)
class UNITConfig(CoupledPairConfig):
    """``blocks``: residual blocks of each encoder and decoder, ``shared`` of them common to both domains; ``halvings``
    of the sides; ``width``: channels of all first layers; ``layers`` and ``scales`` of the critics. ``hidden`` is not
    read. ``reconstruction``: weight of the auto-encoders' error; ``kl``, ``kl_cycle``: weights of the mean square of
    codes, and of codes of translations."""

    reconstruction: Weight = 10.0
    kl: Weight = 0.01
    kl_cycle: Weight = 0.01
    width: Count = 64
    blocks: Count = 4
    shared: Count = 1
    halvings: Whole = 2
    layers: Count = 3
    scales: Count = 3
    learning_rate: Rate | None = 1e-4


@register(
    "unit",
    config=UNITConfig,
    modalities=("image",),
    paper="Liu, Breuel & Kautz, Unsupervised Image-to-Image Translation Networks, arXiv 1703.00848, NIPS 2017",
    trainer={"batch_size": 16},
)
class UNIT(CoupledPair):
    """Players ``generators`` (all encoders and decoders) and ``critics``."""

    config: UNITConfig

    def __init__(self, spec: DataSpec, config: UNITConfig) -> None:
        spec.need("x", Image)
        _check(spec.x, spec.field_of("x_b"), config)
        super().__init__(spec, config)

    def build(self) -> tuple[nn.Module, nn.Module]:
        """Encoders and decoders, which are one module."""
        config, channels = self.config, (self.a.shape[0], self.b.shape[0])
        options = NetOptions(width=config.width, norm="instance")
        own = config.blocks - config.shared
        self.networks = SharedLatent(channels, options, own, config.shared, config.halvings)
        return self.networks, self.networks

    def generators(self) -> list[nn.Module]:
        """Encoders and decoders."""
        return [self.networks]

    def judge(self, field: Field) -> nn.Module:
        """A critic of patches at several scales."""
        config = self.config
        return PyramidCritic(field.shape, 0, NetOptions(width=config.width), config.layers, config.scales)

    # ---------------------------------------------------------------- use
    def decode(self, code: Tensor, domain: int) -> Tensor:
        """Codes to images of domain A (0) or B (1)."""
        return within(self.b if domain else self.a, self.networks.decode(code, domain))

    def encode(self, x: Tensor) -> Tensor:
        """Flattened codes ``(n, k)`` of images of domain A."""
        return self.networks.code(x, 0).flatten(1)

    def encode_b(self, x: Tensor) -> Tensor:
        """The same of images of domain B."""
        return self.networks.code(x, 1).flatten(1)

    def translate(self, x: Tensor) -> Tensor:
        """Images of domain A in domain B."""
        return self.decode(self.networks.code(x, 0), 1)

    def translate_back(self, x: Tensor) -> Tensor:
        """Images of domain B in domain A."""
        return self.decode(self.networks.code(x, 1), 0)

    # ---------------------------------------------------------------- training
    @staticmethod
    def noisy(code: Tensor, batch: Batch) -> Tensor:
        """A sample of N(code, 1)."""
        return code + batch.randn(*code.shape[1:])

    def _translated(self, x: Tensor, domain: int, batch: Batch) -> Tensor:
        return self.decode(self.noisy(self.networks.code(x, domain), batch), 1 - domain)

    def sides_a(self, batch: Batch) -> Sides:
        """Domain A against translations into it from noisy codes."""
        return Sides(batch.x, self.game_a.fakes(batch, lambda: self._translated(batch["x_b"], 1, batch)))

    def sides_b(self, batch: Batch) -> Sides:
        """Domain B against translations into it from noisy codes."""
        return Sides(batch["x_b"], self.game_b.fakes(batch, lambda: self._translated(batch.x, 0, batch)))

    def generator_loss(self, batch: Batch) -> Losses:
        """Fool both critics; rebuild both domains from their codes, and from the codes of their translations."""
        config, terms, fooled, fakes = self.config, dict[str, Tensor](), Losses(), list[Tensor]()
        names = ("reconstruction", "kl", "cycle", "kl_cycle")
        for domain, (x, game, other) in enumerate(
            ((batch.x, self.game_b, batch["x_b"]), (batch["x_b"], self.game_a, batch.x))
        ):
            code = self.networks.code(x, domain)
            sample = self.noisy(code, batch)
            made = self.decode(sample, 1 - domain)
            fakes.append(made)
            back = self.networks.code(made, 1 - domain)
            values = (
                self.gap(self.decode(sample, domain), x),
                code.square().mean(),
                self.gap(self.decode(self.noisy(back, batch), domain), x),
                back.square().mean(),
            )
            terms = {name: terms.get(name, torch.zeros_like(v)) + v for name, v in zip(names, values, strict=True)}
            fooled |= game.generator_loss(batch, Sides(other, made))
        losses = fooled | Losses(weights={name: getattr(config, name) for name in names}, **terms)
        return losses | self.distance_loss(batch, fakes[1], fakes[0])


def _check(a: Field, b: Field | None, config: UNITConfig) -> None:
    """Raise ConfigError if the sides differ, or do not suit the networks."""
    if b is None or b.shape[1:] != a.shape[1:]:
        raise ConfigError(
            f"both domains share a code of one size, and their images are {a.shape} and {b and b.shape}: bring them to "
            "equal sides; channels may differ"
        )
    if config.shared > config.blocks:
        raise ConfigError(f"{config.shared} of {config.blocks} blocks cannot be shared: lower shared or raise blocks")
    sides, step = a.shape[1:], 1 << config.halvings
    if any(side % step for side in sides) or min(sides) < 4 * step:
        raise ConfigError(
            f"{config.halvings} halvings need sides that are multiples of {step} from {4 * step}, and images are "
            f"{' x '.join(map(str, sides))}: lower halvings, or resize the images"
        )
    if min(sides) >> (config.scales - 1 + config.layers) < 3:
        raise ConfigError(
            f"critics of {config.layers} halving layers at {config.scales} scales need sides of "
            f"{3 << (config.scales - 1 + config.layers)}, and images are {' x '.join(map(str, sides))}: lower layers "
            "or scales, or enlarge the images"
        )
