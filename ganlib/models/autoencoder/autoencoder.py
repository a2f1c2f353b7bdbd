"""Auto-encoder, plain and denoising.

Papers: Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 313, 2006; Vincent
et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008.

Idea: data is pressed through a small code and rebuilt; what cannot be rebuilt is anomalous. The denoising one sees a
corrupted copy and must rebuild the clean example, so that its error also points back to where data lie:

    minimise  E ||x - g(f(c(x)))||² / d;  c(x): values set to zero (share ``mask``), noise (deviation ``noise``)
    score     mean over values of (x - g(f(x)))², each divided by its mean in training for table rows

Shapes: x ``(n, *shape)``; code ``(n, latent_dim)``.
Defaults: Adam 1e-3; a quarter of the values masked in ``denoising_autoencoder`` (the paper tried 10, 25 and 40 %).
Deviations: the layers are trained together, without pre-training of each; flags and categories are rebuilt as
probabilities, by squared error; masked pixels are black. The error of a table's position is divided by its mean over
training batches (floored at 0.01), so that a column that is always rebuilt exactly has its due weight.

Use it for (autoencoder): short codes, and anomalies by the error of rebuilding. Eight numbers explained .80 of the
digits' variance (as many principal components .67).

Not for (autoencoder): generating: its codes have no prior; use `vae` or `adversarial_autoencoder`. A likelihood of
mixed columns: `vae`, whose mean AUROC over 16 tables is .864 (PyOD's AutoEncoder .848).

Use it for (denoising_autoencoder): anomalies that break the dependence of columns: masked values must be rebuilt from
the others, so that the code cannot copy each by itself.

Not for (denoising_autoencoder): data whose values do not depend on each other, where nothing can be filled in; use
`gaussian` or `kernel_density`. Generating: `vae`.

Symbols:
    f, g      Coder.encoder, Coder.decoder
    c(x)      Autoencoder.corrupt
    mask, noise   AutoencoderConfig.mask, AutoencoderConfig.noise
    ||x - g(f(c(x)))||²   Coder.errors, loss term reconstruction
    score     RebuildingScorer
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.nn.architecture import Headed, NetOptions, activate_output, architecture
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_FLOOR, _MEMORY = 0.01, 0.05


@dataclass(frozen=True, kw_only=True)
class CoderConfig(Config):
    """``networks``: a row of ``nn.architecture.ARCHITECTURES``; ``hidden`` are an MLP's widths, mirrored in the
    decoder, ``width`` the first convolution's channels."""

    latent_dim: Count = 8
    networks: str = "auto"
    hidden: tuple[Count, ...] = (128, 64)
    width: Count = 32


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(CoderConfig):
    """``mask``: share of the values that are set to zero (pixels to black); ``noise``: deviation of Gaussian noise."""

    mask: Share = 0.0
    noise: Weight = 0.0
    learning_rate: Rate = 1e-3


class Coder(nn.Module):
    """Encoder, decoder, and the mean squared error of each value of a table row (one for images and series).

    With ``classes``, their probabilities follow the latents in the code.
    """

    scale: Tensor

    def __init__(self, spec: DataSpec, config: CoderConfig, classes: int = 0) -> None:
        super().__init__()
        nets, self.spec, self.latent_dim = architecture(config.networks, spec), spec, config.latent_dim
        width = config.latent_dim + classes
        trunk = nets.trunk(spec.shape, 0, NetOptions(config.hidden, config.width, activation="relu"))
        self.encoder = Headed(trunk, width)
        options = NetOptions(config.hidden[::-1], config.width, activation="relu")
        self.decoder = nets.generator(width, spec.shape, 0, options)
        self.register_buffer("scale", torch.ones(spec.dim))

    def code(self, x: Tensor) -> Tensor:
        """The code ``(n, latent_dim + classes)``."""
        z, logits = self.split(x)
        return torch.cat([z, torch.softmax(logits, 1)], 1) if logits.shape[1] else z

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(n, latent_dim)``, and logits of the classes ``(n, classes)``."""
        out = self.encoder(x)
        return out[:, : self.latent_dim], out[:, self.latent_dim :]

    def decode(self, z: Tensor) -> Tensor:
        """Examples in the data's range."""
        return activate_output(self.spec, self.decoder(z))

    def errors(self, x: Tensor, rebuilt: Tensor, batch: Batch | None = None) -> Tensor:
        """Squared errors of values ``(n, d)``; those of a training ``batch`` enter the running means."""
        found = (wide(x) - wide(rebuilt)).flatten(1).square()
        if batch is not None and self.training and self.spec.kind == "vector":
            with torch.no_grad():
                self.scale.lerp_(batch.mean(found), _MEMORY)
        return found

    def residual(self, x: Tensor) -> Tensor:
        """The part of each value in the score: ``(n, *shape) -> (n, d)``."""
        return self.errors(x, self.decode(self.code(x))) / self.scale.clamp_min(_FLOOR) / self.spec.dim


class RebuildingScorer(nn.Module):
    """How badly an example is rebuilt: ``(n, *shape) -> (n,)``."""

    def __init__(self, coder: Coder) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return self.coder.residual(x).sum(1)

    def residual(self, x: Tensor) -> Tensor:
        """The contribution of each position: ``(n, d) -> (n, d)``."""
        return self.coder.residual(x)


class Autoencoder(Algorithm):
    """One player, trained by the error of rebuilding."""

    config: AutoencoderConfig

    def __init__(self, spec: DataSpec, config: AutoencoderConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.coder = Coder(spec, config)

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"autoencoder": self.coder}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam."""
        return {"autoencoder": Optimiser("adam", self.config.learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """One update a step."""
        return (Phase("autoencoder", self.loss),)

    def corrupt(self, batch: Batch) -> Tensor:
        """The batch's examples as the encoder sees them."""
        x = batch.x
        if self.config.mask:
            black = -1.0 if self.spec.kind == "image" else 0.0
            x = torch.where(batch.rand(*self.spec.shape) < self.config.mask, torch.full_like(x, black), x)
        return x + self.config.noise * batch.randn(*self.spec.shape) if self.config.noise else x

    def loss(self, batch: Batch) -> Losses:
        """The mean squared error."""
        rebuilt = self.coder.decode(self.coder.code(self.corrupt(batch)))
        return Losses(reconstruction=self.coder.errors(batch.x, rebuilt, batch).mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out examples."""
        return self.loss(batch).total

    def encode(self, x: Tensor) -> Tensor:
        """The code."""
        return self.coder.code(x)

    def scorer(self) -> nn.Module:
        """The error of rebuilding."""
        return RebuildingScorer(self.coder).eval()


register(
    "autoencoder",
    config=AutoencoderConfig,
    modalities=("table", "points", "image", "series"),
    paper="Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 313, 2006",
)(Autoencoder)
register(
    "denoising_autoencoder",
    config=AutoencoderConfig,
    modalities=("table", "points", "image", "series"),
    paper="Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008",
    defaults={"mask": 0.25},
)(Autoencoder)
