"""DiscoGAN: the relation between two domains, found without pairs.

Paper: Kim et al., Learning to Discover Cross-Domain Relations with Generative Adversarial Networks, arXiv 1703.05192,
ICML 2017.

Idea: one generator whose translations come back lets two modes of A share one of B and oscillate between them; two
coupled pairs, each reconstructed, are led to a bijection (section 2.4 and figure 3):

    generators: L_GAN(G_AB, D_B) + L_GAN(G_BA, D_A) + cycle · (|G_BA(G_AB(a)) - a|² + |G_AB(G_BA(b)) - b|²)   (eq. 10)
    critics:    each its own domain, binary cross-entropy

Shapes: x ``(n, *shape)`` of domain A and x_b ``(n, *shape_b)`` of domain B: points, table rows, images or series, in no
common order. Rows pass through an MLP; images and series through an encoder of strided convolutions to ``latent_dim``
numbers, and its mirror image (section 3.2). A domain of rows may face one of images.
Defaults: cycle 1, MSE, Adam 2e-4 with beta1 0.5 and weights unregularised. Deviations: the authors' code also matches
the critics' features (``feature_matching``, ``adversarial``), raises the weight of the reconstruction after 10,000
steps and moves the critics at every third step only, none of which is in the paper.
The pair of generators and games is ``coupled_pair``'s.

Use it for: matching two domains without pairs, of rows, images or series, also of different shapes. Of 10 modes in a
row .93 went one-to-one to 10 on a circle.

Not for: pairs at hand: `pix2pix`. Trust in the reconstruction on easy data: without it all modes were matched, too
(1.0). Images whose layout should stay: `cyclegan`, whose networks keep places.

Symbols:
    G_AB, G_BA   CoupledPair.forward_generator, CoupledPair.backward_generator
    D_A, D_B     CoupledPair.game_a, CoupledPair.game_b
    |G_BA(G_AB(a)) - a|²   DiscoGAN.gap, loss term cycle
    cycle        CoupledPairConfig.cycle
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganlib.config import Count, Weight
from ganlib.data.spec import DataSpec, Field, Vector
from ganlib.models.translation.coupled_pair import CoupledPair, CoupledPairConfig
from ganlib.nn.architecture import Headed, NetOptions, architecture, dcgan_weights
from ganlib.nn.mlp import MLP
from ganlib.registry import register


@dataclass(frozen=True, kw_only=True)
class DiscoGANConfig(CoupledPairConfig):
    """``hidden`` are the widths for rows; ``width``, ``networks`` and ``latent_dim`` those, the architecture and the
    narrowest layer for images and series."""

    objective: str = "gan"
    cycle: Weight = 1.0
    networks: str = "auto"
    width: Count = 64
    latent_dim: Count = 100


@register(
    "discogan",
    config=DiscoGANConfig,
    modalities=("points", "table", "image", "series"),
    paper="Kim et al., Learning to Discover Cross-Domain Relations with Generative Adversarial Networks, "
    "arXiv 1703.05192, ICML 2017",
)
class DiscoGAN(CoupledPair):
    """Players ``generators`` (both at once) and ``critics``."""

    config: DiscoGANConfig

    def _options(self, field: Field, activation: str, norm: str = "none") -> NetOptions:
        norm = "none" if isinstance(field, Vector) else norm
        return NetOptions(hidden=self.config.hidden, width=self.config.width, norm=norm, activation=activation)

    def translator(self, source: Field, target: Field) -> nn.Module:
        """An MLP between rows, otherwise an encoder and a decoder."""
        if isinstance(source, Vector) and isinstance(target, Vector):
            return MLP(source.dim, self.config.hidden, target.dim)
        (reads, _), (_, writes) = (
            (row.trunk, row.generator)
            for row in (architecture(self.config.networks, DataSpec.of(field)) for field in (source, target))
        )
        encoder = Headed(reads(source.shape, 0, self._options(source, "leaky_relu", "batch")), self.config.latent_dim)
        decoder = writes(self.config.latent_dim, target.shape, 0, self._options(target, "relu", "batch"))
        net = nn.Sequential(encoder, decoder)
        dcgan_weights(net)
        return net

    def judge(self, field: Field) -> nn.Module:
        """The same encoder with one output."""
        if isinstance(field, Vector):
            return MLP(field.dim, self.config.hidden, 1, "leaky_relu")
        row = architecture(self.config.networks, DataSpec.of(field))
        net = Headed(row.trunk(field.shape, 0, self._options(field, "leaky_relu", "batch")), 1)
        dcgan_weights(net)
        return net

    def gap(self, made: Tensor, x: Tensor) -> Tensor:
        """Mean squared difference."""
        return (made - x).square().mean()
