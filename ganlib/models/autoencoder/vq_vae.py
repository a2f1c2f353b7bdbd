"""VQ-VAE: an auto-encoder whose code is a grid of entries of a codebook, with an autoregressive prior.

Paper: van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation Learning, arXiv 1711.00937, 2017; the prior
after arXiv 1606.05328 (PixelCNN, images) and 1609.03499 (WaveNet, series).

Idea: each encoder output z_e is replaced by its nearest code e, through which gradients pass straight (equation 3):

    minimise  ||x - g(e)||² / d + ||sg[z_e] - e||² + commitment · ||z_e - sg[e]||²;   prior: -log p(codes)

With ``codebook="ema"``, codes are running means of the outputs assigned to them (appendix A.1) instead of the second
term. A code that hardly any output chooses any more (its running share is below ``revive`` of the even share) is put on
a random output of the batch.
Shapes: x ``(n, c, *sides)``; codes on a grid of a quarter of each side.
Defaults: commitment 0.25, decay 0.99, two strided 4x4 convolutions and two residual blocks, as in the paper (there with
256 channels, K = 512, Adam 2e-4). Deviations: the prior learns beside the auto-encoder, from codes without gradient,
which the paper fits afterwards; codes begin at encoder outputs of the first batch. The output is linear, clipped in
samples: with tanh, training on mostly black images could stay at black ones.
The score is -log p(x, codes) in nats up to a constant: d · mse / (2 · usual mse), and the prior's -log p(codes).

Use it for: compressing images and series to a few discrete codes, and sampling from their learned prior. Four codes of
five bits explained .77 of the digits' variance (k-means of patches .65); the prior saved .33 bits a code. On MNIST 49
codes of eight bits explained .948 (.923), and the prior saved 3.1 bits a code.

Not for: anomaly detection in production: where two codes are equally near, rounding decides, so it is not sealed as a
detector; use `reconstruction_vae`. Images by class: `cvae`. Tables: `vae`.

Symbols:
    z_e           VQVAE.outputs
    e             VQVAE.book, VQVAE.nearest
    g             VQVAE.decoder, VQVAE.rebuild
    commitment    VQVAEConfig.commitment, loss term commitment
    -log p(codes)   VQVAE.prior_loss, loss term prior
    running means   VQVAE.tend
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganlib.config import Config, Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.nn.architecture import TRANSPOSED, check_sides
from ganlib.nn.autoregressive import CausalNet
from ganlib.nn.gaussian import normal_cdf
from ganlib.nn.layers import CONV, bake
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_MEMORY = 0.05


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig(Config):
    """``codes``: entries of the codebook, of ``code_dim`` numbers; ``prior_width``, ``prior_blocks``: its prior's.

    ``commitment``: weight of the term that keeps outputs near their codes; ``codebook``: learned by running means or by
    gradient; ``decay`` of the running means; ``revive``: share of even use below which a code is moved.
    """

    codes: Count = 64
    code_dim: Count = 16
    width: Count = 32
    commitment: Weight = 0.25
    codebook: Literal["ema", "gradient"] = "ema"
    decay: Share = 0.99
    revive: Share = 0.05
    prior_width: Count = 32
    prior_blocks: Count = 3
    learning_rate: Rate = 1e-3


class Residual(nn.Module):
    """x + conv1(relu(conv3(relu(x))))."""

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        conv = cast("Any", CONV[dims])
        self.body = nn.Sequential(nn.ReLU(), conv(width, width, 3, padding=1), nn.ReLU(), conv(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Transform."""
        return x + self.body(x)


class GridDecoder(nn.Module):
    """Code vectors ``(n, code_dim, *grid)`` to a linear output ``(n, *shape)``; sides are cut to fit."""

    def __init__(self, shape: tuple[int, ...], sides: list[tuple[int, ...]], code_dim: int, width: int) -> None:
        super().__init__()
        dims, self.sides = len(shape) - 1, sides
        conv, up = cast("Any", CONV[dims]), cast("Any", TRANSPOSED[dims])
        self.enter = nn.Sequential(conv(code_dim, width, 3, padding=1), Residual(width, dims), Residual(width, dims))
        self.ups = nn.ModuleList([up(width, width, 4, 2, 1), up(width, shape[0], 4, 2, 1)])

    def forward(self, z: Tensor) -> Tensor:
        """Rebuild."""
        x = self.enter(z)
        for up, sides in zip(self.ups, self.sides[-2::-1], strict=True):
            x = up(x.relu())
            x = x[..., : sides[-1]] if len(sides) == 1 else x[..., : sides[0], : sides[1]]
        return x


