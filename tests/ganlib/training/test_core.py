"""The training core: losses, phases, the trainer's guards."""

import dataclasses

import pytest
import torch
from torch import nn

from ganlib.config import Config
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError, DivergenceError
from ganlib.registry import create
from ganlib.training import Algorithm, Batch, Losses, Optimiser, Phase, TensorBatches, Trainer, TrainerConfig
from ganlib.training.config import choose_device
from ganlib.training.optim import rate_factor


class Two(Algorithm):
    """Two scalars pulled towards each other's old value: shows order and simultaneity."""

    def __init__(self, simultaneous=False):
        super().__init__()
        self.a, self.b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.a.weight)
        nn.init.zeros_(self.b.weight)
        self.simultaneous = simultaneous

    def players(self):
        return {"a": self.a, "b": self.b}

    def optimisers(self):
        return dict.fromkeys(("a", "b"), Optimiser("sgd", 0.5, (0.0, 0.0)))

    def phases(self):
        pair = (Phase("a", self.loss), Phase("b", self.loss))
        return (pair,) if self.simultaneous else pair

    def loss(self, batch):
        return Losses(gap=(self.a.weight - self.b.weight).square().sum())


DATA = {"x": torch.zeros(8, 1)}


def one_step(algorithm):
    Trainer(TrainerConfig(steps=1, batch_size=8)).fit(algorithm, DATA)
    return algorithm.a.weight.item(), algorithm.b.weight.item()


def test_phases_in_order_see_each_other():
    # a: 1 - 0.5·2·(1-0) = 0; then b sees a = 0 and stays.
    assert one_step(Two()) == (0.0, 0.0)


def test_a_tuple_of_phases_moves_at_once():
    # both gradients at (1, 0): a goes to 0 and b to 1.
    assert one_step(Two(simultaneous=True)) == (0.0, 1.0)


def test_losses_weigh_and_merge():
    a = Losses(weights={"kl": 0.5}, kl=torch.tensor(4.0), mse=torch.tensor(1.0))
    assert a.total.item() == 3.0
    assert (a | Losses(extra=torch.tensor(2.0))).total.item() == 5.0
    with pytest.raises(ConfigError, match="kl"):
        a | Losses(kl=torch.tensor(1.0))
    with pytest.raises(ConfigError, match="nothing"):
        Losses(weights={"nothing": 1.0}, a=torch.tensor(0.0))


def test_memo_lasts_until_its_player_moves():
    batch, calls = Batch(DATA), []
    for _ in range(2):
        batch.once("fake", lambda: calls.append(1), of=("generator",))
    batch.forget(("critic",))
    batch.once("fake", lambda: calls.append(1), of=("generator",))
    assert len(calls) == 1
    batch.forget(("generator",))
    batch.once("fake", lambda: calls.append(1), of=("generator",))
    assert len(calls) == 2


class Exploding(Two):
    def loss(self, batch):
        self.calls = getattr(self, "calls", 0) + 1
        bad = torch.tensor(float("nan")) if self.calls > 20 else torch.tensor(0.0)
        return Losses(falling=self.a.weight.sum() + self.b.weight.sum(), bad=bad * self.a.weight.sum())


def test_nan_names_the_loss_and_restores_the_last_good_weights():
    """Those of the last whole epoch, not those that the step before left."""
    algorithm, ends = Exploding(), []

    class Ends:
        def on_step(self, step, budget, losses):
            if losses is not None:
                ends.append({n: v.clone() for n, v in algorithm.state_dict().items()})

        def on_end(self):
            pass

    # Three steps an epoch, two losses a step: the 21st loss is of the fourth epoch's second step.
    with pytest.raises(DivergenceError, match="'bad' exploded or became non-finite at step 11"):
        Trainer(TrainerConfig(epochs=50, batch_size=8), callbacks=(Ends(),)).fit(algorithm, {"x": torch.zeros(24, 1)})
    assert len(ends) == 3 and all(torch.equal(v, ends[-1][n]) for n, v in algorithm.state_dict().items())


def test_losses_that_explode_without_overflowing_stop_the_training():
    """At a learning rate of 100 a GAN's losses reach 1e17 and stay numbers."""
    algorithm = create("gan", DataSpec.vector(2), learning_rate=100.0)
    x = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DivergenceError, match="(critic|generator)' exploded"):
        Trainer(TrainerConfig(steps=150, batch_size=64)).fit(algorithm, {"x": x})
    assert all(value.abs().max() < 100 for value in algorithm.state_dict().values())


