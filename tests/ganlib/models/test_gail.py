"""GAIL walks in any environment of gymnasium's protocol."""

import pytest
import torch

from ganlib.data.spec import DataSpec, Vector
from ganlib.errors import ConfigError
from ganlib.registry import create
from ganlib.testing.toys.dynamics import Grid

HERE = f"{__name__}:"


class Count:
    """A counter that ends at 3, or is cut off after ``limit`` steps: 1 goes up, 0 stays."""

    limit = 5

    def reset(self, *, seed=None):
        self.count, self.steps = seed % 2, 0
        return [float(self.count), 0.5], {}

    def step(self, action):
        self.count, self.steps = self.count + action, self.steps + 1
        return [float(self.count), 0.5], 0.0, self.count == 3, self.steps == self.limit, {}


class Endless(Count):
    limit = -1

    def step(self, action):
        return super().step(0)


def made(environment="tests:", spec=(4,), **config):
    return create("gail", DataSpec.of(Vector(*spec)), environment=environment, **config)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "worlds", sys.modules[__name__])


def test_walks_end_where_the_environment_ends_them():
    model = made("worlds:Count")
    states, actions, moving = model.walk(50, torch.Generator().manual_seed(0))
    assert states.shape == (*actions.shape, 2) and len(states) <= Count.limit and model.actions == 2
    assert set(states[0, :, 0].tolist()) == {0.0, 1.0}
    taken = (actions * moving).sum(0) + states[0, :, 0]
    steps = moving.sum(0)
    assert ((taken == 3) | (steps == Count.limit)).all() and (taken <= 3).all()


def test_a_walk_depends_on_the_generator_alone():
    model = made("worlds:Count")
    first, again, other = (model.walk(20, torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not (first.shape == other.shape and torch.equal(first, other))


@pytest.mark.parametrize(
    ("environment", "spec", "message"),
    [
        ("", (4,), "environment='module:factory'"),
        ("worlds", (4,), "environment='module:factory'"),
        ("worlds:Nothing", (4,), "no environment 'worlds:Nothing'"),
        ("no_such_module:Count", (4,), "No module named"),
        ("worlds:Count", (3,), "2 values and examples 3"),
    ],
)
def test_an_environment_that_does_not_fit_is_named(environment, spec, message):
    with pytest.raises(ConfigError, match=message):
        made(environment, spec)


def test_a_walk_without_end_is_an_error(monkeypatch):
    monkeypatch.setattr("ganlib.models.dynamics.gail._LONGEST", 20)
    with pytest.raises(ConfigError, match="has not ended after 20 steps"):
        made("worlds:Endless").walk(2, torch.Generator().manual_seed(0))


def test_the_grid_follows_the_protocol():
    grid = Grid()
    seen, notes = grid.reset(seed=5)
    assert seen.shape == (25,) and seen.sum() == 1 and notes == {} and (grid.reset(seed=5)[0] == seen).all()
    for step in range(8):
        seen, reward, ended, cut, _ = grid.step(0 if step < 4 else 2)
        if ended:
            break
    assert ended and not cut and reward == -1 and seen[-1] == 1
    grid.reset(seed=0)
    assert [grid.step(1)[3] for _ in range(12)] == [False] * 11 + [True]
