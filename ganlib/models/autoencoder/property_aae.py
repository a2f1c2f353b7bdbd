"""Property-steered adversarial auto-encoder: examples with a property of the value that is passed.

Paper: Kadurin et al., The Cornucopia of Meaningful Leads: Applying Deep Adversarial Autoencoders for New Molecule
Development in Oncology, Oncotarget 8, 2017, on 166-bit fingerprints of molecules and their inhibition of growth.

Idea: the code has units z that a critic compares with a prior, and units s that predict the properties c of the
example. The decoder gets both, so that new examples have the properties that s is set to:

    auto-encoder  minimise  -log p(x|z, s) + property · |s - c|² + adversarial · L_G(D(z, c)),   (z, s) = f(x)
    critic        separates z ~ p(z) (real) from the z of examples
    sample        x ~ p(x|z, s) with z ~ p(z) and s the requested properties

Shapes: x ``(n, *shape)``; c ``(n, k)``, standardised; code ``(n, latent_dim + k)``.
Defaults: as the authors' code a code of 4 units and 1 property, layers of 128 and 64 units and a small critic; batch
norm, which it has, is the option ``norm``. Adam 1e-3 instead of its 1e-2, which belongs to batches of 64 to 512.
Deviations: flags have the code's cross-entropy, categories and numbers their own likelihood, so that any table can be
steered. The likelihood is a sum over columns in nats; ``property`` weighs against it. The concentration, a further
input of the paper, is one more property here. With ``conditional``, the critic also gets c, so that z says nothing of
the properties and cannot contradict a requested value; the paper's critic gets z alone.

Use it for: generating flags, tables, images or series with a numeric property of a requested value, such as faults of
a given severity; the property is passed as attributes ``(n, k)``.
Not for: classes, for which ``cvae`` and ``cvae_gan`` are better, and properties that the columns do not determine.
Symbols:
    z, s    ``split`` of the encoder's output
    c       ``batch["c"]``, the field ``c`` of the DataSpec
    D       ``game.critic``
    p(x|z, s)  ``decoder`` and ``log_variance``, ``reconstruction_nll``
    p(z)    ``prior``
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count, Rate, Weight
from ganlib.data.fields import Vector
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.adversarial import objective
from ganlib.losses.table import example_nll
from ganlib.models.autoencoder.priors import Prior, prior
from ganlib.nn.architecture import Headed, NetOptions, architecture
from ganlib.nn.layers import has_batch_norm
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class PropertyAAEConfig(GameConfig):
    """``property``: weight of the squared error of the properties; ``norm``: none, batch or layer; ``conditional``:
    whether the critic gets the properties; ``prior``: a row of ``models.autoencoder.priors``; ``critic_hidden``: widths
    of the critic's hidden layers."""

    latent_dim: Count = 4
    networks: str = "auto"
    hidden: tuple[Count, ...] = (128, 64)
    width: Count = 32
    norm: str = "none"
    prior: str = "normal"
    property: Weight = 10.0
    conditional: bool = True
    critic_hidden: tuple[Count, ...] = (64, 64)
    learning_rate: Rate | None = 1e-3


class Steered(nn.Module):
    """Noise of the prior and the properties to the decoder's output."""

    def __init__(self, latents: Prior, decoder: nn.Module) -> None:
        super().__init__()
        self.latents, self.decoder = latents, decoder

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """Generate."""
        return self.decoder(torch.cat([self.latents(z), condition], 1))


