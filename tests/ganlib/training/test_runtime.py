"""What a run sets in torch and sets back: threads, layout, precision, compilation; and what ends a run early."""

import logging

import pytest
import torch
from torch import nn

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DivergenceError
from ganlib.registry import create
from ganlib.training import Algorithm, Losses, Phase, Trainer, TrainerConfig, threads
from ganlib.training.runtime import Runtime, TwiceDifferentiated, torch_settings
from ganlib.training.threads import Threads
from ganlib.training.trainer import Run

torch.set_num_threads(1)
CUDA = torch.device("cuda")
POINTS = torch.randn(640, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def two_threads(monkeypatch):
    """Torch's default on a machine of two cores, in a process that has trained nothing yet."""
    monkeypatch.setattr(threads, "_MEASURED", {})
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


class Plain(Algorithm):
    """A line; ``seen`` holds the number of threads of each step, and step ``bad`` raises."""

    def __init__(self, bad=None):
        super().__init__()
        self.net, self.seen, self.bad = nn.Linear(2, 1), [], bad

    def players(self):
        return {"net": self.net}

    def phases(self):
        return (Phase("net", self.loss),)

    def loss(self, batch):
        self.seen.append(torch.get_num_threads())
        if len(self.seen) == self.bad:
            raise RuntimeError("a fault of the model's own")
        return Losses(square=self.net(batch.x).square().mean())


def fit(model, **options):
    return Trainer(TrainerConfig(**{"steps": 16, "batch_size": 32, **options})).fit(model, {"x": POINTS})


# ---------------------------------------------------------------- threads
def timed(monkeypatch, seconds):
    """Let a step take what ``seconds`` says of torch's number of threads."""
    now = [0.0]

    def clock():
        now[0] += seconds() / 2  # asked twice a step
        return now[0]

    monkeypatch.setattr(threads.time, "perf_counter", clock)


TEN = [2, 1, 2, 1, 1, 2, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("taken", "seen"),
    [
        ({1: 1.0, 2: 0.6}, [*TEN, 2, 2]),
        ({1: 1.0, 2: 1.0}, [*TEN, 1, 1]),
        ({1: 0.1, 2: 1.0}, [2, 1, 2, 1, 1, 2, *6 * [1]]),
    ],
)
def test_the_faster_number_of_threads_is_kept(two_threads, monkeypatch, caplog, taken, seen):
    timed(monkeypatch, lambda: taken[torch.get_num_threads()])
    model = Plain()
    with caplog.at_level(logging.INFO, "ganlib.training"):
        history = fit(model, steps=12)
    assert model.seen == seen, "steps were repeated, added or left out"
    assert history.threads == seen[-1] and torch.get_num_threads() == 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert "training Plain on cpu: precision fp32" in line and "layout contiguous, compiled no" in line
    assert f"threads {seen[-1]} (1: " in line and " ms a step, 2: " in line


def test_threads_that_are_mostly_faster_and_sometimes_stalled_are_not_kept(two_threads, monkeypatch):
    """As on a busy machine: the eighth step waits for the second thread's turn."""
    model = Plain()
    timed(monkeypatch, lambda: 1.0 if torch.get_num_threads() == 1 else 5.0 if len(model.seen) == 8 else 0.6)
    assert fit(model).threads == 1 and model.seen[:10] == TEN


def test_a_second_run_in_a_process_repeats_the_numbers_of_the_first(two_threads, monkeypatch):
    first, second, other = Plain(), Plain(), Plain()
    timed(monkeypatch, lambda: {1: 1.0, 2: 0.6}[torch.get_num_threads()])
    fit(first)
    timed(monkeypatch, lambda: {1: 0.1, 2: 1.0}[torch.get_num_threads()])
    assert fit(second).threads == 2 and second.seen == first.seen
    assert fit(other, batch_size=16).threads == 1


def test_a_run_too_short_to_measure_chooses_nothing(two_threads):
    model = Plain()
    assert fit(model, steps=4).threads is None
    assert model.seen == [2, 1, 2, 1] and torch.get_num_threads() == 2


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 3}, {"deterministic": True}])
def test_nothing_is_measured_where_the_number_is_given_or_results_must_be_equal(two_threads, options):
    model = Plain()
    history = fit(model, **options)
    assert set(model.seen) == {options.get("threads", 2)} == {history.threads}
    assert torch.get_num_threads() == 2


def test_with_one_thread_nothing_is_measured():
    model = Plain()
    assert fit(model).threads == 1 and set(model.seen) == {1}


