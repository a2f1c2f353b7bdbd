"""A Gaussian and a mixture of Gaussians with full covariances, fitted by maximum likelihood.

Source: Bishop, Pattern Recognition and Machine Learning, 2006, sections 2.3.4 and 9.2.

Idea: the density that other models must beat,

    p(x) = sum_k pi_k · N(x; m_k, S_k),   maximise E log p(x);   score: -log p(x) in nats

Shapes: x ``(n, *shape)``, flattened to d values.
Defaults: one component is ``gaussian``, eight are ``gaussian_mixture``. One Gaussian is set, after each update, to mean
and covariance of all batches so far, plus ``floor``. Deviations: a mixture's precisions are held by their Cholesky
factors and fitted by Adam instead of EM, or with ``updates="em"`` by EM on batches (Cappe & Moulines, On-line EM
Algorithm for Latent Data Models, JRSS B 71, 2009), so that training, resuming and sealing are as for every model. Its
means start at examples of the first batch spread by k-means++, its factors at the batch's covariance (for EM at the
moments of ten rounds of k-means). The diagonal of the factors is bounded by 1/sqrt(floor), against components that
shrink to one example; EM adds ``floor`` to the variances as well.

Use it for (gaussian): the baseline that every detector and generator should beat, fitted in closed form. On digits of
an unseen class it had AUROC .756 (PCA .761).

Not for (gaussian): data that bend or fall into groups: `gaussian_mixture`, `kernel_density`, `realnvp`. Images:
`ganomaly` (.845 on the same digits).

Use it for (gaussian_mixture): densities of a few groups with full covariances, exact samples included.

Not for (gaussian_mixture): thin curved shapes, which need many components: `realnvp` or `glow`. Images: a covariance of
all pixels by component; use `cvae` or `vq_vae`.

Symbols:
    pi_k      Mixture.log_weights
    m_k       Mixture.means
    S_k       Mixture.factors
    p(x)      Mixture.log_prob
    floor     MixtureConfig.floor
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import log_sum_exp, wide
from ganlib.models.baselines.density import Density
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Phase

_FORGETTING = 0.6  # of the moments of several components; in (0.5, 1]
_LEAST_SHARE = 1e-4
MODALITIES = ("points", "table", "image", "series")


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(Config):
    """``components`` of the mixture; ``floor`` of variances.

    ``updates``: of several components, by gradients (``adam``) or by expectation maximisation on batches (``em``).
    """

    components: Count = 1
    updates: Literal["adam", "em"] = "adam"
    floor: Rate = 1e-4
    learning_rate: Rate = 1e-2


class MixtureSampler(Sampler):
    """``z (n, 1 + d)``: the component by the first value, the example by the others."""

    edges: Tensor
    means: Tensor
    roots: Tensor

    def __init__(self, model: Mixture) -> None:
        super().__init__()
        self.shape, self.latent_dim = model.spec.shape, 1 + model.spec.dim
        self.register_buffer("edges", model.log_weights().exp().cumsum(0)[:-1].detach().clone())
        self.register_buffer("means", model.means.detach().clone())
        self.register_buffer("roots", torch.linalg.inv(model.factors().detach().double()).float())

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        u = 0.5 * (1 + torch.erf(z[:, :1] / math.sqrt(2)))
        component = (u > self.edges).sum(1)
        x = self.means[component] + (self.roots[component] @ z[:, 1:, None]).squeeze(2)
        return x.unflatten(1, self.shape)


@register(
    "gaussian",
    config=MixtureConfig,
    modalities=MODALITIES,
    paper="Bishop, Pattern Recognition and Machine Learning, section 2.3.4, 2006",
    # The moments of one pass are those of all examples.
    trainer={"epochs": 1, "ema": 0.0},
)
@register(
    "gaussian_mixture",
    config=MixtureConfig,
    modalities=MODALITIES,
    paper="Dempster, Laird & Rubin, Maximum Likelihood from Incomplete Data, 1977; Bishop, section 9.2, 2006",
    defaults={"components": 8, "floor": 1e-3},
)
class Mixture(Density):
    """One player: weights, means and Cholesky factors of precisions."""

    config: MixtureConfig
    below: Tensor
    shares: Tensor
    batches: Tensor
    first_moment: Tensor
    second_moment: Tensor
    diagonal: Tensor

    def __init__(self, spec: DataSpec, config: MixtureConfig) -> None:
        super().__init__(spec, config)
        k, d = config.components, spec.dim
        self._counts = k == 1 or config.updates == "em"
        self.logits = nn.Parameter(torch.zeros(k), requires_grad=k > 1)
        self.means = nn.Parameter(torch.randn(k, d))
        self.lower = nn.Parameter(torch.zeros(k, d, d))
        self.log_diagonal = nn.Parameter(torch.zeros(k, d))
        self.register_buffer("batches", torch.zeros(()))
        counted = k if self._counts else 0
        self.register_buffer("shares", torch.zeros(counted))
        self.register_buffer("first_moment", torch.zeros(counted, d))
        self.register_buffer("second_moment", torch.zeros(counted, d, d))
        self.register_buffer("below", torch.ones(d, d).tril(-1), persistent=False)
        self.register_buffer("diagonal", torch.eye(d), persistent=False)

    def log_weights(self) -> Tensor:
        """Log-weights ``(k,)``."""
        return torch.log_softmax(self.logits, 0)

    def _log_scale(self) -> Tensor:
        return self.log_diagonal.clamp(max=-0.5 * math.log(self.config.floor))

    def factors(self) -> Tensor:
        """Lower Cholesky factors of the precisions, transposed products ``S^-1 = L' L``: ``(k, d, d)``."""
        return self.lower * self.below + self._log_scale().exp()[:, :, None] * self.diagonal

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Means spread over the first batch, and its covariance."""
        x, k = wide(batch.x).flatten(1), len(self.means)
        covariance = torch.cov(x.T).reshape(x.shape[1], -1) + self.config.floor * torch.eye(x.shape[1], device=x.device)
        if k == 1:
            centres = x.mean(0, keepdim=True)
        else:
            chosen = x[:1]
            for _ in range(k - 1):
                nearest = torch.cdist(x, chosen).square().min(1).values
                edges = nearest.cumsum(0) / nearest.sum().clamp_min(1e-12)
                u = torch.rand(1, generator=batch.generator, device=x.device)
                chosen = torch.cat([chosen, x[(edges < u).sum().clamp(max=len(x) - 1)][None]])
            centres = chosen
            covariance = covariance / k ** (2 / x.shape[1])
        self._set(centres, covariance)
        if k > 1 and self._counts:
            self._absorb(x, _nearest(x, centres), 1.0)

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood; of one Gaussian in closed form."""
        return (Phase("density", self.loss, after=(self.settle,) if self._counts else ()),)

    @torch.no_grad()
    def settle(self, batch: Batch) -> None:
        """Set weights, means and covariances by running moments of all batches so far, each row shared among the
        components by their posterior probabilities."""
        with torch.autocast(batch.x.device.type, enabled=False):
            x, k = wide(batch.x).flatten(1), len(self.means)
            self.batches += 1
            # One component's moments are plain means; of several, early batches were shared by early components.
            rate = 1 / self.batches if k == 1 else (self.batches + 1) ** -_FORGETTING
            self._absorb(x, torch.softmax(self._log_parts(x), 1), rate)

    def _absorb(self, x: Tensor, posterior: Tensor, rate: float | Tensor) -> None:
        """Move the moments by ``rate`` to those of rows with their shares ``(n, k)``, and set the density by them."""
        self.shares += rate * (posterior.mean(0) - self.shares)
        self.first_moment += rate * (posterior.T @ x / len(x) - self.first_moment)
        second = (posterior.T[:, :, None] * x).transpose(1, 2) @ x / len(x)
        self.second_moment += rate * (second - self.second_moment)
        shares = self.shares.clamp_min(_LEAST_SHARE)
        means = self.first_moment / shares[:, None]
        spread = self.second_moment / shares[:, None, None] - means[:, :, None] * means[:, None]
        self._set(means, spread + self.config.floor * self.diagonal)
        if len(means) > 1:
            self.logits.copy_(shares.log())

    def couples_batch(self) -> str:
        """The moments, if there are any."""
        return "the moments are of the process's own batches" if self._counts else ""

    def _set(self, centres: Tensor, covariance: Tensor) -> None:
        factor = torch.linalg.inv(torch.linalg.cholesky(covariance.double())).float()
        self.means.copy_(centres)
        self.lower.copy_(torch.tril(factor, -1).expand_as(self.lower))
        self.log_diagonal.copy_(factor.diagonal(dim1=-2, dim2=-1).log().expand_as(self.log_diagonal))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, ``(n,)``."""
        with torch.autocast(x.device.type, enabled=False):
            return log_sum_exp(self._log_parts(wide(x).flatten(1)))

    def _log_parts(self, x: Tensor) -> Tensor:
        """Log-weight plus log-density of each component, ``(n, k)``."""
        gap = x[:, None] - self.means
        white = gap.transpose(0, 1) @ self.factors().transpose(1, 2)
        logs = self._log_scale().sum(1) - 0.5 * (white.square().sum(2).T + gap.shape[2] * math.log(2 * math.pi))
        return self.log_weights() + logs

    def sampler(self) -> Sampler:
        """Exact samples."""
        return MixtureSampler(self).eval()


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    """Each row's centre after ten rounds of k-means, one-hot ``(n, k)``."""
    for _ in range(10):
        own = nn.functional.one_hot(torch.cdist(x, centres).argmin(1), len(centres)).to(x)
        counts = own.sum(0)[:, None]
        centres = torch.where(counts > 0, own.T @ x / counts.clamp_min(1), centres)
    return own
