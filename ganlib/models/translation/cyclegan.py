"""CycleGAN: images of one domain to another and back, learned without pairs.

Paper: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, arXiv 1703.10593,
ICCV 2017.

Idea: translations look like the other domain to its critic, and a round trip leads back to where it began, which keeps
what the domains share:

    generators F: A -> B, G: B -> A:
      L_GAN(F, D_b) + L_GAN(G, D_a) + cycle · (|G(F(a)) - a| + |F(G(b)) - b|)                   (equations 1 to 3)
      + identity · cycle · (|G(a) - a| + |F(b) - b|)                                            (section 5.2)
    critics: each its own domain, least squares, fakes partly from the last 50 translations     (section 4)

Shapes: x ``(n, *shape)`` of domain A and x_b ``(n, *shape_b)`` of domain B, images or series, in no common order.
Defaults of the authors' code: cycle 10, identity 0.5, 9 residual blocks at a quarter of the sides, instance norm,
patches of 70 pixels, replay 50, Adam 2e-4 with beta1 0.5. Its batch is 1, here 16.
Deviations: ``ganlib.nn.residual`` (zeros beyond the borders); the rate is constant unless the trainer's schedule says
otherwise (the code lets it fall over the second half); critics' losses are not halved, which Adam would not notice.
The pair of generators and games is ``coupled_pair``'s.

Use it for: images or series of one domain in the style of another, both ways, without pairs. With ``distance=1``
digits came .84 of the way to their negatives (matching moments: .54).

Not for: pairs at hand: `pix2pix`. Meaning that must be kept: the objective is as low for another one-to-one mapping,
and one of three trainings ended in one (labels kept: .98, .98 and .05). Tables: `coupled_pair`.

Symbols:
    F, G        CoupledPair.forward_generator, CoupledPair.backward_generator
    D_a, D_b    PatchCritic, CycleGAN.judge
    cycle       CoupledPairConfig.cycle, loss term cycle
    identity    CycleGANConfig.identity, loss term identity
    last 50 translations   CycleGANConfig.replay
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganlib.config import Count, Share, Weight, Whole
from ganlib.data.spec import DataSpec, Field, Image, Series
from ganlib.errors import ConfigError
from ganlib.models.translation.coupled_pair import CoupledPair, CoupledPairConfig
from ganlib.nn.architecture import NetOptions, dcgan_weights
from ganlib.nn.patch import PatchCritic
from ganlib.nn.residual import ResNetTranslator
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(CoupledPairConfig):
    """``identity`` weighs the change of examples that are in the target's domain already, in units of ``cycle``; None:
    0.5 where both domains have one shape, otherwise 0. ``blocks`` and ``halvings`` are the generators', ``layers`` the
    critics'; ``width`` is the number of channels of all first layers. ``hidden`` is not read."""

    identity: Weight | None = None
    width: Count = 64
    blocks: Count = 9
    halvings: Whole = 2
    layers: Count = 3
    dropout: Share = 0.0
    replay: Whole = 50


@register(
    "cyclegan",
    config=CycleGANConfig,
    modalities=("image", "series"),
    paper="Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, "
    "arXiv 1703.10593, ICCV 2017",
    trainer={"batch_size": 16},
)
class CycleGAN(CoupledPair):
    """Players ``generators`` (both at once) and ``critics``."""

    config: CycleGANConfig

    def __init__(self, spec: DataSpec, config: CycleGANConfig) -> None:
        spec.need("x", Image, Series)
        alike = spec.x.shape == spec.fields.get("x_b", spec.x).shape
        if config.identity and not alike:
            raise ConfigError(
                f"the identity loss compares both domains, and their shapes are {spec.x.shape} and "
                f"{spec.fields['x_b'].shape}: set identity=0, or bring them to one"
            )
        self.identity = (0.5 if alike else 0.0) if config.identity is None else config.identity
        super().__init__(spec, config)

    def _options(self, dropout: float = 0.0) -> NetOptions:
        return NetOptions(width=self.config.width, norm="instance", dropout=dropout)

    def translator(self, source: Field, target: Field) -> nn.Module:
        """A ResNet."""
        options = self._options(self.config.dropout)
        net = ResNetTranslator(source.shape, target.shape, options, self.config.blocks, self.config.halvings)
        dcgan_weights(net)
        return net

    def judge(self, field: Field) -> nn.Module:
        """A critic of patches."""
        net = PatchCritic(field.shape, 0, self._options(), self.config.layers)
        dcgan_weights(net)
        return net

    def generator_loss(self, batch: Batch) -> Losses:
        """As the coupled pair's, with the identity loss."""
        losses = super().generator_loss(batch)
        weight = self.identity * self.config.cycle
        if not weight:
            return losses
        a, b = batch.x, batch["x_b"]
        kept: Tensor = self.gap(self.translate_back(a), a) + self.gap(self.translate(b), b)
        return losses | Losses(weights={"identity": weight}, identity=kept)
