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
