"""Checks of implicit posteriors against closed forms and quadrature, and of codes that steer a property."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.spec import Block, DataSpec
from ganlib.registry import create
from ganlib.testing.problems import rule_bits, rule_property, rules_kept
from ganlib.testing.toys.autoencoder import BITS
from ganlib.training import Trainer, TrainerConfig

FOUR = DataSpec.table(tuple(Block(f"p{i}", "binary", i) for i in range(4)))
# A linear decoder of two latents and its noise variance.
_WEIGHT, _NOISE = torch.tensor([[1.0, 0.2], [0.3, 0.8], [-0.5, 0.6], [0.4, -0.9]]), 0.5


@torch.no_grad()
def planar_log_likelihood(model: Any, x: Tensor) -> float:
    """Mean log p(x) of flags by quadrature over the two latents, nats."""
    side = torch.linspace(-6, 6, 301)
    z = torch.cartesian_prod(side, side)
    prior = -0.5 * z.square().sum(1) - math.log(2 * math.pi) + 2 * math.log(float(side[1] - side[0]))
    rows = [prior - model.reconstruction_nll(z, row.expand(len(z), -1)).sum(1) for row in x]
    return float(torch.stack([torch.logsumexp(row, 0) for row in rows]).mean())


@functools.cache
def _vae_on_four(seed: int) -> float:
    return _on_four("vae", seed)


def _on_four(name: str, seed: int, **options: Any) -> float:
    data = {"x": torch.eye(4).repeat(128, 1)}
    model, _ = fit(name, FOUR, data, seed, 2500, 128, 0.99, latent_dim=2, hidden=(64, 64), **options)
    return planar_log_likelihood(model, torch.eye(4))


def _four_points(**options: Any) -> Callable[[int], Figures]:
    """Log-likelihood of the paper's four one-hot images, of log 1/4 = -1.386 at best; baseline: the Gaussian VAE's."""

    def run(seed: int) -> Figures:
        return _on_four("avb", seed, critic_hidden=(64, 64), **options), _vae_on_four(seed)

    return run


def conjugate_kl() -> float:
    """E KL(p(z|x) || p(z)) of the linear model in nats: its posterior is N(S W'x / v, S), S = (I + W'W / v)^-1."""
    w, v = _WEIGHT.double(), _NOISE
    spread = torch.linalg.inv(torch.eye(2) + w.T @ w / v)
    map_x = spread @ w.T / v
    means = map_x @ (w @ w.T + v * torch.eye(4)) @ map_x.T
    return float(0.5 * (torch.trace(spread) + torch.trace(means) - 2 - torch.logdet(spread)))


def _conjugate(**options: Any) -> Callable[[int], Figures]:
    """1 less the relative error of the mean of T over codes, encoder and critic trained under the true decoder;
    baseline: of an untrained model."""

    def run(seed: int) -> Figures:
        generator = torch.Generator().manual_seed(seed)
        noise = _NOISE**0.5 * torch.randn(20_000, 4, generator=generator)
        x = torch.randn(20_000, 2, generator=generator) @ _WEIGHT.T + noise
        torch.manual_seed(seed)
        model = create("avb", DataSpec.vector(4), latent_dim=2, hidden=(), noise_dim=4, **options)
        with torch.no_grad():
            model.decoder.head.weight.copy_(_WEIGHT)
            model.decoder.head.bias.zero_()
            model.variance.raw.fill_(math.log(_NOISE))
        for parameter in [*model.decoder.parameters(), *model.variance.parameters()]:
            parameter.requires_grad_(False)

        @torch.no_grad()
        def near() -> float:
            some = x[:5000]
            codes = model.encoder(some, torch.randn(5000, 4, generator=generator))
            return 1 - abs(float(model.log_ratio(some, codes).mean()) / conjugate_kl() - 1)

        before = near()
        config = TrainerConfig(
            steps=2500, batch_size=256, random_state=seed, ema=0.995, schedule="linear", decay_from=0.5
        )
        Trainer(config).fit(model, {"x": x})
        return near(), before

    return run


@functools.cache
def _steered(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Requested properties, generated flags, and as many flags drawn independently by their shares in training."""
    x, c = rule_bits(2000, seed)
    model, _ = fit("property_aae", BITS, {"x": x, "c": c}, seed, 800, 64, 0.99)
    generator, sampler = torch.Generator().manual_seed(seed), model.sampler()
    wanted = rule_bits(2000, seed + 1000)[1]
    independent = (torch.rand(2000, 64, generator=generator) < x.mean(0)).float()
    with torch.no_grad():
        return wanted, sampler(torch.randn(2000, sampler.latent_dim, generator=generator), wanted), independent


def _correlated(seed: int) -> Figures:
    """Correlation of the requested property with the true one of generated rows; baseline: of independent flags."""
    wanted, *both = _steered(seed)
    found = [torch.corrcoef(torch.cat([wanted, rule_property(bits)], 1).T)[0, 1] for bits in both]
    return float(found[0]), float(found[1])


def _valid(seed: int) -> Figures:
    """Share of the rules kept by generated rows; baseline: by independent flags."""
    _, made, independent = _steered(seed)
    return rules_kept(made), rules_kept(independent)


ROWS = (
    Check("F8", "avb", "four one-hot images, 2 latents: log-likelihood", "the VAE's", 0.0, _four_points(), gain=True,
          worst=True),
    Check("F8 adaptive", "avb", "the same with adaptive contrast", "the VAE's", 0.0, _four_points(adaptive=True),
          gain=True, worst=True),
    Check("F8 KL", "avb", "linear Gaussian model: 1 less the error of KL from T", "before training", 0.9, _conjugate(),
          worst=True),
    Check("F10", "property_aae", "64 flags: correlation of requested and true property", "independent flags", 0.6,
          _correlated, worst=True),
    Check("F10 rules", "property_aae", "64 flags: share of 16 rules kept", "independent flags", 0.0, _valid, gain=True,
          worst=True),
)  # fmt: skip