@register(
    "property_aae",
    config=PropertyAAEConfig,
    modalities=("table", "points", "image", "series"),
    paper="Kadurin et al., The Cornucopia of Meaningful Leads, Oncotarget 8, 2017",
)
class PropertyAAE(Algorithm):
    """Players ``autoencoder`` and ``critic``."""

    takes = ("attributes",)
    config: PropertyAAEConfig

    def __init__(self, spec: DataSpec, config: PropertyAAEConfig) -> None:
        super().__init__()
        if not spec.attributes:
            raise ConfigError(
                "property_aae generates by numeric properties: its batches need them as 'c' (n, k), and its DataSpec "
                "their number, DataSpec.vector(dim, attributes=k)"
            )
        self.spec, self.config = spec, config
        nets, width = architecture(config.networks, spec), config.latent_dim + spec.attributes
        options = NetOptions(config.hidden, config.width, config.norm, "relu")
        self.encoder = Headed(nets.trunk(spec.shape, 0, options), width)
        options = NetOptions(config.hidden[::-1], config.width, config.norm, "relu")
        self.decoder = nets.generator(width, spec.shape, 0, options)
        # Flags and categories have no variance to learn.
        numbers = not spec.blocks or any(block.kind == "number" for block in spec.blocks)
        variances = torch.full((spec.dim if spec.kind == "vector" else 1,), -1.0)
        self.log_variance = nn.Parameter(variances, requires_grad=numbers)
        self.prior = prior(config.prior, config.latent_dim)
        self.game = self._game(spec.attributes if config.conditional else 0)

    def _game(self, given: int) -> Game:
        critic = None
        if objective(self.config.objective).kind != "none":
            latents = (self.config.latent_dim,)
            plain = architecture("mlp", DataSpec.vector(self.config.latent_dim))
            critic = Headed(plain.trunk(latents, given, NetOptions(self.config.critic_hidden)), 1)
        field, condition = Vector(self.config.latent_dim), (given,) if given else None
        return Game(critic, self.config, field, generator=self.encoder, condition=condition, against="autoencoder")

    def players(self) -> dict[str, nn.Module | list[nn.Module]]:
        """The auto-encoder with its variances; the critic, if there is one."""
        noise = nn.ParameterList([self.log_variance])
        return {"autoencoder": [self.encoder, self.decoder, noise], **self.game.players()}

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the game."""
        return self.game.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        """The critic, then the auto-encoder."""
        return self.game.phases(lambda batch: self._sides(batch, fixed=True), self.autoencoder_loss)

    # ---------------------------------------------------------------- losses
    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Units under the prior ``(n, latent_dim)``, and predicted properties ``(n, k)``."""
        code = self.encoder(x)
        return code[:, : self.config.latent_dim], code[:, self.config.latent_dim :]

    def _codes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = batch.once("codes", lambda: self.split(batch.x), of=("autoencoder",))
        return found

    def _sides(self, batch: Batch, fixed: bool) -> Sides:
        """The prior against codes, each beside the properties; ``fixed`` codes are without the encoder's gradient."""
        made = (self.game.fakes if fixed else self.game.made)(batch, lambda: self._codes(batch)[0])
        condition = batch["c"] if self.config.conditional else None
        return Sides(self.prior(batch.randn(self.prior.noise)), made, condition)

    def reconstruction_nll(self, z: Tensor, properties: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z, s) in nats, ``(n, terms)``, variances floored at e^-6."""
        output = self.decoder(torch.cat([z, properties], 1))
        return example_nll(self.spec, output, self.log_variance.clamp(-6.0, 4.0), x)

    def autoencoder_loss(self, batch: Batch) -> Losses:
        """Rebuild, predict the properties, and look like the prior."""
        z, properties = self._codes(batch)
        losses = self.game.generator_loss(batch, self._sides(batch, fixed=False))
        return losses | Losses(
            weights={"property": self.config.property},
            reconstruction=self.reconstruction_nll(z, properties, batch.x).sum(1).mean(),
            property=(properties - batch["c"]).square().sum(1).mean(),
        )

    def validation_loss(self, batch: Batch) -> Tensor:
        """The likelihood of held-out examples and the error of their properties, without the game."""
        z, properties = self.split(batch.x)
        error = (properties - batch["c"]).square().sum(1).mean()
        return self.reconstruction_nll(z, properties, batch.x).sum(1).mean() + self.config.property * error

    def couples_batch(self) -> str:
        """What the game or batch norm couples."""
        coupled = any(map(has_batch_norm, (self.encoder, self.decoder)))
        return self.game.couples() or ("batch norm: set norm to layer" if coupled else "")

    # ---------------------------------------------------------------- use
    def encode(self, x: Tensor) -> Tensor:
        """The code, properties last, ``(n, latent_dim + k)``."""
        return self.encoder(x)

    def sampler(self) -> Sampler:
        """The decoder on samples of the prior and requested properties ``(n, k)``."""
        scale = torch.exp(0.5 * self.log_variance.clamp(-6.0, 4.0))
        return sampler_for(Steered(self.prior, self.decoder), self.prior.noise, self.spec, scale)
