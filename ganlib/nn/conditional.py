"""Class-conditional networks, and a latent prior per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.errors import ConfigError
from ganlib.nn.gaussian import normal_cdf

if TYPE_CHECKING:
    from ganlib.data.spec import DataSpec
    from ganlib.training.algorithm import Batch


def condition_of(spec: DataSpec, batch: Batch) -> Tensor:
    """One-hot classes and attributes of a batch, ``(n, spec.condition)``."""
    parts = [F.one_hot(batch.y, spec.classes).to(batch.x.dtype)] if spec.classes else []
    return torch.cat([*parts, *([batch["c"]] if spec.attributes else [])], 1)


def where_wrong(scores: Tensor, differs: Tensor) -> Tensor:
    """Scores ``(n, k)`` under wrong conditions, without gradient in rows where ``differs (n,)`` is False."""
    return torch.where(differs.unsqueeze(1), scores, scores.detach())


def differ(wrong: Tensor, right: Tensor) -> Tensor:
    """Which of the conditions ``(n, ...)`` are not equal, ``(n,)``."""
    return (wrong != right).flatten(1).any(1)


class ClassPrior(nn.Module):
    """p(z|y) for sampling: ``m_y + L_y · noise``, N(0, I) until fitted.

    ``fit`` takes posterior means and variances of the training rows. The covariance of class c is

        S_c = (n_c · C_c + v · C) / (n_c + v),   C_c = cov of means + mean posterior variance,   C = pooled

    (the posterior mean of an inverse Wishart model centred on C). The strength v is chosen per class from ``GRID`` by
    leave-one-out likelihood of the class's rows. Only m_y and L_y are stored, not the posteriors of rows.
    """

    GRID = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
    LEAVE_ONE_OUT = 100

    mean: Tensor
    factor: Tensor

    def __init__(self, classes: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.register_buffer("mean", torch.zeros(classes, latent_dim))
        self.register_buffer("factor", torch.eye(latent_dim).repeat(classes, 1, 1))

    def forward(self, noise: Tensor, y: Tensor) -> Tensor:
        """Latent draws ``(n, latent_dim)`` for classes ``y`` from standard normal noise ``(n, noise_dim)``."""
        return self.mean[y] + (self.factor[y] @ noise.unsqueeze(2)).squeeze(2)

    @torch.no_grad()
    def fit(self, mean: Tensor, variance: Tensor, y: Tensor) -> None:
        """Fit to posterior means and variances ``(n, latent_dim)`` of labelled rows."""
        mean, variance = mean.double(), variance.double()
        classes = [int(c) for c in torch.unique(y)]
        own = {c: _covariance(mean[y == c], variance[y == c]) for c in classes}
        counts = {c: int((y == c).sum()) for c in classes}
        # A class of one row has no spread and does not contribute to the pooled covariance.
        lenders = [c for c in classes if counts[c] > 1] or classes
        weight = {c: counts[c] ** 0.5 for c in lenders}
        pooled = sum(weight[c] * own[c] for c in lenders) / sum(weight.values())
        for c in classes:
            strength = self._strength(mean[y == c], variance[y == c], pooled)
            share = counts[c] / (counts[c] + strength) if counts[c] > 1 else 0.0
            covariance = share * own[c] + (1 - share) * pooled
            self.mean[c] = mean[y == c].mean(0)
            self.factor[c] = torch.linalg.cholesky(covariance + 1e-6 * torch.eye(len(pooled)))

    def _strength(self, mean: Tensor, variance: Tensor, pooled: Tensor) -> float:
        """The strength of the grid with the highest leave-one-out likelihood."""
        n = len(mean)
        if n < 3:
            return self.GRID[-1]
        rows = torch.linspace(0, n - 1, min(n, self.LEAVE_ONE_OUT), dtype=torch.float64).long()
        gap = mean[rows] - mean.mean(0)
        squares = (mean - mean.mean(0)).T @ (mean - mean.mean(0))
        # Remove one row from the sums instead of summing again.
        rest = squares - n / (n - 1) * gap.unsqueeze(2) * gap.unsqueeze(1)
        spread = (variance.sum(0) - variance[rows]) / (n - 1)
        own = rest / (n - 2) + torch.diag_embed(spread)
        gap = gap * n / (n - 1)
        scores = {}
        for strength in self.GRID:
            share = (n - 1) / (n - 1 + strength)
            covariance = share * own + (1 - share) * pooled + 1e-6 * torch.eye(len(pooled))
            scores[strength] = float(_log_density(gap, variance[rows], covariance).sum())
        return max(scores, key=lambda s: scores[s])


class MixturePrior(ClassPrior):
    """p(z|y) as a mixture of Gaussians per class, for classes of many rows with non-Gaussian latents.

    An additional noise dimension selects the component. A class gets one component per ``ROWS`` rows, at most
    ``components``; with one component it is fitted like ``ClassPrior``. The mixture is scikit-learn's, fitted to one
    sample from each row's posterior.
    """

    ROWS = 50

    upto: Tensor

    def __init__(self, classes: int, latent_dim: int, components: int) -> None:
        super().__init__(classes, latent_dim)
        self.noise_dim, self.components = latent_dim + 1, components
        self.mean = torch.zeros(classes, components, latent_dim)
        self.factor = torch.eye(latent_dim).repeat(classes, components, 1, 1)
        self.register_buffer("upto", torch.ones(classes, components))

    def forward(self, noise: Tensor, y: Tensor) -> Tensor:
        """Sample latents; the last column of noise selects the component by weight."""
        chance = normal_cdf(noise[:, -1:])
        chosen = y * self.components + (chance > self.upto[y][:, :-1]).sum(1)
        factor = self.factor.flatten(0, 1)[chosen]
        return self.mean.flatten(0, 1)[chosen] + (factor @ noise[:, :-1].unsqueeze(2)).squeeze(2)

    @torch.no_grad()
    def fit(self, mean: Tensor, variance: Tensor, y: Tensor) -> None:
        """Fit to posterior means and variances ``(n, latent_dim)`` of labelled rows."""
        from sklearn.mixture import GaussianMixture

        single = ClassPrior(len(self.mean), mean.shape[1])
        single.fit(mean, variance, y)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        draws = mean.double() + variance.double().sqrt() * noise
        for c in [int(c) for c in torch.unique(y)]:
            rows = draws[y == c]
            count = min(self.components, max(1, len(rows) // self.ROWS))
            self.upto[c] = 1.0
            self.mean[c], self.factor[c] = single.mean[c], single.factor[c]
            if count == 1:
                continue
            found = GaussianMixture(count, reg_covar=1e-3, random_state=0).fit(rows.numpy())
            self.upto[c, :count] = torch.tensor(found.weights_).cumsum(0)
            self.mean[c, :count] = torch.tensor(found.means_, dtype=torch.float32)
            self.factor[c, :count] = torch.linalg.cholesky(torch.tensor(found.covariances_)).float()


def class_prior(spec: DataSpec, latent_dim: int, components: int | None) -> ClassPrior:
    """A Gaussian per class, or a mixture of ``components``; ``None``: one for tables, 30 for images and series.

    Raises ConfigError for fewer than one.
    """
    wanted = (1 if spec.kind == "vector" else 30) if components is None else components
    if wanted < 1:
        raise ConfigError(f"prior_components must be at least 1, not {components}")
    return ClassPrior(spec.classes, latent_dim) if wanted == 1 else MixturePrior(spec.classes, latent_dim, wanted)


def _covariance(mean: Tensor, variance: Tensor) -> Tensor:
    """Covariance of an aggregated posterior."""
    centred = mean - mean.mean(0)
    return centred.T @ centred / max(1, len(mean) - 1) + torch.diag(variance.mean(0))


def _log_density(gap: Tensor, variance: Tensor, covariance: Tensor) -> Tensor:
    """E_q log N(z; 0, covariance) for q = N(gap, diag variance), without constants: ``(n,)`` from ``(n, k, k)``."""
    factor = torch.linalg.cholesky(covariance)
    inverse = torch.cholesky_inverse(factor)
    quadratic = (gap.unsqueeze(1) @ inverse @ gap.unsqueeze(2)).view(-1)
    trace = (inverse.diagonal(dim1=1, dim2=2) * variance).sum(1)
    return -0.5 * (quadratic + trace) - factor.diagonal(dim1=1, dim2=2).log().sum(1)


class Conditioned(nn.Module):
    """A decoder with its prior: standard normal noise and a class index to decoder outputs."""

    def __init__(self, prior: ClassPrior, decode: nn.Module) -> None:
        super().__init__()
        self.prior, self.decode = prior, decode

    def forward(self, noise: Tensor, y: Tensor) -> Tensor:
        """Decoder outputs ``(n, d)``."""
        return self.decode(self.prior(noise, y), y)


class ByClass(nn.Module):
    """Calls a network of ``(x, condition (n, k))`` with class indices, a float condition, or x alone.

    Class indices are ignored if ``classes`` is 0.
    """

    def __init__(self, net: nn.Module, classes: int) -> None:
        super().__init__()
        self.net, self.classes = net, classes

    def condition(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        """Convert ``y`` to a condition of the network."""
        if y is None or y.is_floating_point():
            return y
        return F.one_hot(y, self.classes).to(x.dtype) if self.classes else None

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Run."""
        return self.net(x, self.condition(x, y))
