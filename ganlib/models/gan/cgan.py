"""Conditional generative adversarial network.

Papers: Mirza & Osindero, Conditional Generative Adversarial Nets, arXiv 1411.1784, 2014; Gauthier, Conditional
generative adversarial nets for convolutional face generation, Stanford CS231n report, 2015 (continuous attributes).

Idea: generator and critic are both given the condition c, so that samples can be requested by it:

    min_G max_D  E log D(x|c) + E log(1 - D(G(z|c)|c))                             (equation 2)

with the generator trained on -log D(G(z|c)|c). c is the class as a one-hot beside any continuous attributes.
Shapes: x ``(n, *shape)``; y int64 ``(n,)``; attributes ``c (n, k)``; z ``(n, latent_dim)``.
Defaults: the paper used 100 uniform latents, 200 + 1000 hidden units joined in 1200, a maxout critic with dropout 0.5
and SGD with momentum 0.5 to 0.7. Ours are Gaussian latents, ReLU layers and Adam 5e-4 with betas
(0, 0.99): with momentum the critic and the generator circle on small tables and lose the dependence within classes.
Deviations: c enters beside z and, as constant planes in images, beside x. Generated categories and flags reach the
critic as probabilities; Gaussian noise of deviation ``instance_noise`` on real and generated rows alike keeps the
critic from winning by their lack of exact zeros and ones (Sønderby et al., arXiv 1610.04490). For images the condition
also enters by projection (Miyato & Koyama, arXiv 1802.05637), there is no noise, and the rates are InfoGAN's, 1e-3 for
G and 2e-4 for D with beta1 0.5: at equal rates D wins before G has learned what a digit is. No dropout.

Use it for: adversarial examples by class or by continuous attributes: generated digits followed the requested thickness
and slant with R² .94. It is the adversarial baseline of tables with classes.

Not for: a scarce class: recall .76 for a class of ten, .83 with the best of nothing, copies and SMOTE, .85 with `cvae`.
Short budgets: on MNIST it reached .75 in 4,000 steps, `cvae` .963. Data without labels: `gan`.

Symbols:
    c          ConditionalGAN.condition, condition_of
    G(z|c)     GAN.generate
    D(x|c)     GAN.judge
    deviation of the noise   CGANConfig.instance_noise
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ganlib.abilities import Scores
from ganlib.config import Weight
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.models.gan.networks import Wiring
from ganlib.nn.conditional import ByClass, condition_of
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.registry import register
from ganlib.training.algorithm import Batch


@dataclass(frozen=True, kw_only=True)
class CGANConfig(GANConfig):
    """As GANConfig; None where tables and images (or series) are trained otherwise: instance noise 0.3 or none,
    learning rates 5e-4 or 1e-3 with 2e-4 for the critic, betas (0, 0.99) or (0.5, 0.999).

    ``projection``: the critic also multiplies its features with an embedding of the condition; None: for images and
    series, where ten planes beside hundreds of pixels are soon ignored.
    """

    projection: bool | None = None
    instance_noise: Weight | None = None  # type: ignore[assignment]


class ConditionalGAN(GAN):
    """A GAN whose two players are conditioned on class and attributes."""

    takes: tuple[str, ...] = ("classes", "attributes")

    needs = "generates by class: it needs classes=...; use gan for data without labels"

    def __init__(self, spec: DataSpec, config: GANConfig, wiring: Wiring | None = None) -> None:
        if spec.condition < 1:
            raise ConfigError(f"this model {self.needs}")
        wiring = wiring or Wiring()
        super().__init__(spec, config, replace(wiring, condition=wiring.condition or spec.condition))

    def condition(self, batch: Batch) -> Tensor:
        """One-hot classes and attributes, ``(n, spec.condition)``; one tensor until a player moves."""
        return batch.once("condition", lambda: condition_of(self.spec, batch))

    @classmethod
    def lacks(cls, config: GANConfig) -> tuple[type, ...]:
        """Scores: the critic needs the condition."""
        return (Scores,)

    def sampler(self) -> Sampler:
        """The generator, by class index; flags and categories are drawn from its probabilities."""
        classes = self.spec.classes if not self.spec.attributes else 0
        return sampler_for(ByClass(self.generator, classes), self.code_dim, self.spec)


@register(
    "cgan",
    config=CGANConfig,
    modalities=("table", "points", "image", "series"),
    paper="Mirza & Osindero, Conditional Generative Adversarial Nets, arXiv 1411.1784, 2014",
    trainer={"steps": 3000},
)
class CGAN(ConditionalGAN):
    """Players ``critic`` and ``generator``, both given the condition."""

    config: CGANConfig

    def __init__(self, spec: DataSpec, config: CGANConfig) -> None:
        usual = _TABLES if spec.kind == "vector" else _IMAGES
        config = config.replace(**{k: v for k, v in usual.items() if getattr(config, k) is None})
        projected = spec.kind != "vector" if config.projection is None else config.projection
        super().__init__(spec, config, Wiring(projection=spec.condition if projected else 0))


_TABLES = {"instance_noise": 0.3, "learning_rate": 5e-4, "betas": (0.0, 0.99)}
_IMAGES = {"instance_noise": 0.0, "learning_rate": 1e-3, "critic_learning_rate": 2e-4, "betas": (0.5, 0.999)}