class Watched(Two):
    def validation_loss(self, batch):
        return (self.a.weight - 0.7).abs().sum()

    def phases(self):
        return (Phase("a", self.down),)

    def optimisers(self):
        return {"a": Optimiser("sgd", 0.1, (0.0, 0.0))}

    def down(self, batch):
        return Losses(a=self.a.weight.sum())


def test_early_stopping_keeps_the_best_weights():
    algorithm = Watched()
    config = TrainerConfig(epochs=50, batch_size=8, patience=3)
    history = Trainer(config).fit(algorithm, DATA, DATA)
    assert history.stopped == "patience"
    assert algorithm.a.weight.item() == pytest.approx(0.7, abs=1e-5)
    assert history.best_epoch == 3


def test_average_is_what_is_left():
    algorithm = Watched()
    Trainer(TrainerConfig(epochs=10, batch_size=8, ema=0.5)).fit(algorithm, DATA)
    assert 0.0 < algorithm.a.weight.item() < 1.0


def test_learning_rates_follow_their_schedule():
    def factors(schedule, **options):
        return [rate_factor(schedule, step, 4, **options) for step in range(4)]

    assert factors("constant") == [1, 1, 1, 1]
    assert factors("linear") == [1, 0.75, 0.5, 0.25]
    assert factors("linear", decay_from=0.5) == [1, 1, 1, 0.5]
    assert factors("cosine") == pytest.approx([1, 0.8535534, 0.5, 0.1464466])
    assert factors("constant", warm_up=1) == [0.5, 1, 1, 1]
    # Four steps of 0.1 down a slope of 1 would end at 0.6; by the factors 1, 0.75, 0.5, 0.25 they end at 0.75.
    for schedule, end in (("constant", 0.6), ("linear", 0.75)):
        algorithm = Watched()
        Trainer(TrainerConfig(steps=4, batch_size=8, schedule=schedule)).fit(algorithm, DATA)
        assert algorithm.a.weight.item() == pytest.approx(end)


def test_batches_cover_each_row_once_and_differ_between_epochs():
    batches = TensorBatches({"x": torch.arange(12)}, 4, seed=3)
    first, second = (torch.cat([b["x"] for b in batches.epoch(e)]) for e in (0, 1))
    assert sorted(first.tolist()) == list(range(12))
    assert first.tolist() != second.tolist()
    with pytest.raises(DataError, match="equally long"):
        TensorBatches({"x": torch.zeros(3), "y": torch.zeros(4)}, 2)
    with pytest.raises(DataError):
        TensorBatches({"x": torch.zeros(0)}, 2)


def test_updates_beyond_the_epoch_see_every_row_equally_often_in_orders_of_their_own():
    class Hungry(Two):
        """Four batches an update, and two in an epoch."""

        def phases(self):
            return (Phase("a", self.loss, repeat=4, fresh=True),)

        def loss(self, batch):
            seen.append(tuple(batch.x[:, 0].long().tolist()))
            return super().loss(batch)

    seen = []
    Trainer(TrainerConfig(steps=2, batch_size=4)).fit(Hungry(), {"x": torch.arange(8.0)[:, None]})
    pairs = [first + second for first, second in zip(seen[::2], seen[1::2], strict=True)]
    assert len(pairs) == 4 and all(sorted(pair) == list(range(8)) for pair in pairs)
    assert len(set(pairs)) == len(pairs)


def test_bad_options_name_the_fix():
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        TrainerConfig.from_dict({"batchsize": 3})
    with pytest.raises(ConfigError, match="epochs"):
        TrainerConfig(epochs=0)
    with pytest.raises(ConfigError, match="schedule.*linear"):
        TrainerConfig(schedule="exponential")
    with pytest.raises(ConfigError, match="decay_from"):
        TrainerConfig(decay_from=1.0)
    with pytest.raises(ConfigError, match="cuda:7|not on this machine"):
        choose_device("cuda:7")
    with pytest.raises(ConfigError, match="auto, cpu"):
        choose_device("gpu")


def test_config_coerces_and_refuses():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Some(Config):
        widths: tuple[int, ...] = (1,)
        rate: float = 0.1

    assert Some.from_dict({"widths": [3, 4], "rate": 1}).to_dict() == {"widths": [3, 4], "rate": 1.0}
    with pytest.raises(ConfigError, match="widths"):
        Some.from_dict({"widths": ["a"]})
