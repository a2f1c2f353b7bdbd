"""What one update does, and what is rejected before the first step or on resuming."""

import warnings

import pytest
import torch
from torch import nn

from ganlib.errors import ConfigError, DivergenceError
from ganlib.registry import entry
from ganlib.training import Algorithm, Batch, Losses, Optimiser, Phase, Routine, Stage, Trainer, TrainerConfig
from ganlib.training.checkpoint import read_checkpoint, write_checkpoint

torch.set_num_threads(1)
DATA = {"x": torch.zeros(8, 1)}


class One(Algorithm):
    """One weight, from 1, moved by plain gradient descent as ``given`` says."""

    def __init__(self, *given, rate=1.0):
        super().__init__()
        self.net, self.given, self.rate = nn.Linear(1, 1, bias=False), given, rate
        nn.init.ones_(self.net.weight)

    def players(self):
        return {"net": self.net}

    def optimisers(self):
        return {"net": Optimiser("sgd", self.rate, (0.0, 0.0))}

    def phases(self):
        return self.given

    def slope(self, by):
        """A loss whose gradient is ``by``; each has a name of its own."""
        return lambda batch: Losses(**{f"slope_{by}".replace(".", "_"): by * self.net.weight.sum()})


def fitted(model, validation=None, data=DATA, **options):
    history = Trainer(TrainerConfig(**{"steps": 1, "batch_size": 8, **options})).fit(model, data, validation)
    return model.net.weight.item(), history


# ---------------------------------------------------------------- simultaneous updates
def test_two_phases_of_one_player_add_their_gradients_and_move_it_once():
    model = One()
    model.given = ((Phase("net", model.slope(0.25)), Phase("net", model.slope(0.5))),)
    assert fitted(model)[0] == 0.25


def test_the_sum_of_the_gradients_is_what_is_clipped_and_logged():
    model = One()
    model.given = ((Phase("net", model.slope(3.0)), Phase("net", model.slope(4.0))),)
    weight, history = fitted(model, gradient_clip=0.5, gradient_norms=True)
    assert weight == pytest.approx(0.5) and history.curves["net_gradient_norm"] == [7.0]


@pytest.mark.parametrize("repeat", [2, lambda step: 1])
def test_a_phase_of_a_tuple_cannot_repeat(repeat):
    model = One()
    model.given = ((Phase("net", model.slope(1.0)), Phase("net", model.slope(2.0), repeat=repeat)),)
    with pytest.raises(ConfigError, match="stage 'train': .* its phase of net cannot repeat"):
        fitted(model)


def test_a_tuple_has_one_optimiser_for_a_player():
    model = One()
    model.given = ((Phase("net", model.slope(1.0)), Phase("net", model.slope(2.0), optimiser=Optimiser("sgd"))),)
    with pytest.raises(ConfigError, match="two of its phases give net different optimisers"):
        fitted(model)


# ---------------------------------------------------------------- patience
class Validated(One):
    def validation_loss(self, batch):
        return self.net.weight.sum()


def test_patience_that_can_have_no_effect_warns():
    for model, validation, reason in (
        (One(), DATA, "One has no validation loss"),
        (Validated(), None, "no validation rows"),
    ):
        model.given = (Phase("net", model.slope(0.1)),)
        with pytest.warns(UserWarning, match=f"patience=3 has no effect: {reason}"):
            fitted(model, validation, patience=3)


