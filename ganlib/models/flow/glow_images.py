"""Glow for images: an invertible network at several scales, with exact likelihood of dequantised pixels.

Paper: Kingma & Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039, 2018.

Idea: an image x is mapped to z = f(x), one number for each value of x, and

    log p(x) = log N(f(x); 0, I) + sum over layers log |det df_i|                             (equation 6)

At each scale (figure 2b) every 2 x 2 block of pixels becomes channels, ``flow_steps`` steps follow, and half of the
channels leave as part of z: they are shifted and scaled by a network of the other half, which goes on to the next
scale. A step (figure 2a) is ActNorm for each channel; a 1x1 convolution W; and an affine coupling of channels, whose
networks are convolutions. W = P L (U + diag(s)) with a fixed permutation P (equation 10), so that

    log |det| = height · width · sum log |s|                                                  (equation 11)

Pixels are whole numbers, whose density has no bound. Training adds uniform noise u as wide as the distance between two
shades, and the density of x + u bounds the probability of the pixels (Theis et al., arXiv 1511.01844):

    log P(x) >= E_u log p(x + u) + d · log(2 / (shades - 1))        for pixels in [-1, 1]

``bits`` gives that bound in bits a dimension.
Shapes: x ``(n, c, h, w)`` with even sides; z ``(n, c · h · w)``.
Defaults: Adam 1e-3; the paper's networks (3x3, 1x1, 3x3, the last one zero at first) of width 32, where the paper has
512, with 4 steps at each of two scales (the authors' code: 32 steps at each of three for 32 x 32 images).
Deviations: coupling scales are bounded by tanh, as in ``flow``, where the authors' code has a sigmoid; no ActNorm
within the networks; Adam, not Adamax, without a warm-up. The number of scales falls to what the sides allow.
The score is -log p(x) without noise; ``score="typicality"`` is its distance from the mean over training batches.

Use it for: exact likelihoods of images, in bits a dimension, and samples from the same model; small images of 8 to 32
pixels a side on a CPU.

Not for: detection by ``score="likelihood"`` where anomalies are simpler than normal images, as a digit 1 among other
digits: they are more likely. Set ``score="typicality"``, or use `gaussian_mixture`. Sharp images: use `dcgan`.

Symbols:
    x + u              GlowImages.noisy
    f, log |det|       Invertible.flow
    inverse of f       Invertible.inverse
    one scale          Scale
    log P(x)           GlowImages.bits
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganlib.config import Count
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.models.flow.flow import Invertible, Layer, LikelihoodConfig
from ganlib.models.flow.image_layers import Scale
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses

_MEMORY = 0.02


@dataclass(frozen=True, kw_only=True)
class GlowImagesConfig(LikelihoodConfig):
    """``flow_steps``: steps at each scale; ``scales``: at most so many; ``width``: channels of the couplings;
    ``shades``: values a pixel can have."""

    flow_steps: Count = 4
    scales: Count = 2
    width: Count = 32
    shades: Count = 256


@register(
    "glow_images",
    config=GlowImagesConfig,
    modalities=("image",),
    paper="Kingma & Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039, 2018",
)
class GlowImages(Invertible):
    """ActNorm, 1x1 convolution and affine coupling at several scales."""

    config: GlowImagesConfig

    def __init__(self, spec: DataSpec, config: GlowImagesConfig) -> None:
        if any(side % 2 for side in spec.shape[1:]):
            raise ConfigError(
                "glow_images halves both sides of an image, so both must be even; these images are "
                f"{' x '.join(map(str, spec.shape[1:]))}: crop, pad or resize them"
            )
        if config.shades < 2:
            raise ConfigError("shades must be at least 2: 256 for 8-bit pixels, 2 for black and white")
        super().__init__(spec, config)
        self.cell = 2 / (config.shades - 1)

    def build(self) -> Sequence[Layer]:
        """One layer, which holds the scales: as many as the sides can be halved."""
        possible = next(k for k in range(1, 64) if any(side % 2 ** (k + 1) for side in self.spec.shape[1:]))
        draw = torch.Generator().manual_seed(1807)
        scales = min(self.config.scales, possible)
        return [Scale(self.spec.shape, scales, self.config.flow_steps, self.config.width, draw)]

    def noisy(self, batch: Batch) -> Tensor:
        """The batch's images with uniform noise, as wide as the distance between two shades."""
        return batch.x + self.cell * (batch.rand(*self.spec.shape) - 0.5)

    def loss(self, batch: Batch) -> Losses:
        """Negative log-likelihood of the images with noise, nats per image."""
        value = -batch.mean(self.log_prob(self.noisy(batch)))
        if self.training and self.config.score == "typicality":
            with torch.no_grad():  # what is scored has no noise
                self.usual.lerp_(-batch.mean(self.log_prob(batch.x)), _MEMORY)
        return Losses(nll=value)

    def bits(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Upper bound on the bits a dimension of images, ``(n,)``, with one draw of the noise."""
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 0.5
        nats = -self.log_prob(x + self.cell * noise) / self.spec.dim - math.log(self.cell)
        return nats / math.log(2)

    def sampler(self) -> Sampler:
        """Noise through the inverse."""
        return ImageSampler(self.frozen()).eval()


class ImageSampler(Sampler):
    """The inverse, ``z (n, c · h · w)`` to images in [-1, 1]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.latent_dim = model, model.spec.dim

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        return self.model.inverse(z).clamp(-1, 1)