@register(
    "vq_vae",
    config=VQVAEConfig,
    modalities=("image", "series"),
    paper="van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation Learning, arXiv 1711.00937, 2017",
    # Not a detector: where two codes are equally near, rounding decides between them, so that an exported graph may
    # score an example differently. The score is there for comparisons in Python.
    tasks=("augmenter",),
    exports=("sampler",),
)
class VQVAE(Algorithm):
    """Players ``coder`` and ``prior``."""

    config: VQVAEConfig
    book: Tensor
    counts: Tensor
    sums: Tensor
    error: Tensor

    def __init__(self, spec: DataSpec, config: VQVAEConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        check_sides(spec.shape)
        dims, width = len(spec.shape) - 1, config.width
        conv, sides = cast("Any", CONV[dims]), [spec.shape[1:]]
        layers: list[nn.Module] = []
        for channels in (spec.shape[0], width):
            kernel = 4 if all(side % 2 == 0 for side in sides[-1]) else 3
            layers += [conv(channels, width, kernel, 2, 1), nn.ReLU()]
            sides.append(tuple(-(-side // 2) for side in sides[-1]))
        self.grid = sides[-1]
        blocks = [Residual(width, dims), Residual(width, dims), nn.ReLU()]
        self.encoder = nn.Sequential(*layers[:-1], *blocks, conv(width, config.code_dim, 1))
        self.decoder = GridDecoder(spec.shape, sides, config.code_dim, width)
        self.prior = CausalNet(config.codes, self.grid, config.prior_width, config.prior_blocks)
        book = torch.randn(config.codes, config.code_dim)
        if config.codebook == "ema":
            self.register_buffer("book", book)
        else:
            self.book = nn.Parameter(book)
        self.register_buffer("counts", torch.ones(config.codes))
        self.register_buffer("sums", book.clone())
        self.register_buffer("error", torch.ones(()))

    def players(self) -> dict[str, list[nn.Module]]:
        """Auto-encoder and prior."""
        own: list[nn.Module] = [self.encoder, self.decoder]
        if self.config.codebook == "gradient":
            own.append(nn.ParameterList([cast("nn.Parameter", self.book)]))
        return {"coder": own, "prior": [self.prior]}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return dict.fromkeys(("coder", "prior"), Optimiser("adam", self.config.learning_rate, (0.9, 0.999)))

    def phases(self) -> tuple[Phase, ...]:
        """Auto-encoder with its codebook, then the prior."""
        return (Phase("coder", self.coder_loss, after=(self.tend,)), Phase("prior", self.prior_loss))

    # ---------------------------------------------------------------- codes
    def outputs(self, x: Tensor) -> Tensor:
        """Encoder outputs, a row for each position: ``(n · positions, code_dim)``."""
        return wide(self.encoder(x)).flatten(2).transpose(1, 2).flatten(0, 1)

    def nearest(self, outputs: Tensor) -> Tensor:
        """The nearest code of each row, int64."""
        book = self.book.to(outputs.dtype)
        with torch.autocast(outputs.device.type, enabled=False):
            return (outputs @ book.T - 0.5 * book.square().sum(1)).argmax(1)

    def codes(self, x: Tensor) -> Tensor:
        """Indices of codes, int64 ``(n, positions)``."""
        return self.nearest(self.outputs(x)).view(len(x), -1)

    def on_grid(self, rows: Tensor) -> Tensor:
        """``(n · positions, c)`` to ``(n, c, *grid)``."""
        positions = self.grid[0] * (self.grid[1] if len(self.grid) == 2 else 1)
        return rows.reshape(-1, positions, rows.shape[1]).transpose(1, 2).unflatten(2, self.grid)

    def chosen(self, index: Tensor) -> Tensor:
        """One-hot codes on the grid, ``(n, codes, *grid)``."""
        return self.on_grid(one_hot(index, self.config.codes).to(self.counts.dtype))

    def rebuild(self, rows: Tensor) -> Tensor:
        """Examples from code vectors; pixels are not bounded."""
        return self.decoder(self.on_grid(rows))

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's encoder outputs and their codes without gradient; kept while the auto-encoder moves."""

        def compute() -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                outputs = self.outputs(batch.x)
                return outputs, self.nearest(outputs)

        return batch.once("seen", compute, of=("prior",))

    # ---------------------------------------------------------------- losses
    def coder_loss(self, batch: Batch) -> Losses:
        """Rebuild from codes; keep outputs near their codes, and codes near their outputs."""
        outputs = self.outputs(batch.x)
        index = self.nearest(outputs.detach())
        batch.once("seen", lambda: (outputs.detach(), index), of=("prior",))
        entries = self.book[index]
        rebuilt = self.rebuild(outputs + (entries - outputs).detach())
        error = (wide(rebuilt) - batch.x).square().mean()
        if self.training:
            with torch.no_grad():
                self.error.lerp_(error, _MEMORY)
        losses = Losses(
            weights={"commitment": self.config.commitment},
            reconstruction=error,
            commitment=(outputs - entries.detach()).square().mean(),
        )
        if self.config.codebook == "ema":
            return losses
        return losses | Losses(codebook=(outputs.detach() - entries).square().mean())

    def prior_loss(self, batch: Batch) -> Losses:
        """-log p(codes) in nats a position."""
        return Losses(prior=-self.prior.log_prob(self.chosen(self._seen(batch)[1])).mean())

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Codes begin at random outputs of the first batch."""
        outputs = self.outputs(batch.x)
        rows = torch.randint(len(outputs), (self.config.codes,), generator=batch.generator, device=outputs.device)
        self.book.copy_(outputs[rows])
        self.sums.copy_(self.book)
        self.counts.fill_(1.0)

    @torch.no_grad()
    def tend(self, batch: Batch) -> None:
        """Running use and means of codes; codes out of use move to random outputs."""
        outputs, index = self._seen(batch)
        member = one_hot(index, self.config.codes).to(outputs.dtype)
        even = len(outputs) / self.config.codes
        rest = 1 - self.config.decay
        # In units of the even share, so that a batch's size does not matter.
        self.counts.lerp_(member.sum(0) / even, rest)
        with torch.autocast(outputs.device.type, enabled=False):
            self.sums.lerp_(member.T @ outputs / even, rest)
        if self.config.codebook == "ema":
            self.book.copy_(self.sums / self.counts.clamp_min(1e-5).unsqueeze(1))
        rows = torch.randint(len(outputs), (self.config.codes,), generator=batch.generator, device=outputs.device)
        dead = self.counts < self.config.revive
        self.book.copy_(torch.where(dead.unsqueeze(1), outputs[rows], self.book))
        self.counts.copy_(torch.where(dead, torch.ones_like(self.counts), self.counts))
        self.sums.copy_(torch.where(dead.unsqueeze(1), self.book, self.sums))

    def validation_loss(self, batch: Batch) -> Tensor:
        """The score's mean per value, with the usual error unchanged."""
        outputs = self.outputs(batch.x)
        index = self.nearest(outputs)
        error = (wide(self.rebuild(self.book[index])) - batch.x).square().mean()
        return error - self.prior.log_prob(self.chosen(index)).sum(1).mean() / self.spec.dim * error.detach()

    def couples_batch(self) -> str:
        """Codes are running means of the batch's outputs."""
        return "codes are running means of the batch's outputs"

    # ---------------------------------------------------------------- use
    def encode(self, x: Tensor) -> Tensor:
        """The vectors of the codes, ``(n, code_dim · positions)``."""
        return self.on_grid(self.book[self.nearest(self.outputs(x))]).flatten(1)

    def perplexity(self, x: Tensor) -> float:
        """exp of the entropy of the codes used for examples: up to ``codes``."""
        share = torch.bincount(self.codes(x).flatten(), minlength=self.config.codes).double()
        share = share[share > 0] / share.sum()
        return float((-(share * share.log()).sum()).exp())

    def scorer(self) -> nn.Module:
        """-log p(x, codes)."""
        return VQScorer(self).eval()

    def sampler(self) -> Sampler:
        """Codes from the prior, one after the other, and the decoder."""
        return VQSampler(bake(self.prior), bake(self.decoder), self.book.detach().clone(), self.spec).eval()


class VQScorer(nn.Module):
    """-log p(x, codes) up to a constant, in nats: ``(n, *shape) -> (n,)``."""

    def __init__(self, model: VQVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        model = self.model
        index = model.nearest(model.outputs(x))
        error = (model.rebuild(model.book[index]) - x).flatten(1).square().sum(1)
        chosen = model.chosen(index).to(x.dtype)
        return error / (2 * model.error.clamp_min(1e-6)) - model.prior.log_prob(chosen).sum(1)


class VQSampler(Sampler):
    """Noise ``(n, positions)``, one value a position, to examples."""

    book: Tensor

    def __init__(self, prior: nn.Module, decoder: nn.Module, book: Tensor, spec: DataSpec) -> None:
        super().__init__()
        self.prior, self.decoder, self.spec = prior, decoder, spec
        grid = cast("CausalNet", prior).grid
        self.latent_dim = grid[0] * (grid[1] if len(grid) == 2 else 1)
        self.register_buffer("book", book)

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        found = cast("CausalNet", self.prior).draw(normal_cdf(z))
        vectors = (found.flatten(2).transpose(1, 2) @ self.book).transpose(1, 2).unflatten(2, found.shape[2:])
        made = self.decoder(vectors)
        return made.clamp(-1, 1) if self.spec.kind == "image" else made
