"""Vector autoregression against least squares by NumPy, and its place among the members of a fusion."""

import numpy as np
import pytest
import torch

from ganlib.data.spec import DataSpec
from ganlib.detect.members import MEMBERS
from ganlib.errors import ConfigError
from ganlib.registry import create
from ganlib.testing.toys.baselines import sensors
from ganlib.training import Trainer, TrainerConfig

torch.set_num_threads(1)


def fitted(x, batch_size=256, **options):
    model = create("autoregression", DataSpec.series(*x.shape[1:]), **options)
    Trainer(TrainerConfig(epochs=1, batch_size=batch_size, ema=0.0, device="cpu")).fit(model, {"x": x})
    return model


def test_weights_covariance_and_scores_are_those_of_least_squares():
    x = sensors(512, 0)
    model = fitted(x, lags=2, ridge=1e-6, shrink=0.0, floor=1e-6, power=2.0)
    windows = x.double().numpy()
    past = np.stack([windows[:, :, t - 2 : t].reshape(len(x), -1) for t in range(2, 16)], 1).reshape(-1, 4)
    now = windows[:, :, 2:].transpose(0, 2, 1).reshape(-1, 2)
    design = np.hstack([past, np.ones((len(past), 1))])
    weights = np.linalg.lstsq(design, now, rcond=None)[0]
    error = now - design @ weights
    covariance = error.T @ error / len(error)
    assert model.weights.detach().numpy() == pytest.approx(weights, abs=1e-3)
    assert model.covariance.numpy() == pytest.approx(covariance, abs=1e-3)
    distances = (error @ np.linalg.inv(covariance) * error).sum(1).reshape(len(x), 14) / 2
    wanted = np.sqrt((distances**2).mean(1))
    assert model.scorer()(x).detach().numpy() == pytest.approx(wanted, rel=0.02)


def test_several_batches_give_the_fit_of_one():
    x = sensors(500, 1)
    one, several = fitted(x, 500), fitted(x, 100)
    assert torch.allclose(one.weights, several.weights, atol=1e-4)
    assert torch.allclose(one.covariance, several.covariance, atol=1e-4)


def test_scores_of_distant_windows_do_not_saturate():
    x = sensors(500, 2)
    scorer = fitted(x, power=8.0).scorer()
    scores = torch.stack([scorer(x[:1] * size)[0] for size in (1.0, 1e3, 1e6)])
    assert bool(scores.isfinite().all()) and bool((scores.diff() > 0).all())
    assert bool(scorer(torch.zeros(1, 2, 16)).isfinite().all())


def test_short_windows_use_half_their_length_and_many_channels_are_an_error():
    assert create("autoregression", DataSpec.series(1, 6), lags=5).lags == 3
    with pytest.raises(ConfigError, match="take fewer lags or channels"):
        create("autoregression", DataSpec.series(500, 64), lags=5)


@pytest.mark.parametrize(("shape", "reason"), [((2, 16), ""), ((1, 140), "one channel"), ((500, 64), "too many")])
def test_a_fusion_forecasts_several_channels_only(shape, reason):
    member = next(m for m in MEMBERS["series"] if m.model == "autoregression")
    options = member.options(DataSpec.series(*shape), 400)
    assert reason in options if reason else options == {}
