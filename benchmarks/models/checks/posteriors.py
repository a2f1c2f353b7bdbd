"""Checks of implicit posteriors by quadrature, and of codes that steer a property."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.spec import Block, DataSpec
from ganlib.testing.problems import rule_bits, rule_property, rules_kept
from ganlib.testing.toys.autoencoder import BITS

FOUR = DataSpec.table(tuple(Block(f"p{i}", "binary", i) for i in range(4)))


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
    Check("F10", "property_aae", "64 flags: correlation of requested and true property", "independent flags", 0.6,
          _correlated, worst=True),
    Check("F10 rules", "property_aae", "64 flags: share of 16 rules kept", "independent flags", 0.0, _valid, gain=True,
          worst=True),
)  # fmt: skip