@pytest.mark.parametrize("bad", [4, 12])
def test_the_former_number_is_set_back_after_an_error(two_threads, bad):
    with pytest.raises(RuntimeError, match="own"):
        fit(Plain(bad))
    assert torch.get_num_threads() == 2


def test_a_resumed_run_keeps_the_number_it_was_cut_short_with(two_threads):
    assert Threads("auto", known=1).chosen == 1
    torch.set_num_threads(2)
    assert Threads("auto", known=16).chosen is None, "a number of another machine"


@pytest.mark.parametrize("given", [0, "many", True])
def test_threads_are_a_number_or_auto(given):
    with pytest.raises(ConfigError, match="threads"):
        TrainerConfig(threads=given)


# ---------------------------------------------------------------- divergence
class Poisoned(Plain):
    """Not a number from step ``bad`` on; from ``fatal`` on, the model also chokes on its own weights."""

    def __init__(self, bad, fatal=None):
        super().__init__()
        self.poison, self.fatal = bad, fatal

    def loss(self, batch):
        self.seen.append(1)
        if len(self.seen) == self.fatal:
            raise ValueError("probabilities must be finite")
        factor = float("nan") if len(self.seen) >= self.poison else 0.0
        return Losses(square=self.net(batch.x).square().mean(), bad=factor * self.net.weight.sum())


@pytest.mark.parametrize("fatal", [None, 28])
def test_what_diverges_within_an_epoch_is_named_by_its_step_and_taken_back(fatal):
    """Twenty steps an epoch: the 26th is the sixth of the second. Its loss is read later, or when a step fails."""
    model, reference = Poisoned(26, fatal), Plain()
    reference.load_state_dict(model.state_dict())
    fit(reference, steps=20)
    with pytest.raises(DivergenceError, match=r"loss 'bad' .* at step 26 \(epoch 2\)"):
        fit(model, steps=100)
    assert all(torch.equal(v, reference.state_dict()[n]) for n, v in model.state_dict().items())


def test_a_long_epoch_is_not_trained_to_its_end_after_a_divergence():
    model = Poisoned(3)
    with pytest.raises(DivergenceError, match="step 3 "):
        fit(model, steps=320, batch_size=2)
    assert len(model.seen) < 60


def test_an_error_of_the_models_own_stays_what_it_is():
    with pytest.raises(RuntimeError, match="own"):
        fit(Plain(bad=3))


# ---------------------------------------------------------------- settings of torch
def settings():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
    )


@pytest.mark.parametrize(
    ("options", "device", "expected"),
    [
        ({}, "cpu", (False, False, "highest")),
        ({}, "cuda", (False, True, "high")),
        ({"precision": "fp32"}, "cuda", (False, True, "highest")),
        ({"deterministic": True}, "cuda", (True, False, "highest")),
    ],
)
def test_torch_is_set_for_the_device_and_set_back(options, device, expected):
    before = settings()
    with pytest.raises(KeyError), torch_settings(TrainerConfig(**options), torch.device(device)):
        assert settings() == expected
        raise KeyError
    assert settings() == before == (False, False, "highest")


def test_convolutions_train_in_channels_last_on_cuda_and_come_back(monkeypatch):
    images = DataSpec.image(1, 8, 8)
    model = create("dcgan", images, width=4)
    config = TrainerConfig(steps=3, batch_size=8)
    assert Runtime(model, config, CUDA).layout == torch.channels_last
    assert Runtime(Plain(), config, CUDA).layout == Runtime(model, config, torch.device("cpu")).layout
    # No GPU is needed to train in that layout.
    chosen, epoch, trained = Runtime.__init__, Run._end_epoch, []

    def last(self, *args):
        chosen(self, *args)
        self.layout = torch.channels_last

    def watched(self, last):
        trained.extend(p for p in model.parameters() if not p.is_contiguous())
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in trained)
        epoch(self, last)

    monkeypatch.setattr(Runtime, "__init__", last)
    monkeypatch.setattr(Run, "_end_epoch", watched)
    x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    Trainer(config).fit(model, {"x": x})
    assert trained and all(p.is_contiguous() and p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("gan", {}, set()),
        ("wgan_gp", {}, {"critic"}),
        ("gan", {"unrolled_steps": 2}, {"critic", "generator"}),
    ],
)
def test_players_that_cannot_be_compiled_are_found_in_a_step(name, options, found):
    model = create(name, DataSpec.vector(2), hidden=(8,), **options)
    with TwiceDifferentiated(model) as seen:
        fit(model, steps=1)
    assert seen.players == found
