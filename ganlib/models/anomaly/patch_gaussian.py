"""Gaussians of local features, one at each place of an image, over convolutions that are not trained.

Idea: features f_p of the patch at place p say what it looks like; over normal images each place has its own Gaussian:

    d_p(x)² = (f_p - m_p)' S_p^-1 (f_p - m_p),   S_p = (n·C_p + a·C) / (n + a) + floor·I
    score: (mean over places of (d_p² / channels)^q)^(1/q), between mean (q = 1) and maximum (q without bound)

C_p is the covariance at place p, C its mean over all places, n the number of images and a = 2 · channels.
Shapes: x ``(n, c, h, w)``; features ``(n, channels, h/4, w/4)``, each over its deviation across all places.
Features: 7x7 filters drawn at random with mean 0 and length 1, absolute values, averages of 2x2, 3x3 filters over
them, absolute values, averages of 2x2, then of the 3x3 places around each. Random filters answer to edges and textures
of all directions, and need no weights from elsewhere.

Source: Defard et al., PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization, ICPR
Workshops 2021. Deviations: random filters instead of a network trained on ImageNet; covariances shrunk towards their
mean; a power mean over places instead of the maximum, which one noisy place decides.

Use it for: small defects in images that show the same thing at the same place, from tens of images, in seconds.

Not for: objects at any place and in any pose; use `principal_mixture` or `ganomaly`.

Symbols:
    f_p     PatchGaussian.features
    m_p     PatchGaussian.means
    C_p     PatchGaussian.second, less the means' products
    d_p²    PatchMap
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import wide
from ganlib.models.anomaly.networks import check_patches
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_LEAST_CHANNELS = 16
_LARGEST = 1e4  # squared distance whose power is finite in float32
_MOST = 6_000_000  # values of all covariances, which a sealed file holds


@dataclass(frozen=True, kw_only=True)
class PatchGaussianConfig(Config):
    """``filters`` of the first layer; ``channels`` of the second, None: as many as a file can hold, at most 48;
    ``power``: q; ``floor`` of variances of features, whose deviation is 1."""

    filters: Count = 32
    channels: Count | None = None
    power: Annotated[float, Ge(1), Le(8)] = 4.0
    floor: Rate = 0.01


@register(
    "patch_gaussian",
    config=PatchGaussianConfig,
    modalities=("image",),
    paper="Defard et al., PaDiM, ICPR Workshops 2021",
    # Counting needs one pass, and averages of earlier counts would only lag behind.
    trainer={"epochs": 1, "batch_size": 64, "ema": 0.0},
)
class PatchGaussian(Algorithm):
    """One player: the mean features at each place, set by counting."""

    first: Tensor
    layer: Tensor
    shift: Tensor
    size: Tensor
    rows: Tensor
    second: Tensor

    def __init__(self, spec: DataSpec, config: PatchGaussianConfig) -> None:
        super().__init__()
        channels, height, width = check_patches(spec)
        self.spec, self.config = spec, config
        self.grid = (height // 4, width // 4)
        places = self.grid[0] * self.grid[1]
        most = int((_MOST / places) ** 0.5)
        k = min(48, most) if config.channels is None else config.channels
        if k > most or most < _LEAST_CHANNELS:
            raise ConfigError(
                f"images of {height} x {width} pixels have {places:,} places, and a covariance of {k} x {k} at each is "
                "too much for a file: scale the images down, or divide them"
            )
        drawn = torch.randn(config.filters, channels, 7, 7)
        drawn = drawn - drawn.mean((1, 2, 3), keepdim=True)
        self.register_buffer("first", drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None])
        self.register_buffer("layer", torch.randn(k, config.filters, 3, 3) / (9 * config.filters) ** 0.5)
        self.register_buffer("shift", torch.zeros(places, k))
        self.register_buffer("size", torch.ones(k))
        self.register_buffer("rows", torch.zeros(()))
        self.means = nn.Parameter(torch.zeros(places, k))
        self.register_buffer("second", torch.eye(k).repeat(places, 1, 1))

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"patches": self}

    def optimisers(self) -> dict[str, Optimiser]:
        """A rate without effect: counting replaces the update."""
        return {"patches": Optimiser("adam", 1e-3, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """The mean distance, by counting."""
        return (Phase("patches", self.loss, after=(self.count,)),)

    def features(self, x: Tensor) -> Tensor:
        """Features of each place, ``(n, places, channels)``."""
        return (self._raw(x) - self.shift) / self.size

    def _raw(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.conv2d(wide(x), self.first, padding=3).abs(), 2)
        x = F.avg_pool2d(F.conv2d(x, self.layer, padding=1).abs(), 2)
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Mean at each place and scale of the features, from the first batch: moments about 0 would lose the variance
        of a place that differs from others."""
        with torch.autocast(batch.x.device.type, enabled=False):
            raw = self._raw(batch.x)
            self.shift.copy_(raw.mean(0))
            self.size.copy_(raw.std((0, 1)).clamp_min(1e-6))

    @torch.no_grad()
    def count(self, batch: Batch) -> None:
        """Set means and second moments to those of all batches so far."""
        with torch.autocast(batch.x.device.type, enabled=False):
            f = self.features(batch.x).transpose(0, 1)
            n = f.shape[1]
            rate = n / (self.rows + n)
            before = torch.where(self.rows > 0, self.means, 0.0)
            second = torch.where(self.rows > 0, self.second, 0.0)
            self.rows += n
            self.means.copy_(before + rate * (f.mean(1) - before))
            self.second.copy_(second + rate * (f.transpose(1, 2) @ f / n - second))

    def covariances(self) -> Tensor:
        """S_p of each place, ``(places, channels, channels)``."""
        own = self.second - self.means[:, :, None] * self.means[:, None]
        if self.rows == 0:
            own = self.second
        prior = 2.0 * own.shape[1]
        eye = torch.eye(own.shape[1], device=own.device)
        return (self.rows * own + prior * own.mean(0)) / (self.rows + prior) + self.config.floor * eye

    def loss(self, batch: Batch) -> Losses:
        """Mean squared distance of features to the means."""
        with torch.autocast(batch.x.device.type, enabled=False):
            return Losses(distance=(self.features(batch.x) - self.means).square().mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out images."""
        return self.loss(batch).total

    def couples_batch(self) -> str:
        """The counts are of the process's own batches."""
        return "the counts are of the process's own batches"

    def scorer(self) -> nn.Module:
        """Power mean of the distances."""
        return PatchScore(self).eval()

    def locator(self) -> nn.Module:
        """The distances."""
        return PatchMap(self).eval()


class PatchMap(nn.Module):
    """``(n, c, h, w) -> (n, h/4, w/4)``: mean over channels of the squared distance at each place, near 1 on normal
    images."""

    whiteners: Tensor

    @torch.no_grad()
    def __init__(self, model: PatchGaussian) -> None:
        super().__init__()
        self.model = model
        factors = torch.linalg.cholesky(model.covariances().double())
        eye = torch.eye(factors.shape[1], dtype=torch.float64, device=factors.device).expand_as(factors)
        self.register_buffer("whiteners", torch.linalg.solve_triangular(factors, eye, upper=False).float())

    def forward(self, x: Tensor) -> Tensor:
        """Score places."""
        gap = (self.model.features(x) - self.model.means).transpose(0, 1)
        distances = (gap @ self.whiteners.transpose(1, 2)).square().mean(2).T
        return distances.reshape(len(x), *self.model.grid)


class PatchScore(nn.Module):
    """``(n, c, h, w) -> (n,)``: power mean of the squared distances."""

    def __init__(self, model: PatchGaussian) -> None:
        super().__init__()
        self.map, self.power = PatchMap(model), model.config.power

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        power = self.power
        return self.map(x).reshape(len(x), -1).clamp(max=_LARGEST).pow(power).mean(1).pow(1 / power)