def test_patience_that_can_stop_a_run_does_not_warn():
    model = Validated()
    model.given = (Phase("net", model.slope(0.1)),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(model, DATA, patience=3)
        fitted(One(Phase("net", model.slope(0.1))), patience=0)


# ---------------------------------------------------------------- resuming stages
class Staged(One):
    """Half of the budget with slopes of 1, half with slopes of 100; three steps an epoch."""

    def stages(self, budget):
        first = budget // 2
        return (
            Stage("gentle", (Phase("net", self.slope(1.0)),), first),
            Stage("steep", (Phase("net", self.slope(100.0)),), budget - first),
        )


class Cut:
    """Ends a run after a number of steps, as a crash does."""

    def __init__(self, after):
        self.after = after

    def on_step(self, step, budget, losses):
        if step > self.after:
            raise KeyboardInterrupt

    def on_end(self):
        pass


def cut_short(path, after, steps):
    config = TrainerConfig(steps=steps, batch_size=8, checkpoint=str(path), checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        Trainer(config, (Cut(after),)).fit(Staged(rate=1e-3), ROWS)
    return config


ROWS = {"x": torch.zeros(24, 1)}


@pytest.mark.parametrize("after", [6, 9])
def test_stages_that_were_trained_are_not_resumed_under_another_budget(tmp_path, after):
    """After 12 planned steps: 6 gentle ones done, and 0 or 3 steep ones. With 24 there would be 12 gentle ones."""
    config = cut_short(tmp_path / "run", after, 12)
    stage = "gentle" if after == 6 else "steep"
    if stage == "steep":
        with pytest.raises(ConfigError, match=r"3 steps into stage 'steep', after 6 .*\(gentle 12, steep 12\)"):
            Trainer(config.replace(steps=24)).fit(Staged(rate=1e-3), ROWS)
    else:
        with pytest.raises(ConfigError, match=r"6 steps into stage 'gentle', .*\(gentle 3, steep 3\)"):
            Trainer(config.replace(steps=6)).fit(Staged(rate=1e-3), ROWS)
    resumed = Staged(rate=1e-3)
    Trainer(config).fit(resumed, ROWS)
    assert resumed.net.weight.item() == pytest.approx(1 - 0.006 - 0.6)


def test_a_first_stage_under_way_is_resumed_under_a_longer_budget(tmp_path):
    config = cut_short(tmp_path / "run", 3, 12)
    model = Staged(rate=1e-3)
    assert Trainer(config.replace(steps=24)).fit(model, ROWS).steps == 24
    assert model.net.weight.item() == pytest.approx(1 - 0.012 - 1.2)


def test_a_run_of_one_stage_is_resumed_under_a_longer_budget(tmp_path):
    path = str(tmp_path / "run")
    for steps in (3, 6):
        model = One(rate=1e-3)
        model.given = (Phase("net", model.slope(1.0)),)
        weight, history = fitted(model, data=ROWS, steps=steps, checkpoint=path)
        assert history.steps == steps and weight == pytest.approx(1 - 1e-3 * steps)


def test_a_checkpoint_of_an_earlier_release_is_resumed(tmp_path):
    """Its History had no number of threads."""
    config = cut_short(tmp_path / "run", 9, 12)
    tensors, meta = read_checkpoint(tmp_path / "run")
    del meta["history"]["threads"]
    write_checkpoint(tmp_path / "run", tensors, meta)
    resumed = Staged(rate=1e-3)
    history = Trainer(config).fit(resumed, ROWS)
    assert history.steps == 12 and history.threads == 1
    assert resumed.net.weight.item() == pytest.approx(1 - 0.006 - 0.6)


# ---------------------------------------------------------------- routines
@pytest.mark.parametrize("value", [float("nan"), torch.tensor(1e13), torch.tensor(0.25, requires_grad=True)])
def test_what_a_routine_returns_is_logged_and_must_be_sane(value):
    model = One(Routine("own", lambda context: {"loss": value}, trains=("net",)))
    if abs(float(value)) < 1:
        assert fitted(model, steps=3)[1].curves["loss"] == [0.25] * 3
        return
    with pytest.raises(DivergenceError, match=r"loss 'own.loss' exploded .* at step 1 "):
        fitted(model, steps=3)


# ---------------------------------------------------------------- policy gradients
def toy(name):
    torch.manual_seed(0)
    found = entry(name)
    return found.create(found.toy.spec, **found.toy.config), {n: v[:64] for n, v in found.toy.data(0).items()}


@pytest.mark.parametrize(("name", "player"), [("seqgan", "generator"), ("gail", "policy")])
def test_a_policy_gradient_is_clipped_logged_and_autocast_as_any_update(name, player):
    model, data = toy(name)
    norms, before = [], nn.utils.clip_grad_norm_
    options = {"steps": 3, "batch_size": 32, "gradient_clip": 1e-3, "gradient_norms": True}
    model.stages = lambda budget: (Stage("policy", [p for p in model.phases() if p.loss == model.policy_loss], budget),)

    def clipped(parameters, most):
        norm = before(parameters, most)
        norms.append(torch.cat([p.grad.flatten() for p in parameters]).norm().item())
        return norm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.utils, "clip_grad_norm_", clipped)
        history = Trainer(TrainerConfig(**options)).fit(model, data)
    assert len(norms) == 3 and max(norms) < 1.1e-3
    assert {"policy", "reward", f"{player}_gradient_norm"} == history.curves.keys()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.policy_loss(Batch(data, torch.Generator().manual_seed(0))).total.backward()


def test_gail_keeps_to_the_device_of_its_batch():
    """With another default device, a tensor built without one would meet those on the CPU and raise."""
    model, data = toy("gail")
    batch = Batch(data, torch.Generator().manual_seed(0))
    with torch.device("meta"):
        for losses in (model.policy_loss(batch), model.critic_loss(batch)):
            assert all(value.device.type == "cpu" for value in losses.values())
