"""One thread everywhere; and the rules of tests that train (docs/internals.md, "Tests")."""

import os

# Two threads on a busy machine cost seconds per step.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")
# Seven more processes for each MLflow server, which no test uses.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

import pytest  # noqa: E402
import torch  # noqa: E402
from torch.optim.optimizer import register_optimizer_step_pre_hook  # noqa: E402

from ganlib.training import Trainer  # noqa: E402

NUDGE = float(os.environ.get("GANLIB_TEST_NUDGE", 0))  # relative change of the first weights, such as 1e-6
MANY = 100  # a test that trains this many steps carries the marker `trained`
steps = 0
fit = Trainer.fit


def before_each_step(optimiser, args, kwargs):
    """Count the step. An optimiser's first one nudges its weights, much as another processor's rounding would."""
    global steps
    steps += 1
    if NUDGE and not hasattr(optimiser, "nudged"):
        optimiser.nudged = True
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weights in (p for group in optimiser.param_groups for p in group["params"]):
                weights.mul_(1 + NUDGE * torch.randn(weights.shape, generator=generator))


def counted_fit(self, *args, **kwargs):
    """A trainer's step counts once, however many updates it makes."""
    global steps
    before = steps
    history = fit(self, *args, **kwargs)
    steps = before + history.steps
    return history


register_optimizer_step_pre_hook(before_each_step)
Trainer.fit = counted_fit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail a test that trains long without the marker: the roundings that may break it would never be tried."""
    before = steps
    result = yield
    if steps - before >= MANY and not (item.get_closest_marker("trained") or item.get_closest_marker("exact")):
        pytest.fail(f"{steps - before} training steps: mark this test with @pytest.mark.trained", pytrace=False)
    return result
