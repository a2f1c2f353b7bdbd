"""Generator and critic of a GAN, from its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from ganlib.adversarial.game import whole
from ganlib.adversarial.rules import Rules
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.models.gan.config import GANConfig
from ganlib.nn.architecture import Architecture, Energy, Headed, NetOptions, architecture, dcgan_weights, finish
from ganlib.nn.layers import WithReference


@dataclass(frozen=True)
class Wiring:
    """What a model's two networks take and give, where they are not the plain GAN's.

    - ``inputs``: width of the generator's input without the condition; None: the latents'.
    - ``condition``: width of the condition; ``conditions_critic``: whether the critic is given it, too.
    - ``outputs`` of the critic, which ``score`` turns into its score; ``projection``: width of a projected condition.
    - ``logits``: the model needs a critic of logits.
    - ``generator`` and ``critic``: ``NetOptions`` that differ from what the configuration gives them.
    """

    inputs: int | None = None
    condition: int = 0
    conditions_critic: bool = True
    outputs: int = 1
    score: Callable[[Tensor], Tensor] = whole
    projection: int = 0
    logits: bool = False
    generator: Mapping[str, Any] = field(default_factory=dict)
    critic: Mapping[str, Any] = field(default_factory=dict)

    def check(self, rules: Rules) -> None:
        """Raise ConfigError on an objective whose critic cannot do what the model needs."""
        row = rules.objective
        if row.kind != "logit" and self.logits:
            raise ConfigError(
                f"objective {row.name!r} has no critic with logits, which this model needs: choose another"
            )
        if row.kind == "none" and self.condition:
            raise ConfigError(
                f"objective {row.name!r} has no critic, so nothing checks the generator's condition: choose another"
            )


class Networks:
    """Builds the networks that ``config`` names, for data of ``spec``."""

    def __init__(self, spec: DataSpec, config: GANConfig, wiring: Wiring) -> None:
        self.spec, self.config, self.wiring = spec, config, wiring
        self.rules = Rules(config, spec.x)
        self.rules.check()
        wiring.check(self.rules)
        if config.critic_norm == "virtual":
            raise ConfigError(
                "critic_norm='virtual' has no reference batch: virtual batch norm is for generators (generator_norm); "
                "choose batch, layer or instance for the critic"
            )

    def row(self, critic: bool) -> Architecture:
        """The architecture of the critic or of the generator."""
        chosen = self.config.critic_networks if critic else None
        return architecture(chosen or self.config.networks, self.spec)

    def options(self, critic: bool) -> NetOptions:
        """Options of the critic's or the generator's architecture."""
        config, pyramid = self.config, self.row(critic).name != "mlp"
        norm = config.critic_norm if critic else config.generator_norm
        if norm == "auto":
            norm = self.rules.critic_norm(pyramid) if critic else "batch" if pyramid else "none"
        options = NetOptions(
            hidden=config.hidden,
            width=config.width,
            norm=norm,
            activation="leaky_relu" if critic else "relu",
            dropout=config.critic_dropout if critic else 0.0,
            noise=config.critic_noise if critic else (),
        )
        return replace(options, **(self.wiring.critic if critic else self.wiring.generator))

    @property
    def inputs(self) -> int:
        """Width of the generator's input, without the condition."""
        return self.config.latent_dim if self.wiring.inputs is None else self.wiring.inputs

    def generator(self) -> nn.Module:
        """The generator, with linear outputs."""
        row, options, condition = self.row(critic=False), self.options(critic=False), self.wiring.condition
        net = row.generator(self.inputs, self.spec.shape, condition, options)
        dcgan_weights(net)
        if options.norm == "virtual":
            net = WithReference(net, self.inputs, condition, options.reference)
        return finish(net, "spectral" if self.rules.spectral and row.name != "mlp" else "none")

    def critic(self) -> Headed | Energy:
        """A trunk with a head, or an auto-encoder for an energy; its weights are not ``finished``."""
        row, options, wiring = self.row(critic=True), self.options(critic=True), self.wiring
        condition = wiring.condition if wiring.conditions_critic else 0
        trunk = row.trunk(self.spec.shape, condition, options)
        if self.rules.objective.kind != "energy":
            return Headed(trunk, wiring.outputs, self.config.minibatch_discrimination, wiring.projection)
        decoder = row.generator(self.config.latent_dim, self.spec.shape, condition, options)
        return Energy(Headed(trunk, self.config.latent_dim), decoder, self.spec, self.rules.numbers["power"])

    def finished(self, critic: nn.Module) -> nn.Module:
        """A critic with its first weights and its spectral norm."""
        dcgan_weights(critic)
        return finish(critic, "spectral" if self.rules.spectral else "none")
