"""Checks of auto-encoders, codes and densities."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.spec import Block, DataSpec
from ganlib.metrics.two_sample import mmd_test
from ganlib.models.vae.iwae import importance_bound
from ganlib.testing.problems import digits

IMAGES = DataSpec.image(1, 8, 8)


def _explained(x: Tensor, rebuilt: Tensor, train: Tensor) -> float:
    """1 less the squared error in units of that of the mean."""
    return 1 - float((x - rebuilt).square().mean() / (x - train.mean(0)).square().mean())


def _components(seed: int) -> Figures:
    """Share of held-out variance explained by an 8-number code; baseline: 8 principal components."""
    train, test = digits(seed)[0], digits(seed, "test")[0]
    model, _ = fit("autoencoder", IMAGES, {"x": train}, seed, 1000, 64, 0.99, networks="mlp")
    mean = train.flatten(1).mean(0)
    _, _, axes = torch.linalg.svd(train.flatten(1) - mean, full_matrices=False)
    projected = (test.flatten(1) - mean) @ axes[:8].T @ axes[:8] + mean
    with torch.no_grad():
        rebuilt = model.coder.decode(model.encode(test))
    return _explained(test, rebuilt, train), _explained(test, projected.view_as(test), train)


@functools.cache
def _coded(seed: int) -> tuple[Any, Tensor, Tensor]:
    train, test = digits(seed)[0], digits(seed, "test")[0]
    model, _ = fit("vq_vae", IMAGES, {"x": train}, seed, 1500, 64, 0.99, width=32, codes=32)
    return model.eval(), train, test


def _patches(seed: int) -> Figures:
    """Share of held-out variance explained by four codes of five bits; baseline: k-means of 4x4 patches."""
    from sklearn.cluster import KMeans

    model, train, test = _coded(seed)
    with torch.no_grad():
        rebuilt = model.rebuild(model.book[model.codes(test).flatten()])

    def cut(x: Tensor) -> Tensor:
        return torch.nn.functional.unfold(x, 4, stride=4).transpose(1, 2).flatten(0, 1)

    means = KMeans(32, n_init=4, random_state=seed).fit(cut(train).numpy())
    near = torch.tensor(means.cluster_centers_[means.predict(cut(test).numpy())]).float().view(len(test), 4, 16)
    patched = torch.nn.functional.fold(near.transpose(1, 2), (8, 8), 4, stride=4)
    return _explained(test, rebuilt, train), _explained(test, patched, train)


def _perplexity(seed: int) -> Figures:
    """Perplexity of the codes in units of their number; baseline: of one code."""
    model, _, test = _coded(seed)
    return model.perplexity(test) / 32, 1 / 32


def _bits(seed: int) -> Figures:
    """Entropy of single codes, bits; baseline, to be below it: the prior's bits a code on held-out images."""
    model, _, test = _coded(seed)
    index = model.codes(test)
    with torch.no_grad():
        bits = -float(model.prior.log_prob(model.chosen(index.flatten())).mean()) / math.log(2)
    return math.log2(model.perplexity(test)), bits


def _importance(seed: int) -> Figures:
    """Held-out 500-sample bound on binary digits, nats, of training with 50 samples; baseline: the VAE's."""
    spec = DataSpec.table(tuple(Block(f"p{i}", "binary", i) for i in range(64)))
    train, test = ((digits(seed, part)[0].flatten(1) > 0).float() for part in ("train", "test"))
    noise, found = torch.randn(500, 8, generator=torch.Generator().manual_seed(seed)), []
    for name, options in (("iwae", {"samples": 50}), ("vae", {})):
        model, _ = fit(name, spec, {"x": train}, seed, 800, 64, 0.99, latent_dim=8, **options)
        with torch.no_grad():
            found.append(float(torch.cat([importance_bound(model, rows, noise) for rows in test.split(64)]).mean()))
    return found[0], found[1]


def _aggregated(seed: int) -> Figures:
    """p of the MMD test of held-out codes against the prior; baseline: of the plain auto-encoder's codes."""
    train, test = digits(seed)[0], digits(seed, "test")[0]
    options = {"latent_dim": 4, "networks": "mlp"}
    model, _ = fit("adversarial_autoencoder", IMAGES, {"x": train}, seed, 3000, 64, 0.99, **options)
    plain, _ = fit("autoencoder", IMAGES, {"x": train}, seed, 1000, 64, 0.99, **options)
    prior = torch.randn(300, 4, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        codes = [one.encode(test[:300]) for one in (model, plain)]
    return mmd_test(codes[0], prior, 200, seed).p_value, mmd_test(codes[1], prior, 200, seed).p_value


ROWS = (
    Check("F2", "autoencoder", "8x8 digits, 8 numbers: explained", "principal components", 0.0, _components, gain=True),
    Check("F3", "vq_vae", "8x8 digits, 4 codes of 5 bits: explained", "k-means of patches", 0.0, _patches, gain=True),
    Check("F3 perplexity", "vq_vae", "8x8 digits: perplexity of codes / 32", "one code", 0.25, _perplexity),
    Check("F4", "vq_vae", "8x8 digits: bits a code, unigram", "the prior's, to be below", 0.0, _bits, gain=True),
    Check("F6", "iwae", "binary digits: 500-sample bound, nats", "the VAE's", 0.5, _importance, gain=True, seeds=5),
    Check("F9", "adversarial_autoencoder", "8x8 digits: p of MMD, codes and prior", "plain codes", 0.05, _aggregated),
)
