"""AnoGAN: anomalies are examples that no latent of a trained GAN generates, found by search.

Paper: Schlegl et al., Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery,
arXiv 1703.05921, 2017.

    z* = argmin_z  (1 - w) · sum |x - G(z)| + w · sum |f(x) - f(G(z))|        (equations 2, 4 and 5)

found by gradient steps from z ~ N(0, I); the score of x is the minimum. f are the critic's last hidden features.
The search takes as long as training on each batch again, so the method is for research: no registry entry, nothing
sealed. ``egbad`` replaces the search by an encoder.
Defaults: w 0.1 and 500 steps are the paper's; Adam with rate 0.05 is ours (unverified in the paper).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganlib.errors import ConfigError


def search_scores(
    model: Any, x: Tensor, *, steps: int = 500, weight: float = 0.1, learning_rate: float = 0.05, seed: int = 0
) -> Tensor:
    """AnoGAN's scores ``(n,)`` of examples ``(n, *shape)``; high for anomalous ones.

    ``model`` is a trained GAN without conditions, whose examples are numbers, pixels or series. Each example's search
    is its own; equal ``seed`` and row give equal scores. ``steps`` at least 1, ``weight`` in [0, 1].
    Raises ConfigError on other models and options.
    """
    if steps < 1 or not 0 <= weight <= 1 or not learning_rate > 0:
        raise ConfigError(
            f"steps ({steps}) is at least 1, weight ({weight}) in [0, 1] and learning_rate ({learning_rate}) above 0"
        )
    critic: Any = getattr(model, "critic", None)
    if not hasattr(critic, "features") or not hasattr(model, "sampler"):
        raise ConfigError(f"{type(model).__name__} has no generator and critic with features to search in: give a GAN")
    if model.spec.condition or any(block.kind != "number" for block in model.spec.blocks):
        raise ConfigError("the search is for GANs without classes or attributes, and for numbers, images and series")
    sampler = model.sampler().requires_grad_(False)
    start = torch.randn(len(x), sampler.latent_dim, generator=torch.Generator().manual_seed(seed))
    z = start.to(x.device).requires_grad_()
    optimiser = torch.optim.Adam([z], learning_rate)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            seen = critic.features(x, None)

        def loss() -> Tensor:
            made = sampler(z)
            gap = (x - made).abs().flatten(1).sum(1)
            return (1 - weight) * gap + weight * (seen - critic.features(made, None)).abs().flatten(1).sum(1)

        for _ in range(steps):
            (gradient,) = torch.autograd.grad(loss().sum(), z)
            z.grad = gradient
            optimiser.step()
        with torch.no_grad():
            return loss()
    finally:
        model.train(training)
