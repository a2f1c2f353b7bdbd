"""Checks of the flow of images, on 8x8 digits of 17 shades."""

from __future__ import annotations

import functools
import math
import statistics
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.spec import DataSpec
from ganlib.metrics.detection import auroc
from ganlib.testing.problems import digits
from ganlib.testing.toys.flow import gaussian_bits


@functools.cache
def _flow(seed: int) -> tuple[Any, Tensor, Tensor]:
    """A trained flow, its training images and held-out ones."""
    train, test = digits(seed)[0], digits(seed, "test")[0]
    options = {"flow_steps": 4, "shades": 17, "score": "typicality"}
    model, _ = fit("glow_images", DataSpec.image(1, 8, 8), {"x": train}, seed, 400, 64, 0.99, **options)
    return model.eval(), train, test


def _bits(seed: int) -> Figures:
    """Bits a dimension of held-out digits under a Gaussian with full covariance; baseline: under the flow."""
    model, train, test = _flow(seed)
    with torch.no_grad():
        bits = float(model.bits(test, torch.Generator().manual_seed(seed)).mean())
    return gaussian_bits(train, test, seed), bits


def _exact(seed: int) -> Figures:
    """-log10 of the largest error of the inverse; baseline: of the log-determinant against the Jacobian's."""
    model, _, test = _flow(seed)
    with torch.no_grad():
        inverse = float((model.inverse(model.flow(test)[0]) - test).abs().max())
    gaps = []
    for image in test[:8]:
        jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None])[0][0], image).flatten(1)
        gaps.append(float((model.flow(image[None])[1].detach() - torch.linalg.slogdet(jacobian).logabsdet).abs()))
    return -math.log10(inverse), -math.log10(max(gaps))


def _smooth(seed: int) -> Figures:
    """AUROC of -log p(x) for blurred held-out digits and constant images against held-out digits, mean of the two;
    baseline: of typicality. Below 0.5, what is off the distribution is more likely than what is on it."""
    model, _, test = _flow(seed)
    shades = torch.linspace(-1, 1, 17).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    blurred = torch.nn.functional.avg_pool2d(test, 3, 1, 1, count_include_pad=False)
    found: list[Figures] = []
    for other in (blurred, shades):
        odd = torch.arange(len(test) + len(other)) >= len(test)
        both = torch.cat([test, other])
        with torch.no_grad():
            found.append((auroc(-model.log_prob(both), odd), auroc(model.scorer()(both), odd)))
    return statistics.mean(f for f, _ in found), statistics.mean(b for _, b in found)


ROWS = (
    Check("F5 images", "glow_images", "8x8 digits: bits a dimension, full Gaussian's", "the flow's, to be below", 0.0,
          _bits, gain=True, worst=True),
    Check("F5 exact", "glow_images", "8x8 digits: -log10 of the inverse's error", "of the log-determinant's", 5.0,
          _exact, worst=True),
    Check("F5 smooth", "glow_images", "blurred digits, constant images: AUROC of -log p", "of typicality", 0.5,
          _smooth, finding=True),
)  # fmt: skip
