"""Baselines against closed forms and SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from ganlib.data.spec import DataSpec
from ganlib.registry import create
from ganlib.testing.problems import factor_table
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)


@pytest.mark.trained
def test_the_gaussian_comes_to_the_closed_form_estimate():
    x, held = factor_table(2000, 0), factor_table(1000, 1)
    model = create("gaussian", DataSpec.vector(8))
    Trainer(TrainerConfig(epochs=40, batch_size=200, ema=0.99, device="cpu")).fit(model, {"x": x})
    exact = multivariate_normal(x.mean(0).numpy(), np.cov(x.numpy().T)).logpdf(held.numpy())
    with torch.no_grad():
        assert float(model.log_prob(held).mean()) == pytest.approx(exact.mean(), abs=0.03)


def test_a_mixture_by_hand_and_its_sampler():
    torch.manual_seed(0)
    model = create("gaussian_mixture", DataSpec.vector(2), components=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
        weights = torch.softmax(model.logits, 0).numpy()
        precisions = model.factors().transpose(1, 2) @ model.factors()
        covariances = torch.linalg.inv(precisions.double()).numpy()
        x = 2 * torch.randn(50, 2)
        pairs = list(zip(weights, model.means.numpy(), covariances, strict=True))
        wanted = sum(w * multivariate_normal(m, c).pdf(x.numpy()) for w, m, c in pairs)
        assert np.allclose(model.log_prob(x).exp().numpy(), wanted, rtol=1e-4)
        sampler = model.sampler()
        made = sampler(torch.randn(40_000, sampler.latent_dim)).double().numpy()
    mean = sum(w * m for w, m, _ in pairs)
    spread = sum(w * (c + np.outer(m - mean, m - mean)) for w, m, c in pairs)
    size = np.sqrt(np.diag(spread))
    assert np.allclose((made.mean(0) - mean) / size, 0, atol=0.03)
    assert np.allclose(np.cov(made.T) / np.outer(size, size), spread / np.outer(size, size), atol=0.06)


def test_kernels_by_hand_and_each_example_without_its_own():
    model = create("kernel_density", DataSpec.vector(2), centres=5)
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    model.prepare(Batch({"x": x}))
    model.keep(Batch({"x": torch.cat([x, x[:1]])}))
    assert int(model.kept) == 4  # no example twice
    with torch.no_grad():
        model.log_bandwidth.fill_(-0.5)
        h = float(model.log_bandwidth.exp())
        pdf = np.array([[multivariate_normal(c, h * h * np.eye(2)).pdf(v) for c in x.numpy()] for v in x.numpy()])
        assert np.allclose(model.log_prob(x).exp().numpy(), pdf.mean(1), rtol=1e-4)
        others = (pdf.sum(1) - pdf.diagonal()) / 3
        assert float(model.loss(Batch({"x": x})).total) == pytest.approx(-np.log(others).mean(), rel=1e-4)


def centroids(x, *later, **options):
    """Kernels at centroids after one batch, and after others."""
    model = create("centroid_kernels", DataSpec.vector(x.shape[1]), **options)
    model.prepare(Batch({"x": x}, generator=torch.Generator().manual_seed(0)))
    for batch in (x, *later):
        model.settle(Batch({"x": batch}))
    return model


def test_kernels_at_centroids_by_hand():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    model = centroids(x, partitions=1, rows=20, floor=0.1)
    used = model.counts > 0
    n, centres = model.counts[used].numpy(), model.centres()[used].numpy()
    assert n.sum() == 200 and n.min() >= 5
    # Rows of small groups were divided again, so that a row need not be in the nearest group: squares add up anyway.
    assert float(model.sums.sum()) == pytest.approx(float(x.sum()), rel=1e-4)
    total = float(model.squares.sum()) + float((model.counts * model.centres().square().sum(1)).sum())
    assert total == pytest.approx(float(x.square().sum()), rel=1e-5)
    own = model.squares[used].numpy() / n / 3
    common = (own * n).sum() / (n.sum() - len(n))
    variances = (n * own + 5 * common) / (n + 4) * (1 + 1 / n) + 0.1
    kernels = zip(n, centres, variances, strict=True)
    wanted = sum(w / 200 * multivariate_normal(c, v * np.eye(3)).pdf(x.numpy()) for w, c, v in kernels)
    with torch.no_grad():
        assert np.allclose(model.log_prob(x).exp().numpy(), wanted, rtol=1e-4)
        assert torch.allclose(model.scorer()(x), -model.log_prob(x), atol=1e-5)


@pytest.mark.parametrize("shape", ["far", "few", "equal", "ties"])
def test_no_group_is_smaller_than_five_rows(shape):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, generator=g)
    x = {
        "far": torch.cat([x, 50 * torch.randn(23, 4, generator=g)]),
        "few": x[:6],
        "equal": torch.ones(50, 4),
        "ties": x[:20].repeat(10, 1),
    }[shape]
    model = centroids(x)
    counts = model.counts[model.counts > 0]
    assert counts.min() >= 5 and counts.sum() == 4 * len(x)
    assert torch.isfinite(model.log_prob(10 * x)).all()


def test_later_batches_join_groups_and_rows_that_come_again_change_nothing():
    g = torch.Generator().manual_seed(0)
    x, more = torch.randn(400, 3, generator=g), 2 + torch.randn(400, 3, generator=g)
    model, again = centroids(x), centroids(x, *[x] * 30)
    # A row of a group that was too small may be nearer to another one.
    assert float((model.log_prob(x).mean() - again.log_prob(x).mean()).abs()) < 0.1
    both = centroids(x, more)
    assert both.counts.sum() == 4 * 800
    assert both.log_prob(more).mean() > model.log_prob(more).mean()


def test_one_component_over_leading_directions_is_probabilistic_pca():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 2, generator=g) @ torch.randn(2, 6, generator=g) + 0.3 * torch.randn(4000, 6, generator=g)
    model = create("principal_mixture", DataSpec.vector(6), components=1, leading=2, floor=1e-6)
    model.prepare(Batch({"x": x}, generator=g))
    model.settle(Batch({"x": x}))
    values, vectors = np.linalg.eigh(np.cov(x.double().numpy().T, bias=True))
    rest, lead = values[:4].mean(), vectors[:, 4:]
    covariance = rest * np.eye(6) + lead @ np.diag(values[4:] - rest) @ lead.T
    exact = multivariate_normal(x.mean(0).numpy(), covariance).logpdf(x[:50].numpy())
    with torch.no_grad():
        assert np.allclose(model.log_prob(x[:50]).numpy(), exact, atol=1e-2)


def test_directions_of_wide_examples_are_those_of_the_exact_ones():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 3, generator=g) @ (torch.tensor([9.0, 6.0, 4.0])[:, None] * torch.randn(3, 1100, generator=g))
    x = x + 0.1 * torch.randn(300, 1100, generator=g)
    model = create("principal_mixture", DataSpec.vector(1100), components=1, leading=3)
    model.prepare(Batch({"x": x}, generator=g))
    exact = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:3]
    assert torch.allclose((model.leading.directions @ exact.T).abs().diagonal(), torch.ones(3), atol=1e-3)


@torch.no_grad()
def test_relative_distances_by_hand():
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([9.0, 5.0, 3.0, 0.1, 0.1, 0.1])
    model = create("ldcof", DataSpec.vector(6), leading=3, partitions=2, centroids=16, rows=40)
    model.prepare(Batch({"x": x}, generator=torch.Generator().manual_seed(0)))
    model.settle(Batch({"x": x}))
    z, centres, variances = model.leading(x), model.groups.centres(), model.groups.variances()
    assert z.shape == (300, 3) and float(z.square().mean()) == pytest.approx(1, rel=1e-3)
    wanted = []
    for part in (slice(0, 8), slice(8, 16)):
        used = model.groups.counts[part] > 0
        distances = (z[:, None] - centres[part][used]).square().sum(2)
        wanted.append(distances.amin(1) / (3 * variances[part][used][distances.argmin(1)]))
    assert torch.allclose(model.scorer()(x), sum(wanted) / 2, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_distance_that_is_usual_in_a_loose_group_is_unusual_in_a_tight_one():
    g = torch.Generator().manual_seed(0)
    tight, loose = 0.5 * torch.randn(400, 4, generator=g), 8 + 2 * torch.randn(400, 4, generator=g)
    x = torch.cat([tight, loose])
    model = create("ldcof", DataSpec.vector(4), leading=4, rows=200)
    model.prepare(Batch({"x": x}, generator=g))
    model.settle(Batch({"x": x}))
    step = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    near_tight, near_loose = model.scorer()(step), model.scorer()(8 + step)
    assert float(near_tight) > 3 * float(near_loose)
